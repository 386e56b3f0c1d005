"""The Python client against a real API."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from cpt_client import Client, CptError
from cpt_client.embedded.stack import free_port
from cpt_client.models import Job
from tests.client.conftest import SPEC, Api, BadNetwork, run_to_success, submit


def test_a_submitted_job_waits_with_its_defaults_filled_in(client: Client) -> None:
    job = submit(client, "submitted")
    assert job.state == "queued"
    assert job.spec["optimizer"]["momentum"] == 0.9


def test_a_lost_reply_to_a_submission_does_not_make_a_second_job(
    client: Client, bad_network: Callable[..., BadNetwork]
) -> None:
    network = bad_network(0, 10, None)  # twice the API has made the job, and its answer is lost
    with Client(network.url) as unlucky:
        job = submit(unlucky, "lost-reply")
    assert network.connections == 3
    assert [found.id for found in client.list(queue="lost-reply")] == [job.id]


def test_a_refused_spec_names_the_fields(client: Client) -> None:
    with pytest.raises(CptError) as caught:
        client.submit(SPEC | {"model": {"name": "resnet9"}, "colour": "blue"})
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")
    assert {error.pointer for error in caught.value.errors} == {"/model/name", "/colour"}


def test_listing_goes_through_all_pages_newest_first(client: Client) -> None:
    ids = [submit(client, "pages").id for _ in range(5)]
    assert [job.id for job in client.list(queue="pages", page_size=2)] == ids[::-1]
    assert [job.id for job in client.list(queue="pages", limit=3, page_size=2)] == ids[:1:-1]


def test_listing_by_state_leaves_the_others_out(client: Client) -> None:
    cancelled, waiting = submit(client, "states"), submit(client, "states")
    client.cancel(cancelled.id)
    assert [job.id for job in client.list(queue="states", states=["queued"])] == [waiting.id]
    both = client.list(queue="states", states=["queued", "cancelled"])
    assert {job.id for job in both} == {waiting.id, cancelled.id}


def test_cancelling_a_waiting_job_ends_it_at_once(client: Client) -> None:
    job = client.cancel(submit(client, "cancelled").id)
    assert (job.state, job.reason) == ("cancelled", "user")
    assert job.is_final


def test_metrics_and_events_are_read_page_by_page(client: Client, api: Api) -> None:
    job = run_to_success(client, api, "metrics")
    steps = list(client.metrics(job.id, page_size=7))
    assert [event.fields["step"] for event in steps] == list(range(20))
    rest = list(client.events(job.id, page_size=2))
    assert {"started", "log", "evaluation", "checkpoint", "finished", "state"} == {event.type for event in rest}
    ids = sorted(event.id for event in steps + rest)
    assert ids == list(range(1, len(ids) + 1))


def test_a_finished_job_has_a_typed_result(client: Client, api: Api) -> None:
    job = run_to_success(client, api, "result")
    assert job.result is not None
    assert (job.result.accuracy, job.result.bits) == (0.95, 8)
    assert job.progress.fraction == 1.0


def test_a_field_of_a_newer_server_is_kept(client: Client) -> None:
    answer = submit(client, "newer").model_dump(mode="json") | {"carbon": {"grams": 3}, "state": "hibernating"}
    answer["progress"]["phase"] = "warm-up"
    job = Job.model_validate(answer)
    assert not job.is_final
    assert job.model_dump(mode="json") == answer


def test_an_unknown_job_is_an_error_of_the_caller(client: Client) -> None:
    with pytest.raises(CptError) as caught:
        client.get("job_" + "0" * 24)
    assert (caught.value.status, caught.value.is_server_side) == (404, False)


def test_a_job_id_cannot_reach_another_path(client: Client) -> None:
    with pytest.raises(CptError) as caught:
        client.get("../jobs")
    assert caught.value.status == 404 or caught.value.errors[0].parameter == "job_id"


def test_no_server_is_an_error_with_a_code() -> None:
    with Client(f"http://127.0.0.1:{free_port(0)}", tries=2) as client, pytest.raises(CptError) as caught:
        client.get("job_" + "0" * 24)
    assert (caught.value.code, caught.value.is_server_side) == ("unreachable", True)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://[::"])
def test_an_address_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(CptError) as caught:
        Client(url)
    assert caught.value.code == "invalid_url"


@pytest.fixture
def web_page() -> Iterator[str]:
    """A web server that knows nothing of CPT and answers every path with a page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_of_another_kind_is_told_apart(web_page: str) -> None:
    with Client(web_page) as client:
        for request in (lambda: client.get("job_x"), lambda: next(client.list()), lambda: next(client.stream("job_x"))):
            with pytest.raises(CptError) as caught:
                request()
            assert caught.value.code == "not_a_cpt_server"


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port(0)}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Client(api.url, tries=1) as client:
        assert list(client.list(queue="nothing-here")) == []


def test_the_address_comes_from_the_environment(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_URL", api.url + "/")
    with Client() as client:
        assert client.base_url == api.url
