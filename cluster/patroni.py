"""Patroni: three PostgreSQL servers, one of them the primary, one that has each commit before it is acknowledged."""

import contextlib
import sys
from typing import Any

import orjson

from cluster.cluster import DATABASE, Cluster
from cluster.ports import HOST, NODES
from cluster.processes import end_with_children
from cluster.waiting import NOT_YET, ask, until

TTL = 20  # seconds that a dead primary's lease lives on; Patroni takes no fewer
LOOP_WAIT = 2  # seconds between two rounds of a node
RETRY_TIMEOUT = 5  # seconds that etcd or PostgreSQL may take to answer
NAMES = [f"pg{n}" for n in range(1, NODES + 1)]

Members = dict[str, dict[str, Any]]


def start(cluster: Cluster, *names: str) -> None:
    for name in names:
        path = cluster.processes.write(f"{name}.yml", orjson.dumps(_settings(cluster, name)).decode())  # JSON is YAML
        cluster.processes.start(name, sys.executable, "-m", "patroni", path)


def kill(cluster: Cluster, name: str) -> None:
    """As if the machine had lost its power: Patroni, PostgreSQL and every process of theirs."""
    cluster.processes.kill(name)
    for postmaster in cluster.processes.postmasters(cluster.processes.folder / name):
        end_with_children(postmaster)


async def members(cluster: Cluster) -> Members:
    """As the first node that answers has it; none when nobody does."""
    for port in cluster.ports.patroni:
        with contextlib.suppress(*NOT_YET):
            told = (await ask(f"http://{HOST}:{port}/cluster")).json()
            return {member["name"]: member for member in told["members"]}
    return {}


async def leader(cluster: Cluster, other_than: str | None = None) -> str:
    """The primary; waits until there is one."""

    async def look() -> str | None:
        for name, member in (await members(cluster)).items():
            if member["role"] == "leader" and member["state"] == "running" and name != other_than:
                return name
        return None

    return await until(cluster.processes, "A new primary" if other_than else "A primary", 120, look)


async def until_whole(cluster: Cluster) -> None:
    """A primary and two standbys that receive what it writes, one of which has each commit before it is acknowledged."""

    async def look() -> bool | None:
        return _are_whole(await members(cluster)) or None

    await until(cluster.processes, "A primary with two standbys", 180, look)


def _are_whole(found: Members) -> bool:
    """A node that has just been started is `running`, too, and may have to be rewound yet."""
    states = sorted((member["role"], member["state"]) for member in found.values())
    timelines = {member.get("timeline") for member in found.values()}
    return len(timelines) == 1 and states == [
        ("leader", "running"),
        ("replica", "streaming"),
        ("sync_standby", "streaming"),
    ]


async def switch_over(cluster: Cluster) -> str:
    """Asks the primary to hand over to the standby that has all it has; who it was."""
    before = await leader(cluster)
    port = cluster.ports.patroni[NAMES.index(before)]
    answer = await ask(f"http://{HOST}:{port}/switchover", json={"leader": before}, timeout=60)
    answer.raise_for_status()
    return before


def _settings(cluster: Cluster, name: str) -> dict[str, Any]:
    ports, number = cluster.ports, NAMES.index(name)
    own, rest = f"{HOST}:{ports.postgres[number]}", f"{HOST}:{ports.patroni[number]}"
    roles = {"superuser": "postgres", "replication": "replicator", "rewind": "rewinder"}
    return {
        "scope": DATABASE,
        "name": name,
        "restapi": {"listen": rest, "connect_address": rest},
        "etcd3": {"hosts": [f"{HOST}:{port}" for port in ports.etcd]},
        "bootstrap": {"dcs": _shared(), "initdb": _INITDB},
        "postgresql": {
            "listen": own,
            "connect_address": own,
            "data_dir": str(cluster.processes.folder / name),
            "bin_dir": str(cluster.programs.postgresql),
            "pgpass": str(cluster.processes.folder / f"{name}.pgpass"),
            "pg_hba": [f"host all all {HOST}/32 scram-sha-256", f"host replication replicator {HOST}/32 scram-sha-256"],
            "authentication": {use: {"username": role, "password": cluster.password} for use, role in roles.items()},
            "parameters": {"unix_socket_directories": ""},
            "remove_data_directory_on_rewind_failure": True,
        },
        "watchdog": {"mode": "off"},
    }


def _shared() -> dict[str, Any]:
    return {
        "ttl": TTL,
        "loop_wait": LOOP_WAIT,
        "retry_timeout": RETRY_TIMEOUT,
        "synchronous_mode": True,
        "synchronous_mode_strict": True,
        "postgresql": {
            "use_pg_rewind": True,
            "parameters": {
                "max_connections": 100,
                "shared_buffers": "64MB",
                "dynamic_shared_memory_type": "mmap",  # so that kill -9 leaves nothing outside of our folder
            },
        },
    }


_INITDB = ["data-checksums", {"encoding": "UTF8"}, {"locale-provider": "builtin"}, {"builtin-locale": "C.UTF-8"}]
