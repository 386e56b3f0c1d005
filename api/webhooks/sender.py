"""Sends what the outbox holds. Any number of senders, in any number of API processes, share the work.

A sender claims a delivery in one transaction, sends it in none, and records what came of it in another. Whatever dies
in between, the claim ends after a while and the delivery is sent again, with the same id: at least once.
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from standardwebhooks import Webhook as Signer

from api.db import Database
from api.webhooks import repository
from api.webhooks.outbox import MAX_ATTEMPTS
from api.webhooks.schemas import DeliveryState
from api.webhooks.targets import Targets
from api.webhooks.transport import PostError, post
from cpt_core import __version__
from cpt_core.events import now

logger = logging.getLogger(__name__)

SENDERS = 4
"""Deliveries that one API process makes at the same time."""
SENDER_SECONDS = 1.0
"""How often a sender without work looks for some."""
CLAIM = timedelta(seconds=60)
"""How long a sender has a delivery to itself: much longer than sending takes."""
FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(hours=6)
KEPT = timedelta(days=30)
"""Age at which a delivery is deleted, delivered or not."""
PRUNE_SECONDS = 3600.0

GONE = 410


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that one sender has to itself for a while."""

    id: str
    attempt: int
    webhook: str
    url: str
    payload: str
    secrets: tuple[str, ...]
    """All that sign: the webhook's secret, and the one before it for a day."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt."""

    status: int | None
    """HTTP status of the answer; None: there was none."""
    error: str | None
    """Why it came to nothing; None: the receiver took it."""


def delay(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: four times longer after each, cut by up to half at random.

    The random part keeps those apart that failed at the same moment. Ten attempts take from 10 to 20 hours.
    """
    longest = min(FIRST_DELAY * 4.0 ** (failures - 1), LONGEST_DELAY)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class Sender:
    """Makes deliveries, on a clock that tests can set."""

    def __init__(
        self,
        database: Database,
        targets: Targets,
        *,
        clock: Callable[[], datetime] = now,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._database, self._targets, self._clock, self._tls = database, targets, clock, tls
        self._stopping = threading.Event()
        self._pruned = float("-inf")

    def stop(self) -> None:
        """Begin no further delivery."""
        self._stopping.set()

    def drain(self) -> None:
        """Make deliveries until none is due."""
        if time.monotonic() - self._pruned > PRUNE_SECONDS:
            self._pruned = time.monotonic()
            with self._database.write() as session:
                repository.prune(session, self._clock() - KEPT)
        while not self._stopping.is_set() and (claimed := self.claim()) is not None:
            self.record(claimed, self.send(claimed))

    def claim(self) -> Claimed | None:
        """Take the delivery that is due next; None if there is none."""
        at = self._clock()
        with self._database.read() as session:  # most of the time there is nothing, and nobody need be locked out
            if not repository.is_any_due(session, at):
                return None
        with self._database.write() as session:
            found = repository.next_due(session, at)
            if found is None:
                return None
            delivery, hook = found
            delivery.attempts += 1
            delivery.claimed_until = at + CLAIM
            delivery.last_attempt_at = at
            previous = hook.previous_secret if hook.previous_until is not None and hook.previous_until > at else None
            return Claimed(
                id=delivery.id,
                attempt=delivery.attempts,
                webhook=hook.id,
                url=hook.url,
                payload=delivery.payload,
                secrets=tuple(secret for secret in (hook.secret, previous) if secret is not None),
            )

    def send(self, claimed: Claimed) -> Outcome:
        """POST a delivery, signed as Standard Webhooks say, by every secret that is valid."""
        at = self._clock()
        signatures = [Signer(secret).sign(claimed.id, at, claimed.payload) for secret in claimed.secrets]
        headers: dict[bytes | str, bytes | str] = {
            "Content-Type": "application/json",
            "User-Agent": f"cpt-service/{__version__}",
            "webhook-id": claimed.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        try:
            status = post(claimed.url, headers, claimed.payload.encode(), self._targets, self._tls)
        except PostError as error:
            return Outcome(None, str(error))
        if 200 <= status < 300:
            return Outcome(status, None)
        if 300 <= status < 400:
            return Outcome(status, f"answered {status}: redirects are not followed; set the URL that it leads to")
        return Outcome(status, f"answered {status}; a status from 200 to 299 was expected")

    def record(self, claimed: Claimed, outcome: Outcome) -> None:
        """Store what came of an attempt, unless another sender has taken the delivery meanwhile."""
        at = self._clock()
        with self._database.write() as session:
            hook = repository.get(session, claimed.webhook, lock=True)
            delivery = repository.delivery(session, hook, claimed.id, lock=True) if hook else None
            if hook is None or delivery is None or delivery.attempts != claimed.attempt:
                return
            delivery.claimed_until = None
            delivery.response_status, delivery.error = outcome.status, outcome.error
            failures = MAX_ATTEMPTS - (delivery.attempt_limit - delivery.attempts)
            if outcome.error is None:
                delivery.state, delivery.delivered_at = DeliveryState.SUCCEEDED, at
            elif outcome.status == GONE or delivery.attempts >= delivery.attempt_limit:
                delivery.state = DeliveryState.FAILED
                hook.enabled = hook.enabled and outcome.status != GONE
            else:
                delivery.next_attempt_at = at + delay(failures)
        if outcome.error is not None:  # not the URL, which may hold a secret
            logger.info(
                "webhook %s, delivery %s, attempt %d: %s", claimed.webhook, claimed.id, claimed.attempt, outcome.error
            )
