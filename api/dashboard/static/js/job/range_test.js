// The curve of a precision range test: how well each width learns, and the bounds that follow.

import { card, h } from "../core/dom.js";
import { axis, CONFIG, layout, onTheme, plotly, seriesColour, toneColour } from "../charts/plot.js";

export class RangeTest {
  constructor(signal) {
    this.signal = signal;
    this.chart = h("div", { class: "chart range", role: "img" });
    this.element = card("Precision range test", { body: this.chart });
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
    const { curve, bounds } = this.event;
    const widths = curve.map((point) => point.bits);
    const title = (text) => ({ text, font: { color: toneColour("text-soft"), size: 12 } });
    this.chart.setAttribute("aria-label", `Score by bit width: ${curve.map((point) => `${point.bits} bits ${point.score.toFixed(3)}`).join(", ")}. ${bounds ? `Bounds ${bounds.min_bits} to ${bounds.max_bits} bits.` : "No width learns."}`);
    await Plotly.react(
      this.chart,
      [{ x: widths, y: curve.map((point) => point.score), mode: "lines+markers", line: { color: seriesColour(0), width: 2 }, marker: { size: 8 }, name: "score", hovertemplate: "%{x} bits: %{y:.4f}<extra></extra>" }],
      layout({
        hovermode: "closest",
        xaxis: axis({ title: title("bits"), dtick: 1 }),
        yaxis: axis({ title: title("score"), rangemode: "tozero" }),
        shapes: bounds ? [{ type: "rect", xref: "x", yref: "paper", x0: bounds.min_bits - 0.15, x1: bounds.max_bits + 0.15, y0: 0, y1: 1, fillcolor: toneColour("accent"), opacity: 0.12, line: { width: 0 } }] : [],
      }),
      CONFIG,
    );
  }
}
