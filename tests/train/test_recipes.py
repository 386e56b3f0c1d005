"""The bundled recipes: valid, planned before they run, what is published, and told in docs/recipes.md."""

import re
import subprocess
import sys
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

from cpt_core.plan import plan
from cpt_core.spec import load

from .conftest import write_idx_dataset
from .texts import prose

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
ALL = sorted(path.relative_to(RECIPES).as_posix() for path in RECIPES.rglob("*.yaml"))
PUBLISHED = [name for name in ALL if name.startswith(("cifar", "imagenet", "ptb", "wikitext103"))]

SAVED = {(3, 8, 8): 36.67, (3, 6, 6): 30.05, (4, 8, 8): 30.11, (5, 8, 8): 23.16, (5, 6, 8): 10.23}
"""Percent of GBitOPs by (B_min, B_max, gradient bits), as published for 64,000 steps."""


@cache
def spec(name):
    return load(RECIPES / name)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """What the small recipes read, smaller; the published ones find nothing here."""
    root = tmp_path_factory.mktemp("data")
    write_idx_dataset(root / "fashion-mnist", images=256)
    (root / "new-testament.txt").write_text(prose())
    return root


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_is_planned_and_cycles_save_what_is_published(name, data_root):
    recipe = spec(name)
    planned = plan(recipe, data_root)
    if planned.forecast is None:
        assert recipe.precision.schedule == "auto"
        return
    saved = 100 * planned.forecast.saved_vs_static
    if recipe.precision.schedule == "static":
        assert saved == 0
    elif name in PUBLISHED:
        bounds = (recipe.precision.min_bits, recipe.precision.max_bits, recipe.precision.gradient_bits)
        # other lengths leave other steps over at the end
        assert saved == pytest.approx(SAVED.get(bounds, saved), abs=0.005 if planned.steps == 64_000 else 0.05)
        assert saved > 5
    else:
        assert saved > 5


@pytest.mark.parametrize(("folder", "epochs"), [("imagenet", 120), ("ptb", 40)])
def test_published_lengths_are_whole_epochs(folder, epochs, data_root):
    first = next(name for name in PUBLISHED if name.startswith(folder))
    assert plan(spec(first), data_root).epochs == epochs


def test_recipes_of_one_model_and_dataset_differ_in_precision_alone():
    def subject(name):
        folder, file = name.split("/")
        return folder, file.split("-")[0]

    comparable = [name for name in ALL if spec(name).precision.schedule != "auto"]
    for _, names in groupby(comparable, key=subject):
        first, *others = [spec(name).model_dump(exclude={"name", "precision"}) for name in names]
        assert others
        assert all(other == first for other in others)


def test_deep_resnets_warm_up_on_cifar_and_no_other_model_does():
    warm = {spec(name).model.name for name in PUBLISHED if spec(name).lr_schedule.warmup_steps == 400}
    cold = {spec(name).model.name for name in PUBLISHED if spec(name).lr_schedule.warmup_steps == 0}
    assert warm == {"resnet110", "resnet152", "resnet164"}
    assert {"resnet38", "resnet74", "mobilenet_v2", "resnet18", "lstm_lm"} <= cold


def test_the_published_recipes_are_what_their_generator_writes(tmp_path):
    subprocess.run([sys.executable, RECIPES / "published.py", tmp_path], check=True)
    written = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.yaml")}
    assert written == {name: (RECIPES / name).read_text() for name in PUBLISHED}


def test_the_docs_list_exactly_the_recipes_with_the_figures_that_stand_in_them():
    linked = re.findall(r"\[([^\]]+)\]\(\.\./recipes/([^)]+)\)", (ROOT / "docs" / "recipes.md").read_text())
    assert sorted(name for _, name in linked) == ALL
    for words, name in linked:
        first_line = (RECIPES / name).read_text().splitlines()[0]
        figures = re.findall(r"\d+\.\d+", words)
        assert figures == [figure for figure in re.findall(r"\d+\.\d+", first_line) if figure in figures]
        if name in PUBLISHED:
            assert first_line.startswith("# Published row: ")
