"""Which form of an answer a client asks for by its Accept header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from api.problems import ApiError, FieldProblem


def negotiate(accept: str | None, offered: Sequence[str]) -> str:
    """The media type that the client likes best; of equals the first one offered.

    Raises:
        ApiError: it accepts none of them.
    """
    if not accept:
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")]
    liked = [max(_likes(ranges, media_type), default=(0, 0.0))[1] for media_type in offered]
    best = max(liked)
    if best <= 0:
        message = f"must accept one of {', '.join(offered)}"
        fault = FieldProblem(parameter="Accept", code="not_acceptable", message=message)
        raise ApiError(406, "not_acceptable", f"the Accept header {message}", errors=[fault])
    return offered[liked.index(best)]


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (item.strip().lower() for item in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name, quality


def _likes(ranges: Sequence[tuple[str, float]], media_type: str) -> list[tuple[int, float]]:
    """How precisely each range that fits names the media type, and how much it is liked."""
    fits = {"*/*": 1, media_type.split("/")[0] + "/*": 2, media_type: 3}
    return [(fits[name], quality) for name, quality in ranges if name in fits]
