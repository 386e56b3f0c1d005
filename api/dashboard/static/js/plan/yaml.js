// A spec as YAML, to be read and edited. Strings are quoted wherever YAML would read them as something else.

const PLAIN = /^[A-Za-z][A-Za-z0-9 _./+-]*[A-Za-z0-9_+]$|^[A-Za-z]$/;
const FIRST = new Set(["name", "schedule"]); // what says of which kind a part is
const WORDS = /^(true|false|yes|no|on|off|null|y|n)$/i;

function scalar(value) {
  if (typeof value === "string") return PLAIN.test(value) && !WORDS.test(value) && !value.includes(": ") ? value : JSON.stringify(value);
  if (typeof value === "number" && !Number.isInteger(value)) {
    const text = String(value);
    return /e/.test(text) && !text.includes(".") ? text.replace("e", ".0e") : text; // YAML 1.1 wants the point
  }
  return String(value);
}

const isFlat = (value) => Array.isArray(value) && value.every((item) => item === null || typeof item !== "object");
const key = (name) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : JSON.stringify(name));

export function toYaml(document) {
  const parts = [];
  for (const [name, value] of Object.entries(document)) {
    const lines = field(name, value, 0);
    if (value !== null && typeof value === "object" && parts.length) parts.push("");
    parts.push(...lines);
  }
  return `${parts.join("\n")}\n`;
}

function field(name, value, depth) {
  const indent = "  ".repeat(depth);
  if (value === null || typeof value !== "object") return [`${indent}${key(name)}: ${scalar(value)}`];
  if (isFlat(value)) return [`${indent}${key(name)}: [${value.map(scalar).join(", ")}]`];
  if (Array.isArray(value)) return [`${indent}${key(name)}:`, ...value.map((item) => `${indent}  - ${flow(item)}`)];
  const inner = Object.entries(value).sort(([one], [other]) => FIRST.has(other) - FIRST.has(one));
  if (!inner.length) return [`${indent}${key(name)}: {}`];
  return [`${indent}${key(name)}:`, ...inner.flatMap(([part, found]) => field(part, found, depth + 1))];
}

function flow(value) {
  if (value === null || typeof value !== "object") return scalar(value);
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  return `{${Object.entries(value).map(([name, part]) => `${key(name)}: ${flow(part)}`).join(", ")}}`;
}
