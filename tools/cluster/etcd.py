"""etcd: the store in which Patroni's nodes agree."""

import platform

from tools.bench.processes import HOST
from tools.cluster.cluster import Cluster
from tools.cluster.processes import request

TIMEOUT = 30  # seconds


def start(cluster: Cluster) -> None:
    """Start three nodes."""
    ports = cluster.ports
    peers = ",".join(f"etcd{n}=http://{HOST}:{port}" for n, port in enumerate(ports.etcd_peers, 1))
    for n, (client_port, peer_port) in enumerate(zip(ports.etcd, ports.etcd_peers, strict=True), 1):
        client_url, peer_url = f"http://{HOST}:{client_port}", f"http://{HOST}:{peer_port}"
        cluster.processes.start(
            f"etcd{n}", cluster.programs.etcd, "--name", f"etcd{n}",
            "--data-dir", cluster.processes.folder / f"etcd{n}",
            "--listen-client-urls", client_url, "--advertise-client-urls", client_url,
            "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
            "--initial-cluster", peers, "--initial-cluster-state", "new",
            # Debian's 3.4 refuses arm64 without this
            ETCD_UNSUPPORTED_ARCH="arm64" if platform.machine() == "aarch64" else "",
        )  # fmt: skip


async def wait_until_healthy(cluster: Cluster) -> None:
    """Wait until all nodes are healthy."""

    async def check() -> bool | None:
        responses = [(await request(f"http://{HOST}:{port}/health")).json() for port in cluster.ports.etcd]
        return all(response.get("health") == "true" for response in responses) or None

    await cluster.processes.wait_for("The health of etcd", TIMEOUT, check)
