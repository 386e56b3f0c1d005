// What a training will do and cost: its schedule drawn, GBitOPs and energy beside the alternatives.

import { card, fill, h } from "../core/dom.js";
import * as format from "../core/format.js";
import { axis, bitsAxis, CONFIG, layout, onTheme, plotly, seriesColour, title } from "../charts/plot.js";

export class Preview {
  constructor(signal) {
    this.signal = signal;
    this.chart = h("div", { class: "chart plan", role: "img", "aria-label": "Bit widths over the steps" });
    this.facts = h("dl", { class: "facts" });
    this.table = h("div", { class: "flush" });
    this.why = h("p", { class: "small faint", hidden: true });
    this.status = h("div", { class: "plan-status", role: "status", "aria-live": "polite" });
    this.element = card("Plan", { flush: true, body: [h("div", { class: "body" }, this.chart), this.table, h("div", { class: "form-part" }, this.facts, this.why), this.status] });
    onTheme(() => this.plan && this.draw(), signal);
  }

  show(plan) {
    this.plan = plan;
    this.say("good", "✓ Valid: this can be submitted.");
    this.showTable();
    const mean = plan.forecast ?? plan.forecast_between?.[1];
    const facts = [
      ["Length", `${format.whole(plan.steps)} steps${plan.epochs === null ? "" : `, ${format.number(plan.epochs)} epochs`}`],
      ["Samples", format.whole(plan.samples)],
      ["Model", plan.parameters === null ? plan.spec.model.name : `${format.whole(plan.parameters)} parameters, ${format.large(plan.macs)} MACs`],
      mean ? ["Mean bits", `${format.number(mean.mean_forward_bits)} forward, ${format.number(mean.mean_backward_bits)} backward`] : null,
    ].filter(Boolean);
    fill(this.facts, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    this.why.hidden = plan.unknown === null;
    this.why.textContent = plan.unknown ? `Not known here: ${plan.unknown}.` : "";
    this.draw();
  }

  fail(problem, rest) {
    const faults = rest.length ? rest : problem.errors?.length ? [] : [{ pointer: "", message: problem.message }];
    const count = problem.errors?.length ?? 0;
    this.say("bad", count ? `${count === 1 ? "One field is" : `${count} fields are`} to be mended before this can be submitted.` : "", faults.map((fault) => h("li", {}, fault.pointer ? h("code", {}, fault.pointer) : null, fault.pointer ? " " : null, fault.message)));
  }

  say(tone, text, items = []) {
    this.status.className = `plan-status ${tone}`;
    fill(this.status, text, items.length ? h("ul", {}, ...items) : null);
  }

  showTable() {
    const { plan } = this;
    const ends = plan.forecast ? [plan.forecast] : plan.forecast_between;
    if (!ends) return void fill(this.table);
    const range = (read, form) => [...new Set(ends.map((end) => form(read(end))))].join(" to ");
    const row = (name, own, others, form) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "right" }, range(own, form)), ...others.map((other) => h("td", { class: "right" }, range(other, form))));
    const isStatic32 = plan.max_bits === 32;
    const rows = [
      row("GBitOPs", (end) => end.gbitops, [(end) => end.gbitops_static, (end) => end.gbitops_fp32], format.large),
      row("Energy, modelled", (end) => end.modelled_joules, [(end) => end.modelled_joules_static, (end) => end.modelled_joules_fp32], format.joules),
      h("tr", {}, h("th", { scope: "row" }, "Saved"), h("td", {}), h("td", { class: "right" }, range((end) => end.saved_vs_static, format.percent)), h("td", { class: "right" }, range((end) => end.saved_vs_fp32, format.percent))),
    ];
    fill(
      this.table,
      h("table", { class: "table plan-table" },
        h("caption", { class: "visually-hidden" }, "Cost beside the alternatives"),
        h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col", class: "right" }, "This"), h("th", { scope: "col", class: "right" }, isStatic32 ? "Static fp32" : `Static ${plan.max_bits}-bit`), h("th", { scope: "col", class: "right" }, "fp32"))),
        h("tbody", {}, ...rows),
      ),
    );
  }

  async draw() {
    const Plotly = await plotly();
    if (this.signal.aborted) return;
    const { runs, steps } = this.plan;
    const last = runs.at(-1).stop - 1;
    const x = [...runs.map((run) => run.start), last];
    const line = (name, key, colour, dash) => ({ x, y: [...runs.map((run) => run[key]), runs.at(-1)[key]], name, mode: "lines", line: { shape: "hv", color: seriesColour(colour), width: 1.8, dash }, hovertemplate: "%{y}" });
    const highest = Math.max(...runs.map((run) => Math.max(run.forward_bits, run.backward_bits)));
    this.chart.setAttribute("aria-label", `Bit widths over ${steps} steps: forward ${Math.min(...runs.map((run) => run.forward_bits))} to ${Math.max(...runs.map((run) => run.forward_bits))}, backward up to ${Math.max(...runs.map((run) => run.backward_bits))}.`);
    await Plotly.react(
      this.chart,
      [line("forward", "forward_bits", 0), line("backward", "backward_bits", 1, "dot")],
      layout({
        uirevision: null, showlegend: true, legend: { orientation: "h", x: 1, xanchor: "right", y: 1.16, font: { size: 11 } }, margin: { l: 44, r: 18, t: 22, b: 40 },
        xaxis: axis({ title: title(last + 1 < steps ? `step, the first ${format.whole(last + 1)} of ${format.whole(steps)}` : "step"), range: [0, last || 1] }),
        yaxis: bitsAxis(highest, { title: title("bits") }),
      }),
      CONFIG,
    );
  }
}
