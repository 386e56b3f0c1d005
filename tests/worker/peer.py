"""A peer for the worker: the agent protocol over real HTTP, with its state in memory, and faults on request."""

from __future__ import annotations

import json
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

AGENT_TOKEN = "the-agents-token-of-these-tests"


@dataclass
class Job:
    """A job, and everything its attempts have reported."""

    id: str
    spec: dict[str, Any]
    state: str = "queued"
    attempt: int = 0
    command: str = "continue"
    resume: dict[str, Any] | None = None
    running_seconds: float = 0.0
    records: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """By attempt; exactly what was acknowledged."""
    logs: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """What was printed, by attempt and rank."""
    upload: dict[str, Any] | None = None
    """The uploaded dataset that the spec names."""
    logs_at_the_end: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """`logs` as they were when the latest attempt's end was stored."""

    def of(self, type_: str, attempt: int | None = None) -> list[dict[str, Any]]:
        """Records of a type."""
        records = self.records.get(attempt or self.attempt, [])
        return [record for record in records if record["type"] == type_]

    @property
    def end(self) -> dict[str, Any] | None:
        """The latest attempt's `finished` record."""
        return next(iter(self.of("finished")), None)


class Peer:
    """The API's side. Restarts on the same port; state survives, as it does in a database."""

    def __init__(self, lease_seconds: float = 30.0) -> None:
        self.lease_seconds = lease_seconds
        self.jobs: dict[str, Job] = {}
        self.claims: dict[str, Job] = {}
        self.claimants: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.appends = 0
        self.lose_replies = 0
        """So many of the next answers are lost after the request was carried out."""
        self.without_database = False
        self.refuse: str | None = None
        """Records of this type are refused as invalid."""
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        handler = type("Handler", (_Handler,), {"peer": self})
        self._server = _Server(("127.0.0.1", self._port), handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.cut()
            server.server_close()

    def submit(self, spec: dict[str, Any], running_seconds: float = 0.0) -> Job:
        with self._lock:
            job = Job(uuid.uuid4().hex, spec, running_seconds=running_seconds)
            self.jobs[job.id] = job
            return job

    def take_away(self, job: Job) -> None:
        """The lease has run out: the job waits for another attempt, but no worker gets it."""
        with self._lock:
            job.state = "taken away"

    def handle(self, path: str, token: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        with self._lock:
            self.appends += path.endswith("/records")
            if self.without_database:
                return 503, {"code": "database_unavailable", "title": "The database is away"}
            if path == "/v1/agent/claim":
                return self._claim(token, body)
            if path == "/v1/agent/workers":
                self.reports.append(body)
                return 204, None
            _, _, _, _, job_id, _, attempt, _ = path.split("/")
            return self._append(self.jobs[job_id], int(attempt), token, body)

    def put_log(self, path: str, token: str, data: bytes) -> tuple[int, dict[str, Any] | None]:
        path, _, query = path.partition("?offset=")
        _, _, _, _, job_id, _, attempt, _, rank = path.split("/")
        with self._lock:
            if token != f"token-{job_id}-{attempt}":
                return 401, {"code": "unauthorized"}
            logs, key, offset = self.jobs[job_id].logs, (int(attempt), int(rank)), int(query)
            known = logs.get(key, b"")
            if offset > len(known):
                return 409, {"code": "log_gap", "size": len(known)}
            logs[key] = known + data[len(known) - offset :]
            return 200, {"size": len(logs[key])}

    def _claim(self, token: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        if token != AGENT_TOKEN:
            return 401, {"code": "unauthorized"}
        job = self.claims.get(body["claim_id"]) or next(
            (
                job
                for job in self.jobs.values()
                if job.state == "queued" and job.spec.get("resources", {}).get("queue", "default") == body["queue"]
            ),
            None,
        )
        if job is None:
            return 204, None
        if body["claim_id"] not in self.claims:
            self.claims[body["claim_id"]] = job
            self.claimants.append(body)
            job.state, job.attempt, job.command = "active", job.attempt + 1, "continue"
            job.records[job.attempt] = []
        return 200, {
            "job_id": job.id,
            "attempt": job.attempt,
            "token": f"token-{job.id}-{job.attempt}",
            "spec": job.spec,
            "resume": job.resume,
            "upload": job.upload,
            "lease_seconds": self.lease_seconds,
            "running_seconds": job.running_seconds,
        }

    def _append(self, job: Job, attempt: int, token: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        stored = job.records.setdefault(attempt, [])
        if token != f"token-{job.id}-{attempt}":
            return 401, {"code": "unauthorized"}
        if attempt != job.attempt or job.state != "active":
            return 409, {"code": "stale_attempt", "acked": len(stored)}
        if body["first_seq"] > len(stored) + 1:
            return 409, {"code": "sequence_gap", "acked": len(stored)}
        if any(record["type"] == self.refuse for record in body["records"]):
            return 422, {"code": "invalid_record", "title": "No such record", "detail": f"no {self.refuse}, please"}
        for record in body["records"][len(stored) + 1 - body["first_seq"] :]:
            stored.append(record)
            if record["type"] == "checkpoint":
                job.resume = record
            if record["type"] == "finished":
                job.state = record["outcome"]
                job.logs_at_the_end = dict(job.logs)
        return 200, {"acked": len(stored), "command": job.command}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.open: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for request in list(self.open):
            self.shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """A connection that was cut is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    peer: Peer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        token = self.headers["authorization"].removeprefix("Bearer ")
        self._answer(*self.peer.handle(self.path, token, body))

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        token = self.headers["authorization"].removeprefix("Bearer ")
        self._answer(*self.peer.put_log(self.path, token, data))

    def _answer(self, status: int, answer: dict[str, Any] | None) -> None:
        if self.peer.lose_replies > 0:
            self.peer.lose_replies -= 1
            self.close_connection = True
            return
        content = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass
