"""HAProxy: one address for the shop, one for whichever node is the primary, one for the others."""

from cluster.cluster import Cluster
from cluster.patroni import NAMES
from cluster.ports import HOST


def start(cluster: Cluster) -> None:
    settings = cluster.processes.write("haproxy.cfg", _settings(cluster))
    cluster.processes.start("haproxy", cluster.programs.haproxy, "-db", "-f", settings)


def _settings(cluster: Cluster) -> str:
    """A request is sent to another replica only when it could not be sent to the first: it may be a purchase."""
    return f"""
global
  maxconn 2000
defaults
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout check 3s
  default-server inter 500ms fall 2 rise 1
frontend shop
  mode http
  bind {HOST}:{cluster.ports.front}
  # while the primary is away nobody is ready, and the shop still has answers: standbys' ones, and when to try again
  use_backend ready if {{ nbsrv(ready) gt 0 }}
  default_backend alive
{_replicas(cluster, "ready", "/ready")}
{_replicas(cluster, "alive", "/health")}
{_nodes(cluster, "primary", cluster.ports.primary)}
{_nodes(cluster, "replica", cluster.ports.standbys)}
"""


def _replicas(cluster: Cluster, name: str, check: str) -> str:
    shops = "\n".join(f"  server shop{n} {HOST}:{port} check" for n, port in enumerate(cluster.ports.shops, 1))
    return f"""backend {name}
  mode http
  balance roundrobin
  option forwardfor
  option httpchk GET {check}
  option redispatch 1
  retries 2
  retry-on conn-failure
{shops}"""


def _nodes(cluster: Cluster, role: str, port: int) -> str:
    """Patroni tells who is what; connections to one that is it no longer are cut."""
    nodes = "\n".join(
        f"  server {name} {HOST}:{own} check port {rest}"
        for name, own, rest in zip(NAMES, cluster.ports.postgres, cluster.ports.patroni, strict=True)
    )
    return f"""listen {role}
  bind {HOST}:{port}
  mode tcp
  option httpchk GET /{role}
  http-check expect status 200
  timeout client 1h
  timeout server 1h
  default-server on-marked-down shutdown-sessions
{nodes}"""
