"""Statements that squawk lets through, and that an open shop would have to wait for, or nobody could judge."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

NOISE = re.compile(
    r"""--[^\n]* | /\*.*?\*/                        # comments
    | \be'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*'     # values
    | \$((?:[a-z_]\w*)?)\$.*?\$\1\$                # bodies
    | "(?:[^"]|"")*"                               # names""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
INNERMOST = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    pattern: str
    instead: str

    def is_broken_by(self, part: str) -> bool:
        return re.match(self.pattern, part, re.IGNORECASE) is not None


IGNORED = Rule("ban-squawk-ignore", "", "Nobody sees why. Name the rule and the reason in `allowed`.")
RULES = (
    Rule(
        "ban-numbered-column",
        r"ALTER TABLE\b.* ADD (COLUMN )?+(IF NOT EXISTS )?+(?!GENERATED )\S+ ((SMALL|BIG)?SERIAL[248]?\b|[^,]*\bAS IDENTITY\b)",
        "It numbers every row under a lock that keeps all out. Add the column empty, let a default number what is new,"
        " and number the rest in portions, by a command.",
    ),
    Rule(
        "ban-rewrite",
        r"ALTER (TABLE|INDEX|MATERIALIZED VIEW)\b.* SET (LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)\b",
        "It copies the whole table under a lock that keeps all out. Make a new table beside it, and fill it in"
        " portions, by a command.",
    ),
    Rule(
        "ban-cluster",
        r"CLUSTER\b|VACUUM\b.*\bFULL\b",
        "It copies the whole table under a lock that keeps all out. Leave the space to autovacuum, or close the shop.",
    ),
    Rule(
        "ban-lock-table",
        r"LOCK\b",
        "Everybody waits until the revision ends. Each statement takes the lock that it needs, and no longer.",
    ),
    Rule(
        "ban-truncate",
        r"TRUNCATE\b",
        "It keeps all out, and takes away what servers of the last release read. Delete in portions, by a command.",
    ),
    Rule(
        "require-where",
        r"(WITH\b.*\(\) )?(UPDATE|DELETE FROM)\b(?!.*\bWHERE\b(?! TRUE$))",
        "It locks every row until the revision ends. Change them in portions, by a command.",
    ),
    Rule(
        "ban-drop-trigger",
        r"DROP TRIGGER\b",
        "It keeps all out, and servers of the last release count on what it does. CREATE OR REPLACE what it calls; drop"
        " it a release after the last that needs it, and say so in `allowed`.",
    ),
    Rule(
        "ban-do",
        r"(DO|CALL)\b",
        "What it does is not seen by any check. Write the statements out; loops belong in a command.",
    ),
)
OURS = frozenset(rule.name for rule in (IGNORED, *RULES))


def refused(sql: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """A line for each rule that it breaks: its name, and what to do instead."""
    parts = [*_parts(sql)]
    found = [rule for rule in RULES if any(rule.is_broken_by(part) for part in parts)]
    if any("squawk-ignore" in comment for comment in _comments(sql)):
        found.append(IGNORED)
    return [f"{rule.name}: {rule.instead}" for rule in found if rule.name not in allowed]


def _comments(sql: str) -> Iterator[str]:
    return (it.group() for it in NOISE.finditer(sql) if it.group().startswith(("--", "/*")))


def _parts(sql: str) -> Iterator[str]:
    """Each statement, without what may hold any word; once more without what is in brackets; and those it has in WITH."""
    for statement in NOISE.sub(_silenced, sql).split(";"):
        rest = " ".join(statement.split())
        yield rest
        while bracket := INNERMOST.search(rest):
            before = rest[: bracket.start()]
            if before.upper().endswith((" AS ", " MATERIALIZED ")):
                yield bracket.group(1).strip()
            rest = f"{before}\0{rest[bracket.end() :]}"
        yield rest.replace("\0", "()")


def _silenced(noise: re.Match[str]) -> str:
    return {"-": " ", "/": " ", '"': '""'}.get(noise.group()[0], "''")
