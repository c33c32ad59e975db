"""The address of the database as PostgreSQL's own programs read it, on a command line that others can read, too."""

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from persistence.connecting import driver_address

UNSPEAKABLE = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Secrets that libpq reads in no other place that is the caller's alone."""


class Unspeakable(Exception):
    """Names the secret."""


def without_password(url: str) -> tuple[str, str]:
    """And the password. Hosts stand before the name, where libpq looks for their ports: `user@a:5432,b:5433/name`.

    What is said twice is what the driver takes: not the query's. Raises `Unspeakable`.
    """
    parts = urlsplit(driver_address(url))
    told = dict(parse_qsl(parts.query))
    for name in UNSPEAKABLE:
        if name in told:
            raise Unspeakable(name)
    account, _, hosts = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    also = {name: told.pop(name, "") for name in ("host", "user", "password", "dbname", "database")}
    if hosts:
        told.pop("port", None)
    hosts = hosts or ",".join(_quoted(host) for host in also["host"].split(","))
    user = user or quote(also["user"], safe="")
    database = parts.path.removeprefix("/") or quote(also["dbname"] or also["database"], safe="")
    place = f"{user}@{hosts}" if user else hosts
    query = f"?{urlencode(told, quote_via=quote)}" if told else ""
    return f"postgresql://{place}/{database}{query}", unquote(password) or also["password"]


def _quoted(host: str) -> str:
    """A folder with a socket would be taken for the name of a database."""
    return quote(host, safe="") if host.startswith("/") else host
