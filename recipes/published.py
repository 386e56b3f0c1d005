"""Writes the recipes of the published rows below its folder, or below the one that is named.

    python recipes/published.py

Figures and settings are those of CPT (Fu et al., ICLR 2021, arXiv 2101.09868) and of its authors' code; settings of the
LSTM are those of Wolfe & Kyrillidis (arXiv 2403.02243). What neither says is marked "chosen" where it stands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

NOT_ON_RECORD = "the figure is not on record here"


@dataclass(frozen=True, slots=True)
class Precision:
    """What the rows of a model differ in."""

    file: str
    """Its part of the file's name."""
    title: str
    """Forward bits, then those of the errors: "CPT 3-8/8"."""
    fields: str
    """Its part of the spec."""
    saving: str = ""
    """What it saves against static training at the highest bits, in a sentence; published for 64,000 iterations."""


def cpt(low: int, high: int, errors: int, saving: str = "", note: str = "") -> Precision:
    """CPT with 32 cycles."""
    fields = f"""\
  schedule: cosine
  min_bits: {low}
  max_bits: {high}
  cycles: 32
  gradient_bits: {errors}{note}
  quantizer: sbm
"""
    title = f"CPT {low}-{high}" + ("" if errors == 32 else f"/{errors}")
    saving = saving and f"It costs {saving} % fewer GBitOPs than static {high}/{errors}."
    return Precision(f"cpt-{low}-{high}", title, fields, saving)


def static(bits: int, errors: int, quantizer: str = "sbm") -> Precision:
    """The same bits in every step."""
    name, label = {
        "sbm": ("static", "static SBM"),
        "dorefa": ("dorefa", "static DoReFa"),
        "wageubn": ("wageubn", "static WAGEUBN"),
    }[quantizer]
    fields = f"  schedule: static\n  bits: {bits}\n  gradient_bits: {errors}\n  quantizer: {quantizer}\n"
    return Precision(f"{name}-{bits}", f"{label} {bits}/{errors}", fields)


FP32 = Precision("fp32", "full precision", "  schedule: static\n  bits: 32\n  gradient_bits: 32\n")

CPT_3_8, CPT_3_6 = cpt(3, 8, 8, "36.67"), cpt(3, 6, 6, "30.05")
CPT_4_8, CPT_4_6 = cpt(4, 8, 8, "30.1"), cpt(4, 6, 8)
CPT_5_8, CPT_5_6 = cpt(5, 8, 8, "23.2"), cpt(5, 6, 8, "10.2")
CPT_8_32 = cpt(8, 32, 32, note="        # chosen: in full precision, as in the row it is compared with")
SBM_8, SBM_6, SBM_6_8 = static(8, 8), static(6, 6), static(6, 8)
DOREFA_8, WAGEUBN_8 = static(8, 8, "dorefa"), static(8, 8, "wageubn")


class Row(NamedTuple):
    """A published row: model, precision, and what was attained there."""

    model: str
    precision: Precision
    attained: str


# CIFAR-100: by how many points of accuracy CPT is above static SBM, at 8 and at 6 bits.
GAINS = {
    "ResNet-38": (0.44, 1.11),
    "ResNet-74": (0.91, 0.52),
    "ResNet-110": (0.73, 0.95),
    "ResNet-152": (0.48, 0.78),
    "ResNet-164": (0.21, 1.43),
    "MobileNetV2": (0.37, 0.87),
}
ACCURACY = {("ResNet-74", CPT_3_8): "72.35 %, ", ("ResNet-74", SBM_8): "71.44 %, "}


def cifar10() -> Iterator[Row]:
    """CPT and static SBM training of each model."""
    for model in GAINS:
        for precision in (CPT_3_8, SBM_8, CPT_3_6, SBM_6):
            yield Row(model, precision, NOT_ON_RECORD)


def cifar100() -> Iterator[Row]:
    """The same, and the other two static baselines on ResNet-74."""
    for model, gains in GAINS.items():
        for gain, cyclic, constant in zip(gains, (CPT_3_8, CPT_3_6), (SBM_8, SBM_6), strict=True):
            for precision, other, side in ((cyclic, constant, "above"), (constant, cyclic, "below")):
                accuracy = ACCURACY.get((model, precision), "")
                yield Row(model, precision, f"{accuracy}{gain} points {side} {other.title}")
    yield Row("ResNet-74", DOREFA_8, "69.31 %")
    yield Row("ResNet-74", WAGEUBN_8, "69.61 %")


IMAGENET = [
    Row("ResNet-18", SBM_8, "69.60 %"),
    Row("ResNet-18", CPT_4_8, "69.64 %"),
    Row("ResNet-18", FP32, "69.76 %"),
    Row("ResNet-18", CPT_8_32, "70.67 %"),
    Row("ResNet-34", SBM_8, "73.32 %"),
    Row("ResNet-34", CPT_4_8, "73.12 %"),
    Row("ResNet-34", FP32, "73.30 %"),
    Row("ResNet-34", CPT_8_32, "74.14 %"),
    Row("ResNet-50", SBM_8, "76.29 %"),
    Row("ResNet-50", CPT_4_8, "76.35 %"),
]
WIKITEXT = [
    Row("Transformer", SBM_8, "perplexity 31.77"),
    Row("Transformer", CPT_4_8, "perplexity 30.22"),
    Row("Transformer", SBM_6_8, NOT_ON_RECORD),
    Row("Transformer", CPT_4_6, NOT_ON_RECORD),
]
PTB = [
    Row("LSTM", SBM_8, "perplexity 96.95"),
    Row("LSTM", CPT_5_8, "perplexity 96.39"),
    Row("LSTM", SBM_6_8, NOT_ON_RECORD),
    Row("LSTM", CPT_5_6, NOT_ON_RECORD),
]

WARM_UP = """\
  warmup_steps: 400        # ResNet-110 and deeper begin gently
  warmup_lr: 0.01
"""

CIFAR_SETTINGS = """\
# Published row: {row}.
{notes}
name: {name}

model:
  name: {model}

dataset:
  name: {dataset}
  path: {dataset:<19}# DATA_ROOT/{dataset} holds {folder}; `download: true` would fetch it
  augment: crop_flip

precision:
{precision}
optimizer:
  name: sgd
  lr: 0.1
  momentum: 0.9
  weight_decay: 1.0e-4

lr_schedule:
  name: multistep
  milestones: [32000, 48000]
  gamma: 0.1
{warm_up}
training:
  steps: 64000             # 164 epochs
  batch_size: 128

evaluation:
  every_steps: 2000        # chosen: where a precision cycle ends

checkpoint:
  every_steps: 2000        # chosen
"""

IMAGENET_SETTINGS = """\
# Published row: {row}.
{notes}
name: {name}

model:
  name: {model}

dataset:
  name: imagenet
  path: imagenet           # DATA_ROOT/imagenet holds train/CLASS/… and val/CLASS/…
  size: 224
  augment: crop_flip

precision:
{precision}
optimizer:
  name: sgd
  lr: 0.1
  momentum: 0.9            # chosen, like weight_decay: those of CIFAR
  weight_decay: 1.0e-4

lr_schedule:
  name: multistep
  milestones: [150120, 300240, 450360]  # every 30 epochs
  gamma: 0.1

training:
  steps: 600480            # 120 epochs of 5,004 batches
  batch_size: 256

evaluation:
  every_steps: 5004        # chosen: each epoch

checkpoint:
  every_steps: 5004        # chosen
"""

WIKITEXT_SETTINGS = """\
# Published row: {row}.
{notes}# All but `precision` is chosen, as is usual for this text: 6 layers of 512, 32,768 words a step, 16 epochs.

name: {name}

model:
  name: transformer_lm
  d_model: 512
  num_layers: 6
  num_heads: 8
  feed_forward: 2048
  dropout: 0.1

dataset:
  name: wikitext103
  path: wikitext-103       # DATA_ROOT/wikitext-103 holds wiki.train.tokens and wiki.test.tokens
  bptt: 512

precision:
{precision}
optimizer:
  name: adamw
  lr: 5.0e-4
  beta2: 0.98
  weight_decay: 0.01

lr_schedule:
  name: cosine
  warmup_steps: 4000
  warmup_lr: 5.0e-5

training:
  steps: 50000
  batch_size: 64
  accumulation: 16         # 2,048 words at a time: their logits over 267,735 words take 2.2 GB

evaluation:
  every_steps: 5000
  batch_size: 4            # as many words at a time

checkpoint:
  every_steps: 2500
"""

PTB_SETTINGS = """\
# Published row: {row}.
{notes}# The settings are those of the follow-up, but for the layers: the paper's LSTM has two.

name: {name}

model:
  name: lstm_lm
  hidden_size: 800
  num_layers: 2
  dropout: 0.5

dataset:
  name: ptb
  path: ptb                # DATA_ROOT/ptb holds ptb.train.txt and ptb.test.txt
  bptt: 35

precision:
{precision}
optimizer:
  name: sgd
  lr: 20.0
  momentum: 0.0
  weight_decay: 0.0

lr_schedule:
  name: cosine             # chosen: usual is a fall by 4 where validation stops improving, no function of the step

training:
  steps: 53080             # 40 epochs
  batch_size: 20
  clip_norm: 0.25

evaluation:
  every_steps: 1327        # chosen: each epoch
  batch_size: 10           # chosen

checkpoint:
  every_steps: 1327        # chosen
"""

COLLECTIONS = {
    "cifar10": ("CIFAR-10", list(cifar10()), CIFAR_SETTINGS),
    "cifar100": ("CIFAR-100", list(cifar100()), CIFAR_SETTINGS),
    "imagenet": ("ImageNet", IMAGENET, IMAGENET_SETTINGS),
    "wikitext103": ("WikiText-103", WIKITEXT, WIKITEXT_SETTINGS),
    "ptb": ("Penn Treebank", PTB, PTB_SETTINGS),
}
"""Folder: name of the dataset, rows, settings."""

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
MODELS = {"MobileNetV2": "mobilenet_v2"}
DEEP = ("ResNet-110", "ResNet-152", "ResNet-164")


def recipes() -> Iterator[tuple[str, str]]:
    """Each recipe as its file's name, relative to the folder of recipes, and its text."""
    for dataset, (title, rows, settings) in COLLECTIONS.items():
        for row in rows:
            precision, stem = row.precision, row.model.replace("-", "").lower()
            yield (
                f"{dataset}/{stem}-{precision.file}.yaml",
                settings.format(
                    row=f"{row.model} on {title}, {precision.title}: {row.attained}",
                    notes="".join(f"# {note}\n" for note in notes(dataset, row)),
                    name=f"{title}, {row.model}, {precision.title}",
                    model=MODELS.get(row.model, stem),
                    dataset=dataset,
                    folder=FOLDERS.get(dataset),
                    precision=precision.fields,
                    warm_up=WARM_UP if row.model in DEEP else "",
                ),
            )


def notes(dataset: str, row: Row) -> Iterator[str]:
    """What else is to be said of a row."""
    if row.precision.saving:
        yield row.precision.saving
    if (dataset, row.model, row.precision) in (("cifar100", "MobileNetV2", cyclic) for cyclic in (CPT_3_8, CPT_3_6)):
        yield "The paper's range test gives 4 bits as the lower bound for this model; its row has 3."


def main(folder: Path) -> None:
    """Write them all."""
    for name, text in recipes():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
