// Single inputs of the form: what is shown of a value, and what is read from it. `undefined` is: not given.

import { h } from "../core/dom.js";

export function input(found, id, value, change, fallback) {
  switch (found.kind) {
    case "boolean":
      return checkbox(id, value ?? fallback ?? false, change);
    case "choice":
      return choice(id, found.values, value ?? fallback, change, found.nullable);
    case "integer":
    case "number":
      return text(id, value, (typed) => change(typed === "" ? undefined : asNumber(typed)), fallback, { inputmode: found.kind === "integer" ? "numeric" : "decimal" });
    case "list":
      return text(id, (value ?? []).join(", "), (typed) => change(typed === "" ? undefined : asList(typed, found.items)), "none", {});
    case "json":
      return text(id, value === undefined ? "" : JSON.stringify(value), (typed) => change(typed === "" ? undefined : asJson(typed)), "{}", { class: "input mono" });
    default:
      return text(id, value, (typed) => change(typed === "" ? undefined : typed), fallback, {});
  }
}

const asNumber = (typed) => (Number.isFinite(Number(typed)) ? Number(typed) : typed); // what is no number the server refuses by name

function asList(typed, items) {
  const parts = typed.split(",").map((part) => part.trim()).filter(Boolean);
  return items.type === "string" ? parts : parts.map(asNumber);
}

function asJson(typed) {
  try {
    return JSON.parse(typed);
  } catch {
    return typed;
  }
}

function text(id, value, change, fallback, extra) {
  const element = h("input", { class: "input num", id, type: "text", autocomplete: "off", spellcheck: "false", placeholder: fallback === undefined || fallback === null ? "" : String(fallback), ...extra });
  element.value = value === undefined || value === null ? "" : String(value);
  element.addEventListener("input", () => change(element.value.trim()));
  return element;
}

function checkbox(id, value, change) {
  return h("input", { type: "checkbox", id, checked: value, onchange: (event) => change(event.target.checked) });
}

export function choice(id, values, value, change, optional = false) {
  const options = values.map((each) => h("option", { value: String(each) }, String(each)));
  if (optional) options.unshift(h("option", { value: "" }, "default"));
  const element = h("select", { class: "select", id, onchange: () => change(element.value === "" ? undefined : values.find((each) => String(each) === element.value)) }, ...options);
  element.value = value === undefined || value === null ? "" : String(value);
  return element;
}
