// A form for the whole job spec, made from its description; what it changes is the document itself.

import { button, fill, h, put } from "../core/dom.js";
import { choice, input } from "./inputs.js";

const OPEN = new Set(["model", "dataset", "precision", "training"]);
const PARTS = ["model", "dataset", "precision", "training", "optimizer", "lr_schedule", "evaluation", "checkpoint", "resources", "limits"];
const TAGGED = new Set(["name", "schedule"]);
const OTHER = "other: a library's, or your own";

const words = (name) => name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());
const fieldId = (pointer) => `spec${pointer.replaceAll("/", "-")}`;
// The first sentence is enough beside a field; all of it is in the title. "et al." ends none.
const brief = (text) => text?.replaceAll("`", "").replace(/\s+/g, " ").split(/(?<!\bal)\. (?=[A-Z])/)[0].replace(/\.?$/, ".");

// What a part of the document says, for where its fields are folded away.
function told(value) {
  const said = Object.entries(value ?? {}).filter(([, held]) => held !== null && typeof held !== "object");
  return said.length ? said.slice(0, 4).map(([name, held]) => (TAGGED.has(name) ? held : `${name.replaceAll("_", " ")} ${held}`)).join(" · ") : "defaults";
}

export class SpecForm {
  constructor(schemas, onchange) {
    Object.assign(this, { schemas, onchange });
    this.element = h("div", { class: "spec-form" });
    this.open = new Set(OPEN);
    this.faults = new Map();
  }

  show(document) {
    this.document = document;
    this.fields = new Map();
    const top = this.schemas.job.properties;
    fill(
      this.element,
      h("div", { class: "form-part form-fields" }, this.field(top.name, "/name", this.document), this.field(top.type, "/type", this.document)),
      ...PARTS.map((part) => this.part(part, top[part])),
    );
    this.showFaults([...this.faults.values()]);
  }

  part(name, schema) {
    const box = h("details", { class: "form-part" });
    box.open = this.open.has(name);
    const summary = h("span", { class: "faint" });
    const tell = () => put(summary, box.open ? "" : told(this.document[name]));
    box.addEventListener("toggle", () => {
      this.open[box.open ? "add" : "delete"](name);
      tell();
    });
    tell();
    const inner = h("div", { class: "form-fields" });
    fill(box, h("summary", {}, words(name).replace("Lr", "Learning rate"), summary), inner);
    const draw = () => fill(inner, ...this.inside(schema, `/${name}`, this.document, draw));
    draw();
    return box;
  }

  // The fields of a part that is an object, of one kind or one of several.
  inside(schema, pointer, owner, redraw) {
    const name = pointer.split("/").at(-1);
    const kind = this.schemas.kind(schema);
    const value = owner[name];
    if (kind.kind === "object") {
      return this.properties(kind.schema, pointer, () => (owner[name] ??= {}), value ?? {}, redraw);
    }
    const chosen = value?.[kind.tag] ?? this.schemas.resolve(schema).default?.[kind.tag];
    const variant = this.schemas.variantFor(kind, chosen);
    const others = this.properties(variant, pointer, () => (owner[name] ??= { [kind.tag]: chosen }), value ?? {}, redraw, kind.tag);
    return [this.tagField(kind, variant, `${pointer}/${kind.tag}`, chosen, (next) => {
      owner[name] = this.switched(kind, owner[name] ?? {}, next);
      redraw();
      document.getElementById(fieldId(`${pointer}/${kind.tag}`))?.focus();
      this.onchange();
    }), ...others];
  }

  // The document's part with another tag: of its fields those that the new kind has too.
  switched(kind, before, next) {
    const { properties } = this.schemas.variantFor(kind, next);
    const kept = Object.entries(before).filter(([name]) => name in properties && name !== kind.tag);
    return { [kind.tag]: next, ...Object.fromEntries(kept) };
  }

  tagField(kind, variant, pointer, chosen, change) {
    const values = kind.variants.flatMap((each) => this.schemas.tagValues(each, kind.tag) ?? [OTHER]);
    const isOther = this.schemas.tagValues(variant, kind.tag) === null;
    const select = choice(fieldId(pointer), values, isOther ? OTHER : chosen, (next) => change(next === OTHER ? "torchvision/mobilenet_v3_small" : next));
    const label = words(kind.tag);
    const found = [this.frame(label, pointer, select, variant.description)];
    if (isOther) {
      const free = h("input", { class: "input mono", "aria-label": "Source and architecture", value: chosen ?? "", onchange: () => change(free.value.trim()) });
      found[0].append(free);
    }
    return found;
  }

  properties(schema, pointer, own, value, redraw, except) {
    const fields = Object.entries(schema.properties)
      .filter(([name]) => name !== except)
      .flatMap(([name, property]) => this.field(property, `${pointer}/${name}`, value, { own, redraw, required: schema.required?.includes(name) }) ?? []);
    const isWide = (field) => field.classList.contains("form-nested");
    return [...fields.filter((field) => !isWide(field)), ...fields.filter(isWide)]; // rows of small fields have no holes
  }

  // One field. `own` gives the object that holds it, and makes it if it was left to its defaults.
  field(schema, pointer, holder, { own = () => holder, redraw, required = false, label = words(pointer.split("/").at(-1)) } = {}) {
    const name = pointer.split("/").at(-1);
    const resolved = this.schemas.resolve(schema);
    const kind = this.schemas.kind(schema);
    const set = (value) => {
      if (value === undefined) delete own()[name];
      else own()[name] = value;
      this.onchange();
    };
    if (kind.kind === "constant") return null;
    if (kind.kind === "either") return this.either(kind, resolved, pointer, holder, own, redraw);
    if (kind.kind === "object") return this.optional(kind, resolved, pointer, holder, own, redraw);
    if (kind.kind === "list" && kind.items.type === "object") return this.rows(kind, resolved, pointer, holder, own, redraw);
    const control = input(kind, fieldId(pointer), holder[name], set, resolved.default);
    if (required) control.setAttribute("aria-required", "true");
    return this.frame(label, pointer, control, resolved.description, kind.kind === "boolean");
  }

  frame(label, pointer, control, description, inline = false) {
    const fault = h("p", { class: "fault", id: `${fieldId(pointer)}-fault`, hidden: true });
    const hint = h("p", { class: "hint", id: `${fieldId(pointer)}-hint`, title: description?.replace(/\s+/g, " ") }, brief(description) ?? "");
    control.setAttribute("aria-describedby", `${hint.id} ${fault.id}`);
    this.fields.set(pointer, { control, fault });
    if (inline) return h("div", { class: "field" }, h("span", { class: "check" }, control, h("label", { for: control.id }, label)), fault, hint);
    return h("div", { class: "field" }, h("label", { for: control.id }, label), control, fault, hint);
  }

  // A number, or an object in its place: gradient bits that are constant or cycle.
  either(kind, resolved, pointer, holder, own, redraw) {
    const name = pointer.split("/").at(-1);
    const asObject = kind.variants.find((variant) => variant.type === "object");
    const plain = kind.variants.find((variant) => variant !== asObject);
    const cycling = typeof holder[name] === "object" && holder[name] !== null;
    const select = choice(`${fieldId(pointer)}-kind`, ["constant", "cycling"], cycling ? "cycling" : "constant", (next) => {
      own()[name] = next === "cycling" ? { schedule: "cosine" } : resolved.default;
      redraw();
      this.onchange();
    });
    const head = h("div", { class: "field" }, h("label", { for: select.id }, words(name)), select, h("p", { class: "hint" }, brief(resolved.description) ?? ""));
    if (!cycling) return [head, this.field({ ...plain, description: "Bit width, 2 to 16, or 32.", default: resolved.default }, pointer, holder, { own, redraw, label: "Constant width" })];
    return [head, h("fieldset", { class: "form-nested" }, h("legend", {}, words(name)), h("div", { class: "form-fields" }, ...this.properties(asObject, pointer, () => own()[name], holder[name], redraw)))];
  }

  // An object that may be there or not.
  optional(kind, resolved, pointer, holder, own, redraw) {
    const name = pointer.split("/").at(-1);
    const there = holder[name] !== undefined && holder[name] !== null;
    const use = h("input", { type: "checkbox", id: fieldId(pointer), checked: there, onchange: () => {
      if (use.checked) own()[name] = {};
      else delete own()[name];
      redraw();
      this.onchange();
    } });
    return h(
      "fieldset", { class: "form-nested" },
      h("legend", {}, h("span", { class: "check" }, use, h("label", { for: use.id }, words(name)))),
      there ? h("div", { class: "form-fields" }, ...this.properties(kind.schema, pointer, () => own()[name], holder[name], redraw)) : h("p", { class: "small faint" }, brief(resolved.description) ?? ""),
    );
  }

  rows(kind, resolved, pointer, holder, own, redraw) {
    const name = pointer.split("/").at(-1);
    const items = holder[name] ?? [];
    const change = (next) => {
      own()[name] = next;
      redraw();
      this.onchange();
    };
    const drawn = items.map((item, index) =>
      h("div", { class: "form-item" }, ...this.properties(kind.items, `${pointer}/${index}`, () => item, item, redraw), button("Remove", () => change(items.filter((each) => each !== item)), { tone: "small" })),
    );
    const empty = Object.fromEntries(Object.keys(kind.items.properties).map((field) => [field, items.length ? items.at(-1)[field] : 0]));
    return h("fieldset", { class: "form-nested" }, h("legend", {}, words(name)), h("p", { class: "small faint" }, brief(resolved.description) ?? ""), ...drawn, button("Add", () => change([...items, empty]), { tone: "small" }));
  }

  // Marks the fields at fault; returns the faults for which there is no field.
  showFaults(faults) {
    this.faults = new Map(faults.map((fault) => [fault.pointer, fault]));
    for (const [pointer, { control, fault }] of this.fields ?? []) {
      const found = this.faults.get(pointer);
      control.setAttribute("aria-invalid", String(Boolean(found)));
      fault.hidden = !found;
      fault.textContent = found?.message ?? "";
      if (found) control.closest("details")?.setAttribute("open", "");
    }
    return faults.filter((fault) => !this.fields?.has(fault.pointer));
  }
}
