"""The recipes that come with a version are listed, and every one of them is a valid spec."""

from __future__ import annotations

from pathlib import Path

import yaml
from fastapi.testclient import TestClient

from cpt_core.spec import JobSpec

RECIPES = Path(__file__).parents[2] / "recipes"


def test_all_recipes_are_listed_with_their_files(client: TestClient) -> None:
    found = client.get("/v1/recipes").json()
    files = {path.relative_to(RECIPES).with_suffix("").as_posix(): path.read_text() for path in RECIPES.rglob("*.yaml")}
    assert {recipe["id"]: recipe["yaml"] for recipe in found["data"]} == files
    assert [recipe["id"] for recipe in found["data"]] == sorted(files)
    assert not found["has_more"]


def test_a_recipe_says_what_it_is_and_can_be_submitted(client: TestClient) -> None:
    for recipe in client.get("/v1/recipes").json()["data"]:
        assert recipe["description"]
        assert recipe["spec"] == yaml.safe_load(recipe["yaml"])
        assert JobSpec.model_validate(recipe["spec"]).name == recipe["name"]
