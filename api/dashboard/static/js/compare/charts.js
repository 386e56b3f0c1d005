// Curves of several jobs over each other, and the paper's main figure: quality against cost.

import { h } from "../core/dom.js";
import * as format from "../core/format.js";
import { axis, CONFIG, layout, onTheme, plotly, seriesColour, toneColour } from "../charts/plot.js";
import { smoothed } from "../charts/series.js";

const DASHES = ["solid", "dash", "dot", "dashdot"];
const title = (text) => ({ text, font: { color: toneColour("text-soft"), size: 12 }, standoff: 6 });

// Ten colours; after them the same again with other dashes.
export const lineOf = (index) => ({ color: seriesColour(index), dash: DASHES[Math.floor(index / 10) % DASHES.length] });

export class Curves {
  constructor(signal) {
    this.signal = signal;
    this.weight = 0;
    this.series = [];
    this.element = h("div", { class: "chart curves", role: "img", "aria-label": "Curves of the jobs" });
    const smoothing = h("input", { type: "range", min: "0", max: "0.98", step: "0.02", value: "0", oninput: () => {
      this.weight = Number(smoothing.value);
      this.draw();
    } });
    this.tools = [h("div", { class: "chart-tools" }, h("label", {}, "Smoothing", smoothing))];
    onTheme(() => this.series.length && this.draw(), signal);
  }

  // `series`: {name, index, loss, accuracy, forward_bits: [[step, value], …]} of each job.
  show(series) {
    this.series = series;
    return this.draw();
  }

  async draw() {
    const Plotly = await plotly();
    if (this.signal.aborted) return;
    const traces = this.series.flatMap((job) => [
      this.line(job, "loss", "y", { hovertemplate: "%{y:.4f}" }, this.weight),
      this.line(job, "accuracy", "y2", { hovertemplate: "%{y:.1%}" }, Math.max(this.weight, 0.6)),
      this.line(job, "forward_bits", "y3", { hovertemplate: "%{y}" }, 0, "hv"),
    ]).filter((trace) => trace.x.length);
    this.element.setAttribute("aria-label", `Training loss, training accuracy and forward bits of ${this.series.length} jobs. ${this.series.map((job) => `${job.name}: loss ${format.number(job.loss.at(-1)?.[1])}`).join("; ")}.`);
    await Plotly.react(
      this.element, traces,
      layout({
        hovermode: "x", margin: { l: 60, r: 14, t: 8, b: 42 },
        xaxis: axis({ anchor: "y3", title: title("step"), tickformat: ",d", rangemode: "tozero" }),
        yaxis: axis({ domain: [0.62, 1], title: title("training loss"), nticks: 5 }),
        yaxis2: axis({ domain: [0.26, 0.57], title: title("training accuracy"), tickformat: ".0%", nticks: 5 }),
        yaxis3: axis({ domain: [0, 0.2], title: title("forward bits"), rangemode: "tozero", nticks: 4, tickformat: "d" }),
      }),
      CONFIG,
    );
  }

  line(job, key, yaxis, extra, weight, shape = "linear") {
    const points = job[key] ?? [];
    return { x: points.map(([step]) => step), y: smoothed(points.map(([, value]) => value), weight), name: job.name, yaxis, mode: "lines", line: { ...lineOf(job.index), width: 1.5, shape }, ...extra };
  }
}

export class Scatter {
  constructor(signal, go) {
    Object.assign(this, { signal, go });
    this.element = h("div", { class: "chart scatter", role: "img" });
    onTheme(() => this.rows && this.draw(), signal);
  }

  show(rows) {
    this.rows = rows.filter((row) => row.quality && row.cost);
    return this.rows.length ? this.draw() : undefined;
  }

  async draw() {
    const Plotly = await plotly();
    if (this.signal.aborted) return;
    const isAccuracy = this.rows[0].quality.name === "accuracy";
    const rows = this.rows.filter((row) => row.quality.name === this.rows[0].quality.name);
    this.element.setAttribute("aria-label", `Quality against cost. ${rows.map((row) => `${row.name}: ${format.outcomeQuality(row.quality)} for ${format.large(row.cost.gbitops)} GBitOPs`).join("; ")}.`);
    await Plotly.react(
      this.element,
      rows.map((row) => ({
        x: [row.cost.gbitops], y: [row.quality.value], name: row.name, mode: "markers", customdata: [row.job],
        marker: { size: 12, color: seriesColour(row.index), symbol: row.quality.final ? "circle" : "circle-open", line: { width: 1.5, color: seriesColour(row.index) } },
        hovertemplate: isAccuracy ? "%{y:.2%} for %{x:.4s} GBitOPs<extra>%{fullData.name}</extra>" : "%{y:.4f} for %{x:.4s} GBitOPs<extra>%{fullData.name}</extra>",
      })),
      layout({
        hovermode: "closest", margin: { l: 60, r: 20, t: 12, b: 44 },
        xaxis: axis({ title: title("GBitOPs"), tickformat: "~s" }),
        yaxis: axis({ title: title(rows[0].quality.name), tickformat: isAccuracy ? ".1%" : "" }),
      }),
      CONFIG,
    );
    if (this.bound) return;
    this.bound = true;
    this.element.on("plotly_click", (event) => this.go(`/jobs/${event.points[0].customdata}`));
  }
}
