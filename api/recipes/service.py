"""Recipes out of the installed files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import takewhile

import yaml

from api.recipes.schemas import RecipeView


@cache
def recipes() -> tuple[RecipeView, ...]:
    """All recipes, by id. They do not change while the process runs."""
    folders = (entry for entry in files("recipes").iterdir() if entry.is_dir())
    found = [
        _recipe(f"{folder.name}/{file.name.removesuffix('.yaml')}", file)
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    ]
    return tuple(sorted(found, key=lambda recipe: recipe.id))


def _recipe(recipe_id: str, file: Traversable) -> RecipeView:
    text = file.read_text(encoding="utf-8")
    spec = yaml.safe_load(text)
    comments = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return RecipeView(
        id=recipe_id,
        name=spec["name"],
        description=" ".join(line.removeprefix("#").strip() for line in comments),
        spec=spec,
        yaml=text,
    )
