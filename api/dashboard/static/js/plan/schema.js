// The job spec's own description, out of /openapi.json, as what a form needs to know of each field.

import { get } from "../core/api.js";

let loading = null;

export function jobSpecSchema() {
  loading ??= get("/openapi.json").then((description) => new Schemas(description.components.schemas)).catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}

const TAGS = ["name", "schedule"];

export class Schemas {
  constructor(schemas) {
    this.schemas = schemas;
  }

  get job() {
    return this.schemas.JobSpec;
  }

  // The schema itself behind references, with the description and default of the place where it is used.
  resolve(schema) {
    let found = schema;
    while (found.$ref) {
      const { $ref, ...here } = found;
      found = { ...this.schemas[$ref.split("/").at(-1)], ...here };
    }
    return found;
  }

  // What kind of field it is: {kind, …}.
  kind(schema) {
    const found = this.resolve(schema);
    const members = (found.oneOf ?? found.anyOf)?.map((member) => this.resolve(member));
    if (!members) return this.#plain(found);
    const others = members.filter((member) => member.type !== "null");
    if (others.length < members.length) return { ...this.kind(others.length === 1 ? others[0] : { ...found, oneOf: others, anyOf: undefined }), nullable: true };
    const variants = members.flatMap((member) => (member.oneOf ?? [member]).map((part) => this.resolve(part)));
    const tag = TAGS.find((name) => variants.every((variant) => variant.properties?.[name]));
    if (tag) return { kind: "tagged", tag, variants };
    if (variants.some((variant) => variant.type === "object")) return { kind: "either", variants };
    return this.#plain(variants[0]);
  }

  #plain(found) {
    if (found.const !== undefined) return { kind: "constant", value: found.const };
    if (found.enum) return { kind: "choice", values: found.enum };
    if (found.type === "object" && found.properties) return { kind: "object", schema: found };
    if (found.type === "array") return { kind: "list", items: this.resolve(found.items ?? {}) };
    if (["boolean", "integer", "number", "string"].includes(found.type)) return { kind: found.type, schema: found };
    return { kind: "json", schema: found };
  }

  // The values that a variant's tag can have; null: any text.
  tagValues(variant, tag) {
    const { const: one, enum: several } = this.resolve(variant.properties[tag]);
    return several ?? (one === undefined ? null : [one]);
  }

  variantFor(tagged, value) {
    return tagged.variants.find((variant) => this.tagValues(variant, tagged.tag)?.includes(value)) ?? tagged.variants.find((variant) => this.tagValues(variant, tagged.tag) === null);
  }
}
