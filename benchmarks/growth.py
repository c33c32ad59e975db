"""What grows with the catalogue, and what does not: `just growth`. Our server alone, at several sizes.

Deep cursors, searches for common words, books that many have reviewed, and filters for a part of a name.
"""

import argparse
import asyncio
import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import asyncpg
import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import data, plot
from benchmarks.competition import COLUMNS, Ground, kept, prepared
from benchmarks.contenders import CONTENDERS, running
from benchmarks.generation import Size
from benchmarks.measuring import Effort, Postmaster, Sample, measure
from benchmarks.stage import Stage, set_stage
from benchmarks.versions import machine, versions
from benchmarks.workloads import BOOK, CATALOGUE, PAGE, SEARCH, Question, Variables, Workload
from graph.book_list import _cursor_codec
from graph.kit.ids import to_global_id
from persistence.browse.book_query import BookQuery

SIZES = (1_000, 100_000)
COMMON_WORD, RARE_WORD = "search for a common word", "search for a rare word"
BY_AUTHOR = f"""query ByAuthor($author: String!, $first: Int!) {{
    books(filter: {{author: $author}}, first: $first) {{ {PAGE} }} }}"""
DEEP = """
SELECT added_at, id FROM books ORDER BY added_at DESC, id DESC OFFSET (SELECT count(*) / 2 FROM books) LIMIT 500"""
COMMON = """
SELECT word FROM ts_stat('SELECT search FROM books TABLESAMPLE SYSTEM (20) REPEATABLE (1)') ORDER BY ndoc DESC, word LIMIT 5"""
RARE = """
SELECT word FROM ts_stat('SELECT search FROM books TABLESAMPLE SYSTEM (20) REPEATABLE (1)') WHERE ndoc = 1 ORDER BY word LIMIT 200"""
HOT = "SELECT book_id FROM book_ratings ORDER BY count DESC, book_id LIMIT 5"
PARTS = """
SELECT substr(lower(name), 7, 5) AS part FROM authors ORDER BY hashtextextended(name, 5) LIMIT 200"""


def questions_of(url: str) -> list[Workload]:
    return asyncio.run(_questions_of(url))


async def _questions_of(url: str) -> list[Workload]:
    connection = await asyncpg.connect(url, timeout=10)
    newest = _cursor_codec(BookQuery())
    deep = [newest.encode(*row) for row in await connection.fetch(DEEP)]
    common = [str(row["word"]) for row in await connection.fetch(COMMON)]
    rare = [str(row["word"]) for row in await connection.fetch(RARE)]
    parts = [str(row["part"]) for row in await connection.fetch(PARTS)]
    hot = [str(to_global_id("Book", row[0])) for row in await connection.fetch(HOT)]
    await connection.close()
    return [
        _asked("first page", CATALOGUE, [{"first": 20, "after": None}]),
        _asked("page in the middle", CATALOGUE, [{"first": 20, "after": cursor} for cursor in deep]),
        _asked(COMMON_WORD, SEARCH, [{"words": word, "first": 20} for word in common]),
        _asked(RARE_WORD, SEARCH, [{"words": word, "first": 20} for word in rare]),
        _asked("book with the most reviews", BOOK, [{"id": id_, "first": 10} for id_ in hot]),
        _asked("part of an author's name", BY_AUTHOR, [{"author": part, "first": 20} for part in parts]),
    ]


def _asked(name: str, document: str, variables: Sequence[Variables]) -> Workload:
    def questions(_stage: Stage, _key: str) -> Iterator[Question]:
        return itertools.cycle([Question(one) for one in variables])

    return Workload(name, name, document, questions)


def grown(ground: Ground, folder: Path, effort: Effort, progress: Progress) -> dict[int, list[Sample]]:
    """By the number of books."""
    found: dict[int, list[Sample]] = {}
    task = progress.add_task("measuring", total=None)
    for size, name in ground.databases.items():
        with ExitStack() as stack:
            url = stack.enter_context(data.copied(ground.url, name))
            ours = stack.enter_context(running(CONTENDERS["ours"], url, folder, ground.core))
            stage, postmaster, workloads = set_stage(url), Postmaster(url), questions_of(url)
            progress.update(task, total=len(workloads) * len(ground.databases))
            found[size.books] = []
            for workload in workloads:
                progress.update(task, description=f"{size.books:,} books, {workload.name}")
                found[size.books].append(measure(ours, workload, stage, postmaster, effort, "growth"))
                progress.advance(task)
    return found


def table_of(found: dict[int, list[Sample]]) -> Table:
    table = Table("question", "figure", title="For each request, in milliseconds", title_justify="left")
    for size in found:
        table.add_column(f"{size:,} books", justify="right")
    table.add_column("growth", justify="right")
    for samples in zip(*found.values(), strict=True):
        table.add_section()
        name = samples[0].workload
        for title, figure in (("statements", "statements"), ("PostgreSQL's CPU", "database_cpu"), ("our CPU", "cpu")):
            values = [float(getattr(sample, figure)) for sample in samples]
            growth = f"× {values[-1] / values[0]:.1f}" if values[0] else ""
            table.add_row(name, title, *(f"{value:.2f}" for value in values), growth)
            name = ""
    table.caption = "\n".join(
        f"With {size:,} books a common word costs {_cost(samples, COMMON_WORD) / _cost(samples, RARE_WORD):.1f} times what a rare one does."
        for size, samples in found.items()
    )
    return table


def _cost(samples: Sequence[Sample], name: str) -> float:
    """PostgreSQL's CPU and ours."""
    return next(sample.database_cpu + sample.cpu for sample in samples if sample.workload == name)


def write(folder: Path, found: dict[int, list[Sample]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    samples = {str(size): [asdict(sample) for sample in some] for size, some in found.items()}
    report = {"machine": machine(), "versions": versions(), "samples": samples}
    (folder / "growth.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    for file, figure, title in (
        ("growth-database.svg", "statements", "Time of a request's statements in PostgreSQL, in milliseconds"),
        ("growth-server.svg", "cpu", "Our CPU time for each request, in milliseconds"),
    ):
        names = [sample.workload for sample in next(iter(found.values()))]
        series = {
            name: {size: float(getattr(some[place], figure)) for size, some in found.items()}
            for place, name in enumerate(names)
        }
        (folder / file).write_text(plot.lines(title, series), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--million", action="store_true", help="1,000,000 books, too, which take some minutes to make")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each question is asked (4)")
    parser.add_argument("--data", type=Path, help="a folder to keep the databases in, and to find them again")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="where growth.json and the plots go (.bench)")
    options, console = parser.parse_args(), Console(width=140 if not sys.stdout.isatty() else None)
    sizes = [Size.of(books) for books in (*SIZES, *([1_000_000] if options.million else []))]
    effort = Effort(connections=1, warm_up=min(options.seconds / 2, 2.0), seconds=options.seconds)
    with kept(options.data) as folder, Progress(*COLUMNS) as progress:
        place = folder / "peers" / "ours"
        place.mkdir(parents=True, exist_ok=True)
        with prepared(folder, sizes, progress) as ground:
            found = grown(ground, place, effort, progress)
    console.print(table_of(found))
    write(options.out, found)
    console.print(f"{options.out / 'growth.json'} has all of it, and growth-*.svg beside it are the plots.")


if __name__ == "__main__":
    main()
