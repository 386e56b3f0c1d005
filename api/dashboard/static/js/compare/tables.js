// Jobs side by side: what came of them and where their specs differ.

import { h, link } from "../core/dom.js";
import * as format from "../core/format.js";
import { lineOf } from "./charts.js";

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const spread = (mean, deviation, form) => (mean === null || mean === undefined ? format.NONE : `${form(mean)}${deviation === null || deviation === undefined ? "" : ` ± ${form(deviation)}`}`);

export function swatch(index) {
  const mark = h("span", { class: "swatch", "aria-hidden": "true" });
  mark.style.background = lineOf(index).color;
  return mark;
}

const OUTCOMES = [
  ["State", (row) => h("span", { class: `state ${row.state}` }, row.state)],
  ["Quality", (row) => (row.quality ? `${format.outcomeQuality(row.quality)}${row.quality.final ? "" : " so far"}` : format.NONE)],
  ["GBitOPs", (row) => (row.cost ? format.large(row.cost.gbitops) : format.NONE)],
  ["Saved against static", (row) => (row.cost ? format.percent(row.cost.saved_vs_static) : format.NONE)],
  ["Energy, modelled", (row) => format.joules(row.energy?.modelled_joules)],
  ["Energy, measured", (row) => format.joules(row.energy?.energy_joules)],
  ["Time", (row) => (row.seconds === null ? format.NONE : format.duration(row.seconds))],
];

export function sideBySide(rows, fields) {
  return h(
    "table", { class: "table differences" },
    h("caption", { class: "visually-hidden" }, "The jobs side by side"),
    h("thead", {}, h("tr", {}, h("td", {}), ...rows.map((row) => h("th", { scope: "col" }, swatch(row.index), link(`/jobs/${row.job}`, row.name))))),
    h(
      "tbody", {},
      ...OUTCOMES.map(([name, read]) => h("tr", {}, h("th", { scope: "row" }, name), ...rows.map((row) => h("td", {}, read(row))))),
      ...fields.map((field) => h("tr", {}, h("th", { scope: "row", class: "mono" }, field.slice(1).replaceAll("/", ".")), ...rows.map((row) => h("td", { class: "different" }, field in row.fields ? shown(row.fields[field]) : h("span", { class: "faint" }, "none"))))),
    ),
  );
}

export function configurations(found, fields) {
  const varied = fields.filter((field) => field !== "/training/seed");
  return h(
    "table", { class: "table" },
    h("caption", { class: "visually-hidden" }, "Means over seeds"),
    h("thead", {}, h("tr", {}, ...varied.map((field) => h("th", { scope: "col", class: "mono" }, field.slice(1).replaceAll("/", "."))), h("th", { scope: "col", class: "right" }, "Jobs"), h("th", { scope: "col", class: "right" }, "Quality"), h("th", { scope: "col", class: "right" }, "GBitOPs"))),
    h(
      "tbody", {},
      ...found.map(({ fields: values, jobs, summary }) =>
        h("tr", {}, ...varied.map((field) => h("td", {}, field in values ? shown(values[field]) : format.NONE)), h("td", { class: "right" }, String(jobs.length)), h("td", { class: "right" }, quality(summary)), h("td", { class: "right" }, summary ? spread(summary.gbitops?.mean, null, format.large) : format.NONE)),
      ),
    ),
  );
}

function quality(summary) {
  if (!summary) return format.NONE;
  if (summary.accuracy) return spread(summary.accuracy.mean, summary.accuracy.deviation, (value) => format.percent(value, 2));
  const found = summary.perplexity ?? summary.loss;
  return found ? spread(found.mean, found.deviation, format.number) : format.NONE;
}
