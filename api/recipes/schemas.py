"""What clients see of recipes."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from api.jobs.schemas import Resource


class RecipeView(Resource):
    """A complete job spec that comes with this version."""

    object: Literal["recipe"] = "recipe"
    """Kind of this resource."""
    id: str
    """Its file without the ending, such as `digits/resnet8-cpt-3-8`."""
    name: str
    """Label from the spec."""
    description: str
    """What it is and what it is to be compared with; a published row's figure."""
    spec: dict[str, JsonValue]
    """The spec as it is written, without the defaults."""
    yaml: str
    """The file, with its comments."""
