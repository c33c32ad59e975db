"""Migrations that old and new servers can both live with: what would keep them waiting, or break the old ones, is refused.

Squawk reads the SQL of each new revision, and so do rules of our own. What they complain about a revision may allow,
with the reason:
`allowed = {"ban-drop-column": "no release since 0.3 reads it"}`.
"""

import io
import subprocess
import sysconfig
from pathlib import Path

import orjson
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from migrations.statements import OURS, refused

STARTING_POINT = "8c41d7e2f9b0"
"""Revisions up to this one were made while the shop was closed."""
TIMEOUT = 60  # seconds
OF_TASTE = (
    "ban-char-field",
    "ban-create-domain-with-constraint",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",  # each revision is one transaction
    "prefer-text-field",
    "prefer-timestamp-tz",
    "require-lock-timeout",  # migrations/env.py sets it
    "require-statement-timeout",
)
"""Rules that are about something else than living together."""


def complaints(config: Config, since: str = STARTING_POINT) -> list[str]:
    """One line for each statement that a shop cannot stay open under."""
    return [f"{Path(it.path).name}: {said}" for it in _revisions(config, since) for said in _about(config, it)]


def _revisions(config: Config, since: str) -> list[Script]:
    """The oldest first."""
    return [*ScriptDirectory.from_config(config).iterate_revisions("head", since)][::-1]


def _about(config: Config, revision: Script) -> list[str]:
    allowed: dict[str, str] = getattr(revision.module, "allowed", {})
    without_reason = [f"{rule} is allowed without a reason" for rule, reason in allowed.items() if not reason.strip()]
    return without_reason + judged(_sql(config, revision), tuple(allowed))


def _sql(config: Config, revision: Script) -> str:
    printed = io.StringIO()
    config.output_buffer = printed
    command.upgrade(config, f"{revision.down_revision}:{revision.revision}", sql=True)
    return printed.getvalue()


def judged(sql: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """What there is to say about it, a line each."""
    return [*refused(sql, allowed), *_said_by_squawk(sql, tuple(rule for rule in allowed if rule not in OURS))]


def _said_by_squawk(sql: str, allowed: tuple[str, ...]) -> list[str]:
    squawk = Path(sysconfig.get_path("scripts")) / "squawk"
    options = [f"--exclude={','.join((*OF_TASTE, *allowed))}", "--pg-version=15", "--reporter=json"]
    ended = subprocess.run(  # noqa: S603  # nothing of it comes from outside
        [squawk, *options], input=sql, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if ended.returncode not in (0, 1):
        raise RuntimeError(f"squawk failed: {ended.stderr.strip()}")
    return [f"{found['rule_name']}: {found['message']}" for found in orjson.loads(ended.stdout or "[]")]
