"""GraphiQL, the playground at the endpoint: its page, its files and the operations it opens with."""

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

STATIC = Path(__file__).parent / "static"
"""The files that the page asks for under `/graphiql/`."""


def render_page(endpoint: str, nonce: str) -> str:
    """The HTML page. The nonce must be that of `content_security_policy`, new for each response."""
    return _load_template().substitute(endpoint=_dump_script_json(endpoint), nonce=nonce, tabs=_load_tabs())


def build_content_security_policy(nonce: str) -> str:
    """Lets the page run its own scripts and styles, call its own server, and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce}'",
            f"style-src 'nonce-{nonce}'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


@cache
def _load_template() -> Template:
    return Template((files(__name__) / "page.html").read_text("utf-8"))


@cache
def _load_tabs() -> str:
    folder = files(__name__) / "operations"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".graphql"))
    return _dump_script_json([_load_tab(folder, name) for name in names])


def _load_tab(folder: Traversable, name: str) -> dict[str, str]:
    tab = {"query": (folder / name).read_text("utf-8")}
    variables = folder / name.replace(".graphql", ".json")
    if variables.is_file():
        tab["variables"] = variables.read_text("utf-8")
    return tab


def _dump_script_json(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value).replace("<", "\\u003c")
