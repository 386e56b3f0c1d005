"""The members of a sweep: the base spec with each point of the grid and each of the overrides. Pure."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue, ValidationError

from api.compare.differences import escape
from api.merge_patch import merge_patch
from api.problems import ApiError, FieldProblem
from cpt_core.spec import JobSpec, problems


@dataclass(frozen=True, slots=True)
class Member:
    """Where one member comes from."""

    override: int | None
    """Index into the list of overrides; None: there is none."""
    point: Mapping[str, int]
    """For each pointer of the grid the index of its value."""


def count(grid: Mapping[str, Sequence[JsonValue]], overrides: Sequence[dict[str, JsonValue]]) -> int:
    """How many members these make: every one of the overrides with every point of the grid."""
    return math.prod(len(values) for values in grid.values()) * max(1, len(overrides))


def members(grid: Mapping[str, Sequence[JsonValue]], overrides: Sequence[dict[str, JsonValue]]) -> Iterator[Member]:
    """All of them; the last pointer of the grid varies fastest."""
    for override in range(len(overrides)) or [None]:
        for indices in itertools.product(*(range(len(values)) for values in grid.values())):
            yield Member(override, dict(zip(grid, indices, strict=True)))


def put(document: JsonValue, pointer: str, value: JsonValue) -> None:
    """Set the field at a JSON pointer, in place; objects on the way there are made.

    Raises:
        ValueError: the way leads through something that is no object, or to an item that a list does not have.
    """
    at: Any = document
    *way, last = _parts(pointer)
    for part in way:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[_index(at, part)]
    at[last if isinstance(at, dict) else _index(at, last)] = value


def _index(at: Any, part: str) -> int:
    if not isinstance(at, list):
        raise ValueError(f"{part!r} cannot be set there: what holds it is neither an object nor a list")
    if not part.isascii() or not part.isdigit() or len(part) > 9 or int(part) >= len(at):
        raise ValueError(f"there is no item {part[:20]!r} in a list of {len(at)}")
    return int(part)


def build(
    base: dict[str, JsonValue],
    grid: Mapping[str, Sequence[JsonValue]],
    overrides: Sequence[dict[str, JsonValue]],
    check: Callable[[JobSpec], None],
) -> tuple[list[JobSpec], list[FieldProblem]]:
    """The members' specs, or what is wrong with them: each fault once, by the field of the request to change.

    `check` raises an ApiError for a valid spec that this server cannot take.
    """
    specs: list[JobSpec] = []
    faults: dict[tuple[str, str], list[FieldProblem]] = {}
    for number, member in enumerate(members(grid, overrides)):
        made = _build(base, grid, overrides, member, check)
        if isinstance(made, JobSpec):
            specs.append(made)
            continue
        for fault in made:
            pointer = fault.pointer or ""
            told = f"member {number}, {pointer or 'the whole spec'}: {fault.message}"
            where = source(pointer, member, overrides)
            located = fault.model_copy(update={"pointer": where, "member": number, "message": told})
            faults.setdefault((where, fault.message), []).append(located)
    return specs, [_first(same) for same in faults.values()]


def _first(same: list[FieldProblem]) -> FieldProblem:
    first, more = same[0], len(same) - 1
    return first.model_copy(update={"message": f"{first.message} (and {more} more members)"}) if more else first


def _build(
    base: dict[str, JsonValue],
    grid: Mapping[str, Sequence[JsonValue]],
    overrides: Sequence[dict[str, JsonValue]],
    member: Member,
    check: Callable[[JobSpec], None],
) -> JobSpec | list[FieldProblem]:
    """One member's spec, or what is wrong with it by pointers into it."""
    patch: dict[str, JsonValue] = {} if member.override is None else overrides[member.override]
    document = copy.deepcopy(merge_patch(base, patch))
    faults = []
    for pointer, index in member.point.items():
        try:
            put(document, pointer, copy.deepcopy(grid[pointer][index]))
        except ValueError as error:
            faults.append(FieldProblem(pointer=pointer, code="pointer_not_found", message=str(error)))
    if faults:
        return faults
    try:
        spec = JobSpec.model_validate(document)
        check(spec)
    except ValidationError as error:
        return [FieldProblem(**fault) for fault in problems(error)]
    except ApiError as error:
        return error.problem.errors
    return spec


def source(pointer: str, member: Member, overrides: Sequence[dict[str, JsonValue]]) -> str:
    """JSON pointer to the field of the request from which a member has what is at `pointer` in its spec."""
    for key, index in member.point.items():
        if pointer == key or pointer.startswith(key + "/"):
            return f"/grid/{escape(key)}/{index}{pointer[len(key) :]}"
    if member.override is not None and _sets(overrides[member.override], pointer):
        return f"/overrides/{member.override}{pointer}"
    return f"/spec{pointer}"


def _sets(patch: JsonValue, pointer: str) -> bool:
    """Whether what is at `pointer` comes from this merge patch."""
    if not pointer:
        return False
    for part in _parts(pointer):
        if not isinstance(patch, dict):
            return True  # it replaced the whole of what held the field
        if part not in patch:
            return False
        patch = patch[part]
    return True


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
