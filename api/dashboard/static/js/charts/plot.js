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

// Plotly reads a few tags and entities in the texts that it draws: what somebody named is written so that none is there.
export const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// The heading of a row of a chart, above its left end; a legend of its own stands above its right end.
export function heading(text, top) {
  return { text, xref: "paper", yref: "paper", x: 0, y: top, xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 12, weight: 600, color: colour("text") }, yshift: 4 };
}

export function legend(top) {
  return { orientation: "h", x: 1, xanchor: "right", y: top, yanchor: "bottom", font: { size: 11, color: colour("text-soft") }, bgcolor: "rgba(0,0,0,0)", itemclick: false, itemdoubleclick: false };
}

export const title = (text) => ({ text, font: { color: colour("text-soft"), size: 12 }, standoff: 6 });

// Bit widths are few: a line for each second of them, or for powers of two where full precision is among them.
export function bitsAxis(highest, extra = {}) {
  const ticks = highest > 16 ? { tickvals: [2, 8, 16, 32] } : { tick0: 0, dtick: 2 };
  return axis({ range: [0, highest + Math.max(0.6, highest / 14)], tickformat: "d", ...ticks, ...extra });
}

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
