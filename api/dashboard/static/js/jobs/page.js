// All jobs: live, to filter, search and sort; some of them to compare.

import { announce, button, fill, h, throttled, waiting } from "../core/dom.js";
import { get, notice } from "../core/api.js";
import { follow, showConnection } from "../core/stream.js";
import { COLUMNS } from "./columns.js";
import { JobsTable } from "./table.js";

const FILTERS = [
  ["all", "All", null],
  ["active", "Active", ["queued", "starting", "running", "paused"]],
  ["succeeded", "Succeeded", ["succeeded"]],
  ["failed", "Failed", ["failed", "cancelled"]],
  ["archived", "Archived", null],
];
const PAGE = 100;
const MOST_TO_COMPARE = 50;

export async function show(main, { query, signal, go }) {
  document.title = "Jobs · CPT";
  const page = new Page(main, query, signal, go);
  page.draw();
  await page.begin();
}

class Page {
  constructor(main, query, signal, go) {
    Object.assign(this, { main, signal, go });
    this.jobs = new Map();
    this.next = null;
    this.filter = FILTERS.find(([id]) => id === query.get("show"))?.[0] ?? "all";
    this.text = query.get("q") ?? "";
    this.sorted = COLUMNS.find((column) => column.id === query.get("sort")) ?? COLUMNS.find((column) => column.id === "age");
    this.descending = query.get("order") !== "up";
    this.table = new JobsTable({ onselect: () => this.showSelection(), onsort: (column) => this.sort(column), go });
    this.update = throttled(200, () => this.show());
  }

  draw() {
    this.filters = FILTERS.map(([id, label]) =>
      h("button", { type: "button", "aria-pressed": String(id === this.filter), onclick: () => this.choose(id) }, label),
    );
    this.search = h("input", {
      class: "input search", type: "search", placeholder: "Search name, model, dataset, id", "aria-label": "Search jobs", value: this.text,
      oninput: () => {
        this.text = this.search.value;
        this.remember();
        this.update();
        if (this.text) this.loadAll();
      },
    });
    this.compare = button("Compare", () => this.go(`/compare?jobs=${[...this.table.selected].join(",")}`), { disabled: true, id: "compare" });
    this.count = h("span", { class: "small faint num" });
    this.content = h("div", { class: "card" }, waiting());
    fill(
      this.main,
      h("div", { class: "page-head" }, h("h1", {}, "Jobs")),
      h(
        "div", { class: "toolbar" },
        h("div", { class: "segments", role: "group", "aria-label": "Filter by state" }, ...this.filters),
        this.search,
        h("div", { class: "end" }, this.count, this.compare),
      ),
      this.content,
    );
    this.showSelection();
  }

  // The stream first, then the list: whatever changes after the list was read comes as an event.
  async begin() {
    let ready;
    const opened = new Promise((resolve) => (ready = resolve));
    let away = false;
    follow("/v1/stream", {
      signal: this.signal,
      onevent: (type, data) => (type === "ready" ? ready() : type === "job" ? this.changed(data) : null),
      onconnection: (connected) => {
        showConnection(connected);
        if (away && connected) this.load().catch(() => {});
        away = !connected;
        if (away) ready();
      },
    });
    await opened;
    await this.load();
    const ticking = setInterval(() => this.show(), 15_000);
    this.signal.addEventListener("abort", () => clearInterval(ticking));
  }

  async load() {
    const first = await get(this.address(), { signal: this.signal });
    this.loaded = true;
    this.jobs.clear();
    this.add(first);
    if (this.text) await this.loadAll();
  }

  address(cursor) {
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (this.filter === "archived") query.set("archived", "true");
    for (const state of this.states() ?? []) query.append("state", state);
    if (cursor) query.set("cursor", cursor);
    return `/v1/jobs?${query}`;
  }

  states() {
    return FILTERS.find(([id]) => id === this.filter)[2];
  }

  add(page) {
    for (const job of page.data) this.jobs.set(job.id, job);
    this.next = page.has_more ? page.next_cursor : null;
    this.show();
  }

  async loadMore() {
    try {
      this.add(await get(this.address(this.next), { signal: this.signal }));
    } catch (problem) {
      if (problem.name !== "AbortError") this.content.prepend(notice(problem));
    }
  }

  async loadAll() {
    if (this.loading) return;
    this.loading = true;
    while (this.next && this.text && this.jobs.size < 2000) await this.loadMore();
    this.loading = false;
  }

  changed(job) {
    const before = this.jobs.get(job.id);
    if (this.belongs(job)) this.jobs.set(job.id, job);
    else this.jobs.delete(job.id);
    if (before && before.state !== job.state) announce(`${job.name} is ${job.state}`);
    this.update();
  }

  belongs(job) {
    if ((job.archived_at !== null) !== (this.filter === "archived")) return false;
    return this.states()?.includes(job.state) ?? true;
  }

  async choose(id) {
    this.filter = id;
    FILTERS.forEach(([known], index) => this.filters[index].setAttribute("aria-pressed", String(known === id)));
    this.remember();
    try {
      await this.load();
    } catch (problem) {
      if (problem.name !== "AbortError") fill(this.content, notice(problem, () => this.choose(id)));
    }
  }

  sort(column) {
    this.descending = column === this.sorted ? !this.descending : !column.ascending;
    this.sorted = column;
    this.remember();
    this.show();
  }

  // The address keeps what is shown, to be shared and to come back to.
  remember() {
    const query = new URLSearchParams();
    if (this.filter !== "all") query.set("show", this.filter);
    if (this.text) query.set("q", this.text);
    if (this.sorted.id !== "age") query.set("sort", this.sorted.id);
    if (!this.descending) query.set("order", "up");
    history.replaceState(null, "", query.size ? `/?${query}` : "/");
  }

  found() {
    const words = this.text.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (job) => {
      const text = `${job.name} ${job.id} ${job.spec.model.name} ${job.spec.dataset.name} ${job.queue} ${job.sweep ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const direction = this.descending ? -1 : 1;
    return [...this.jobs.values()].filter(matches).sort((one, other) => {
      const [a, b] = [this.sorted.sort(one), this.sorted.sort(other)];
      return a === b ? (one.created_at < other.created_at ? 1 : -1) : (a < b ? -1 : 1) * direction;
    });
  }

  show() {
    if (this.signal.aborted || !this.loaded) return;
    const jobs = this.found();
    this.count.textContent = jobs.length === 1 ? "1 job" : `${jobs.length}${this.next ? "+" : ""} jobs`;
    if (!jobs.length) return void fill(this.content, this.nothing());
    this.table.showSorting(this.sorted, this.descending);
    this.table.show(jobs);
    if (!this.table.element.isConnected || Boolean(this.more?.isConnected) !== Boolean(this.next)) {
      this.more = this.next ? h("div", { class: "more" }, button("Load more", () => this.loadMore())) : null;
      fill(this.content, h("div", { class: "flush" }, this.table.element), this.more);
    }
  }

  nothing() {
    if (this.text || this.filter !== "all") {
      const clear = button("Show all jobs", () => {
        this.text = this.search.value = "";
        this.choose("all");
      });
      return h("div", { class: "empty" }, h("h2", {}, "No job matches"), h("p", {}, this.text ? `Nothing here has “${this.text}” in its name, model, dataset or id.` : "There are no jobs in these states."), clear);
    }
    return h(
      "div", { class: "empty" },
      h("h2", {}, "No jobs yet"),
      h("p", {}, "Submit the first one from a recipe: an 8-layer network on handwritten digits trains in a minute and needs no files."),
      h("p", {}, h("a", { class: "button primary", href: "/new?recipe=digits/resnet8-cpt-3-8" }, "Start from a recipe")),
      h("p", { class: "small faint" }, "Or in a terminal:"),
      h("pre", { class: "code", tabindex: "0" }, "cpt submit recipes/digits/resnet8-cpt-3-8.yaml --watch"),
    );
  }

  showSelection() {
    const count = this.table.selected.size;
    this.compare.disabled = count < 2 || count > MOST_TO_COMPARE;
    this.compare.textContent = count ? `Compare ${count}` : "Compare";
    this.compare.title = count > MOST_TO_COMPARE ? `Select ${MOST_TO_COMPARE} at most` : count < 2 ? "Select two jobs or more" : "";
  }
}
