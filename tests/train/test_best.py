"""`checkpoint.keep_best`: the weights of the best evaluation, whatever else is saved and deleted."""

from pathlib import Path

from cpt_core.events import Checkpoint, Evaluation

from .conftest import make_spec, only_end
from .test_resume import assert_same, tensors


def spec(**changes):
    """Evaluated after each step, with a learning rate at which quality comes and goes."""
    document = {
        "optimizer": {"name": "sgd", "lr": 2.0},
        "evaluation": {"every_steps": 1, "batch_size": 16},
        "checkpoint": {"every_steps": 4, "keep_best": True},
    }
    return make_spec(**(document | changes))


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def kept(here, name="run"):
    return [path.name for path in Path(here.storage, f"{name}-best").iterdir()]


def test_the_checkpoint_of_the_best_evaluation_is_kept_alone_and_has_its_weights(here):
    _code, events = here.train(spec())
    best = only_end(events).result.best
    assert best.step == max(of(Evaluation, events), key=lambda evaluation: evaluation.accuracy).step
    assert kept(here) == [Path(best.checkpoint).name]
    here.train(spec(checkpoint={"every_steps": 1}), name="every")
    assert_same(tensors(here, best.checkpoint), tensors(here, f"every/{Path(best.checkpoint).name}"))


def test_it_is_not_among_those_that_a_run_resumes_from(here):
    _code, events = here.train(spec())
    assert [checkpoint.step for checkpoint in of(Checkpoint, events)] == [4, 8]


def test_a_resumed_run_ends_with_the_same_best_checkpoint(here):
    _code, unbroken = here.train(spec())
    best = only_end(unbroken).result.best
    _code, resumed = here.train(spec(), resume=of(Checkpoint, unbroken)[0])
    assert only_end(resumed).result.best == best
    assert kept(here) == [Path(best.checkpoint).name]


def test_without_the_option_none_is_made(here):
    _code, events = here.train(spec(checkpoint={"every_steps": 4}))
    assert only_end(events).result.best.checkpoint is None
    assert not Path(here.storage, "run-best").exists()


def test_two_ranks_make_one_together(launched):
    code, events = launched(
        "both", spec(resources={"devices": 2, "device": "cpu"}, training={"steps": 3, "batch_size": 8})
    ).finished()
    assert code == 0
    best = only_end(events).result.best
    assert best.checkpoint == f"both-best/step-{best.step:08d}"
