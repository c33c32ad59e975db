"""Which of our two media types a client wants (RFC 9110, section 12.5.1)."""

from functools import lru_cache

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"


@lru_cache(maxsize=100)
def media_type(accepted: str) -> str | None:
    """`None` when it takes neither. Where both are as welcome, the one that is named, and the newer one first."""
    weights = _weights(accepted) if accepted.strip() else {"*/*": 1.0}
    named, general = weights.get(GRAPHQL_JSON), weights.get("application/*", weights.get("*/*", 0.0))
    wanted = {GRAPHQL_JSON: general if named is None else named, JSON: weights.get(JSON, general)}
    best = max(wanted.values())
    if best == 0:
        return None
    return GRAPHQL_JSON if wanted[GRAPHQL_JSON] == best and (named is not None or wanted[JSON] < best) else JSON


def _weights(accepted: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in accepted.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if kind:
            weights[kind] = max(weights.get(kind, 0.0), _weight(parameters))
    return weights


def _weight(parameters: list[str]) -> float:
    """1 for what is no weight: a client that cannot write one still wants an answer."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 1.0
    return 1.0
