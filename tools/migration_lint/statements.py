"""Find statements that squawk accepts, but that block a running shop or cannot be checked."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

COMMENTS_AND_LITERALS = re.compile(
    r"""--[^\n]* | /\*.*?\*/                        # comments
    | \be'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*'     # literals
    | \$((?:[a-z_]\w*)?)\$.*?\$\1\$                # function bodies
    | "(?:[^"]|"")*"                               # quoted names""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
INNERMOST_PARENTHESES = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class LintRule:
    """A statement to reject: its regular expression, and what to write instead."""

    name: str
    pattern: str
    advice: str

    def matches(self, statement: str) -> bool:
        """Return whether the statement starts with the pattern, in any case."""
        return re.match(self.pattern, statement, re.IGNORECASE) is not None


SQUAWK_IGNORE_RULE = LintRule(
    "ban-squawk-ignore", "", "It hides the reason. Name the rule and the reason in `allowed`."
)
RULES = (
    LintRule(
        "ban-numbered-column",
        r"ALTER TABLE\b.* ADD (COLUMN )?+(IF NOT EXISTS )?+(?!GENERATED )\S+ ((SMALL|BIG)?SERIAL[248]?\b|[^,]*\bAS IDENTITY\b)",
        "It numbers every row under an exclusive lock. Add a nullable column, set a default for new rows,"
        " and number the existing rows in batches, in a command.",
    ),
    LintRule(
        "ban-rewrite",
        r"ALTER (TABLE|INDEX|MATERIALIZED VIEW)\b.* SET (LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)\b",
        "It copies the whole table under an exclusive lock. Create a new table, and fill it in batches, in a command.",
    ),
    LintRule(
        "ban-cluster",
        r"CLUSTER\b|VACUUM\b.*\bFULL\b",
        "It copies the whole table under an exclusive lock. Leave the space to autovacuum, or close the shop.",
    ),
    LintRule(
        "ban-lock-table",
        r"LOCK\b",
        "It blocks all clients until the revision ends. Let each statement take the lock that it needs.",
    ),
    LintRule(
        "ban-truncate",
        r"TRUNCATE\b",
        "It locks the table exclusively, and servers of the previous release may read its rows. Delete in batches, in a command.",
    ),
    LintRule(
        "require-where",
        r"(WITH\b.*\(\) )?(UPDATE|DELETE FROM)\b(?!.*\bWHERE\b(?! TRUE$))",
        "It locks every row until the revision ends. Change the rows in batches, in a command.",
    ),
    LintRule(
        "ban-drop-trigger",
        r"DROP TRIGGER\b",
        "It locks the table exclusively, and servers of the previous release rely on the trigger. CREATE OR REPLACE its"
        " function; drop the trigger one release after the last that needs it, and give that reason in `allowed`.",
    ),
    LintRule(
        "ban-do",
        r"(DO|CALL)\b",
        "No check can see what it does. Write the statements out; loops belong in a command.",
    ),
)
OWN_RULE_NAMES = frozenset(rule.name for rule in (SQUAWK_IGNORE_RULE, *RULES))


def check_statements(sql: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """Return one line per broken rule: its name, and what to write instead."""
    statements = [*_split_statements(sql)]
    broken_rules = [rule for rule in RULES if any(rule.matches(part) for part in statements)]
    if any("squawk-ignore" in comment for comment in _find_comments(sql)):
        broken_rules.append(SQUAWK_IGNORE_RULE)
    return [f"{rule.name}: {rule.advice}" for rule in broken_rules if rule.name not in allowed]


def _find_comments(sql: str) -> Iterator[str]:
    return (it.group() for it in COMMENTS_AND_LITERALS.finditer(sql) if it.group().startswith(("--", "/*")))


def _split_statements(sql: str) -> Iterator[str]:
    """Yield each statement with masked literals, again with masked parentheses, and the statements in its WITH clauses."""
    for statement in COMMENTS_AND_LITERALS.sub(_mask, sql).split(";"):
        rest = " ".join(statement.split())
        yield rest
        while parentheses := INNERMOST_PARENTHESES.search(rest):
            before = rest[: parentheses.start()]
            if before.upper().endswith((" AS ", " MATERIALIZED ")):
                yield parentheses.group(1).strip()
            rest = f"{before}\0{rest[parentheses.end() :]}"
        yield rest.replace("\0", "()")


def _mask(match: re.Match[str]) -> str:
    return {"-": " ", "/": " ", '"': '""'}.get(match.group()[0], "''")
