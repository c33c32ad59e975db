"""Negotiate the media type of a response (RFC 9110, section 12.5.1)."""

from functools import lru_cache

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"


@lru_cache(maxsize=100)
def negotiate_media_type(accept: str) -> str | None:
    """Return the preferred media type, or `None` if the client accepts neither.

    With equal weights a named type wins, and of two named types the newer one.
    """
    weights = _parse_accept(accept) if accept.strip() else {"*/*": 1.0}
    named, general = weights.get(GRAPHQL_JSON), weights.get("application/*", weights.get("*/*", 0.0))
    preferences = {GRAPHQL_JSON: general if named is None else named, JSON: weights.get(JSON, general)}
    best = max(preferences.values())
    if best == 0:
        return None
    return (
        GRAPHQL_JSON if preferences[GRAPHQL_JSON] == best and (named is not None or preferences[JSON] < best) else JSON
    )


def _parse_accept(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in accept.split(","):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if media_range:
            weights[media_range] = max(weights.get(media_range, 0.0), _parse_quality(parameters))
    return weights


def _parse_quality(parameters: list[str]) -> float:
    """Return the weight; an invalid one counts as 1, so that such clients get a response, too."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 1.0
    return 1.0
