import json

import pytest

from worker.agent import Gap, Lost, NoContact, Nothing, Refused, Stored, Unavailable, append_answer, claim_answer


def problem(code, **members):
    return json.dumps({"type": "about:blank", "title": "A title", "code": code, **members}).encode()


def test_an_acknowledgement_carries_the_command():
    assert append_answer(200, b'{"acked": 7, "command": "cancel"}') == Stored(7, "cancel")


def test_a_stale_attempt_is_lost_with_what_was_stored_of_it():
    answer = append_answer(409, problem("stale_attempt", acked=5, detail="stop"))
    assert answer == Lost(5, "the API answered 409: A title; stop")


def test_a_gap_says_where_to_go_on():
    assert append_answer(409, problem("sequence_gap", acked=3)) == Gap(3)


def test_an_api_without_its_database_is_not_silent():
    assert isinstance(append_answer(503, problem("database_unavailable")), Unavailable)
    assert isinstance(claim_answer(503, problem("database_unavailable")), Unavailable)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504])
def test_an_answer_without_the_apis_code_is_no_contact(status):
    assert isinstance(append_answer(status, b"<html>proxy</html>"), NoContact)
    assert isinstance(claim_answer(status, b"<html>proxy</html>"), NoContact)


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"acked": "many"}'])
def test_a_200_that_is_no_acknowledgement_is_no_contact(body):
    assert isinstance(append_answer(200, body), NoContact)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_attempt_unknown_to_the_api_is_lost(status):
    assert isinstance(append_answer(status, problem("unknown")), Lost)


def test_a_refused_record_is_told_in_the_apis_words():
    answer = append_answer(
        422, problem("invalid_request", errors=[{"pointer": "/records/0/loss", "message": "must be finite"}])
    )
    assert answer == Refused("the API answered 422: A title; /records/0/loss: must be finite")


def test_204_means_that_nothing_waits():
    assert claim_answer(204, b"") == Nothing()


def test_a_claim_with_a_wrong_token_is_refused():
    assert isinstance(claim_answer(401, problem("unauthorized")), Refused)


def test_an_assignment_of_another_version_is_refused():
    assert isinstance(claim_answer(200, b'{"job": 1}'), Refused)
