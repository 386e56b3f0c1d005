"""Models of libraries by name: what quantize_model makes of them, what they cost, and what is said of wrong names."""

import sys

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from cpt_core import cost
from cpt_core.models import create_model, list_models
from cpt_core.models.external import create
from cpt_core.models.external.errors import ModelError
from cpt_core.models.external.proof import prove
from cpt_core.models.sample import Sample
from cpt_core.quant import quantize_model
from cpt_core.quant.conv1d import QuantConv1D

CLASSES = 11
IMAGE, TEXT = Sample((3, 32, 32), torch.float32), Sample((7,), torch.long)
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2}

IMAGES = {
    "timm/resnet10t": {},
    "timm/mobilenetv3_small_050": {},
    "timm/convnext_atto": {},
    "timm/vit_tiny_patch16_224": {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "drop_path_rate": 0.2},
    "torchvision/mobilenet_v3_small": {},
    "torchvision/shufflenet_v2_x0_5": {},
    "transformers/vit": {**TINY, "patch_size": 8},
    "transformers/dinov2": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8},
}
TEXTS = {
    "transformers/gpt2": GPT2,
    "transformers/llama": {**TINY, "num_key_value_heads": 1},
    "transformers/opt": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 16,
    },
    "transformers/bert": TINY,
}
ALL = {**{name: (options, IMAGE) for name, options in IMAGES.items()}, **{n: (o, TEXT) for n, o in TEXTS.items()}}


def make(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The model as a job builds it, and a batch."""
    options, sample = ALL[name]
    torch.manual_seed(0)
    model = create(name, CLASSES, options, sample)
    prove(name, model, CLASSES, sample)
    shape = (2, *sample.shape)
    return model, torch.randint(CLASSES, shape) if sample.is_text else torch.randn(shape)


@pytest.mark.parametrize("name", ALL)
def test_it_is_quantised_under_the_same_names_and_trains(name):
    model, batch = make(name)
    before = dict(model.named_parameters())
    state = quantize_model(model)
    assert all(parameter is before[key] for key, parameter in model.named_parameters())
    assert before.keys() == dict(model.named_parameters()).keys()

    state.set(8, 8)
    state.reseed(1)
    logits = model.train()(batch)
    logits.square().sum().backward()
    assert logits.shape == (*batch.shape[: batch.dim() if batch.dtype == torch.long else 1], CLASSES)
    assert [key for key, p in model.named_parameters() if (p.grad is not None) != p.requires_grad] == []

    model.eval()
    at_8 = model(batch)
    state.set(3, 8)
    assert not torch.equal(model(batch), at_8)


@pytest.mark.parametrize("name", ALL)
def test_its_state_dict_makes_another_one_equal(name):
    model, batch = make(name)
    state = quantize_model(model)
    state.set(6, 6)
    model.train()(batch)
    torch.manual_seed(1)
    other = create(name, CLASSES, *ALL[name])
    prove(name, other, CLASSES, ALL[name][1])
    again = quantize_model(other)
    other.load_state_dict(model.state_dict())
    again.set(6, 6)
    assert torch.equal(other.eval()(batch), model.eval()(batch))


@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224", "transformers/gpt2", "torchvision/mobilenet_v3_small"])
def test_its_fresh_weights_are_a_function_of_torchs_seed(name):
    first, second = (make(name)[0].state_dict() for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_the_classifiers_that_timm_names_stay_in_full_precision():
    distilled = create_model("timm/deit_tiny_distilled_patch16_224", CLASSES, depth=1)
    assert not {"head", "head_dist"} & set(quantize_model(distilled).layers)
    convolutional = create_model("timm/dla46x_c", CLASSES)
    assert "fc" not in quantize_model(convolutional).layers


def test_gpt2s_conv1d_is_quantised_and_keeps_the_tie_of_its_embedding_and_its_decoder():
    model, _ = make("transformers/gpt2")
    layers = quantize_model(model).layers
    assert len(layers) == 2 * 4
    assert all(type(model.get_submodule(name)) is QuantConv1D for name in layers)
    assert type(model.lm_head) is nn.Linear
    assert model.lm_head.weight is model.transformer.wte.weight


def test_a_quantised_conv1d_agrees_with_transformers_at_16_bits_and_is_the_same_in_full_precision():
    torch.manual_seed(0)
    layer, expected = QuantConv1D(5, 3).double(), Conv1D(5, 3).double()
    expected.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    assert torch.equal(layer(x), expected(x))
    layer.bit_widths.set(16, 16)
    got, want = (x.clone().requires_grad_() for _ in range(2))
    layer(got).square().sum().backward()
    expected(want).square().sum().backward()
    torch.testing.assert_close(got.grad, want.grad, rtol=0, atol=1e-3)
    torch.testing.assert_close(layer.weight.grad, expected.weight.grad, rtol=0, atol=1e-2)


def test_a_quantised_conv1d_has_a_range_for_each_of_its_output_channels():
    layer = QuantConv1D(2, 3)
    layer.weight.data = torch.tensor([[0.0, 0.0], [1.0, 100.0], [3.0, 300.0]])
    layer.bit_widths.set(2, 32)
    x = torch.eye(3)
    torch.testing.assert_close(layer(x), layer.weight.data)  # both columns have four levels of their own


def test_macs_are_those_that_torchvision_publishes():
    with torch.device("meta"):
        model = create_model("torchvision/mobilenet_v3_small", 1000)
    assert cost.macs(model, (3, 224, 224)) / 1e9 == pytest.approx(0.057, abs=0.0005)


def test_macs_of_swin_include_the_attention_layers_whose_weights_it_reads_past_them():
    with torch.device("meta"):
        model = create_model("torchvision/swin_t", 1000)
        prove("swin_t", model, 1000, Sample((3, 224, 224), torch.float32))
    # Windows of 7 divide 224 / 4, / 8, / 16 and / 32: every layer works on the tokens of its stage alone.
    width, blocks = 96, (2, 2, 6, 2)
    macs = width * 3 * 4 * 4 * 56**2 + 8 * width * 1000
    for stage, count in enumerate(blocks):
        tokens, channels = (56 >> stage) ** 2, width << stage
        macs += count * tokens * 12 * channels**2
        if stage:
            macs += tokens * (2 * channels) * channels
    assert cost.macs(model, (3, 224, 224)) == macs
    assert len(model.bypassed_layers) == 2 * sum(blocks)
    assert not set(model.bypassed_layers) & set(quantize_model(model).layers)


def test_macs_of_a_gpt2_word_are_its_weights_once():
    model, _ = make("transformers/gpt2")
    macs = 2 * 12 * 16**2 + 16 * CLASSES
    assert cost.macs(model, (1,)) == macs
    quantize_model(model).set(8, 8)
    assert cost.macs(model, (1,)) == macs


def test_what_the_output_does_not_depend_on_is_frozen():
    model, _ = make("transformers/dinov2")
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["dinov2.embeddings.mask_token"]


def test_a_model_made_for_one_size_or_length_is_made_for_the_datasets():
    small = create("timm/vit_tiny_patch16_224", CLASSES, {"depth": 1}, IMAGE)
    assert small(torch.zeros(1, 3, 32, 32)).shape == (1, CLASSES)
    longer = create("transformers/gpt2", CLASSES, GPT2, Sample((2000,), torch.long))
    assert longer.config.n_positions == 2000


def test_list_models_lists_what_is_installed_for_patterns_with_a_slash():
    assert {"transformers/gpt2", "transformers/vit"} <= set(list_models("transformers/*"))
    assert list_models("timm/resnet10*")[0] == "timm/resnet10t"
    assert {name.partition("/")[0] for name in list_models("*/mobilenet*")} == {"timm", "torchvision", "transformers"}
    assert not any("/" in name for name in list_models())


WRONG = {
    "an unknown architecture": ("timm/resnet39", {}, IMAGE, "did you mean .*resnet3"),
    "an unknown option of timm": ("timm/resnet10t", {"colour": 1}, IMAGE, r"colour.*change model\.options"),
    "an unknown option of transformers": ("transformers/gpt2", {"colour": 1}, TEXT, r"model\.options\.colour.*n_embd"),
    "an option that the dataset settles": ("transformers/gpt2", {"vocab_size": 9}, TEXT, "vocab_size is settled"),
    "a value that does not fit": ("torchvision/mobilenet_v3_small", {"dropout": "much"}, IMAGE, "cannot be built"),
    "pretrained weights": ("timm/resnet10t", {"pretrained": True}, IMAGE, "fresh weights"),
    "weights by name": ("torchvision/resnet18", {"weights": "DEFAULT"}, IMAGE, "fresh weights"),
    "weights in a file": ("timm/resnet10t", {"checkpoint_path": "/etc/passwd"}, IMAGE, "fresh weights"),
    "a model of text for images": ("transformers/gpt2", GPT2, IMAGE, "takes text"),
    "a model of images for text": ("transformers/vit", {}, TEXT, "takes images"),
    "too few positions": ("transformers/gpt2", {**GPT2, "n_positions": 4}, TEXT, r"n_positions is 4.*bptt is 7"),
    "a detector": ("torchvision/fasterrcnn_resnet50_fpn", {}, IMAGE, "no model called"),
    "a source that nobody brings": ("acme/net", {}, IMAGE, "Install its package"),
}


@pytest.mark.parametrize(("name", "options", "sample", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_built_is_refused_with_the_remedy(name, options, sample, message):
    with pytest.raises(ModelError, match=message):
        create(name, CLASSES, options, sample)


UNFIT = {
    "another number of channels": (
        "timm/resnet10t",
        {"in_chans": 1},
        IMAGE,
        r"does not take the samples.*\(3, 32, 32\)",
    ),
    "several outputs": ("torchvision/googlenet", {"init_weights": False}, IMAGE, "aux_logits"),
    "features": ("timm/resnet10t", {"features_only": True}, IMAGE, "returns list in training"),
    "a model that sees all words": ("transformers/bert", {**TINY, "is_decoder": False}, TEXT, "causal model"),
}


@pytest.mark.parametrize(("name", "options", "sample", "message"), UNFIT.values(), ids=UNFIT.keys())
def test_what_cannot_be_trained_is_refused_with_the_remedy(name, options, sample, message):
    model = create(name, CLASSES, options, sample)
    with pytest.raises(ModelError, match=message):
        prove(name, model, CLASSES, sample)


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # what Python has for a module that cannot be imported
    monkeypatch.delitem(sys.modules, f"cpt_core.models.external.from_{library}", raising=False)
    with pytest.raises(ModelError, match=rf"pip install 'cpt-service\[{library}\]'"):
        create_model(f"{library}/anything")
    assert list_models(f"{library}/*") == []
