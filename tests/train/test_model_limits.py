"""A model larger than the project's may be ends the job before it takes any memory."""

import resource

import pytest

from cpt_core.model_limits import ModelLimits
from cpt_core.models.measure import measure
from tests.train.conftest import make_spec

HUGE = {
    "name": "transformer_lm",
    "d_model": 8192,
    "num_layers": 96,
    "num_heads": 64,
    "feed_forward": 32_768,
}
"""77 billion parameters: 300 GB."""


@pytest.mark.parametrize("limit", ["max_parameters", "max_macs"])
def test_a_model_may_be_as_large_as_the_limit_and_no_larger(here, limit):
    spec = make_spec()
    parameters, profile = measure(spec, 10)
    size = {"max_parameters": parameters, "max_macs": profile.macs}[limit]
    code, events = here.train(spec, model_limits=ModelLimits(**{limit: size}))
    assert (code, events[-1].outcome) == (0, "succeeded")
    assert (events[0].parameters, events[0].macs) == (parameters, profile.macs)  # measured as the run counts
    code, events = here.train(spec, name="again", model_limits=ModelLimits(**{limit: size - 1}))
    assert code != 0
    assert [(event.type, event.reason) for event in events] == [("finished", "spec_error")]
    assert f"above the project's limit of {size - 1:,}" in events[0].message


def test_a_model_larger_than_the_memory_is_refused_for_its_size(here):
    (here.data_root / "book.txt").write_text("in the beginning there was a word and the word was long. " * 200)
    spec = make_spec(
        model=HUGE,
        dataset={"name": "text", "path": "book.txt", "bptt": 8},
        training={"steps": 8, "batch_size": 2},
        evaluation={"batch_size": 2},
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, events = here.train(spec, model_limits=ModelLimits(max_parameters=10**9))
    assert events[-1].reason == "spec_error"
    assert "parameters, above the project's limit of 1,000,000,000" in events[-1].message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kilobytes: less than 1 GiB
