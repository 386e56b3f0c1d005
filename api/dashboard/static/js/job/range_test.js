// The curve of a precision range test: how well each width learns, and the bounds that follow.

import { card, h } from "../core/dom.js";
import * as format from "../core/format.js";
import { axis, CONFIG, layout, legend, onTheme, plotly, seriesColour, title, toneColour } from "../charts/plot.js";

export class RangeTest {
  constructor(signal) {
    this.signal = signal;
    this.chart = h("div", { class: "chart range", role: "img" });
    this.says = h("p", { class: "small soft" });
    this.element = card("Precision range test", { body: [this.says, this.chart] });
    this.element.hidden = true;
    onTheme(() => this.event && this.draw(), signal);
  }

  show(event) {
    if (!event || event === this.event) return;
    this.event = event;
    this.element.hidden = false;
    this.draw();
  }

  async draw() {
    const Plotly = await plotly();
    if (this.signal.aborted) return;
    const { curve, bounds, threshold, tolerance } = this.event;
    const widths = curve.map((point) => point.bits);
    const line = (key, name, index, extra) => ({ x: widths, y: curve.map((point) => point[key]), name, mode: "lines+markers", line: { color: seriesColour(index), width: 2, ...extra }, marker: { size: 7 }, hovertemplate: "%{y:.4f}" });
    this.says.textContent = bounds
      ? `Training cycles between ${format.bits(bounds.min_bits)} and ${format.bits(bounds.max_bits)}: the lowest width that gains ${format.percent(threshold, 0)} of what the highest does, and the lowest that is no more than ${format.percent(tolerance, 0)} behind it.`
      : "Even the highest width learnt next to nothing, so there are no bounds. Give each width more steps (precision.steps_per_bits).";
    this.chart.setAttribute("aria-label", `Score by bit width: ${curve.map((point) => `${point.bits} bits ${point.last.toFixed(3)}`).join(", ")}.`);
    await Plotly.react(
      this.chart,
      [line("last", "after its steps", 0), line("first", "before", 1, { dash: "dot" })],
      layout({
        showlegend: true, legend: legend(1),
        margin: { l: 58, r: 14, t: 26, b: 42 },
        xaxis: axis({ title: title("bits"), dtick: 1 }),
        yaxis: axis({ title: title("score"), rangemode: "tozero", nticks: 6 }),
        shapes: bounds ? [{ type: "rect", xref: "x", yref: "paper", x0: bounds.min_bits - 0.15, x1: bounds.max_bits + 0.15, y0: 0, y1: 1, fillcolor: toneColour("accent"), opacity: 0.12, line: { width: 0 } }] : [],
      }),
      CONFIG,
    );
  }
}
