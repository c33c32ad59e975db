"""HAProxy: one port for the servers, as deploy/haproxy.cfg has it, one for the primary, and one for the replicas."""

from tools.bench.processes import HOST, format_haproxy_config
from tools.cluster.cluster import Cluster
from tools.cluster.patroni import NAMES


def start(cluster: Cluster) -> None:
    """Start HAProxy."""
    ports = cluster.ports
    config = "\n".join(
        [
            format_haproxy_config(ports.front, ports.servers),
            _format_listener(cluster, "primary", ports.primary),
            _format_listener(cluster, "replica", ports.replicas),
        ]
    )
    path = cluster.processes.write("haproxy.cfg", config)
    cluster.processes.start("haproxy", cluster.programs.haproxy, "-db", "-f", path)


def _format_listener(cluster: Cluster, role: str, port: int) -> str:
    """Return a port that leads to the nodes with a role, as Patroni reports it. A node that loses it is disconnected."""
    nodes = "\n".join(
        f"    server {name} {HOST}:{postgres_port} check port {patroni_port}"
        for name, postgres_port, patroni_port in zip(NAMES, cluster.ports.postgres, cluster.ports.patroni, strict=True)
    )
    return f"""listen {role}
    bind {HOST}:{port}
    mode tcp
    option httpchk GET /{role}
    http-check expect status 200
    timeout client 1h
    timeout server 1h
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{nodes}
"""
