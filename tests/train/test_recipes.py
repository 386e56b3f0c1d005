"""The bundled recipes are valid, and those that are to be compared differ in precision alone."""

from pathlib import Path

import pytest

from cpt_core.spec import load

RECIPES = Path(__file__).parents[2] / "recipes"
DIGITS = sorted(RECIPES.glob("digits-resnet8-*.yaml"))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_is_a_valid_spec(path):
    load(path)


def test_the_digits_recipes_differ_in_precision_alone():
    assert len(DIGITS) == 3
    rest = [load(path).model_dump(exclude={"name", "precision"}) for path in DIGITS]
    assert rest[0] == rest[1] == rest[2]
