"""The address of the database as PostgreSQL's own programs read it."""

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from persistence.connecting import driver_address


def without_password(url: str) -> tuple[str, str]:
    """And the password. Hosts stand before the name, where libpq looks for their ports: `user@a:5432,b:5433/name`."""
    parts = urlsplit(driver_address(url))
    told = dict(parse_qsl(parts.query))
    account, _, hosts = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    named = told.pop("host", "")
    if hosts:
        told.pop("port", None)  # nor does the driver believe it, then
    else:
        hosts = ",".join(_quoted(host) for host in named.split(","))
    place = f"{user}@{hosts}" if user else hosts
    query = f"?{urlencode(told, quote_via=quote)}" if told else ""
    return f"postgresql://{place}{parts.path}{query}", unquote(password)


def _quoted(host: str) -> str:
    """A folder with a socket would be taken for the name of a database."""
    return quote(host, safe="") if host.startswith("/") else host
