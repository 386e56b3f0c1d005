// All sweeps.

import { fill, h, link } from "../core/dom.js";
import { all } from "../core/api.js";
import * as format from "../core/format.js";

export async function show(main, { signal }) {
  document.title = "Sweeps · CPT";
  const sweeps = await all("/v1/sweeps", { most: 500, signal });
  const head = h("div", { class: "page-head" }, h("h1", {}, "Sweeps"));
  if (!sweeps.length) {
    return void fill(
      main, head,
      h("div", { class: "card empty" }, h("h2", {}, "No sweeps yet"), h("p", {}, "A sweep submits many jobs out of one spec and shows what came of them side by side."),
        h("pre", { class: "code", tabindex: "0" }, "cpt sweep submit recipes/digits/resnet8-cpt-3-8.yaml \\\n  --grid /precision/min_bits=3,4 --grid /training/seed=0,1,2")),
    );
  }
  const rows = sweeps.map((sweep) =>
    h("tr", {},
      h("td", {}, link(`/sweeps/${sweep.id}`, sweep.name)),
      h("td", {}, h("span", { class: `state ${sweep.state}` }, sweep.state)),
      h("td", {}, h("progress", { class: `progress ${sweep.state}`, max: "1", value: sweep.progress.fraction, "aria-label": `Progress of ${sweep.name}` })),
      h("td", { class: "right" }, String(sweep.members.length)),
      h("td", { class: "mono small" }, Object.keys(sweep.grid).map((pointer) => pointer.slice(1).replaceAll("/", ".")).join(", ") || "overrides"),
      h("td", { class: "right" }, format.age(sweep.created_at)),
    ),
  );
  const column = (text, right) => h("th", { scope: "col", class: right ? "right" : null }, text);
  return void fill(main, head, h("div", { class: "card" }, h("div", { class: "flush", tabindex: "0", role: "region", "aria-label": "Sweeps" }, h("table", { class: "table" }, h("thead", {}, h("tr", {}, column("Sweep"), column("State"), column("Progress"), column("Jobs", true), column("Varies"), column("Age", true))), h("tbody", {}, ...rows)))));
}
