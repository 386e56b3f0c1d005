"""The loss around a minimum: filter-normalised directions, the grid, sharpness, and the picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cpt_core.checkpoint import CheckpointError
from cpt_core.events import Evaluation
from cpt_core.landscape import Landscape, LandscapeError, Sharpness, Surface
from cpt_core.landscape.directions import filter_normalized
from cpt_core.landscape.measure import evaluations, measure, read
from cpt_core.landscape.plot import color_scale, contour_levels, draw, make_figure
from cpt_core.landscape.surface import coordinates, losses, sharpness
from tests.core.checkpoints import train_tiny

# --- directions


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 4))


def parameters(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def test_each_filter_of_a_direction_has_the_norm_of_the_weights_filter(network: nn.Module) -> None:
    direction = filter_normalized(parameters(network), 0)
    for name in ("0.weight", "3.weight"):
        wanted = parameters(network)[name].flatten(1).norm(dim=1)
        torch.testing.assert_close(direction[name].flatten(1).norm(dim=1), wanted)


def test_biases_and_norms_stay_where_they_are(network: nn.Module) -> None:
    direction = filter_normalized(parameters(network), 0)
    assert [name for name in direction if not direction[name].any()] == ["0.bias", "1.weight", "1.bias", "3.bias"]


def test_a_filter_of_zeros_stays_zero(network: nn.Module) -> None:
    with torch.no_grad():
        network.get_parameter("0.weight")[2] = 0
    direction = filter_normalized(parameters(network), 0)["0.weight"]
    assert not direction[2].any()
    assert direction[3].any()


def test_scaled_weights_get_the_same_direction_scaled(network: nn.Module) -> None:
    weights = parameters(network)
    scaled = {name: 4 * weight for name, weight in weights.items()}
    for name, direction in filter_normalized(weights, 0).items():
        torch.testing.assert_close(filter_normalized(scaled, 0)[name], 4 * direction)


def test_a_direction_is_a_function_of_seed_and_purpose(network: nn.Module) -> None:
    def draw_of(seed: int, purpose: str) -> torch.Tensor:
        return filter_normalized(parameters(network), seed, purpose)["0.weight"]

    assert torch.equal(draw_of(0, "a"), draw_of(0, "a"))
    assert not torch.equal(draw_of(0, "a"), draw_of(1, "a"))
    assert not torch.equal(draw_of(0, "a"), draw_of(0, "b"))


# --- grid and sharpness, of a function that is known


class Bowl(nn.Module):
    """Loss 3 + |w - c|^2: around its minimum c, a direction of norm r raises it by r^2."""

    def __init__(self, centre: torch.Tensor) -> None:
        super().__init__()
        self.centre = centre
        self.weight = nn.Parameter(centre.clone())

    def loss(self) -> float:
        return 3 + float((self.weight.detach() - self.centre).square().sum())


@pytest.fixture
def bowl() -> Bowl:
    return Bowl(torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def test_the_grid_is_the_plane_of_two_directions(bowl: Bowl) -> None:
    places = coordinates(5, 2.0)
    across, up = (filter_normalized(parameters(bowl), 7, "axis", axis)["weight"] for axis in (0, 1))
    for y, row in zip(places, losses(bowl, bowl.loss, places, 7), strict=True):
        for x, loss in zip(places, row, strict=True):
            assert loss == pytest.approx(3 + float((x * across + y * up).square().sum()))


def test_the_sharpness_of_a_bowl_is_its_rise_at_rho(bowl: Bowl) -> None:
    found = sharpness(bowl, bowl.loss, 0.5, 7)
    assert found.mean == pytest.approx(0.25 * float(bowl.centre.square().sum()))
    assert found.standard_error == pytest.approx(0)


def test_a_sharper_bowl_is_sharper(bowl: Bowl) -> None:
    flat, sharp = (sharpness(bowl, lambda f=factor: f * bowl.loss(), 0.5, 7).mean for factor in (1, 3))
    assert sharp == pytest.approx(3 * flat)


def test_the_weights_are_what_they_were(bowl: Bowl) -> None:
    losses(bowl, bowl.loss, coordinates(3, 1.0), 7)
    sharpness(bowl, bowl.loss, 0.5, 7)
    assert torch.equal(bowl.weight, bowl.centre)


def test_a_loss_that_is_not_finite_is_null(bowl: Bowl) -> None:
    def cliff() -> float:
        return bowl.loss() if bowl.loss() < 3.01 else math.nan

    assert losses(bowl, cliff, coordinates(3, 1.0), 7) == [[None] * 3, [None, 3.0, None], [None] * 3]
    assert sharpness(bowl, cliff, 0.5, 7).mean is None


def test_the_middle_of_the_grid_is_exactly_the_checkpoint() -> None:
    places = coordinates(21, 0.7)
    assert places[10] == 0
    assert places == [-place for place in reversed(places)]
    assert (places[0], places[-1]) == (-0.7, 0.7)


@pytest.mark.parametrize(("points", "radius"), [(4, 1.0), (1, 1.0), (5, 0.0), (5, math.nan)])
def test_a_grid_without_a_centre_or_a_width_is_refused(points: int, radius: float) -> None:
    with pytest.raises(LandscapeError):
        coordinates(points, radius)


# --- checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    return train_tiny(tmp_path_factory.mktemp("storage"), "tiny")


def small(*folders: Path, **options: object) -> Landscape:
    arguments: dict[str, object] = {"data_root": Path(), "points": 3, "radius": 0.5, "rho": 0.25, "samples": 16}
    return measure(folders, **arguments | options)  # type: ignore[arg-type]


def test_the_centre_is_the_loss_that_the_run_reported(trained: tuple[Path, Evaluation]) -> None:
    folder, evaluation = trained
    (surface,) = small(folder, samples=None).surfaces
    assert surface.losses[1][1] == surface.loss == evaluation.loss
    assert (surface.accuracy, surface.bits, surface.samples) == (evaluation.accuracy, 8, 360)
    assert surface.losses[0][0] != surface.loss


def test_a_language_model_has_a_landscape_too(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be that is the question " * 100)
    folder, evaluation = train_tiny(
        tmp_path,
        "words",
        model={"name": "lstm_lm", "hidden_size": 8},
        dataset={"name": "text", "path": "text.txt", "bptt": 4},
        training={"steps": 2, "batch_size": 2},
    )
    (surface,) = small(folder, data_root=tmp_path, samples=None).surfaces
    assert surface.losses[1][1] == surface.loss == evaluation.loss
    assert surface.accuracy is None
    assert small(folder, data_root=tmp_path).surfaces[0].samples == 16


def test_the_same_seed_gives_the_same_data_and_another_one_other(trained: tuple[Path, Evaluation]) -> None:
    folder, _ = trained
    first = small(folder)
    assert small(folder) == first
    assert small(folder, seed=1).surfaces[0].losses != first.surfaces[0].losses


def test_the_loss_is_taken_at_the_bits_asked_for(trained: tuple[Path, Evaluation]) -> None:
    folder, _ = trained
    found = {bits: small(folder, bits=bits).surfaces[0] for bits in (2, 8, 32)}
    assert {bits: surface.bits for bits, surface in found.items()} == {2: 2, 8: 8, 32: 32}
    assert len({surface.loss for surface in found.values()}) == 3


def test_the_record_says_what_was_measured(trained: tuple[Path, Evaluation]) -> None:
    folder, _ = trained
    counted = []
    landscape = small(folder, on_point=lambda: counted.append(1))
    (surface,) = landscape.surfaces
    assert len(counted) == evaluations(3)
    assert surface.sha256 == read(folder)[0].sha256
    assert (surface.name, surface.model, surface.dataset, surface.step) == ("tiny", "resnet8", "digits", 2)
    assert Landscape.model_validate_json(landscape.model_dump_json()) == landscape


@pytest.mark.parametrize("bits", [1, 17])
def test_bits_that_cannot_be_quantised_to_are_refused(trained: tuple[Path, Evaluation], bits: int) -> None:
    with pytest.raises(LandscapeError, match=f"{bits} bits"):
        small(trained[0], bits=bits)


def test_what_was_trained_in_full_precision_cannot_be_quantised(tmp_path: Path) -> None:
    folder, _ = train_tiny(tmp_path, "full", precision={"schedule": "static", "bits": 32, "gradient_bits": 32})
    with pytest.raises(LandscapeError, match="no ranges"):
        small(folder, bits=8)


def test_a_run_folder_names_its_last_checkpoint(trained: tuple[Path, Evaluation]) -> None:
    with pytest.raises(LandscapeError, match="tiny/step-00000002"):
        small(trained[0].parent)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    folder, _ = train_tiny(tmp_path, "damaged")
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(CheckpointError, match="damaged"):
        small(folder)


# --- the picture


def flat_surface(name: str, grid: list[list[float | None]]) -> Surface:
    return Surface(
        name=name,
        checkpoint="step-1",
        sha256="0" * 64,
        step=1,
        model="resnet8",
        dataset="digits",
        bits=8,
        samples=10,
        loss=1.0,
        accuracy=0.5,
        sharpness=Sharpness(rho=0.25, directions=20, mean=0.5, standard_error=0.1),
        losses=grid,
    )


def pair(name: str = "low") -> Landscape:
    low: list[list[float | None]] = [[2.0, 1.0, 2.0], [1.0, 0.1, 1.0], [2.0, 1.0, None]]
    high: list[list[float | None]] = [[20.0, 9.0, 20.0], [9.0, 1.0, 9.0], [20.0, 9.0, 20.0]]
    surfaces = [flat_surface(name, low), flat_surface("high", high)]
    return Landscape(seed=0, coordinates=[-1.0, 0.0, 1.0], surfaces=surfaces)


def test_panels_share_levels_and_colours_that_span_all_losses() -> None:
    *panels, bar = make_figure(pair()).axes
    filled, lines = zip(*((axes.collections[0], axes.collections[1]) for axes in panels), strict=True)
    assert len(panels) == 2
    assert {(contours.norm.vmin, contours.norm.vmax) for contours in filled} == {(0.1, 20.0)}
    assert list(lines[0].levels) == list(lines[1].levels) == list(bar.yaxis.get_major_locator()())


def test_a_panel_is_titled_with_name_bits_accuracy_and_sharpness() -> None:
    title = make_figure(pair("a $\\bad{ name")).axes[0].get_title()
    assert title.splitlines()[0] == "a $\\bad{ name"
    assert "8 bits, accuracy 50.0% on 10 samples" in title
    assert "sharpness 0.5 ± 0.1 (rho = 0.25)" in title


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_picture_is_written_in_the_format_of_its_name(tmp_path: Path, ending: str, magic: bytes) -> None:
    path = tmp_path / f"picture.{ending}"
    draw(pair("a $\\bad{ name"), path)
    assert path.read_bytes().startswith(magic)


def test_levels_are_round_numbers_within_the_range() -> None:
    assert contour_levels(0.15, 30) == pytest.approx([0.2, 0.5, 1, 2, 5, 10, 20])
    assert contour_levels(1.0, 1.03) == pytest.approx([1.005, 1.01, 1.015, 1.02, 1.025])


def test_a_scale_of_one_loss_only_is_still_a_scale() -> None:
    norm = color_scale([np.full((3, 3), 2.0)])
    assert norm.vmin == 2.0 < norm.vmax


def test_a_loss_that_is_null_stays_null_in_json() -> None:
    assert json.loads(pair().model_dump_json())["surfaces"][0]["losses"][2] == [2.0, 1.0, None]
