// One job: what it is, how far it is, its curves, its events, its files, and what can be done with it.

import { announce, button, card, fill, h, link, put, throttled, toast } from "../core/dom.js";
import { get, notice } from "../core/api.js";
import * as format from "../core/format.js";
import { act, actionLabel, best, energyOf, progressText, stateBadge } from "../core/job.js";
import { showConnection } from "../core/stream.js";
import { toYaml } from "../plan/yaml.js";
import { plotly } from "../charts/plot.js";
import { JobCharts } from "./charts.js";
import { JobData } from "./data.js";
import { Files } from "./files.js";
import { Logs } from "./logs.js";
import { RangeTest } from "./range_test.js";
import { Timeline } from "./timeline.js";

export async function show(main, { match, signal, go }) {
  plotly().catch(() => {}); // its script is large: it comes while the job is read
  const job = await get(`/v1/jobs/${match[1]}`, { signal });
  const page = new JobPage(main, job, signal, go);
  page.draw();
  await page.begin();
}

class JobPage {
  constructor(main, job, signal, go) {
    Object.assign(this, { main, job, signal, go });
    this.data = new JobData(job.id, signal, { onchange: (type, event) => this.changed(type, event), onconnection: showConnection });
    this.charts = new JobCharts(this.data, job, signal);
    this.timeline = new Timeline(this.data);
    this.logs = new Logs(job, signal);
    this.files = new Files(job, signal);
    this.rangeTest = new RangeTest(signal);
    this.reread = throttled(800, () => this.refresh());
  }

  draw() {
    this.head = h("div", { class: "job-head" });
    this.figures = h("dl", { class: "figures" });
    this.bar = h("progress", { class: "progress", max: "1", "aria-label": "Progress" });
    [this.done, this.left] = [h("span"), h("span")];
    this.facts = h("dl", { class: "facts" });
    fill(
      this.main,
      this.head,
      h("section", { class: "card", "aria-label": "Latest figures" }, this.figures, h("div", { class: "how-far-wide" }, this.done, this.bar, this.left)),
      h(
        "div", { class: "job-grid" },
        h("div", { class: "stack" }, card("Training", { actions: this.charts.tools, body: this.charts.element }), this.rangeTest.element, this.files.pictures, this.logs.element),
        h("div", { class: "stack" }, card("Events", { body: this.timeline.element, flush: true }), this.files.element, card("Details", { body: this.facts }), this.specCard()),
      ),
    );
    this.show();
  }

  specCard() {
    const text = toYaml(this.job.spec);
    const copy = button("Copy", async () => {
      await navigator.clipboard.writeText(text);
      toast("Copied the spec");
    }, { tone: "small" });
    return card("Spec", { actions: [copy], body: h("pre", { class: "code spec", tabindex: "0" }, text) });
  }

  async begin() {
    await this.data.load();
    await this.charts.draw();
    this.follow();
    this.files.load();
    this.logs.open();
    const ticking = setInterval(() => this.show(), 5_000);
    this.signal.addEventListener("abort", () => clearInterval(ticking));
  }

  follow() {
    this.timeline.show();
    this.rangeTest.show(this.data.of("range_test").at(-1));
  }

  changed(type, event) {
    this.charts.update();
    if (type !== "step") this.follow();
    if (type === "state") announce(`${this.job.name} is ${event.state}`);
    if (type === "checkpoint" || type === "best_checkpoint" || type === "end") this.files.load();
    this.reread();
  }

  async refresh() {
    try {
      this.update(await get(`/v1/jobs/${this.job.id}`, { signal: this.signal }));
    } catch (problem) {
      if (problem.status === 404) fill(this.main, notice(problem));
    }
  }

  update(job) {
    Object.assign(this.job, job); // the parts of the page share it
    if (!this.charts.drawn) this.charts.update();
    this.show();
  }

  show() {
    if (this.signal.aborted) return;
    const { job } = this;
    document.title = `${job.name} · CPT`;
    this.showHead();
    this.showFigures();
    this.bar.value = job.progress.fraction;
    this.bar.className = `progress ${job.state}`;
    put(this.done, `${format.whole(job.progress.step)} of ${format.whole(job.progress.steps)} steps · ${format.percent(job.progress.fraction, 0)}`);
    put(this.left, progressText(job));
    this.showFacts();
  }

  showHead() {
    const { job } = this;
    const mark = JSON.stringify([job.state, job.actions, job.message, job.cancel_requested, job.pause_requested, job.archived_at]);
    if (this.headMark === mark) return;
    this.headMark = mark;
    fill(
      this.head,
      h("nav", { class: "crumbs", "aria-label": "Where this is" }, link("/", "Jobs"), job.sweep ? [" / ", link(`/sweeps/${job.sweep}`, "Sweep")] : null, " / ", h("span", { class: "mono" }, job.id)),
      h("div", { class: "page-head" }, h("h1", {}, job.name), stateBadge(job), h("div", { class: "actions" }, ...job.actions.map((action) => this.actionButton(action)))),
      job.message && job.state !== "succeeded" ? h("p", { class: job.state === "failed" ? "notice bad" : "notice", id: "message" }, job.reason ? h("strong", {}, `${job.reason}: `) : null, job.message) : null,
    );
  }

  actionButton(action) {
    const tone = action === "delete" || action === "cancel" ? "danger" : "";
    const pressed = button(actionLabel(action), async () => {
      if (action === "clone") return void this.go(`/new?clone=${this.job.id}`);
      pressed.disabled = true;
      try {
        const found = await act(this.job, action);
        if (found === null) return void this.go("/");
        if (found.id !== this.job.id) return void this.go(`/jobs/${found.id}`);
        this.update(found);
      } catch (problem) {
        toast(problem.message, "bad");
        this.refresh();
      } finally {
        pressed.disabled = false;
      }
      return undefined;
    }, { tone, "data-action": action });
    return pressed;
  }

  showFigures() {
    const { job } = this;
    const { latest, cost } = job;
    const quality = best(job);
    const energy = energyOf(job);
    const measured = energy.measured !== null && energy.measured !== undefined;
    const figures = [
      ["Loss", latest ? latest.loss.toFixed(4) : format.NONE, latest ? `lr ${format.number(latest.lr)}` : "no step yet"],
      [format.qualityName(quality), format.quality(quality), quality?.bits ? `test split, ${format.bits(quality.bits)}` : "not evaluated yet"],
      ["Bits now", latest ? `${format.shortBits(latest.forward_bits)} / ${format.shortBits(latest.backward_bits)}` : format.NONE, "forward / backward"],
      ["Saved", cost ? format.percent(cost.saved_vs_static) : format.NONE, cost ? `of static, ${format.percent(cost.saved_vs_fp32, 0)} of fp32` : "of static training's cost"],
      ["Energy", measured ? format.joules(energy.measured) : format.joules(energy.modelled), measured ? `measured · modelled ${format.joules(energy.modelled)}` : "modelled, not measured"],
      ["Speed", latest ? `${format.large(latest.samples_per_second)}/s` : format.NONE, "samples"],
    ];
    if (!this.figures.children.length) fill(this.figures, ...figures.map(() => h("div", { class: "figure" }, h("dt"), h("dd"), h("dd"))));
    figures.forEach((texts, index) => texts.forEach((text, place) => put(this.figures.children[index].children[place], text)));
  }

  showFacts() {
    const { job } = this;
    const measured = job.energy?.measured;
    const facts = [
      ["Queue", `${job.queue}, priority ${job.priority}`],
      ["Attempts", String(job.attempt)],
      job.cost ? ["Cost", `${format.large(job.cost.gbitops)} of ${format.large(job.cost.gbitops_static)} GBitOPs`] : null,
      ["Submitted", format.moment(job.created_at)],
      ["Started", job.started_at ? format.moment(job.started_at) : format.NONE],
      ["Ended", job.finished_at ? format.moment(job.finished_at) : format.NONE],
      job.retry_of ? ["Retry of", link(`/jobs/${job.retry_of}`, job.retry_of)] : null,
      job.clone_of ? ["Clone of", link(`/jobs/${job.clone_of}`, job.clone_of)] : null,
      measured?.reason ? ["No counter", measured.reason] : measured?.source ? ["Counter", `${measured.source}: ${measured.scope}`] : null,
      job.result?.bounds ? ["Bounds found", `${job.result.bounds.min_bits} to ${job.result.bounds.max_bits} bits`] : null,
      job.result?.peak_memory ? ["Peak memory", format.bytes(job.result.peak_memory)] : null,
    ].filter(Boolean);
    const mark = JSON.stringify([job.attempt, job.cost?.gbitops, job.started_at, job.finished_at, measured?.reason, Boolean(job.result)]);
    if (this.factsMark === mark) return;
    this.factsMark = mark;
    fill(this.facts, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }
}

