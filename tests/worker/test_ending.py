import pytest

from cpt_core.events import Finished, Result
from worker.causes import Cause
from worker.ending import Facts, end_record

RESULT = Result(
    loss=0.1, bits=8, steps=1, samples=1, gbitops=1, gbitops_static=1, gbitops_fp32=1, modelled_joules=1,
    samples_per_second=1, checkpoint="checkpoints/j/1/step-1",
)  # fmt: skip
SUCCEEDED = Finished(outcome="succeeded", reason="completed", message="done", result=RESULT)
DIVERGED = Finished(outcome="failed", reason="diverged", message="NaN in step 3")
PEER_LOST = Finished(outcome="failed", reason="rank_failed", message="connection closed by peer")
SAVED = Finished(outcome="preempted", reason="preempted", message="Stopped at step 5, checkpoint saved.")

LOG = "Traceback (most recent call last):\n  File x\nValueError: no"
DIED = f"Training process 1 ended with exit code 1. The end of its output:\n{LOG}"
KILLED = "Training process 1 was killed (SIGKILL); the machine may have run out of memory."


def verdict(**facts):
    end = end_record(Facts(**{**facts, "causes": frozenset(facts.get("causes", ()))}))
    return end.outcome, end.reason


@pytest.mark.parametrize("said", [SUCCEEDED, DIVERGED, SAVED])
def test_what_rank_0_says_holds_when_nobody_stopped_it(said):
    assert end_record(Facts(finished=said, exit_code=0 if said is SUCCEEDED else 1)) is said


def test_a_success_is_not_believed_when_a_process_died():
    assert verdict(finished=SUCCEEDED, exit_code=1, failure=DIED) == ("failed", "rank_failed")


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause not in (Cause.LOST, Cause.REFUSED)])
def test_a_success_stands_although_the_worker_was_about_to_stop_it(cause):
    assert end_record(Facts(causes=frozenset({cause}), finished=SUCCEEDED, exit_code=-9)) is SUCCEEDED


def test_a_success_of_which_a_record_was_refused_is_none():
    assert verdict(causes={Cause.REFUSED}, finished=SUCCEEDED, exit_code=0) == ("failed", "internal")


@pytest.mark.parametrize("said", [None, DIVERGED, PEER_LOST, SAVED])
@pytest.mark.parametrize("others", [*([cause] for cause in Cause), list(Cause)])
def test_a_cancel_outranks_every_other_cause_and_every_other_word(said, others):
    assert verdict(causes={Cause.CANCEL, *others}, finished=said, exit_code=-15) == ("cancelled", "user")


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (Cause.PAUSE, ("paused", "user")),
        (Cause.GO, ("preempted", "preempted")),
        (Cause.GO_NOW, ("preempted", "preempted")),
        (Cause.BLIND, ("preempted", "preempted")),
        (Cause.HUNG, ("failed", "hung")),
        (Cause.TIMEOUT, ("failed", "timeout")),
        (Cause.REFUSED, ("failed", "internal")),
    ],
)
@pytest.mark.parametrize("said", [None, SAVED, PEER_LOST])
def test_a_stopped_attempt_ends_as_its_cause_says(cause, expected, said):
    assert verdict(causes={cause}, finished=said, exit_code=-9, failure=KILLED) == expected


@pytest.mark.parametrize("cause", [Cause.PAUSE, Cause.GO, Cause.BLIND])
def test_training_that_failed_by_its_own_fault_has_failed_although_it_was_being_stopped(cause):
    assert verdict(causes={cause}, finished=DIVERGED, exit_code=1) == ("failed", "diverged")


def test_the_trainers_own_word_on_where_it_stopped_is_kept():
    assert end_record(Facts(causes=frozenset({Cause.GO}), finished=SAVED, exit_code=0)) is SAVED


def test_silent_death_names_rank_exit_code_and_last_words():
    end = end_record(Facts(exit_code=1, failure=DIED))
    assert (end.outcome, end.reason, end.message) == ("failed", "rank_failed", DIED)


def test_sigkill_hints_at_memory_but_does_not_claim_it():
    end = end_record(Facts(exit_code=1, failure=KILLED))
    assert end.reason == "rank_failed"
    assert "memory" in end.message


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 9 GiB",
    ],
)
def test_a_rank_that_says_out_of_memory_ran_out_of_memory(line):
    failure = f"Training process 1 ended with exit code 1. The end of its output:\n{line}"
    assert verdict(exit_code=1, failure=failure) == ("failed", "oom")


def test_an_end_without_a_word_is_a_defect():
    assert verdict(exit_code=0) == ("failed", "internal")


def test_a_launcher_that_died_alone_is_named():
    end = end_record(Facts(exit_code=-11))
    assert (end.reason, end.message) == ("rank_failed", "The launcher of the training died of signal 11.")


def test_the_message_of_a_refused_record_is_the_apis():
    end = end_record(Facts(causes=frozenset({Cause.REFUSED}), refusal="loss: must be finite"))
    assert "loss: must be finite" in end.message


def test_no_message_is_longer_than_a_record_may_have():
    assert len(end_record(Facts(exit_code=1, failure="x" * 20_000)).message) == 8192
