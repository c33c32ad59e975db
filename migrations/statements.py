"""Statements that squawk lets through, and that an open shop would have to wait for, or nobody could judge."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

COMMENTS_AND_LITERALS = re.compile(
    r"""--[^\n]* | /\*.*?\*/                        # comments
    | \be'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*'     # values
    | \$((?:[a-z_]\w*)?)\$.*?\$\1\$                # bodies
    | "(?:[^"]|"")*"                               # names""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
INNERMOST_PARENTHESES = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class LintRule:
    name: str
    pattern: str
    advice: str

    def matches(self, statement: str) -> bool:
        return re.match(self.pattern, statement, re.IGNORECASE) is not None


SQUAWK_IGNORE_RULE = LintRule("ban-squawk-ignore", "", "Nobody sees why. Name the rule and the reason in `allowed`.")
RULES = (
    LintRule(
        "ban-numbered-column",
        r"ALTER TABLE\b.* ADD (COLUMN )?+(IF NOT EXISTS )?+(?!GENERATED )\S+ ((SMALL|BIG)?SERIAL[248]?\b|[^,]*\bAS IDENTITY\b)",
        "It numbers every row under a lock that keeps all out. Add the column empty, let a default number what is new,"
        " and number the rest in portions, by a command.",
    ),
    LintRule(
        "ban-rewrite",
        r"ALTER (TABLE|INDEX|MATERIALIZED VIEW)\b.* SET (LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)\b",
        "It copies the whole table under a lock that keeps all out. Make a new table beside it, and fill it in"
        " portions, by a command.",
    ),
    LintRule(
        "ban-cluster",
        r"CLUSTER\b|VACUUM\b.*\bFULL\b",
        "It copies the whole table under a lock that keeps all out. Leave the space to autovacuum, or close the shop.",
    ),
    LintRule(
        "ban-lock-table",
        r"LOCK\b",
        "Everybody waits until the revision ends. Each statement takes the lock that it needs, and no longer.",
    ),
    LintRule(
        "ban-truncate",
        r"TRUNCATE\b",
        "It keeps all out, and takes away what servers of the last release read. Delete in portions, by a command.",
    ),
    LintRule(
        "require-where",
        r"(WITH\b.*\(\) )?(UPDATE|DELETE FROM)\b(?!.*\bWHERE\b(?! TRUE$))",
        "It locks every row until the revision ends. Change them in portions, by a command.",
    ),
    LintRule(
        "ban-drop-trigger",
        r"DROP TRIGGER\b",
        "It keeps all out, and servers of the last release count on what it does. CREATE OR REPLACE what it calls; drop"
        " it a release after the last that needs it, and say so in `allowed`.",
    ),
    LintRule(
        "ban-do",
        r"(DO|CALL)\b",
        "What it does is not seen by any check. Write the statements out; loops belong in a command.",
    ),
)
OWN_RULE_NAMES = frozenset(rule.name for rule in (SQUAWK_IGNORE_RULE, *RULES))


def check_statements(sql: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """A line for each rule that it breaks: its name, and what to do instead."""
    statements = [*_split_statements(sql)]
    broken_rules = [rule for rule in RULES if any(rule.matches(part) for part in statements)]
    if any("squawk-ignore" in comment for comment in _find_comments(sql)):
        broken_rules.append(SQUAWK_IGNORE_RULE)
    return [f"{rule.name}: {rule.advice}" for rule in broken_rules if rule.name not in allowed]


def _find_comments(sql: str) -> Iterator[str]:
    return (it.group() for it in COMMENTS_AND_LITERALS.finditer(sql) if it.group().startswith(("--", "/*")))


def _split_statements(sql: str) -> Iterator[str]:
    """Each statement, without what may hold any word; once more without what is in brackets; and those it has in WITH."""
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
