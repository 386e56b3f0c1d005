// Before anything is painted, so that nothing flashes: the reader's choice of colours, else the system's.
"use strict";
{
  const chosen = localStorage.getItem("cpt-theme");
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
