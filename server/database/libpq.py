"""The address of the database as PostgreSQL's own programs read it, on a command line that others can read, too."""

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from persistence.postgres.connection import build_asyncpg_dsn

UNSUPPORTED_SECRETS = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Secrets that libpq reads in no other place that is the caller's alone."""


class UnsupportedSecret(Exception):
    """Names the secret."""


def split_password(url: str) -> tuple[str, str]:
    """And the password. Hosts stand before the name, where libpq looks for their ports: `user@a:5432,b:5433/name`.

    What is said twice is what the driver takes: not the query's. Raises `Unspeakable`.
    """
    parts = urlsplit(build_asyncpg_dsn(url))
    parameters = dict(parse_qsl(parts.query))
    for name in UNSUPPORTED_SECRETS:
        if name in parameters:
            raise UnsupportedSecret(name)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    fallbacks = {name: parameters.pop(name, "") for name in ("host", "user", "password", "dbname", "database")}
    if hosts:
        parameters.pop("port", None)
    hosts = hosts or ",".join(_quote_socket_folder(host) for host in fallbacks["host"].split(","))
    user = user or quote(fallbacks["user"], safe="")
    database = parts.path.removeprefix("/") or quote(fallbacks["dbname"] or fallbacks["database"], safe="")
    authority = f"{user}@{hosts}" if user else hosts
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return f"postgresql://{authority}/{database}{query}", unquote(password) or fallbacks["password"]


def _quote_socket_folder(host: str) -> str:
    """A folder with a socket would be taken for the name of a database."""
    return quote(host, safe="") if host.startswith("/") else host
