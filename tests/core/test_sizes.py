"""The sizes of built-in models, counted from a spec, are those of the models that torch builds."""

import pytest

from cpt_core.models.measure import measure
from cpt_core.sizes import model_size
from cpt_core.spec import JobSpec

IMAGES = {"name": "digits"}
TEXT = {"name": "ptb", "path": "ptb", "bptt": 20}
CASES = {
    **{name: ({"name": name}, IMAGES) for name in ("resnet8", "resnet20", "resnet110", "resnet164", "mobilenet_v2")},
    "resnet18 on its own size": ({"name": "resnet18"}, {"name": "imagenet", "path": "i"}),
    "resnet34 on an odd size": ({"name": "resnet34"}, {"name": "image_folder", "path": "i", "size": 97}),
    "resnet50": ({"name": "resnet50"}, {"name": "imagenet", "path": "i"}),
    "a CIFAR model on photographs": ({"name": "resnet8"}, {"name": "image_folder", "path": "i", "size": 75}),
    "mobilenet on photographs": ({"name": "mobilenet_v2"}, {"name": "image_folder", "path": "i", "size": 33}),
    "lstm": ({"name": "lstm_lm", "hidden_size": 24, "num_layers": 3}, TEXT),
    "transformer": (
        {"name": "transformer_lm", "d_model": 24, "num_heads": 3, "num_layers": 2, "feed_forward": 50},
        TEXT,
    ),
}


@pytest.mark.parametrize(("model", "dataset"), CASES.values(), ids=CASES.keys())
def test_a_size_counted_from_the_spec_is_the_models(model, dataset):
    spec = JobSpec.model_validate(
        {"model": model, "dataset": dataset, "precision": {"schedule": "static"}, "training": {"steps": 8}}
    )
    assert model_size(spec, 37) == measure(spec, 37)


def test_only_the_worker_knows_the_size_of_a_model_from_outside():
    spec = JobSpec.model_validate(
        {
            "model": {"name": "torchvision/mobilenet_v3_small"},
            "dataset": IMAGES,
            "precision": {"schedule": "static"},
            "training": {"steps": 8},
        }
    )
    assert model_size(spec, 10) is None
