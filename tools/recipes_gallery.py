"""Write docs/gallery.md: every recipe with what it trains, read from the files themselves.

python -m tools.recipes_gallery
"""

from __future__ import annotations

from pathlib import Path

from cpt_core.spec import AutoPrecision, JobSpec, load

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "gallery.md"

HEAD = (
    "<!-- Made by tools/recipes_gallery.py from recipes/: `make generated`. -->\n"
    "# Recipes gallery\n\n"
    "Every file in `recipes/` is a whole job spec: `cpt plan FILE` shows what it will cost, `cpt submit FILE --watch` "
    "trains it. Which published row each one stands for, and where its data come from, is on [Recipes](recipes.md); "
    "every field is in the [job spec reference](job-spec.md).\n"
)

TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "digits": "Digits: no download, minutes on a CPU",
    "fashion-mnist": "Fashion-MNIST",
    "imagenet": "ImageNet",
    "king-james": "King James Bible, any plain text",
    "ptb": "Penn Treebank",
    "wikitext103": "WikiText-103",
}
"""Headings of the folders."""

FIRST = ("digits", "fashion-mnist", "king-james")
"""Folders that a newcomer can use at once."""


def made() -> str:
    """The page."""
    folders = {path.parent.name for path in _recipes()}
    order = [*FIRST, *sorted(folders - set(FIRST))]
    return HEAD + "".join(_section(folder) for folder in order if folder in folders)


def _recipes() -> list[Path]:
    return sorted((ROOT / "recipes").glob("*/*.yaml"))


def _section(folder: str) -> str:
    rows = ["| recipe | model | precision | steps | batch |", "|---|---|---|---|---|"]
    for path in _recipes():
        if path.parent.name == folder:
            spec = load(path)
            link = f"[{path.stem}](../recipes/{folder}/{path.name})"
            steps = f"{spec.training.steps:,}"
            rows.append(f"| {link} | {spec.model.name} | {_precision(spec)} | {steps} | {spec.training.batch_size} |")
    return f"\n## {TITLES[folder]}\n\n" + "\n".join(rows) + "\n"


def _precision(spec: JobSpec) -> str:
    precision = spec.precision
    if isinstance(precision, AutoPrecision):
        words = [f"range test of {precision.min_bits} to {precision.max_bits} bits, then cosine"]
    elif precision.schedule == "static":
        words = ["full precision" if precision.max_bits == 32 else f"static, {precision.max_bits} bits"]
    else:
        words = [f"{precision.schedule}, {_bits(precision.min_bits)} to {_bits(precision.max_bits)} bits"]
        if (cycles := getattr(precision, "cycles", None)) is not None:
            words.append(f"{cycles} cycles")
    if precision.quantizer != "sbm":
        words.append(precision.quantizer)
    if precision.backend != "simulated":
        words.append(precision.backend)
    return ", ".join(words)


def _bits(width: int) -> str:
    return "fp32" if width == 32 else str(width)


def main() -> None:
    """Write it."""
    PAGE.write_text(made(), encoding="utf-8")


if __name__ == "__main__":
    main()
