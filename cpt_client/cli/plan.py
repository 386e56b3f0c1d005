"""`cpt plan`: what a training will do and cost, before it runs."""

from __future__ import annotations

from pathlib import Path

from cpt_client.cli import exits
from cpt_client.cli.jobs import read_spec
from cpt_client.cli.output import console, print_json
from cpt_client.cli.parts import require


def plan(path: Path, data_root: Path, *, as_json: bool) -> None:
    """Print the plan of the spec in the file."""
    require("train", "torch")
    from cpt_client.view.plan import plan_view
    from cpt_core.data import DataError
    from cpt_core.plan import plan as make
    from cpt_core.train.errors import SpecError

    spec = read_spec(path)
    try:
        planned = make(spec, data_root)
    except (DataError, SpecError) as error:
        exits.fail(str(error), code=exits.USAGE)
    if as_json:
        print_json(planned)
    else:
        console().print(plan_view(spec, planned))
