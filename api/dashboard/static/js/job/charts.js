// Loss, quality, bits, cost and energy of a job over one axis of steps.

import { announce, button, h, put, throttled } from "../core/dom.js";
import { download, notice } from "../core/api.js";
import * as format from "../core/format.js";
import { FINAL } from "../core/job.js";
import { axis, bitsAxis, CONFIG, heading, layout, legend, onTheme, plotly, saveImage, seriesColour, title, toneColour } from "../charts/plot.js";
import { Curve, smoothed } from "../charts/series.js";
import { KEYS } from "./data.js";

const ROWS = ["loss", "quality", "bits", "cost", "energy"];
const DOMAINS = { loss: [0.79, 0.97], quality: [0.59, 0.75], bits: [0.39, 0.55], cost: [0.195, 0.35], energy: [0, 0.155] };
const FINE = 100;
const narrow = matchMedia("(max-width: 720px)"); // a legend has no room there for long names beside its heading
const shorter = (name) => name.replace(/ (accuracy|perplexity)/, "").replace("this training", "this").replace(/^static, .*/, "static");

export class JobCharts {
  constructor(data, job, signal) {
    Object.assign(this, { data, job, signal });
    this.log = false;
    this.weight = 0;
    this.detail = null;
    this.chart = h("div", { class: "chart job", role: "img", "aria-label": "Charts of the training", hidden: true });
    this.nothing = h("p", { class: "coming faint" }, "Loading …");
    this.element = h("div", {}, this.nothing, this.chart);
    this.update = throttled(350, () => this.draw());
    const logarithmic = button("Log scale", () => {
      this.log = !this.log;
      logarithmic.setAttribute("aria-pressed", String(this.log));
      this.draw();
    }, { tone: "small", "aria-pressed": "false" });
    const smoothing = h("input", { type: "range", min: "0", max: "0.98", step: "0.02", value: "0", oninput: () => {
      this.weight = Number(smoothing.value);
      this.update();
    } });
    const reset = button("Reset zoom", () => this.reset(), { tone: "small" });
    this.tools = [
      h("div", { class: "chart-tools" },
        h("label", {}, "Smoothing", smoothing),
        logarithmic,
        reset,
        button("PNG", () => this.drawn && saveImage(this.chart, job.id), { tone: "small" }),
        button("CSV", () => this.csv(), { tone: "small" }),
      ),
    ];
    onTheme(() => this.drawn && this.draw(), signal);
    narrow.addEventListener("change", () => this.drawn && this.draw(), { signal });
  }

  async csv() {
    try {
      await download(`/v1/jobs/${this.job.id}/metrics`, `${this.job.id}.csv`, { Accept: "text/csv" });
    } catch (problem) {
      this.element.before(notice(problem));
    }
  }

  async draw() {
    const Plotly = await plotly();
    if (this.signal.aborted || !this.chart.isConnected || !this.begun()) return;
    this.chart.hidden = false;
    this.nothing.hidden = true;
    await Plotly.react(this.chart, this.traces(), this.layout(), CONFIG);
    this.chart.setAttribute("aria-label", this.summary());
    if (this.drawn) return;
    this.drawn = true;
    performance.mark("first-draw");
    this.chart.on("plotly_relayout", (change) => this.zoomed(change));
  }

  // Without a step there is nothing to draw, and axes without curves say nothing.
  begun() {
    if (this.drawn || this.curve("loss").length) return true;
    const ended = FINAL.has(this.job.state);
    this.nothing.classList.toggle("coming", !ended); // of the charts' height while they may come
    put(this.nothing, ended ? "It ended before its first step." : "The curves begin with the first step.");
    return false;
  }

  // What is zoomed into is read anew, finer.
  async zoomed(change) {
    const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    if (change["xaxis.autorange"]) {
      this.detail = null;
      return this.update();
    }
    if (from === undefined || this.data.bucket <= 1) return undefined;
    const range = { from_step: String(Math.max(0, Math.floor(from))), to_step: String(Math.max(Math.ceil(to), Math.floor(from) + FINE, FINE)) };
    try {
      const found = await this.data.sample(range);
      this.detail = Object.fromEntries(KEYS.map((key) => [key, new Curve(found.series[key] ?? [])]));
      this.update();
    } catch (problem) {
      if (problem.name !== "AbortError") this.element.before(notice(problem));
    }
    return undefined;
  }

  async reset() {
    this.detail = null;
    const Plotly = await plotly();
    const ranges = Object.fromEntries(["xaxis", ...ROWS.map((_, index) => (index ? `yaxis${index + 1}` : "yaxis"))].map((name) => [`${name}.autorange`, true]));
    if (!this.drawn) return;
    await Plotly.relayout(this.chart, ranges);
    announce("The whole training is shown");
  }

  curve(key) {
    return (this.detail ?? this.data.curves)[key];
  }

  traces() {
    const found = [...this.lossTraces(), ...this.qualityTraces()];
    const step = { mode: "lines", yaxis: "y3", line: { shape: "hv", width: 1.6 } };
    found.push(
      this.line("forward_bits", "forward", 0, { ...step, hovertemplate: "%{y}" }),
      this.line("backward_bits", "backward", 1, { ...step, line: { ...step.line, dash: "dot" }, hovertemplate: "%{y}" }),
      this.line("gbitops", "this training", 2, { yaxis: "y4", hovertemplate: "%{y:.4s}" }),
    );
    const cost = this.job.cost;
    const { x } = this.curve("gbitops");
    if (cost && x.length) {
      const widest = this.job.spec.precision.max_bits ?? this.job.spec.precision.bits;
      const perStep = cost.gbitops_static / Math.max(1, this.job.progress.step);
      found.push({ x: [x[0], x.at(-1)], y: [perStep * (x[0] + 1), perStep * (x.at(-1) + 1)], name: widest ? `static, ${format.bits(widest)}` : "static", mode: "lines", yaxis: "y4", legend: "legend4", line: { color: toneColour("text-faint"), width: 1.2, dash: "dash" }, hovertemplate: "%{y:.4s}" });
    }
    found.push(this.line("modelled_joules", "modelled", 3, { yaxis: "y5", hovertemplate: "%{y:.4s}J" }));
    if (this.curve("energy_joules").length) found.push(this.line("energy_joules", "measured", 4, { yaxis: "y5", hovertemplate: "%{y:.4s}J" }));
    if (narrow.matches) found.forEach((trace) => (trace.name = shorter(trace.name)));
    return found;
  }

  lossTraces() {
    const shown = { yaxis: "y", hovertemplate: "%{y:.4f}" };
    if (!this.weight) return [this.line("loss", "training loss", 0, shown)];
    const raw = this.line("loss", "as it was", 0, { ...shown, opacity: 0.28, hoverinfo: "skip", hovertemplate: null });
    const curve = this.curve("loss");
    return [raw, { ...this.line("loss", "training loss", 0, shown), y: smoothed(curve.y, this.weight) }];
  }

  qualityTraces() {
    const evaluations = this.data.of("evaluation");
    const accuracy = this.curve("accuracy");
    const value = accuracy.length || evaluations.some((found) => found.accuracy !== undefined && found.accuracy !== null) || this.job.spec.dataset.bptt === undefined ? "accuracy" : "perplexity";
    const found = [];
    if (accuracy.length) {
      found.push({ ...this.line("accuracy", "training accuracy", 2, { yaxis: "y2", hovertemplate: "%{y:.2%}", opacity: 0.55 }), y: smoothed(accuracy.y, this.weight) });
    }
    for (const averaged of [false, true]) {
      const taken = evaluations.filter((event) => Boolean(event.averaged) === averaged && event[value] !== undefined && event[value] !== null);
      if (!taken.length) continue;
      const colour = seriesColour(averaged ? 3 : 1);
      found.push({
        x: taken.map((event) => event.step - 1), y: taken.map((event) => event[value]), name: `test ${value}${averaged ? ", averaged weights" : ""}`, mode: "lines+markers",
        yaxis: "y2", legend: "legend2", text: taken.map((event) => `at ${format.bits(event.bits)}`), line: { color: colour, width: 2 }, marker: { size: 6, color: colour },
        hovertemplate: value === "accuracy" ? "%{y:.2%} %{text}" : "%{y:.2f} %{text}",
      });
    }
    this.qualityName = value;
    return found;
  }

  line(key, name, colour, extra = {}) {
    const { x, y } = this.curve(key);
    const { line, ...rest } = extra;
    const row = rest.yaxis.slice(1);
    return { x, y, name, legend: `legend${row}`, mode: "lines", connectgaps: true, ...rest, line: { color: seriesColour(colour), width: 1.5, ...line } };
  }

  layout() {
    const y = (row, extra = {}) => ({ domain: DOMAINS[row], nticks: 5, anchor: "x", ...extra });
    const top = (row) => DOMAINS[row][1];
    const widths = new Set([...this.curve("forward_bits").y, ...this.curve("backward_bits").y]);
    const highest = Math.max(8, ...widths);
    const percent = this.qualityName === "accuracy";
    const headings = ["Loss", percent ? "Accuracy" : "Perplexity", "Bits", "Cost, GBitOPs", "Energy"];
    return layout({
      uirevision: `${this.log}`,
      margin: { l: 58, r: 14, t: 8, b: 42 },
      showlegend: true,
      ...Object.fromEntries(ROWS.map((row, index) => [index ? `legend${index + 1}` : "legend", legend(top(row))])),
      annotations: ROWS.map((row, index) => heading(headings[index], top(row))),
      shapes: this.attempts(),
      xaxis: axis({ anchor: "y5", title: title("step"), rangemode: "tozero", tickformat: ",d", showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid", spikecolor: toneColour("line-strong"), minallowed: 0 }),
      yaxis: axis(y("loss", this.log ? { type: "log", dtick: "D1" } : {})),
      yaxis2: axis(y("quality", percent ? { tickformat: ".0%", rangemode: "tozero" } : this.log ? { type: "log", dtick: "D1" } : {})),
      yaxis3: bitsAxis(highest, y("bits", { autorange: false })),
      yaxis4: axis(y("cost", { rangemode: "tozero", tickformat: "~s" })),
      yaxis5: axis(y("energy", { rangemode: "tozero", tickformat: "~s", ticksuffix: "J" })),
      hoversubplots: "axis",
    });
  }

  // A line where an attempt went on from a checkpoint.
  attempts() {
    const begun = this.data.of("started").filter((event) => event.resume_step);
    return begun.map((event) => ({ type: "line", xref: "x", yref: "paper", x0: event.resume_step, x1: event.resume_step, y0: 0, y1: DOMAINS.loss[1], line: { color: toneColour("line-strong"), width: 1, dash: "dot" } }));
  }

  summary() {
    const { progress, latest } = this.job;
    const loss = this.curve("loss").y;
    if (!loss.length) return "Charts of the training: no step yet";
    return `Charts of loss, ${this.qualityName}, bit widths, cost and energy over ${progress.step} of ${progress.steps} steps. Training loss went from ${format.number(loss[0])} to ${format.number(loss.at(-1))}${latest ? `, bits now ${latest.forward_bits} forward, ${latest.backward_bits} backward` : ""}.`;
  }
}
