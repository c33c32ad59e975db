"""Lint the migrations: `python -m tools.migration_lint` prints the violations and exits with 1 if there are any."""

import sys

from server.database.migrations import build_alembic_config
from tools.migration_lint.revisions import lint_revisions

if __name__ == "__main__":
    if violations := lint_revisions(build_alembic_config()):
        sys.exit("\n".join(violations))
