"""Several hosts in one address: each is asked with its own share of the time, the one that was right the last time first."""

import asyncio
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

C = TypeVar("C", bound=asyncpg.Connection)

_LAST: dict[tuple[str, SessionAttribute | None], str] = {}
"""Which host of an address was right, by what was wanted of it."""
_NOT_HERE = (  # and perhaps at another one
    OSError,  # a host that says nothing among them
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
)


def addresses_of(address: str) -> list[str]:
    """One for each host that asyncpg would find in it, in their order."""
    place, _, query = address.partition("?")
    scheme, _, rest = place.partition("://")
    given, slash, name = rest.partition("/")
    who, at, hosts = given.rpartition("@")
    if "," in hosts:
        return [_joined(f"{scheme}://{who}{at}{host}{slash}{name}", query) for host in hosts.split(",")]
    told = query.split("&") if query else []
    several = [part.removeprefix("host=").split(",") for part in told if part.startswith("host=")]
    if hosts or len(several) != 1 or len(several[0]) == 1:
        return [address]
    ports = [part.removeprefix("port=").split(",") for part in told if part.startswith("port=")]
    by_host = ports[0] if ports and len(ports[0]) == len(several[0]) else [None] * len(several[0])
    others = [part for part in told if not part.startswith("host=")]
    without = [part for part in others if not part.startswith("port=")]
    return [
        _joined(place, "&".join([f"host={host}", *(others if port is None else [f"port={port}", *without])]))
        for host, port in zip(several[0], by_host, strict=True)
    ]


async def connect_to_one(
    address: str, kind: type[C], *, within: float, wanted: SessionAttribute | None = None, **told: Any
) -> C:
    """To the first host that answers and is what is `wanted`, or what the address says. Raises what hindered the last.

    `within` are seconds for all of them, as asyncpg has it; there, a host that says nothing would have them for itself.
    """
    hosts = addresses_of(address)
    known, last = (address, wanted), _LAST.get((address, wanted))
    wanted = wanted or _wanted(address)
    strictly = SessionAttribute.standby if wanted is SessionAttribute.prefer_standby else wanted
    clock = asyncio.get_running_loop().time
    until, others, trouble = clock() + within, list[str](), list[Exception]()
    for tried, host in enumerate(sorted(hosts, key=lambda host: host != last)):
        told["timeout"] = (until - clock()) / (len(hosts) - tried)
        try:
            connection = await asyncpg.connect(host, target_session_attrs=strictly, connection_class=kind, **told)
        except asyncpg.TargetServerAttributeNotMatched as error:
            others.append(host)
            trouble.insert(0, error)  # that another does not answer says more
        except _NOT_HERE as error:
            trouble.append(error)
        else:
            _LAST[known] = host
            return connection
    if not others or strictly is wanted:
        raise trouble[-1]
    any_of_them = SessionAttribute.any
    return await asyncpg.connect(others[0], target_session_attrs=any_of_them, connection_class=kind, **told)


def _joined(place: str, query: str) -> str:
    return f"{place}?{query}" if query else place


def _wanted(address: str) -> SessionAttribute | None:
    """`None` where the address leaves it to the surroundings."""
    told = parse_qs(urlsplit(address).query).get("target_session_attrs")
    return SessionAttribute(told[-1]) if told else None
