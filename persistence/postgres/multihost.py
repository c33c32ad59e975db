"""Connecting to the first suitable host of a URL with several hosts.

Each host gets a share of the timeout; the host that matched last time is tried first.
"""

import asyncio
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

C = TypeVar("C", bound=asyncpg.Connection)

_LAST_GOOD_URL: dict[tuple[str, SessionAttribute | None], str] = {}
"""The host that matched last, by URL and requested attributes."""
_HOST_ERRORS = (  # another host may still work
    OSError,  # includes a silent host
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
)


def split_hosts(url: str) -> list[str]:
    """Return one URL per host that asyncpg finds in a URL, in their order."""
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
    """Connect to the first host that responds and has the requested attributes.

    `timeout` are seconds for all hosts together, shared between them; asyncpg would let one silent host use all of it.

    Raises:
        Exception: The error of the last host.
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
            errors.insert(0, error)  # the error of a host that does not respond says more
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
    """Return the URL's `target_session_attrs`, or `None` where it has none."""
    values = parse_qs(urlsplit(url).query).get("target_session_attrs")
    return SessionAttribute(values[-1]) if values else None
