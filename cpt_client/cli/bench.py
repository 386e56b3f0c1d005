"""`cpt bench`: what a quantised training step costs on this machine."""

from __future__ import annotations

import os

from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.output import console, print_json
from cpt_client.cli.parts import require


def bench(names: list[str], forms: list[str], rounds: int, threads: int | None, *, as_json: bool) -> None:
    """Time the workloads `names` in `forms`, all of them by default, and print a table of each."""
    require("train", "torch")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in training; OpenMP reads it when torch is loaded
    import torch

    from cpt_core.bench.measure import forms as forms_here
    from cpt_core.bench.measure import measure
    from cpt_core.bench.workloads import WORKLOADS
    from cpt_core.train.memory import keep_freed_memory

    for kind, wanted, known in (("workload", names, WORKLOADS), ("form", forms, forms_here())):
        for name in wanted:
            if name not in known:
                exits.fail(f"there is no {kind} {name!r}: use one of {', '.join(known)}", code=exits.USAGE)
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    for name in names or WORKLOADS:
        timings = measure(WORKLOADS[name], forms or forms_here(), rounds=rounds)
        if as_json:
            for timing in timings:
                print_json(timing)
            continue
        table = Table(title=WORKLOADS[name].title, title_justify="left", box=None, header_style="dim")
        for column in ("", "seconds a step", "of fp32", "IQR"):
            table.add_column(column, justify="right" if column else "left")
        for timing in timings:
            table.add_row(timing.form, f"{timing.seconds:.3f}", f"{timing.ratio:.3f}", f"{timing.spread:.3f}")
        console().print(table)
