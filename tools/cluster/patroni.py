"""Patroni: three PostgreSQL servers. One is the primary, one a synchronous replica."""

import contextlib
import sys
from typing import Any

import orjson

from tools.bench.processes import HOST
from tools.cluster.cluster import DATABASE, NODES, Cluster
from tools.cluster.processes import NOT_REACHABLE, kill_with_children, request

TTL = 20  # seconds of the primary's lease; Patroni's minimum
LOOP_WAIT = 2  # seconds between two checks of a node
RETRY_TIMEOUT = 5  # seconds that etcd or PostgreSQL may take to respond
PRIMARY_TIMEOUT, HEALTHY_TIMEOUT, SWITCHOVER_TIMEOUT = 120, 180, 60  # seconds
NAMES = [f"pg{n}" for n in range(1, NODES + 1)]

Members = dict[str, dict[str, Any]]


def start(cluster: Cluster, *names: str) -> None:
    """Start nodes."""
    for name in names:
        path = cluster.processes.write(
            f"{name}.yml", orjson.dumps(_make_config(cluster, name)).decode()
        )  # JSON is YAML
        cluster.processes.start(name, sys.executable, "-m", "patroni", path)


def kill(cluster: Cluster, name: str) -> None:
    """Kill Patroni, PostgreSQL and their children, as a power failure would."""
    cluster.processes.kill(name)
    for postmaster in cluster.processes.list_postmasters(cluster.processes.folder / name):
        kill_with_children(postmaster)


async def fetch_members(cluster: Cluster) -> Members:
    """Return the members as the first node that responds knows them; empty if no node does."""
    for port in cluster.ports.patroni:
        with contextlib.suppress(*NOT_REACHABLE):
            state = (await request(f"http://{HOST}:{port}/cluster")).json()
            return {member["name"]: member for member in state["members"]}
    return {}


async def wait_for_primary(cluster: Cluster, other_than: str | None = None) -> str:
    """Return the name of the primary, as soon as there is one."""

    async def find() -> str | None:
        for name, member in (await fetch_members(cluster)).items():
            if member["role"] == "leader" and member["state"] == "running" and name != other_than:
                return name
        return None

    event = "A new primary" if other_than else "A primary"
    return await cluster.processes.wait_for(event, PRIMARY_TIMEOUT, find)


async def wait_until_healthy(cluster: Cluster) -> None:
    """Wait for a primary and two streaming replicas, one of them synchronous."""

    async def check() -> bool | None:
        return _are_healthy(await fetch_members(cluster)) or None

    await cluster.processes.wait_for("A primary with two replicas", HEALTHY_TIMEOUT, check)


def _are_healthy(members: Members) -> bool:
    """Tell whether all replicas stream. One that is only `running` may still have to be rewound."""
    states = sorted((member["role"], member["state"]) for member in members.values())
    timelines = {member.get("timeline") for member in members.values()}
    return len(timelines) == 1 and states == [
        ("leader", "running"),
        ("replica", "streaming"),
        ("sync_standby", "streaming"),
    ]


async def switch_over(cluster: Cluster) -> str:
    """Let the synchronous replica take over. Returns the name of the old primary."""
    before = await wait_for_primary(cluster)
    port = cluster.ports.patroni[NAMES.index(before)]
    url = f"http://{HOST}:{port}/switchover"
    response = await request(url, json={"leader": before}, timeout=SWITCHOVER_TIMEOUT)
    response.raise_for_status()
    return before


def _make_config(cluster: Cluster, name: str) -> dict[str, Any]:
    ports, number = cluster.ports, NAMES.index(name)
    postgres, rest = f"{HOST}:{ports.postgres[number]}", f"{HOST}:{ports.patroni[number]}"
    roles = {"superuser": "postgres", "replication": "replicator", "rewind": "rewinder"}
    return {
        "scope": DATABASE,
        "name": name,
        "restapi": {"listen": rest, "connect_address": rest},
        "etcd3": {"hosts": [f"{HOST}:{port}" for port in ports.etcd]},
        "bootstrap": {"dcs": _DCS, "initdb": _INITDB},
        "postgresql": {
            "listen": postgres,
            "connect_address": postgres,
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


_DCS: dict[str, Any] = {
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
            "dynamic_shared_memory_type": "mmap",  # so that a killed server leaves nothing outside of our folder
        },
    },
}


_INITDB = ["data-checksums", {"encoding": "UTF8"}, {"locale-provider": "builtin"}, {"builtin-locale": "C.UTF-8"}]
