"""Mean and standard deviation over seeds."""

import subprocess
import sys

import pytest

from cpt_core.events import Finished, Result
from cpt_core.seeds import Report, SeedRun, Spread, summarize

RESULT = Result(
    accuracy=0.5, loss=1.0, bits=8, steps=10, samples=320, gbitops=3.0, gbitops_static=4.0, gbitops_fp32=64.0,
    modelled_joules=0.25, samples_per_second=100.0, checkpoint="checkpoints/x",
)  # fmt: skip


def result(**changes):
    return RESULT.model_copy(update=changes)


def test_the_deviation_is_that_of_a_sample():
    summary = summarize([result(accuracy=accuracy) for accuracy in (0.25, 0.5, 0.75)])
    assert summary.accuracy == Spread(mean=0.5, deviation=0.25)
    assert summary.gbitops == Spread(mean=3.0, deviation=0.0)
    assert (summary.runs, summary.bits) == (3, [8])


def test_a_single_run_has_no_deviation():
    assert summarize([RESULT]).modelled_joules == Spread(mean=0.25, deviation=None)


def test_a_figure_that_one_run_lacks_is_not_averaged_over_the_others():
    summary = summarize([result(energy_joules=5.0), RESULT])
    assert summary.energy_joules is None
    assert summary.perplexity is None


def test_all_bit_widths_are_named_at_which_quality_was_taken():
    assert summarize([result(bits=6), result(bits=5), result(bits=6)]).bits == [5, 6]


def test_range_tests_have_a_cost_but_no_quality():
    summary = summarize([result(accuracy=None, loss=None, bits=None)] * 2)
    assert (summary.bits, summary.accuracy, summary.loss) == ([], None, None)
    assert summary.gbitops == Spread(mean=3.0, deviation=0.0)


def test_nothing_has_no_mean():
    with pytest.raises(ValueError, match="no results"):
        summarize([])


def test_a_report_averages_those_that_succeeded():
    runs = [
        SeedRun(
            seed=4, checkpoint="a", end=Finished(outcome="succeeded", reason="completed", message="", result=RESULT)
        ),
        SeedRun(seed=2, checkpoint=None, end=Finished(outcome="failed", reason="diverged", message="NaN")),
    ]
    report = Report.of("name", runs, not_started=[7])
    assert report.summary == summarize([RESULT])
    assert Report.of("name", runs[1:], not_started=[]).summary is None


def test_a_summary_needs_no_torch():
    code = "import sys, cpt_core.seeds; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
