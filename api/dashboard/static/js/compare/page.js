// Jobs side by side, chosen by hand or the members of a sweep.

import { button, card, fill, h, throttled, toast } from "../core/dom.js";
import { download, get, notice, post } from "../core/api.js";
import * as format from "../core/format.js";
import { confirmed, FINAL } from "../core/job.js";
import { follow, showConnection } from "../core/stream.js";
import { plotly } from "../charts/plot.js";
import { Curves, Scatter } from "./charts.js";
import { configurations, sideBySide, swatch } from "./tables.js";

const CURVES = 20;
const EVENTS = 5000;
const LABELS = 4;
const KEYS = ["loss", "forward_bits"];

export async function show(main, { match, query, signal, go }) {
  const sweep = match[1] ?? null;
  const jobs = query.get("jobs");
  if (!sweep && !jobs) {
    document.title = "Compare · CPT";
    return void fill(main, h("div", { class: "page-head" }, h("h1", {}, "Compare")), h("div", { class: "card empty" }, h("h2", {}, "Nothing is selected"), h("p", {}, "Tick two jobs or more in the list, then press Compare. The members of a sweep are compared on its own page."), h("p", {}, h("a", { class: "button primary", href: "/" }, "Choose jobs"), " ", h("a", { class: "button", href: "/sweeps" }, "Sweeps"))));
  }
  plotly().catch(() => {});
  const page = new ComparePage(main, { sweep, address: sweep ? `/v1/sweeps/${sweep}/results` : `/v1/compare?jobs=${encodeURIComponent(jobs)}`, signal, go });
  return page.begin();
}

class ComparePage {
  constructor(main, parts) {
    Object.assign(this, { main, ...parts });
    this.curves = new Curves(this.signal);
    this.scatter = new Scatter(this.signal, this.go);
    this.series = new Map();
    this.order = new Map();
    this.reread = throttled(2_000, () => this.load().catch(() => {}));
  }

  async begin() {
    await this.load();
    if (this.rows.every((row) => FINAL.has(row.state))) return;
    const shown = new Set(this.rows.map((row) => row.job));
    // Once the stream is open everything is read again: what changed in between would come by no event.
    const concerns = (type, data) => type === "ready" || (type === "job" && shown.has(data.id));
    follow("/v1/stream", { signal: this.signal, onconnection: showConnection, onevent: (type, data) => concerns(type, data) && this.reread() });
  }

  async load() {
    const [found, sweep] = await Promise.all([get(this.address, { signal: this.signal }), this.sweep ? get(`/v1/sweeps/${this.sweep}`, { signal: this.signal }) : null]);
    found.data.forEach((row) => this.order.has(row.job) || this.order.set(row.job, this.order.size));
    const distinct = new Set(found.data.map((row) => row.name)).size === found.data.length;
    const named = (row) => (distinct ? row.name : labelled(row, found.fields));
    this.rows = found.data.map((row) => ({ ...row, name: named(row), index: this.order.get(row.job) })); // colours stay with their jobs
    this.found = found;
    if (!this.drawn) this.draw();
    this.showHead(sweep);
    fill(this.table, sideBySide(this.rows, found.fields));
    if (found.configurations) fill(this.means, configurations(found.configurations, found.fields));
    this.scatter.show(this.rows);
    this.nothing.hidden = this.rows.some((row) => row.quality && row.cost);
    this.scatter.element.hidden = !this.nothing.hidden;
    fill(this.legend, ...this.rows.slice(0, CURVES).map((row) => h("span", {}, swatch(row.index), row.name)), this.rows.length > CURVES ? h("span", { class: "faint" }, `and ${this.rows.length - CURVES} more, without curves`) : null);
    await this.loadCurves();
  }

  draw() {
    this.drawn = true;
    this.head = h("div");
    this.table = h("div", { class: "flush", tabindex: "0", role: "region", "aria-label": "Table, scrolls sideways" });
    this.means = h("div", { class: "flush" });
    this.legend = h("div", { class: "compare-legend" });
    this.nothing = h("p", { class: "waiting" }, "No job has been evaluated yet.");
    const csv = button("CSV", () => this.save(), { tone: "small" });
    fill(
      this.main, this.head,
      h("div", { class: "stack" },
        card("Quality against cost", { actions: this.scatter.tools, body: [this.scatter.element, this.nothing] }),
        this.found.configurations ? card("Means over seeds", { body: this.means, flush: true }) : null,
        card("Side by side", { actions: [csv], body: this.table, flush: true }),
        card("Curves", { actions: this.curves.tools, flush: true, body: [this.legend, this.curves.element] }),
      ),
    );
  }

  showHead(sweep) {
    const name = sweep ? sweep.name : `${this.rows.length} jobs`;
    document.title = `${name} · CPT`;
    const open = sweep && !FINAL.has(sweep.state);
    fill(
      this.head,
      h("div", { class: "page-head" },
        h("h1", {}, sweep ? name : `Compare ${name}`),
        sweep ? h("span", { class: `state ${sweep.state}` }, sweep.state) : null,
        sweep ? h("span", { class: "soft num" }, `${format.percent(sweep.progress.fraction, 0)} of ${sweep.members.length} jobs`) : null,
        open ? h("div", { class: "actions" }, button("Cancel all", () => this.cancel(), { tone: "danger" })) : null,
      ),
    );
  }

  async cancel() {
    if (!(await confirmed("Cancel all members of this sweep that have not ended?", "Cancel all"))) return;
    try {
      await post(`/v1/sweeps/${this.sweep}/cancel`);
      await this.load();
    } catch (problem) {
      toast(problem.message, "bad");
    }
  }

  async save() {
    try {
      await download(this.address, `${this.sweep ?? "comparison"}.csv`, { Accept: "text/csv" });
    } catch (problem) {
      this.table.prepend(notice(problem));
    }
  }

  // Each job's curves are read once it has changed; those of ended jobs once.
  async loadCurves() {
    const rows = this.rows.slice(0, CURVES);
    const points = rows.length > 8 ? 300 : 800;
    await Promise.all(
      rows.map(async (row) => {
        const known = this.series.get(row.job);
        if (known?.step === row.progress.step) return;
        const [found, events] = await Promise.all([
          get(`/v1/jobs/${row.job}/metrics?keys=${KEYS}&max_points=${points}`, { signal: this.signal }),
          get(`/v1/jobs/${row.job}/events?limit=${EVENTS}`, { signal: this.signal }),
        ]);
        this.series.set(row.job, { step: row.progress.step, ...found.series, evaluations: events.data.filter((event) => event.type === "evaluation") });
      }),
    );
    const measure = rows.find((row) => row.quality)?.quality.name ?? "accuracy";
    const quality = ({ evaluations }) => evaluations.filter((event) => !event.averaged && event[measure] !== null && event[measure] !== undefined).map((event) => [event.step - 1, event[measure]]);
    await this.curves.show(rows.map((row) => ({ name: row.name, index: row.index, quality: quality(this.series.get(row.job)), ...this.series.get(row.job) })), measure);
  }
}

// Where names are the same, as in a sweep, what tells a job from the others.
function labelled(row, fields) {
  const told = fields.filter((field) => field in row.fields).map((field) => `${field.split("/").at(-1)} ${JSON.stringify(row.fields[field]).replaceAll('"', "")}`);
  return told.length && told.length <= LABELS ? told.join(", ") : `${row.name} ${row.job.slice(4, 12)}`;
}
