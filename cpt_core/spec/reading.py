"""Specs from files, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cpt_core.spec.job import JobSpec


def problems(error: ValidationError) -> list[dict[str, str]]:
    """The errors of a spec's validation as `{pointer, code, message}`, see `problem`."""
    return [problem(item["loc"], item["type"], item["msg"], item.get("ctx", {})) for item in error.errors()]


# Tagged unions: pydantic puts the chosen member's tag into `loc` between the field and the member's own field, and
# blames the field where the tag itself is wrong.
_TAGS = {"model": "name", "dataset": "name", "precision": "schedule", "optimizer": "name", "lr_schedule": "name"}
_BUILT_IN_MODEL = ["model", "built-in"]  # a tag before the one of the name
_GRADIENT_BITS = ("precision", "gradient_bits")  # its tag is "constant" or "cycling", by the kind of value


def problem(loc: tuple[int | str, ...], code: str, message: str, ctx: dict[str, Any]) -> dict[str, str]:
    """One of pydantic's errors as `{pointer, code, message}`, pointer being an RFC 6901 JSON pointer to the field."""
    if "pointer" in ctx:
        return {"pointer": str(ctx["pointer"]), "code": code, "message": message}
    parts = list(loc)
    if parts[:2] == _BUILT_IN_MODEL:
        del parts[1]
    if parts[-1:] == ["[key]"]:
        del parts[-1]
    tag = _TAGS.get(str(parts[0])) if parts else None
    if tag and code.startswith("union_tag"):
        parts.append(tag)
    elif tag and len(parts) > 2:
        del parts[1]
    if tuple(parts[:2]) == _GRADIENT_BITS:
        del parts[2:3]
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return {"pointer": pointer, "code": code, "message": message}


def load(path: str | Path) -> JobSpec:
    """Read a spec from a YAML (or JSON) file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no YAML mapping; pydantic's ValidationError (a ValueError): it is no valid spec.
    """
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} must hold a mapping of fields (model, dataset, precision, training, …)")
    return JobSpec.model_validate(document)
