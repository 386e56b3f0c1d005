// A new job: from a recipe, another job or nothing; as a form and as YAML; planned as it is written, then submitted.

import { button, card, fill, h, toast } from "../core/dom.js";
import { get, notice, post, Problem, send } from "../core/api.js";
import { plotly } from "../charts/plot.js";
import { SpecForm } from "./form.js";
import { Preview } from "./preview.js";
import { jobSpecSchema } from "./schema.js";
import { toYaml } from "./yaml.js";

const FIRST = "digits/resnet8-cpt-3-8";
const PAUSE = 250;

export async function show(main, { query, signal, go }) {
  document.title = "New job · CPT";
  plotly().catch(() => {});
  const clone = query.get("clone");
  const [schemas, recipes, job] = await Promise.all([
    jobSpecSchema(),
    get("/v1/recipes", { signal }).then((page) => page.data),
    clone ? get(`/v1/jobs/${clone}`, { signal }) : null,
  ]);
  if (signal.aborted) return;
  const page = new NewJob(main, { schemas, recipes, job, signal, go });
  page.draw();
  const wanted = recipes.find((recipe) => recipe.id === (query.get("recipe") ?? FIRST)) ?? recipes[0];
  if (job) page.take({ ...structuredClone(job.spec), name: `${job.name} (copy)`.slice(0, 100) });
  else page.takeRecipe(wanted);
}

class NewJob {
  constructor(main, parts) {
    Object.assign(this, { main, ...parts });
    this.form = new SpecForm(this.schemas, () => this.edited());
    this.preview = new Preview(this.signal);
    this.mode = "form";
    this.valid = false;
  }

  draw() {
    const folders = grouped(this.recipes);
    this.recipe = h(
      "select", { class: "select", id: "recipe", onchange: () => this.takeRecipe(this.recipes.find((recipe) => recipe.id === this.recipe.value)) },
      ...[...folders].map(([folder, recipes]) => h("optgroup", { label: folder }, ...recipes.map((recipe) => h("option", { value: recipe.id }, recipe.name)))),
    );
    this.about = h("p", { class: "small soft" });
    this.yaml = h("textarea", { class: "yaml", spellcheck: "false", "aria-label": "Spec as YAML", wrap: "off", oninput: () => this.plan() });
    this.tabs = ["form", "yaml"].map((mode) => h("button", { type: "button", "aria-pressed": String(mode === this.mode), onclick: () => this.choose(mode) }, mode === "form" ? "Form" : "YAML"));
    this.editor = h("div");
    this.submit = button(this.job ? "Submit the copy" : "Submit", () => this.send(), { tone: "primary", id: "submit", disabled: true });
    this.failure = h("div");
    const start = this.job
      ? h("div", { class: "body small soft" }, "A copy of ", h("a", { href: `/jobs/${this.job.id}` }, this.job.name), ": change what should differ.")
      : h("div", { class: "body recipe-row" }, h("div", { class: "field" }, h("label", { for: "recipe" }, "Start from a recipe"), this.recipe), this.about);
    fill(
      this.main,
      h("div", { class: "page-head" }, h("h1", {}, this.job ? "Clone a job" : "New job")),
      h(
        "div", { class: "new-grid" },
        h("div", { class: "stack" },
          h("section", { class: "card", "aria-label": "Where to start" }, start),
          card("Spec", { actions: [h("div", { class: "segments", role: "group", "aria-label": "How to edit" }, ...this.tabs)], body: this.editor, flush: true }),
        ),
        h("aside", { class: "stack", "aria-label": "Plan and submit" }, this.preview.element, h("div", { class: "card submit-row" }, this.submit, h("span", { class: "small faint" }, "It waits in its queue until a worker is free.")), this.failure),
      ),
    );
  }

  takeRecipe(recipe) {
    this.recipe.value = recipe.id;
    this.about.textContent = recipe.description;
    this.take(structuredClone(recipe.spec), recipe.yaml);
  }

  take(document, yaml = toYaml(document)) {
    this.document = document;
    this.yaml.value = yaml;
    this.form.faults.clear();
    this.showEditor();
    this.plan();
  }

  showEditor() {
    ["form", "yaml"].forEach((mode, index) => this.tabs[index].setAttribute("aria-pressed", String(mode === this.mode)));
    if (this.mode === "form") this.form.show(this.document);
    fill(this.editor, this.mode === "form" ? this.form.element : this.yaml);
  }

  choose(mode) {
    if (mode === this.mode) return;
    if (mode === "form" && !this.valid) return void toast("The form shows a valid spec: mend the YAML first.", "bad");
    this.mode = mode;
    this.showEditor();
  }

  edited() {
    this.yaml.value = toYaml(this.document);
    this.plan();
  }

  // Asks for the plan of what stands there now; an answer to what stood there before is dropped.
  plan() {
    this.valid = false;
    this.submit.disabled = true;
    clearTimeout(this.timer);
    this.asking?.abort();
    this.timer = setTimeout(() => this.ask(), PAUSE);
    this.signal.addEventListener("abort", () => clearTimeout(this.timer), { once: true });
  }

  async ask() {
    const asking = (this.asking = new AbortController());
    const asYaml = this.mode === "yaml";
    try {
      const answer = await send("/v1/plans", {
        method: "POST", signal: asking.signal,
        headers: { "Content-Type": asYaml ? "application/yaml" : "application/json" },
        body: asYaml ? this.yaml.value : JSON.stringify(this.document),
      });
      const plan = await answer.json();
      if (asking.signal.aborted || this.signal.aborted) return;
      if (asYaml) this.document = plan.document;
      this.valid = true;
      this.submit.disabled = false;
      this.form.showFaults([]);
      this.preview.show(plan);
    } catch (problem) {
      if (asking.signal.aborted || this.signal.aborted || problem.name === "AbortError") return;
      const faults = problem.errors ?? [];
      this.preview.fail(problem, asYaml ? faults : this.form.showFaults(faults));
      if (!(problem instanceof Problem)) console.error(problem);
    }
  }

  async send() {
    this.submit.disabled = true;
    fill(this.failure);
    try {
      const path = this.job ? `/v1/jobs/${this.job.id}/clone` : "/v1/jobs";
      const body = this.job ? { overrides: patch(this.job.spec, this.document) } : this.document;
      const job = await post(path, body, { once: true });
      toast(`Submitted ${job.name}`);
      this.go(`/jobs/${job.id}`);
    } catch (problem) {
      fill(this.failure, notice(problem));
      this.submit.disabled = false;
    }
  }
}

function grouped(recipes) {
  const found = new Map();
  for (const recipe of recipes) {
    const folder = recipe.id.split("/")[0];
    found.set(folder, [...(found.get(folder) ?? []), recipe]);
  }
  return found;
}

// The JSON merge patch (RFC 7396) that makes one document of another.
export function patch(from, to) {
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const found = {};
  for (const name of Object.keys(from)) if (!(name in to)) found[name] = null;
  for (const [name, value] of Object.entries(to)) {
    if (isObject(value) && isObject(from[name])) {
      const inner = patch(from[name], value);
      if (Object.keys(inner).length) found[name] = inner;
    } else if (JSON.stringify(value) !== JSON.stringify(from[name])) found[name] = value;
  }
  return found;
}
