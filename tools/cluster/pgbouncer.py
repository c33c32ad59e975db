"""PgBouncer, between the servers and the primary."""

from tools.bench.processes import HOST
from tools.cluster.cluster import DATABASE, Cluster

POOL_MODE = "transaction"


def start(cluster: Cluster) -> None:
    """Start PgBouncer."""
    users = cluster.processes.write("pgbouncer.users", f'"{DATABASE}" "{cluster.password}"\n')
    config = cluster.processes.write(
        "pgbouncer.ini",
        f"""
[databases]
{DATABASE} = host={HOST} port={cluster.ports.primary}
[pgbouncer]
listen_addr = {HOST}
listen_port = {cluster.ports.pgbouncer}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {POOL_MODE}
max_client_conn = 200
default_pool_size = 20
; after a failover, connect again at once: the default waits 15 seconds
server_login_retry = 1
server_connect_timeout = 2
query_wait_timeout = 2
""",
    )
    cluster.processes.start("pgbouncer", cluster.programs.pgbouncer, config)
