"""Metrics of a job as a table: columns of plain lists, or a DataFrame where a library for them is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from cpt_client.errors import MissingPartError
from cpt_client.models import Resource

FrameName = Literal["pandas", "polars", "columns"]

Value = float | int | str | None


class Metrics(Mapping[str, Sequence[Value]]):
    """Columns by name, all of the same length: a value for each step, None where the step has none."""

    def __init__(self, columns: Mapping[str, Sequence[Value]]) -> None:
        self._columns = dict(columns)

    @classmethod
    def of_lines(cls, lines: Iterable[str], keys: Sequence[str] = ()) -> Metrics:
        """The table of the API's NDJSON lines, one a step; without lines the columns are `step` and the keys."""
        columns: dict[str, list[Value]] = {name: [] for name in ("step", *keys)}
        for index, line in enumerate(filter(None, lines)):
            row: dict[str, Value] = json.loads(line)
            for name in row:
                columns.setdefault(name, [None] * index)
            for name, column in columns.items():
                column.append(row.get(name))
        return cls(columns)

    def __getitem__(self, key: str) -> Sequence[Value]:
        return self._columns[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Metrics({self.steps:,} steps: {', '.join(self._columns)})"

    def _repr_html_(self) -> str:
        """For notebooks."""
        from cpt_client.view.html import metrics

        return metrics(self)

    @property
    def steps(self) -> int:
        """Rows of the table."""
        return len(self._columns["step"])

    def rows(self) -> Iterator[dict[str, Value]]:
        """The steps, one after the other."""
        for values in zip(*self._columns.values(), strict=True):
            yield dict(zip(self._columns, values, strict=True))

    def frame(self, name: FrameName | None = None) -> Any:
        """The table as a DataFrame of a library, or itself for `columns`; null: the first that is installed.

        Raises:
            MissingPartError: the library is not installed.
        """
        if name is None:
            name = next((one for one in ("pandas", "polars") if importlib.util.find_spec(one)), "columns")
        if name == "columns":
            return self
        if name not in ("pandas", "polars"):
            raise ValueError(f"frame {name!r} is none of pandas, polars and columns")
        try:
            library = importlib.import_module(name)
        except ImportError as error:
            raise MissingPartError(name, extra=name) from error
        return library.DataFrame(self._columns)


class Sampled(Resource):
    """Metrics thinned out for a plot: of each stretch of steps the smallest and the largest value."""

    from_step: int | None = None
    """First step that was looked at; null without steps."""
    to_step: int | None = None
    """Last step that was looked at; null without steps."""
    bucket_steps: int = 1
    """Steps of a stretch; 1: nothing is left out."""
    series: dict[str, list[tuple[int, float]]]
    """Of each key `(step, value)` in the order of steps."""
