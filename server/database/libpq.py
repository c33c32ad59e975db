"""Convert database URLs for PostgreSQL's own programs, without secrets on their command line."""

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from persistence.postgres.connection import build_asyncpg_dsn

UNSUPPORTED_SECRETS = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Secrets that libpq accepts only in a URL or in a shared file."""


class UnsupportedSecret(Exception):
    """The URL has a secret that cannot be passed safely; the message is its parameter's name."""


def split_password(url: str) -> tuple[str, str]:
    """Return the URL without its password, and the password.

    Hosts are written before the name, where libpq expects their ports: `user@a:5432,b:5433/name`. If a value is in the
    URL twice, its query loses, as with asyncpg.

    Raises:
        UnsupportedSecret: the URL has another secret than a password.
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
    """Quote the path of a socket, which libpq would otherwise read as the name of a database."""
    return quote(host, safe="") if host.startswith("/") else host
