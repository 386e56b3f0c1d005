// Light or dark: as the system says, until the reader chooses.

const STORED = "cpt-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const CHOICES = ["system", "light", "dark"];
const NAMES = { system: "as the system", light: "light", dark: "dark" };
const SIGNS = { system: "◐", light: "☀", dark: "☾" };

const chosen = () => localStorage.getItem(STORED) ?? "system";

function apply() {
  const choice = chosen();
  const dark = choice === "system" ? system.matches : choice === "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.dispatchEvent(new Event("theme"));
  return choice;
}

export function setUpTheme(button) {
  const show = () => {
    const choice = apply();
    button.textContent = SIGNS[choice];
    button.setAttribute("aria-label", `Colours: ${NAMES[choice]}`);
    button.title = `Colours: ${NAMES[choice]}`;
  };
  button.addEventListener("click", () => {
    const next = CHOICES[(CHOICES.indexOf(chosen()) + 1) % CHOICES.length];
    if (next === "system") localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, next);
    show();
  });
  system.addEventListener("change", show);
  show();
}
