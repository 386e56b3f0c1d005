// The table of jobs: rows stay the same elements while what they say changes, so that focus and selection survive.

import { h } from "../core/dom.js";
import { COLUMNS } from "./columns.js";

export class JobsTable {
  constructor({ onselect, onsort, go }) {
    this.rows = new Map();
    this.selected = new Set();
    this.onselect = onselect;
    this.go = go;
    this.headers = COLUMNS.map((column) => {
      const mark = h("span", { class: "sort-mark", "aria-hidden": "true" });
      const sort = h("button", { type: "button", onclick: () => onsort(column) }, column.label, mark);
      return h("th", { scope: "col", class: column.class, role: "columnheader", title: column.title }, sort);
    });
    this.body = h("tbody", { role: "rowgroup" });
    this.element = h(
      "table", { class: "table jobs-table", role: "table", "aria-label": "Jobs" },
      h(
        "thead", { role: "rowgroup" },
        h("tr", { role: "row" }, h("th", { class: "pick", scope: "col", role: "columnheader" }, h("span", { class: "visually-hidden" }, "Compare")), ...this.headers),
      ),
      this.body,
    );
  }

  showSorting(sorted, descending) {
    COLUMNS.forEach((column, index) => {
      const header = this.headers[index];
      const here = column === sorted;
      header.querySelector(".sort-mark").textContent = here ? (descending ? "↓" : "↑") : "";
      if (here) header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    });
  }

  // Shows these jobs in this order.
  show(jobs) {
    const now = Date.now();
    const rows = jobs.map((job) => this.#row(job, now));
    const shown = this.body.children;
    if (rows.length !== shown.length || rows.some((row, index) => row !== shown[index])) this.body.replaceChildren(...rows);
  }

  forget(id) {
    this.rows.delete(id);
    if (this.selected.delete(id)) this.onselect();
  }

  #row(job, now) {
    let row = this.rows.get(job.id);
    if (!row) this.rows.set(job.id, (row = this.#make(job)));
    row.classList.toggle("selected", this.selected.has(job.id));
    COLUMNS.forEach((column, index) => column.show(row.children[index + 1], job, now));
    return row;
  }

  #make(job) {
    const pick = h("input", { type: "checkbox", "aria-label": `Select ${job.name} to compare`, checked: this.selected.has(job.id) });
    pick.addEventListener("change", () => {
      if (pick.checked) this.selected.add(job.id);
      else this.selected.delete(job.id);
      pick.closest("tr").classList.toggle("selected", pick.checked);
      this.onselect();
    });
    const cells = COLUMNS.map((column) => h("td", { class: column.class, role: "cell", "data-label": column.id === "name" ? null : column.label }));
    const row = h("tr", { role: "row", "data-job": job.id }, h("td", { class: "pick", role: "cell" }, pick), ...cells);
    row.addEventListener("click", (event) => {
      if (event.target.closest("a, input") || getSelection().toString()) return;
      if (event.target.closest(".pick")) return void pick.click();
      this.go(`/jobs/${job.id}`);
    });
    return row;
  }
}
