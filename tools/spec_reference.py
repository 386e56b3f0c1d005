"""Write docs/job-spec.md, the reference of the job spec, from the pydantic model's JSON schema.

python -m tools.spec_reference
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpt_core.spec import JobSpec

PAGE = Path(__file__).parent.parent / "docs" / "job-spec.md"

HEAD = (
    "<!-- Made by tools/spec_reference.py from cpt_core/spec: `make generated`. -->\n"
    "# Job spec reference\n\n"
    "One document says what is trained: a YAML or JSON file for `cpt submit`, `cpt plan` and `cpt train`, the JSON "
    "body of `POST /v1/jobs`, and `cpt_core.spec.JobSpec` in Python. Unknown fields are refused, every number has "
    "bounds, and an error names its field by JSON pointer (`/precision/min_bits`). `POST /v1/jobs:validate` and "
    "`cpt plan` check a spec without running it. Complete examples are in the [gallery](gallery.md).\n"
)

NAMED_BY_PATTERN = {"ExternalModel": "SOURCE/ARCHITECTURE"}
"""Headings of the variants that are chosen by a pattern of a name."""

Schema = dict[str, Any]


def made() -> str:
    """The page."""
    return HEAD + Reference(JobSpec.model_json_schema()).page()


class Reference:
    """The sections of a schema's objects."""

    def __init__(self, schema: Schema) -> None:
        self._schema, self._defs = schema, schema["$defs"]

    def page(self) -> str:
        """A table of the parts, then a section for each."""
        parts = [f"\n## The document\n\n{self._table(self._schema, links=True)}"]
        for name, field in self._schema["properties"].items():
            variants = list(self._objects(field))
            if not variants:
                continue
            parts.append(f"\n## {name}\n\n{field.get('description', '')}\n")
            parts += [self._object(name, variant, alone=len(variants) == 1) for variant in variants]
        return "".join(parts)

    def _object(self, path: str, schema: Schema, *, alone: bool) -> str:
        """The table of an object, and after it those of the objects in it."""
        title = "" if alone else f"\n### {path}: {', '.join(_tag(schema))}\n"
        said = " ".join(schema.get("description", "").split())
        below = [
            f"\n`{path}.{name}`: {' '.join(inner.get('description', '').split())}\n\n{self._table(inner)}"
            for name, field in schema["properties"].items()
            for inner in self._objects(field)
        ]
        return f"{title}\n{said}\n\n{self._table(schema)}" + "".join(below)

    def _objects(self, field: Schema) -> Iterator[Schema]:
        """The objects that a field may hold, itself or as items."""
        for option in (field, *field.get("oneOf", ()), *field.get("anyOf", ())):
            for one in (option, option.get("items", {}), *option.get("prefixItems", ())):
                if "$ref" in one:
                    found = self._resolve(one)
                    if "properties" in found:
                        yield found
                elif one is not field and ("oneOf" in one or "anyOf" in one):
                    yield from self._objects(one)

    def _resolve(self, field: Schema) -> Schema:
        found: Schema = self._defs[field["$ref"].removeprefix("#/$defs/")]
        return found

    def _table(self, schema: Schema, *, links: bool = False) -> str:
        rows = ["| field | value | default | |", "|---|---|---|---|"]
        required = schema.get("required", ())
        for name, field in schema["properties"].items():
            is_part = links and any(self._objects(field))
            label = f"[`{name}`](#{name})" if is_part else f"`{name}`"
            default = "**required**" if name in required else _default(field)
            said = " ".join(field.get("description", "").split())
            rows.append(f"| {label} | {self._values(field)} | {default} | {_cell(said)} |")
        return "\n".join(rows) + "\n"

    def _values(self, field: Schema) -> str:
        """What a field takes, in words."""
        if "$ref" in field:
            found = self._resolve(field)
            return "mapping" if "properties" in found else self._values(found)
        if options := field.get("oneOf") or field.get("anyOf"):
            kinds = dict.fromkeys(self._values(option) for option in options)
            return " or ".join(kinds)
        if "const" in field:
            return f"`{field['const']}`"
        if "enum" in field:
            return ", ".join(f"`{value}`" for value in field["enum"])
        return _cell(_plain(field, self))


def _plain(field: Schema, reference: Reference) -> str:
    kind: str = field.get("type", "any")
    if kind == "array":
        items = field.get("items")
        return f"list of {reference._values(items)}" if items else "list"
    if kind in ("integer", "number"):
        return f"{kind}{_range(field)}"
    if kind == "string" and "maxLength" in field:
        return f"text of up to {field['maxLength']} characters"
    if kind == "string" and "pattern" in field:
        return f"text like `{field['pattern']}`"
    return {"string": "text", "boolean": "true or false", "object": "mapping", "null": "null"}.get(kind, kind)


def _range(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    words = [
        f"{word} {bound:,}" if isinstance(bound, int) else f"{word} {bound:g}"
        for word, bound in (("from", low), ("above", above), ("to", high), ("below", below))
        if bound is not None
    ]
    return f" {' '.join(words)}" if words else ""


def _tag(schema: Schema) -> list[str]:
    """The names by which a variant is chosen."""
    for field in ("name", "schedule", "source"):
        found = schema["properties"].get(field, {})
        if "const" in found or "enum" in found:
            return [found["const"]] if "const" in found else list(found["enum"])
    return [NAMED_BY_PATTERN[schema["title"]]]


def _default(field: Schema) -> str:
    if "default" not in field:
        return ""
    value = field["default"]
    if isinstance(value, dict):
        return "its own defaults"
    if value == []:
        return "none"
    return f"`{'null' if value is None else str(value).lower() if isinstance(value, bool) else value}`"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def main() -> None:
    """Write it."""
    PAGE.write_text(made(), encoding="utf-8")


if __name__ == "__main__":
    main()
