"""Several hosts in one address: each is asked with its own share of the time, the one that was right the last time first."""

import asyncio
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

C = TypeVar("C", bound=asyncpg.Connection)

_LAST_GOOD_URL: dict[tuple[str, SessionAttribute | None], str] = {}
"""Which host of an address was right, by what was wanted of it."""
_HOST_ERRORS = (  # and perhaps at another one
    OSError,  # a host that says nothing among them
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
)


def split_hosts(url: str) -> list[str]:
    """One for each host that asyncpg would find in it, in their order."""
    base_url, _, query = url.partition("?")
    scheme, _, remainder = base_url.partition("://")
    netloc, slash, database_name = remainder.partition("/")
    userinfo, at, hosts = netloc.rpartition("@")
    if "," in hosts:
        return [
            _join_query(f"{scheme}://{userinfo}{at}{host}{slash}{database_name}", query) for host in hosts.split(",")
        ]
    parameters = query.split("&") if query else []
    host_lists = [part.removeprefix("host=").split(",") for part in parameters if part.startswith("host=")]
    if hosts or len(host_lists) != 1 or len(host_lists[0]) == 1:
        return [url]
    port_lists = [part.removeprefix("port=").split(",") for part in parameters if part.startswith("port=")]
    ports_by_host = (
        port_lists[0] if port_lists and len(port_lists[0]) == len(host_lists[0]) else [None] * len(host_lists[0])
    )
    parameters_without_host = [part for part in parameters if not part.startswith("host=")]
    parameters_without_port = [part for part in parameters_without_host if not part.startswith("port=")]
    return [
        _join_query(
            base_url,
            "&".join(
                [
                    f"host={host}",
                    *(parameters_without_host if port is None else [f"port={port}", *parameters_without_port]),
                ]
            ),
        )
        for host, port in zip(host_lists[0], ports_by_host, strict=True)
    ]


async def connect_any(
    url: str,
    connection_class: type[C],
    *,
    timeout: float,
    target_session_attrs: SessionAttribute | None = None,
    **connect_kwargs: Any,
) -> C:
    """To the first host that answers and is what is `wanted`, or what the address says. Raises what hindered the last.

    `within` are seconds for all of them, as asyncpg has it; there, a host that says nothing would have them for itself.
    """
    urls = split_hosts(url)
    cache_key, last_url = (url, target_session_attrs), _LAST_GOOD_URL.get((url, target_session_attrs))
    target_session_attrs = target_session_attrs or _parse_target_session_attrs(url)
    required_attrs = (
        SessionAttribute.standby if target_session_attrs is SessionAttribute.prefer_standby else target_session_attrs
    )
    clock = asyncio.get_running_loop().time
    deadline, mismatched_urls, errors = clock() + timeout, list[str](), list[Exception]()
    for attempted, host_url in enumerate(sorted(urls, key=lambda host: host != last_url)):
        connect_kwargs["timeout"] = (deadline - clock()) / (len(urls) - attempted)
        try:
            connection = await asyncpg.connect(
                host_url, target_session_attrs=required_attrs, connection_class=connection_class, **connect_kwargs
            )
        except asyncpg.TargetServerAttributeNotMatched as error:
            mismatched_urls.append(host_url)
            errors.insert(0, error)  # that another does not answer says more
        except _HOST_ERRORS as error:
            errors.append(error)
        else:
            _LAST_GOOD_URL[cache_key] = host_url
            return connection
    if not mismatched_urls or required_attrs is target_session_attrs:
        raise errors[-1]
    any_server = SessionAttribute.any
    return await asyncpg.connect(
        mismatched_urls[0], target_session_attrs=any_server, connection_class=connection_class, **connect_kwargs
    )


def _join_query(base_url: str, query: str) -> str:
    return f"{base_url}?{query}" if query else base_url


def _parse_target_session_attrs(url: str) -> SessionAttribute | None:
    """`None` where the address leaves it to the surroundings."""
    values = parse_qs(urlsplit(url).query).get("target_session_attrs")
    return SessionAttribute(values[-1]) if values else None
