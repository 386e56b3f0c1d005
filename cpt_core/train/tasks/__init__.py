"""What can be learnt: telling images apart, and predicting the next word of a text."""

from __future__ import annotations

from cpt_core import data
from cpt_core.run import Run
from cpt_core.spec import TextDatasetSpec
from cpt_core.train.ranks import Ranks
from cpt_core.train.tasks.classification import Classification
from cpt_core.train.tasks.language_modelling import LanguageModelling
from cpt_core.train.tasks.task import Outcome, Task

__all__ = ["Classification", "LanguageModelling", "Outcome", "Task", "load_task"]


def load_task(run: Run, ranks: Ranks) -> Task:
    """The task of a run's dataset, with the data in the memory of the rank's device.

    Raises:
        DataError: the dataset is missing, corrupt or too small.
    """
    dataset = run.spec.dataset
    if isinstance(dataset, TextDatasetSpec):
        with ranks.rank_0_first():  # which may have to number its words
            corpus = data.load_text(dataset, run.data_root, run.cache).to(ranks.device)
        return LanguageModelling(run.spec, corpus, dataset, ranks)
    with ranks.rank_0_first():  # which may have to fetch it
        images = data.load(dataset, run.data_root).to(ranks.device)
    return Classification(run.spec, images, dataset, ranks)
