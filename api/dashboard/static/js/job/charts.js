// Loss, quality, bits, cost and energy of a job over one axis of steps.

import { announce, button, h, throttled } from "../core/dom.js";
import { download, notice } from "../core/api.js";
import * as format from "../core/format.js";
import { axis, CONFIG, layout, onTheme, plotly, saveImage, seriesColour, toneColour } from "../charts/plot.js";
import { Curve, smoothed } from "../charts/series.js";
import { KEYS } from "./data.js";

const ROWS = ["loss", "quality", "bits", "cost", "energy"];
const DOMAINS = { loss: [0.78, 1], quality: [0.57, 0.75], bits: [0.38, 0.54], cost: [0.19, 0.35], energy: [0, 0.16] };
const FINE = 100;

export class JobCharts {
  constructor(data, job, signal) {
    Object.assign(this, { data, job, signal });
    this.log = false;
    this.weight = 0;
    this.detail = null;
    this.element = h("div", { class: "chart job", role: "img", "aria-label": "Charts of the training" });
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
        button("PNG", () => saveImage(this.element, job.id), { tone: "small" }),
        button("CSV", () => this.csv(), { tone: "small" }),
      ),
    ];
    onTheme(() => this.drawn && this.draw(), signal);
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
    if (this.signal.aborted || !this.element.isConnected) return;
    if (!this.drawn) this.element.replaceChildren();
    await Plotly.react(this.element, this.traces(), this.layout(), CONFIG);
    this.element.setAttribute("aria-label", this.summary());
    if (this.drawn) return;
    this.drawn = true;
    performance.mark("first-draw");
    this.element.on("plotly_relayout", (change) => this.zoomed(change));
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
    await Plotly.relayout(this.element, ranges);
    announce("The whole training is shown");
  }

  curve(key) {
    return (this.detail ?? this.data.curves)[key];
  }

  traces() {
    const found = [...this.lossTraces(), ...this.qualityTraces()];
    const step = { mode: "lines", yaxis: "y3", line: { shape: "hv", width: 1.6 } };
    found.push(
      this.line("forward_bits", "forward bits", 0, { ...step, hovertemplate: "%{y}" }),
      this.line("backward_bits", "backward bits", 1, { ...step, line: { ...step.line, dash: "dot" }, hovertemplate: "%{y}" }),
      this.line("gbitops", "GBitOPs", 2, { yaxis: "y4", hovertemplate: "%{y:.4s}" }),
    );
    const cost = this.job.cost;
    const { x } = this.curve("gbitops");
    if (cost && x.length) {
      const perStep = cost.gbitops_static / Math.max(1, this.job.progress.step);
      found.push({ x: [x[0], x.at(-1)], y: [perStep * (x[0] + 1), perStep * (x.at(-1) + 1)], name: "static", mode: "lines", yaxis: "y4", line: { color: toneColour("text-faint"), width: 1.2, dash: "dash" }, hovertemplate: "%{y:.4s}" });
    }
    found.push(this.line("modelled_joules", "modelled", 3, { yaxis: "y5", hovertemplate: "%{y:.4s}J" }));
    if (this.curve("energy_joules").length) found.push(this.line("energy_joules", "measured", 4, { yaxis: "y5", hovertemplate: "%{y:.4s}J" }));
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
    const value = accuracy.length || evaluations.some((found) => found.accuracy !== undefined && found.accuracy !== null) ? "accuracy" : "perplexity";
    const found = [];
    if (accuracy.length) {
      found.push({ ...this.line("accuracy", "training accuracy", 2, { yaxis: "y2", hovertemplate: "%{y:.2%}", opacity: 0.55 }), y: smoothed(accuracy.y, this.weight) });
    }
    const taken = evaluations.filter((event) => event[value] !== undefined && event[value] !== null);
    found.push({
      x: taken.map((event) => event.step - 1), y: taken.map((event) => event[value]), name: `test ${value}`, mode: "lines+markers", yaxis: "y2",
      text: taken.map((event) => `at ${format.bits(event.bits)}`), line: { color: seriesColour(1), width: 2 }, marker: { size: 6, color: seriesColour(1) },
      hovertemplate: value === "accuracy" ? "%{y:.2%} %{text}" : "%{y:.2f} %{text}",
    });
    this.qualityName = value;
    return found;
  }

  line(key, name, colour, extra = {}) {
    const { x, y } = this.curve(key);
    const { line, ...rest } = extra;
    return { x, y, name, mode: "lines", connectgaps: true, ...rest, line: { color: seriesColour(colour), width: 1.5, ...line } };
  }

  layout() {
    const title = (text) => ({ text, font: { color: toneColour("text-soft"), size: 12 }, standoff: 6 });
    const y = (row, text, extra = {}) => axis({ domain: DOMAINS[row], title: title(text), nticks: 5, anchor: "x", ...extra });
    const widths = new Set([...this.curve("forward_bits").y, ...this.curve("backward_bits").y]);
    const highest = Math.max(8, ...widths);
    const percent = this.qualityName === "accuracy";
    return layout({
      uirevision: `${this.log}`,
      margin: { l: 64, r: 14, t: 8, b: 42 },
      xaxis: axis({ anchor: "y5", title: title("step"), rangemode: "tozero", tickformat: ",d", showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid", spikecolor: toneColour("line-strong"), minallowed: 0 }),
      yaxis: y("loss", "loss", this.log ? { type: "log" } : {}),
      yaxis2: y("quality", percent ? "accuracy" : "perplexity", percent ? { tickformat: ".0%" } : this.log ? { type: "log" } : {}),
      yaxis3: y("bits", "bits", { range: [0, highest + 1], autorange: false, tickformat: "d" }),
      yaxis4: y("cost", "GBitOPs", { rangemode: "tozero", tickformat: "~s" }),
      yaxis5: y("energy", "energy, J", { rangemode: "tozero", tickformat: "~s" }),
      hoversubplots: "axis",
    });
  }

  summary() {
    const { progress, latest } = this.job;
    const loss = this.curve("loss").y;
    if (!loss.length) return "Charts of the training: no step yet";
    return `Charts of loss, ${this.qualityName}, bit widths, cost and energy over ${progress.step} of ${progress.steps} steps. Training loss went from ${format.number(loss[0])} to ${format.number(loss.at(-1))}${latest ? `, bits now ${latest.forward_bits} forward, ${latest.backward_bits} backward` : ""}.`;
  }
}
