"""What the client raises: `CptError`, and `MissingPartError` where a library is not installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

UNREACHABLE = "unreachable"
"""Code of an error where no server answered."""

NOT_A_SERVER = "not_a_cpt_server"
"""Code of an error where something answered that is no CPT server."""


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request."""

    pointer: str
    """RFC 6901 JSON pointer to the field of the body; "" for the body as a whole."""
    code: str
    """Kind of the error, stable."""
    message: str
    """A sentence for people."""
    parameter: str | None = None
    """Name of the parameter at fault, where it is not a field of the body."""


class CptError(Exception):
    """A request that came to nothing: the server refused it (RFC 9457 problem), failed, or did not answer."""

    def __init__(self, code: str, detail: str, *, status: int | None = None, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.code = code
        """Kind of the problem, stable: the server's, or `unreachable`, `not_a_cpt_server`, `http_<status>`."""
        self.detail = detail
        """A sentence for people."""
        self.status = status
        """HTTP status; null when no server answered."""
        self.errors = tuple(errors)
        """What is wrong with which field, if that is the problem."""

    @property
    def is_server_side(self) -> bool:
        """Whether the server is away or failing, so that the same request may succeed later."""
        return self.code in (UNREACHABLE, NOT_A_SERVER) or (self.status or 0) >= 500


class MissingPartError(ImportError):
    """A library that this needs is not installed; the message names the extra that brings it."""

    def __init__(self, library: str, *, extra: str) -> None:
        super().__init__(f"this needs {library}, which is not installed: pip install 'cpt-service[{extra}]'")


def from_response(response: httpx.Response) -> CptError:
    """The error that a response with status 400 or above tells of. The body must have been read."""
    status = response.status_code
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "code" not in body:
        return CptError(f"http_{status}", f"the server answered {status} {response.reason_phrase}", status=status)
    errors = [
        FieldError(
            pointer=str(item.get("pointer", "")),
            code=str(item.get("code", "")),
            message=str(item.get("message", "")),
            parameter=item.get("parameter"),
        )
        for item in body.get("errors") or []
        if isinstance(item, dict)
    ]
    detail = str(body.get("detail") or body.get("title") or f"the server answered {status}")
    return CptError(str(body["code"]), detail, status=status, errors=errors)


def unreachable(url: str, error: Exception) -> CptError:
    """The error of a server that does not answer."""
    return CptError(UNREACHABLE, f"no CPT server answers at {url} ({error or type(error).__name__})")
