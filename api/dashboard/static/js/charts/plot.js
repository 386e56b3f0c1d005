// Plotly, loaded once when a page needs it, and the look that all charts share.

let loading = null;

export function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/dashboard/plotly.min.js";
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loading = null;
      reject(new Error("The charts' script could not be loaded; load the page again."));
    };
    document.head.append(script);
  });
  return loading;
}

export const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset", showTips: false };

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const isDark = () => document.documentElement.dataset.theme === "dark";

const LIGHT = ["#3f51d6", "#c2560c", "#17805a", "#9333b8", "#b3261e", "#0b7285", "#8a6d00", "#5b6472", "#c2327f", "#3c7d1f"];
const DARK = ["#8c9bff", "#ff9f5a", "#5fd3a2", "#d190f0", "#ff938a", "#5fd0e6", "#e3c355", "#aab2bf", "#ff8cc4", "#a2d977"];

export const palette = () => (isDark() ? DARK : LIGHT);
export const seriesColour = (index) => palette()[index % palette().length];
export const toneColour = (name) => colour(name);

export function axis(extra = {}) {
  return {
    gridcolor: colour("line"), zeroline: false, linecolor: colour("line"), tickfont: { color: colour("text-faint"), size: 11 },
    title: { font: { color: colour("text-soft"), size: 12 } }, automargin: false, fixedrange: false, ...extra,
  };
}

export function layout(extra = {}) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: colour("font"), color: colour("text"), size: 12 },
    margin: { l: 58, r: 16, t: 10, b: 40 }, showlegend: false, hovermode: "x unified", dragmode: "zoom", uirevision: "same",
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line-strong"), font: { color: colour("text"), size: 12 } },
    ...extra,
  };
}

// Draws again in the other colours when they change, for as long as the page is there.
export function onTheme(draw, signal) {
  document.addEventListener("theme", draw, { signal });
}

export async function saveImage(element, name) {
  const Plotly = await plotly();
  const { width, height } = element.getBoundingClientRect();
  const shown = { "paper_bgcolor": colour("surface") };
  await Plotly.relayout(element, shown);
  await Plotly.downloadImage(element, { format: "png", filename: name, width: Math.round(width), height: Math.round(height), scale: 2 });
  await Plotly.relayout(element, { "paper_bgcolor": "rgba(0,0,0,0)" });
}
