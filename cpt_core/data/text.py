"""Text as a sequence of numbered words: a training and a test split over the vocabulary of the training split.

* Penn Treebank (as Mikolov prepared it) and WikiText-103 come as a file per split, whose words are separated by blanks.
  Each line, an empty one too, ends with `<eos>`.
* Any other text, a file or the `.txt` files of a folder in the order of their names, is taken apart into lower-case
  words and punctuation marks; each paragraph ends with `<eos>`. The first 90 % of it all are the training split, the
  next 5 % (validation) are left for whoever chooses among trainings, the last 5 % are the test split.

Words that the vocabulary has no room for, or that training never saw, are `<unk>`, which is number 0. Then the words
follow by their frequency in the training split, equals in the order of their coming.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cpt_core.data.cache import Cache
from cpt_core.data.dataset import DataError, below
from cpt_core.spec import PlainText, TextDatasetSpec

UNKNOWN, END = "<unk>", "<eos>"
TRAINING_SHARE, TEST_SHARE = 0.90, 0.05

SPLIT_FILES = {
    "ptb": ("ptb.train.txt", "ptb.test.txt"),
    "wikitext103": ("wiki.train.tokens", "wiki.test.tokens"),
}

_FORMAT = 1  # of what is cached: raise it when other numbers come out of the same files
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # noqa: RUF001  # the apostrophe of printed books

Words = Iterable[list[str]]
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text in two splits."""

    source: str
    """What messages call it: a file or a folder."""
    vocabulary: list[str]
    """The words by number."""
    train: Tensor
    """int32, 1-d."""
    test: Tensor
    """int32, 1-d."""

    def to(self, device: torch.device) -> Corpus:
        """The corpus in the memory of `device`."""
        return Corpus(self.source, self.vocabulary, self.train.to(device), self.test.to(device))


def load(spec: TextDatasetSpec, data_root: Path, cache: Path | None = None) -> Corpus:
    """The text a spec names, whose files lie below `data_root`.

    Args:
        spec: the dataset.
        data_root: folder below which it lies.
        cache: folder where the numbered words are kept, so that they are counted once for the same files and options.

    Raises:
        DataError: a file is missing, empty or no text in UTF-8.
    """
    files = _files(spec, data_root)
    options = [_FORMAT, spec.name, spec.max_vocabulary, [[path.name, _digest(path)] for path in files]]
    kept = Cache(cache, "text-" + hashlib.sha256(json.dumps(options).encode()).hexdigest())
    tensors = kept.read()
    if tensors is None:
        tensors = _plain(files, spec.max_vocabulary) if isinstance(spec, PlainText) else _split(spec, files)
        kept.write(tensors)
    vocabulary = bytes(tensors["vocabulary"].numpy()).decode().split("\n")
    return Corpus(spec.location, vocabulary, tensors["train"], tensors["test"])


def _files(spec: TextDatasetSpec, data_root: Path) -> list[Path]:
    if not isinstance(spec, PlainText):
        files = [below(data_root, f"{spec.location}/{name}") for name in SPLIT_FILES[spec.name]]
    elif (path := below(data_root, spec.location)).is_dir():
        files = [below(data_root, f"{spec.location}/{found.name}") for found in sorted(path.glob("*.txt"))]
        if not files:
            raise DataError(f"There is no .txt file in the folder {path}: put the text there.")
    else:
        files = [path]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file.name} is not in {file.parent}, where {spec.name} should be: put the file there.")
    return files


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}).") from error


def _split(spec: TextDatasetSpec, files: list[Path]) -> dict[str, Tensor]:
    """The splits of a corpus that comes as a file for each."""
    numbers = _numbering()
    train, test = (_numbered(path, ([*line.split(), END] for line in _lines(path)), numbers) for path in files)
    return _final(train, test, list(numbers), spec.max_vocabulary)


def _plain(files: list[Path], max_vocabulary: int | None) -> dict[str, Tensor]:
    """The splits of a text that comes in one piece."""
    numbers = _numbering()
    text = np.concatenate([_numbered(path, _paragraphs(_lines(path)), numbers) for path in files])
    train, test = text[: int(len(text) * TRAINING_SHARE)], text[len(text) - int(len(text) * TEST_SHARE) :]
    return _final(train, test, list(numbers), max_vocabulary)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8 ({error}): convert it, for example with iconv.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}).") from error


def _paragraphs(lines: Iterable[str]) -> Iterator[list[str]]:
    words: list[str] = []
    for line in lines:
        if line.strip():
            words += _WORD.findall(line.lower())
        elif words:
            yield [*words, END]
            words = []
    if words:
        yield [*words, END]


def _numbering() -> defaultdict[str, int]:
    """Numbers words in the order of their coming."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    return numbers


def _numbered(path: Path, text: Words, numbers: defaultdict[str, int]) -> Numbers:
    tokens = array("i")
    for words in text:
        tokens.extend([numbers[word] for word in words])
    if not tokens:
        raise DataError(f"{path} holds no words: put the text there.")
    return np.frombuffer(tokens, dtype=np.int32)


def _final(train: Numbers, test: Numbers, words: list[str], max_vocabulary: int | None) -> dict[str, Tensor]:
    """Tensors of the splits, renumbered, and of the vocabulary in UTF-8, one word a line."""
    counts = np.bincount(train, minlength=len(words))
    by_frequency = np.argsort(-counts, kind="stable").tolist()
    known = [number for number in by_frequency if counts[number] and words[number] != UNKNOWN]
    known = known[: None if max_vocabulary is None else max_vocabulary - 1]
    renumbered = np.zeros(len(words), dtype=np.int32)
    renumbered[known] = np.arange(1, len(known) + 1)
    vocabulary = "\n".join([UNKNOWN, *(words[number] for number in known)]).encode()
    return {
        "train": torch.from_numpy(renumbered[train]),
        "test": torch.from_numpy(renumbered[test]),
        "vocabulary": torch.from_numpy(np.frombuffer(vocabulary, dtype=np.uint8).copy()),
    }
