// What a rank prints, followed while it runs.

import { button, card, h } from "../core/dom.js";
import { download, notice, send } from "../core/api.js";
import { FINAL } from "../core/job.js";

const TAIL = 500;
const MOST_LINES = 5_000;

export class Logs {
  constructor(job, signal) {
    Object.assign(this, { job, signal });
    this.text = h("div", { class: "log", role: "log", "aria-label": "Output", "aria-live": "off", tabindex: "0" });
    const ranks = [...Array(job.spec.resources.devices).keys()].map((rank) => h("option", { value: String(rank) }, `rank ${rank}`));
    this.rank = h("select", { class: "select", "aria-label": "Whose output", onchange: () => this.open() }, ...ranks, h("option", { value: "-1" }, "launcher"));
    const save = button("Download", () => this.save(), { tone: "small" });
    this.element = card("Logs", { actions: [this.rank, save], body: this.text, flush: true });
  }

  async save() {
    try {
      await download(`/v1/jobs/${this.job.id}/logs?rank=${this.rank.value}`, `${this.job.id}-rank-${this.rank.value}.log`);
    } catch (problem) {
      this.text.before(notice(problem));
    }
  }

  // Reads the end and follows; goes on by itself where it left off when the connection breaks.
  async open() {
    this.reading?.abort();
    const reading = (this.reading = new AbortController());
    this.signal.addEventListener("abort", () => reading.abort(), { once: true });
    this.text.textContent = "";
    let place = { tail: String(TAIL) };
    while (!reading.signal.aborted) {
      try {
        const query = new URLSearchParams({ rank: this.rank.value, follow: String(!FINAL.has(this.job.state)), ...place });
        const answer = await send(`/v1/jobs/${this.job.id}/logs?${query}`, { headers: { Accept: "application/x-ndjson" }, signal: reading.signal });
        const last = await this.read(answer.body);
        if (last) place = { attempt: String(last.attempt), offset: String(last.next_offset) };
        if (FINAL.has(this.job.state)) break;
      } catch (problem) {
        if (problem.name === "AbortError" || reading.signal.aborted) return;
        if (problem.status === 404 || problem.status === 422) break;
      }
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
    if (!this.text.textContent && !reading.signal.aborted) this.text.textContent = "Nothing was printed.";
  }

  async read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let last = null;
    for (;;) {
      const { done, value } = await reader.read();
      const parts = (rest + (value ?? "")).split("\n");
      rest = done ? "" : parts.pop();
      const lines = parts.filter(Boolean).map((part) => JSON.parse(part));
      if (lines.length) {
        last = lines.at(-1);
        this.add(lines);
      }
      if (done) return last;
    }
  }

  add(lines) {
    const atEnd = this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < 40;
    const block = document.createDocumentFragment();
    for (const { attempt, line } of lines) {
      if (attempt !== this.attempt) {
        this.attempt = attempt;
        if (attempt > 1) block.append(`── attempt ${attempt} ──\n`);
      }
      block.append(`${line}\n`);
    }
    this.text.append(block);
    while (this.text.childNodes.length > MOST_LINES) this.text.firstChild.remove();
    if (atEnd) this.text.scrollTop = this.text.scrollHeight;
  }
}
