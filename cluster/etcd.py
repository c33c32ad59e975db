"""etcd: what Patroni's nodes agree through."""

import platform

from cluster.cluster import Cluster
from cluster.ports import HOST
from cluster.waiting import ask, until


def start(cluster: Cluster) -> None:
    ports = cluster.ports
    peers = ",".join(f"etcd{n}=http://{HOST}:{port}" for n, port in enumerate(ports.etcd_peers, 1))
    for n, (client, peer) in enumerate(zip(ports.etcd, ports.etcd_peers, strict=True), 1):
        at, towards = f"http://{HOST}:{client}", f"http://{HOST}:{peer}"
        cluster.processes.start(
            f"etcd{n}", cluster.programs.etcd, "--name", f"etcd{n}",
            "--data-dir", cluster.processes.folder / f"etcd{n}",
            "--listen-client-urls", at, "--advertise-client-urls", at,
            "--listen-peer-urls", towards, "--initial-advertise-peer-urls", towards,
            "--initial-cluster", peers, "--initial-cluster-state", "new",
            ETCD_UNSUPPORTED_ARCH=_known_as(platform.machine()),  # Debian's 3.4 wants to be asked twice on arm64
        )  # fmt: skip


def _known_as(machine: str) -> str:
    return "arm64" if machine == "aarch64" else ""


async def until_agreed(cluster: Cluster) -> None:
    async def look() -> bool | None:
        answers = [(await ask(f"http://{HOST}:{port}/health")).json() for port in cluster.ports.etcd]
        return all(answer.get("health") == "true" for answer in answers) or None

    await until(cluster.processes, "Agreement between the nodes of etcd", 30, look)
