"""Render the GraphiQL page with its example operations."""

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

STATIC = Path(__file__).parent / "static"
"""The files under `/graphiql/`."""


def render_page(endpoint: str, nonce: str) -> str:
    """Return the HTML page. Its nonce must be that of the Content-Security-Policy, and new for each response."""
    return _load_template().substitute(endpoint=_dump_script_json(endpoint), nonce=nonce, tabs=_load_tabs())


def build_content_security_policy(nonce: str) -> str:
    """Return a policy that allows the page's own scripts and styles and requests to its own server only."""
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
    """Serialize to JSON that cannot close the script element around it."""
    return json.dumps(value).replace("<", "\\u003c")
