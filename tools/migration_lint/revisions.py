"""Lint the SQL of new revisions with squawk and with our own rules.

A revision may break a rule if it gives the reason:
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

from tools.migration_lint.statements import OWN_RULE_NAMES, check_statements

BASE_REVISION = "8c41d7e2f9b0"
"""Revisions up to this one ran while the shop was closed, so they are not checked."""
SQUAWK_TIMEOUT = 60  # seconds
EXCLUDED_RULES = (
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
"""Squawk's rules that do not concern running servers."""


def lint_revisions(config: Config, since: str = BASE_REVISION) -> list[str]:
    """Return one line per violation in the revisions after `since`, oldest revision first."""
    return [
        f"{Path(revision.path).name}: {violation}"
        for revision in _list_revisions(config, since)
        for violation in _lint_revision(config, revision)
    ]


def lint_sql(sql: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """Return one line per broken rule, except for the rules in `allowed`."""
    return [
        *check_statements(sql, allowed),
        *_run_squawk(sql, tuple(rule for rule in allowed if rule not in OWN_RULE_NAMES)),
    ]


def _list_revisions(config: Config, since: str) -> list[Script]:
    return [*ScriptDirectory.from_config(config).iterate_revisions("head", since)][::-1]


def _lint_revision(config: Config, revision: Script) -> list[str]:
    allowed: dict[str, str] = getattr(revision.module, "allowed", {})
    without_reason = [f"{rule} is allowed without a reason" for rule, reason in allowed.items() if not reason.strip()]
    return without_reason + lint_sql(_render_sql(config, revision), tuple(allowed))


def _render_sql(config: Config, revision: Script) -> str:
    output = io.StringIO()
    config.output_buffer = output
    command.upgrade(config, f"{revision.down_revision}:{revision.revision}", sql=True)
    return output.getvalue()


def _run_squawk(sql: str, allowed: tuple[str, ...]) -> list[str]:
    squawk = Path(sysconfig.get_path("scripts")) / "squawk"
    options = [f"--exclude={','.join((*EXCLUDED_RULES, *allowed))}", "--pg-version=15", "--reporter=json"]
    completed = subprocess.run(
        [squawk, *options], input=sql, capture_output=True, text=True, timeout=SQUAWK_TIMEOUT, check=False
    )
    if completed.returncode not in (0, 1):
        raise RuntimeError(f"squawk failed: {completed.stderr.strip()}")
    return [f"{violation['rule_name']}: {violation['message']}" for violation in orjson.loads(completed.stdout or "[]")]
