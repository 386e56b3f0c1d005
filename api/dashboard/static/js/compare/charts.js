// Curves of several jobs over each other, and the paper's main figure: quality against cost.

import { button, h } from "../core/dom.js";
import * as format from "../core/format.js";
import { axis, bitsAxis, CONFIG, heading, layout, onTheme, plain, plotly, saveImage, seriesColour, title, toneColour } from "../charts/plot.js";
import { smoothed } from "../charts/series.js";

const DASHES = ["solid", "dash", "dot", "dashdot"];
const DOMAINS = { loss: [0.66, 0.96], quality: [0.3, 0.58], bits: [0, 0.22] };
const NAMED = 12; // points that are written beside; more would cover each other
const LONGEST_NAME = 32;

// Ten colours; after them the same again with other dashes.
export const lineOf = (index) => ({ color: seriesColour(index), dash: DASHES[Math.floor(index / 10) % DASHES.length] });

const shortened = (name) => plain(name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}…` : name);

export class Curves {
  constructor(signal) {
    this.signal = signal;
    this.weight = 0;
    this.log = false;
    this.series = [];
    this.element = h("div", { class: "chart curves", role: "img", "aria-label": "Curves of the jobs" });
    const smoothing = h("input", { type: "range", min: "0", max: "0.98", step: "0.02", value: "0", oninput: () => {
      this.weight = Number(smoothing.value);
      this.draw();
    } });
    const logarithmic = button("Log scale", () => {
      this.log = !this.log;
      logarithmic.setAttribute("aria-pressed", String(this.log));
      this.draw();
    }, { tone: "small", "aria-pressed": "false" });
    const picture = button("PNG", () => saveImage(this.element, "curves"), { tone: "small", "aria-label": "Curves as PNG" });
    this.tools = [h("div", { class: "chart-tools" }, h("label", {}, "Smoothing", smoothing), logarithmic, picture)];
    onTheme(() => this.series.length && this.draw(), signal);
  }

  // `series`: {name, index, loss, quality, forward_bits: [[step, value], …]} of each job; `measure`: what quality is.
  show(series, measure) {
    Object.assign(this, { series, measure });
    return this.draw();
  }

  async draw() {
    const Plotly = await plotly();
    if (this.signal.aborted) return;
    const isAccuracy = this.measure === "accuracy";
    const traces = this.series.flatMap((job) => [
      this.line(job, "loss", "y", { hovertemplate: "%{y:.4f}", y: smoothed((job.loss ?? []).map(([, value]) => value), this.weight) }),
      this.line(job, "quality", "y2", { mode: "lines+markers", marker: { size: 6, color: lineOf(job.index).color }, hovertemplate: isAccuracy ? "%{y:.2%}" : "%{y:.4f}" }),
      this.line(job, "forward_bits", "y3", { hovertemplate: "%{y}" }, "hv"),
    ]).filter((trace) => trace.x.length);
    const highest = Math.max(8, ...this.series.flatMap((job) => (job.forward_bits ?? []).map(([, bits]) => bits)));
    const scale = this.log ? { type: "log", dtick: "D1" } : {};
    this.element.setAttribute("aria-label", `Training loss, ${this.measure} and forward bits of ${this.series.length} jobs. ${this.series.map((job) => `${job.name}: loss ${format.number(job.loss?.at(-1)?.[1])}`).join("; ")}.`);
    await Plotly.react(
      this.element, traces,
      layout({
        uirevision: String(this.log), hovermode: "x", margin: { l: 58, r: 14, t: 4, b: 42 },
        annotations: [heading("Training loss", DOMAINS.loss[1]), heading(`Test ${this.measure}`, DOMAINS.quality[1]), heading("Forward bits", DOMAINS.bits[1])],
        xaxis: axis({ anchor: "y3", title: title("step"), tickformat: ",d", rangemode: "tozero" }),
        yaxis: axis({ domain: DOMAINS.loss, nticks: 5, ...scale }),
        yaxis2: axis({ domain: DOMAINS.quality, nticks: 5, ...(isAccuracy ? { tickformat: ".0%" } : scale) }),
        yaxis3: bitsAxis(highest, { domain: DOMAINS.bits }),
      }),
      CONFIG,
    );
  }

  line(job, key, yaxis, extra, shape = "linear") {
    const points = job[key] ?? [];
    return { x: points.map(([step]) => step), y: points.map(([, value]) => value), name: shortened(job.name), yaxis, mode: "lines", line: { ...lineOf(job.index), width: 1.5, shape }, ...extra };
  }
}

export class Scatter {
  constructor(signal, go) {
    Object.assign(this, { signal, go });
    this.element = h("div", { class: "chart scatter", role: "img" });
    this.tools = [button("PNG", () => saveImage(this.element, "quality-against-cost"), { tone: "small", "aria-label": "Quality against cost as PNG" })];
    onTheme(() => this.rows?.length && this.draw(), signal);
  }

  show(rows) {
    this.rows = rows.filter((row) => row.quality && row.cost);
    return this.rows.length ? this.draw() : undefined;
  }

  async draw() {
    const Plotly = await plotly();
    if (this.signal.aborted) return;
    const measure = this.rows[0].quality.name;
    const isAccuracy = measure === "accuracy";
    const rows = this.rows.filter((row) => row.quality.name === measure);
    const written = rows.length <= NAMED;
    const costs = padded(rows.map((row) => row.cost.gbitops), 0.14);
    this.element.setAttribute("aria-label", `Quality against cost. ${rows.map((row) => `${row.name}: ${format.outcomeQuality(row.quality)} for ${format.large(row.cost.gbitops)} GBitOPs`).join("; ")}.`);
    await Plotly.react(
      this.element,
      rows.map((row) => ({
        x: [row.cost.gbitops], y: [row.quality.value], name: shortened(row.name), mode: written ? "markers+text" : "markers", customdata: [row.job],
        text: [shortened(row.name)], textposition: towards(row.cost.gbitops, costs), textfont: { size: 12, color: toneColour("text-soft") }, cliponaxis: false,
        marker: { size: 12, color: seriesColour(row.index), symbol: row.quality.final ? "circle" : "circle-open", line: { width: 1.5, color: seriesColour(row.index) } },
        hovertemplate: isAccuracy ? "%{y:.2%} for %{x:.4s} GBitOPs<extra>%{fullData.name}</extra>" : "%{y:.4f} for %{x:.4s} GBitOPs<extra>%{fullData.name}</extra>",
      })),
      layout({
        hovermode: "closest", margin: { l: 64, r: 20, t: 16, b: 46 },
        xaxis: axis({ title: title("cost, GBitOPs"), tickformat: "~s", range: costs, autorange: false }),
        yaxis: axis({ title: title(`test ${measure}`), tickformat: isAccuracy ? ".1%" : "", range: padded(rows.map((row) => row.quality.value), 0.14), autorange: false, nticks: 6 }),
      }),
      CONFIG,
    );
    if (this.bound) return;
    this.bound = true;
    this.element.on("plotly_click", (event) => this.go(`/jobs/${event.points[0].customdata}`));
  }
}

// From the least to the most with a margin around; nothing that is shown here can be below zero.
function padded(values, part) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least || Math.abs(most) || 1) * part;
  return [Math.max(0, least - room), most + room];
}

// A name stands above its point, at the ends of the axis on the side where there is room.
function towards(value, [from, to]) {
  const place = (value - from) / (to - from);
  return place < 0.2 ? "top right" : place > 0.8 ? "top left" : "top center";
}
