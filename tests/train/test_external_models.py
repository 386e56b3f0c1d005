"""Models from outside in training: from libraries, and from a package of one's own by its entry points."""

import os
import subprocess
import sys

import pytest
import yaml
from safetensors.torch import load_file

from cpt_core.events import Checkpoint, Finished, Started, parse
from cpt_core.models import create_model, list_models
from cpt_core.plan import plan

from .conftest import make_spec, only_end, write_idx_dataset
from .own_models import install
from .test_language_models import make_text_spec
from .test_resume import assert_same, numbers, tensors
from .test_training import failure, of
from .texts import prose

VIT = {
    "name": "timm/vit_tiny_patch16_224",
    "options": {
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 3,
        "num_heads": 2,
        "drop_path_rate": 0.5,
        "proj_drop_rate": 0.1,
    },
}
GPT2 = {"name": "transformers/gpt2", "options": {"n_embd": 8, "n_layer": 1, "n_head": 2}}
AVERAGED = {"steps": 8, "batch_size": 4, "averaging": {"from_step": 2, "every_steps": 1}}
RUNS = {
    "timm, with drop path": make_spec(model=VIT),
    "torchvision": make_spec(model={"name": "torchvision/mobilenet_v3_small", "options": {"dropout": 0.5}}),
    "transformers, with tied weights": make_text_spec(model=GPT2),
    "transformers, averaged": make_text_spec(model=GPT2, training=AVERAGED),
}


@pytest.fixture
def book(here):
    (here.data_root / "book.txt").write_text(prose())
    return here


@pytest.fixture
def acme(here, monkeypatch):
    monkeypatch.syspath_prepend(install(here.folder / "site"))
    monkeypatch.delitem(sys.modules, "acme_models", raising=False)
    return here


@pytest.mark.parametrize("spec", RUNS.values(), ids=RUNS.keys())
def test_it_resumes_to_the_weights_and_numbers_of_an_unbroken_run(book, spec):
    code, unbroken = book.train(spec, name="unbroken")
    assert code == 0
    at_step_3 = of(Checkpoint, unbroken)[0]
    code, resumed = book.train(spec, name="resumed", resume=at_step_3)
    assert code == 0
    assert numbers(resumed) == {step: shown for step, shown in numbers(unbroken).items() if step >= 3}
    ends = [only_end(events).result for events in (resumed, unbroken)]
    assert_same(*(tensors(book, end.checkpoint) for end in ends))
    assert ends[0].loss == ends[1].loss


@pytest.mark.parametrize("spec", RUNS.values(), ids=RUNS.keys())
def test_its_plan_is_what_it_then_reports(book, spec):
    planned = plan(spec, book.data_root)
    _code, events = book.train(spec)
    started = of(Started, events)[0]
    assert (planned.parameters, planned.macs) == (started.parameters, started.macs)
    assert planned.forecast.gbitops == only_end(events).result.gbitops


def test_a_model_that_asks_for_values_while_it_is_built_is_planned_too(here):
    planned = plan(make_spec(model={"name": "torchvision/regnet_y_400mf"}), here.data_root)
    assert planned.parameters == sum(p.numel() for p in create_model("torchvision/regnet_y_400mf", 10).parameters())


def test_the_exported_weights_of_a_transformers_model_bear_its_own_names(book):
    _code, events = book.train(make_text_spec(model=GPT2))
    exported = load_file(f"{book.storage}/{only_end(events).result.checkpoint}/model.safetensors")
    assert {"transformer.wte.weight", "transformer.h.0.attn.c_attn.weight", "lm_head.weight"} <= exported.keys()


def test_a_name_or_an_option_that_the_worker_does_not_know_is_a_spec_error(here):
    for model, message in (
        ({"name": "timm/resnet39"}, "timm has no model called 'resnet39'"),
        ({"name": "timm/resnet10t", "options": {"colour": 1}}, "change model.options"),
        ({"name": "timm/vit_tiny_patch16_224", "options": {"img_size": 64}}, "does not take the samples"),
        ({"name": "transformers/gpt2"}, "takes text: use a dataset of text"),
        ({"name": "acme/net"}, "Install its package on the worker"),
    ):
        reason, told = failure(here, make_spec(model=model))
        assert (reason, message in told) == ("spec_error", True), told


def test_ones_own_models_are_listed_and_train_on_images_and_on_text(acme):
    assert "acme/tiny_net" in list_models("acme/*")
    code, events = acme.train(make_spec(model={"name": "acme/tiny_net", "options": {"width": 6}}))
    assert code == 0
    assert of(Started, events)[0].parameters == 6 * 28 + 8 * (6 * 9 + 1) + 9 * 10

    (acme.data_root / "book.txt").write_text(prose())
    spec = make_text_spec(model={"name": "acme/tiny_lm"})
    _code, unbroken = acme.train(spec, name="unbroken")
    _code, resumed = acme.train(spec, name="resumed", resume=of(Checkpoint, unbroken)[0])
    assert_same(*(tensors(acme, only_end(events).result.checkpoint) for events in (resumed, unbroken)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("acme/gone", {}, "ModuleNotFoundError: No module named 'acme_models.gone'"),
        ("acme/no_module", {}, "made a str: it must return a torch.nn.Module"),
        ("acme/fails", {"width": 3}, "ZeroDivisionError: no width"),
        ("acme/tiny_net", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("acme/tiny_lm", {}, "does not take the samples of this dataset"),
    ],
)
def test_a_broken_entry_point_is_a_spec_error_that_names_it(acme, name, options, message):
    reason, told = failure(acme, make_spec(model={"name": name, "options": options}))
    assert reason == "spec_error"
    assert name in told
    assert message in told


def test_a_model_that_two_packages_bring_is_a_spec_error_that_names_both(acme, monkeypatch):
    monkeypatch.syspath_prepend(install(acme.folder / "other", name="acme-fork"))
    reason, told = failure(acme, make_spec(model={"name": "acme/tiny_net"}))
    assert reason == "spec_error"
    assert "acme-fork, acme-models" in told


def test_cpt_train_and_cpt_plan_find_ones_own_model_where_its_package_is_installed(tmp_path):
    write_idx_dataset(tmp_path / "data" / "small")
    site = install(tmp_path / "site")
    spec = make_spec(model={"name": "acme/tiny_net"}, resources={"devices": 2}).model_dump(mode="json")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    environment = os.environ | {"PYTHONPATH": str(site)}

    def cpt(*arguments: str) -> str:
        command = [sys.executable, "-m", "cpt_client", *arguments, "--data-root", "data"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "MACs a sample" in cpt("plan", "spec.yaml")
    cpt("train", "spec.yaml", "--events", "events.jsonl", "--storage", "storage")
    events = [parse(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    assert isinstance(events[-1], Finished)
    assert events[-1].outcome == "succeeded"
