"""Write `.env.example` and `docs/reference/settings.md` from the descriptions of the settings.

usage: python -m tools.settings_reference [--check]

With `--check` nothing is written: the exit code is 1 if a file is outdated.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from server.settings import Settings

ROOT = Path(__file__).parent.parent
COMMENT_WIDTH = 118  # characters
ENVIRONMENT_HEADER = """\
# Generated from server/settings by `just settings`; docs/reference/settings.md has defaults and ranges.
# Copy this file to .env and change it there. Without DATABASE_URL the shop starts an embedded PostgreSQL and needs
# none of these settings.
"""
MARKDOWN_HEADER = """\
# Settings

Settings are environment variables, or lines of a file `.env` in the working directory. An empty value counts as unset.
In development none is required; in production (`ENVIRONMENT`) `DATABASE_URL`, `SECRET_KEY` and `PUBLIC_URL` are.

This page is generated from `server/settings` by `just settings`.
"""
_DOCUMENT = re.compile(r"docs/((?:how-to|reference)/([a-z-]+)\.md)")
_SYMBOLS = {Ge: "≥", Gt: ">", Le: "≤"}


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` name those that are outdated."""
    files = {ROOT / ".env.example": render_environment(), ROOT / "docs/reference/settings.md": render_markdown()}
    outdated = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" not in arguments:
        for path in outdated:
            path.write_text(files[path], encoding="utf-8")
        return 0
    for path in outdated:
        sys.stderr.write(f"{path.relative_to(ROOT)} is outdated: run `just settings`.\n")
    return bool(outdated)


def list_groups() -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    """Yield each group's title and its fields by name."""
    own_names = set(Settings.model_fields)
    groups = [base for base in reversed(Settings.__bases__) if issubclass(base, BaseModel) and base.model_fields]
    for group in groups:
        own_names -= set(group.model_fields)
    yield "Environment", {name: Settings.model_fields[name] for name in Settings.model_fields if name in own_names}
    for group in groups:
        yield (group.__doc__ or "").rstrip("."), dict(group.model_fields)


def render_environment() -> str:
    """Return the text of `.env.example`: each setting as a comment, with an example or its default."""
    lines = [ENVIRONMENT_HEADER]
    for title, fields in list_groups():
        lines.append(f"# ── {title} {'─' * (COMMENT_WIDTH - len(title) - 5)}\n")
        for name, field in fields.items():
            lines.append(_comment(str(field.description)))
            examples = field.examples or [field.default]
            lines += [f"# {name.upper()}={format_value(example)}" for example in examples]
            lines.append("")
    return "\n".join(lines)


def render_markdown() -> str:
    """Return the text of `docs/reference/settings.md`: a table per group."""
    lines = [MARKDOWN_HEADER]
    for title, fields in list_groups():
        lines += [f"## {title}\n", "| Setting | Default | Range | Description |", "|---|---|---|---|"]
        for name, field in fields.items():
            description = _DOCUMENT.sub(_link, str(field.description))
            default = format_value(field.get_default(call_default_factory=True))
            cells = (f"`{name.upper()}`", f"`{default}`" if default else "unset", format_range(field), description)
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def format_value(value: Any) -> str:
    """Return a value as it is written in the environment; unset is empty."""
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def format_range(field: FieldInfo) -> str:
    """Return the range of numbers that a setting accepts, such as `≥ 1, ≤ 200`."""
    bounds = []
    for constraint in field.metadata:
        for kind, symbol in _SYMBOLS.items():
            if isinstance(constraint, kind):
                bounds.append(f"{symbol} {getattr(constraint, kind.__name__.lower()):,}")
    return ", ".join(bounds)


def _comment(text: str) -> str:
    return fill(text, COMMENT_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _link(match: re.Match[str]) -> str:
    folder, _, name = match[1].partition("/")
    target = name if folder == "reference" else f"../{match[1]}"
    return f"[{match[2].replace('-', ' ')}]({target})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
