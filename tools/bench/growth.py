"""What grows with the catalog, and what does not, at 1,000 and 100,000 books: two minutes, or `--million` for more.

Our server alone, with one client: deep cursors, searches for common words, books with many reviews, and filters for a part of
an author's name.
"""

import argparse
import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import asyncpg
from rich.progress import Progress
from rich.table import Table

from graph.book_list import _cursor_codec
from graph.kit.ids import to_global_id
from persistence.browse.book_query import BookQuery
from tools.bench import plot, report
from tools.bench.database import Prepared, copy_database, open_folder, prepare_databases
from tools.bench.fixtures import Fixtures, load_fixtures
from tools.bench.generation import Size
from tools.bench.measurement import Effort, PostgresMeter, Sample, measure
from tools.bench.targets import OURS, start_target
from tools.bench.workloads import BOOK, CATALOG, PAGE, SEARCH, Request, Variables, Workload

SIZES = (1_000, 100_000)
SECONDS, MAX_WARM_UP = 4.0, 2.0
COMMON_WORD, RARE_WORD = "search for a common word", "search for a rare word"
BY_AUTHOR = f"""query ByAuthor($author: String!, $first: Int!) {{
    books(filter: {{author: $author}}, first: $first) {{ {PAGE} }} }}"""
SELECT_DEEP = """
SELECT added_at, id FROM books ORDER BY added_at DESC, id DESC OFFSET (SELECT count(*) / 2 FROM books) LIMIT 500"""
SELECT_COMMON = """
SELECT word FROM ts_stat('SELECT search FROM books TABLESAMPLE SYSTEM (20) REPEATABLE (1)') ORDER BY ndoc DESC, word LIMIT 5"""
SELECT_RARE = """
SELECT word FROM ts_stat('SELECT search FROM books TABLESAMPLE SYSTEM (20) REPEATABLE (1)') WHERE ndoc = 1 ORDER BY word LIMIT 200"""
SELECT_MOST_REVIEWED = "SELECT book_id FROM book_ratings ORDER BY count DESC, book_id LIMIT 5"
SELECT_NAME_PARTS = """
SELECT substr(lower(name), 7, 5) AS part FROM authors ORDER BY hashtextextended(name, 5) LIMIT 200"""

SamplesBySize = Mapping[int, Sequence[Sample]]
"""By number of books; in each the same workloads, in the same order."""


async def read_workloads(url: str) -> list[Workload]:
    """Read cursors, words and ids from a database, and return the workloads that use them."""
    connection = await asyncpg.connect(url, timeout=10)
    codec = _cursor_codec(BookQuery())
    cursors = [codec.encode(*row) for row in await connection.fetch(SELECT_DEEP)]
    common, rare, parts = [
        [str(row[0]) for row in await connection.fetch(query)]
        for query in (SELECT_COMMON, SELECT_RARE, SELECT_NAME_PARTS)
    ]
    most_reviewed = [str(to_global_id("Book", row[0])) for row in await connection.fetch(SELECT_MOST_REVIEWED)]
    await connection.close()
    return [
        _make_workload("first page", CATALOG, [{"first": 20, "after": None}]),
        _make_workload("page in the middle", CATALOG, [{"first": 20, "after": cursor} for cursor in cursors]),
        _make_workload(COMMON_WORD, SEARCH, [{"words": word, "first": 20} for word in common]),
        _make_workload(RARE_WORD, SEARCH, [{"words": word, "first": 20} for word in rare]),
        _make_workload("book with the most reviews", BOOK, [{"id": id_, "first": 10} for id_ in most_reviewed]),
        _make_workload("part of an author's name", BY_AUTHOR, [{"author": part, "first": 20} for part in parts]),
    ]


def _make_workload(name: str, document: str, variables: Sequence[Variables]) -> Workload:
    def repeat(_fixtures: Fixtures, _key: str) -> Iterator[Request]:
        return itertools.cycle(map(Request, variables))

    return Workload(name, name, document, repeat)


def measure_sizes(prepared: Prepared, folder: Path, effort: Effort, progress: Progress) -> SamplesBySize:
    """Measure all workloads at each size."""
    samples: dict[int, list[Sample]] = {}
    task = progress.add_task("measuring", total=None)
    for size, name in prepared.databases.items():
        with (
            copy_database(prepared.url, name) as url,
            start_target(OURS, url, folder, prepared.core) as target,
        ):
            fixtures, postgres = load_fixtures(url), PostgresMeter(url)
            workloads = asyncio.run(read_workloads(url))
            progress.update(task, total=len(workloads) * len(prepared.databases))
            samples[size.books] = []
            for workload in workloads:
                progress.update(task, description=f"{size.books:,} books, {workload.name}")
                samples[size.books].append(measure(target, workload, fixtures, postgres, effort, "growth"))
                progress.advance(task)
    return samples


def _make_growth_table(samples_by_size: SamplesBySize) -> Table:
    sizes = [f"{size:,} books" for size in samples_by_size]
    table = report.make_table("Milliseconds per request", ["workload", "figure"], [*sizes, "growth"])
    for samples in zip(*samples_by_size.values(), strict=True):
        table.add_section()
        name = samples[0].workload
        for title, figure in (("statements", "statements"), ("database CPU", "database_cpu"), ("our CPU", "cpu")):
            values = [float(getattr(sample, figure)) for sample in samples]
            growth = f"× {values[-1] / values[0]:.1f}" if values[0] else ""
            table.add_row(name, title, *(f"{value:.2f}" for value in values), growth)
            name = ""
    table.caption = "\n".join(
        f"With {size:,} books, a common word costs {_cost(samples, COMMON_WORD) / _cost(samples, RARE_WORD):.1f} times a rare one."
        for size, samples in samples_by_size.items()
    )
    return table


def _cost(samples: Sequence[Sample], workload: str) -> float:
    return next(sample.total_cpu for sample in samples if sample.workload == workload)


def _write(folder: Path, samples_by_size: SamplesBySize) -> None:
    samples = {str(size): list(map(asdict, some)) for size, some in samples_by_size.items()}
    report.write_json(folder / "growth.json", (), versions=report.list_versions(), samples_by_size=samples)
    for file, figure, title in (
        ("growth-database.svg", "statements", "Time of a request's statements in PostgreSQL, in milliseconds"),
        ("growth-server.svg", "cpu", "Our CPU time per request, in milliseconds"),
    ):
        series: dict[str, dict[int, float]] = {}
        for size, some in samples_by_size.items():
            for sample in some:
                series.setdefault(sample.workload, {})[size] = float(getattr(sample, figure))
        (folder / file).write_text(plot.draw_lines(title, series), encoding="utf-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--million", action="store_true", help="also 1,000,000 books, which take some minutes to make")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"seconds for each workload ({SECONDS:g})")
    parser.add_argument("--data", type=Path, help="folder that keeps the databases for the next run")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="folder of growth.json and the plots (.bench)")


def run(options: argparse.Namespace) -> None:
    console = report.make_console()
    sizes = [Size.for_books(books) for books in (*SIZES, *([1_000_000] if options.million else []))]
    effort = Effort(connections=1, warm_up=min(options.seconds / 2, MAX_WARM_UP), seconds=options.seconds)
    with open_folder(options.data) as folder, report.make_progress() as progress:
        target_folder = folder / "peers" / "ours"
        target_folder.mkdir(parents=True, exist_ok=True)
        with prepare_databases(folder, sizes, progress) as prepared:
            samples_by_size = measure_sizes(prepared, target_folder, effort, progress)
    console.print(_make_growth_table(samples_by_size))
    _write(options.out, samples_by_size)
    console.print(f"Written: {options.out / 'growth.json'} (all samples), {options.out / 'growth-*.svg'} (plots).")
