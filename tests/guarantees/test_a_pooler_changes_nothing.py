"""Through PgBouncer in transaction mode nothing is lost: neither an order, nor a limit, nor the promise that reads do not write."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Integer, column, func, make_url, select, text

from domain.shop import Shop
from domain.sweeping import sweep
from persistence.connecting import SESSION_SETTINGS
from persistence.database import Database
from persistence.faults import Unavailable
from persistence.invariants import violated
from persistence.query import Command, Query
from server.addresses import POOLED, POOLED_DIRECTLY, problem_among
from server.settings import Settings
from tests.carts import ADD, REMOVE, change
from tests.commands import run
from tests.customers import Customer, add_customer
from tests.exposition import asked, free_port, total
from tests.factories import add_administrator, add_book, book_id
from tests.faulty import RESTOCK, shop_with
from tests.letters import fates, posting, until_settled
from tests.memory import stock_is_explained
from tests.poolers import PGBOUNCER, pooled
from tests.reviewing import ratings_are_exact, reviews_it

pytestmark = [
    pytest.mark.skipif(PGBOUNCER is None, reason="needs PgBouncer: apt-get install pgbouncer"),
    pytest.mark.usefixtures("sound"),
]

PAGE = "{ books(first: 5, sort: TITLE_ASC) { totalCount nodes { title authors { name } } } }"
"""Nothing in it changes while books are sold: queries are asked twice, and answers that change in between would differ."""
FIGURES = "{ books(first: 5, sort: TITLE_ASC) { nodes { averageRating reviewCount stockQuantity } } }"
SEARCH = '{ books(first: 5, search: "bok") { nodes { title } } }'
TRANSACTIONS = 1000
BUYERS = 20
IGNORED = (
    "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,pg_trgm.word_similarity_threshold,"
    "plan_cache_mode,default_transaction_read_only,tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count"
)


@pytest.fixture
async def pooler(database_url: str, shop: Shop, tmp_path: Path) -> AsyncIterator[str]:
    async with pooled(database_url, tmp_path) as url:
        yield url


@pytest.fixture
def through(settings: Settings, database_url: str, pooler: str) -> Settings:
    told = {"database_url": pooler, "database_direct_url": database_url, "prepared_statements": False}
    return settings.model_copy(update=told)


@pytest.fixture
async def database(through: Settings) -> AsyncIterator[Database]:
    assert through.database_url is not None
    async with Database(through.database_url, prepared=False) as database:
        yield database


# ── What holds in a session holds in each transaction ─────────────────────────────────────


def setting(name: str) -> Query[str]:
    return Query(select(func.current_setting(name)), str)


@pytest.mark.parametrize("name", sorted(SESSION_SETTINGS))
async def test_every_setting_holds_in_reads_and_writes(database: Database, name: str) -> None:
    for _ in range(3):
        assert await database.reading.first(setting(name)) == SESSION_SETTINGS[name]
        async with database.transaction() as tx:
            assert await tx.first(setting(name)) == SESSION_SETTINGS[name]


async def test_reads_cannot_write(database: Database) -> None:
    writes = Query(select(func.nextval("catalog_changes")), int)
    with pytest.raises((Unavailable, asyncpg.ReadOnlySQLTransactionError)):
        await database.reading.first(writes)
    assert await database.reading.first(setting("transaction_read_only")) == "on"
    async with database.transaction() as tx:
        assert await tx.first(writes)


async def test_nothing_stays_in_the_session_for_whoever_is_next(
    database: Database, pooler: str, through: Settings
) -> None:
    await database.reading.first(setting("statement_timeout"))
    async with database.transaction() as tx:
        await tx.scalar(Command(text("SELECT 1")))
    other = await asyncpg.connect(pooler, statement_cache_size=0)
    assert await other.fetchval("SELECT current_setting('statement_timeout')") == "0"
    await other.close()


async def test_a_read_that_fails_leaves_no_transaction_open(database: Database) -> None:
    broken = Query(select(column("nothing", Integer())), int)
    for _ in range(40):
        with pytest.raises(asyncpg.UndefinedColumnError):
            await database.reading.first(broken)
    assert await database.reading.first(setting("timezone")) == "UTC"


async def test_a_migration_in_between_costs_nobody_an_answer(database: Database, postgres: asyncpg.Connection) -> None:
    await postgres.execute("CREATE TABLE shelves (place text)")
    try:
        everything = Query(select(text("*")).select_from(text("shelves")), lambda *row: row)
        several = Command(text("SELECT * FROM shelves WHERE place = :place").bindparams(place="window"))
        await postgres.execute("INSERT INTO shelves VALUES ('window')")
        assert await database.reading.first(everything) == ("window",)
        async with database.transaction() as tx:
            assert len(await tx.rows(several)) == 1
        await postgres.execute("ALTER TABLE shelves ADD width int DEFAULT 3")
        assert await database.reading.first(everything) == ("window", 3)
        async with database.transaction() as tx:
            assert [tuple(row) for row in await tx.rows(several)] == [("window", 3)]
    finally:
        await postgres.execute("DROP TABLE shelves")


# ── The shop behind it ────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(600)
async def test_a_thousand_transactions(through: Settings, shop: Shop, postgres: asyncpg.Connection) -> None:
    books = [await add_book(shop, f"Book {n}", stock=10_000) for n in range(4)]
    scarce = await add_book(shop, "The last copies", stock=BUYERS // 2)
    told = Counter[str]()  # how mutations ended, each of which is a transaction or three
    async with shop_with(through) as visitor:
        administrator = visitor.signed_in((await add_administrator(shop)).token)

        async def shops(customer: Customer) -> None:
            told[(await change(customer, ADD, scarce, quantity=1))["__typename"]] += 1
            for turn, book in enumerate(books):
                told[(await change(customer, ADD, book, quantity=1))["__typename"]] += 1
                ended = await customer.buys(f"purchase {turn}")
                told[ended["__typename"]] += 1
                if ended["__typename"] == "InsufficientStock":
                    await change(customer, REMOVE, scarce)
                    told["taken out"] += 1
                    continue
                assert await customer.buys(f"purchase {turn}") == ended
                told["told again"] += 1
                told[(await reviews_it(customer, book, 1 + turn))["__typename"]] += 1
                told[(await customer.cancels(ended["order"]["id"]))["__typename"]] += 1
                for document in (PAGE, SEARCH):
                    assert (await visitor.ask(document)).errors == []
                restocked = await administrator.ask(RESTOCK, id=book_id(book))
                told[restocked["updateStock"]["__typename"]] += 1
                await customer.orders()

        while told.total() < TRANSACTIONS:
            await asyncio.gather(*map(shops, [await add_customer(visitor, shop) for _ in range(BUYERS)]))
        await sweep(visitor._app.state.shop)  # type: ignore[union-attr]  # an application of our own
        assert (await visitor.ask(FIGURES)).errors == []
    ends = {"CartUpdated", "OrderPlaced", "InsufficientStock", "ReviewSaved", "OrderCancelled", "StockUpdated"}
    assert set(told) <= ends | {"taken out", "told again"}
    assert min(told[end] for end in ends - {"InsufficientStock"}) > 0
    assert await stock_is_explained(postgres, shop)
    assert await ratings_are_exact(postgres, shop)
    assert await violated(postgres) == []


async def test_letters_are_posted_past_it(
    through: Settings, shop: Shop, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    ours = through.model_copy(update={"mail_folder": tmp_path / "mail"})
    async with shop_with(ours) as visitor:
        theirs: Any = visitor._app.state.shop  # type: ignore[union-attr]  # an application of our own
        async with posting(theirs, ours):
            customer = await add_customer(visitor, shop, (await add_book(shop), 1))
            await customer.buys()
            assert await until_settled(postgres) == [("ORDER_CONFIRMED", "SENT")]
    assert await fates(postgres) == [("ORDER_CONFIRMED", "SENT")]
    assert len(list((tmp_path / "mail" / "new").iterdir())) == 1


async def test_whoever_watches_is_told_of_the_database_past_it(through: Settings, shop: Shop) -> None:
    watched = through.model_copy(update={"metrics_port": free_port()})
    async with shop_with(watched) as visitor:
        customer = await add_customer(visitor, shop, (await add_book(shop), 1))
        await customer.buys()
        found = await asked(watched.metrics_port)
    assert total(found, "database_up") == 1
    assert total(found, "orders", status="CONFIRMED") == 1
    assert total(found, "queued_letters") == 1


# ── Told at the start ─────────────────────────────────────────────────────────────────────


async def test_the_right_settings_are_no_problem(through: Settings) -> None:
    assert await problem_among(through, posts=True) is None


@pytest.mark.parametrize("ignored", ["", IGNORED], ids=["refuses", "passes over"])
async def test_a_pooler_that_nobody_told_us_of(
    settings: Settings, database_url: str, shop: Shop, tmp_path: Path, ignored: str
) -> None:
    async with pooled(database_url, tmp_path, ignored) as url:
        problem = await problem_among(settings.model_copy(update={"database_url": url}))
    assert problem == POOLED


@pytest.mark.parametrize("ignored", ["", IGNORED], ids=["refuses", "passes over"])
async def test_a_pooler_where_somebody_has_to_listen(
    through: Settings, database_url: str, tmp_path: Path, ignored: str
) -> None:
    async with pooled(database_url, tmp_path, ignored) as url:
        problem = await problem_among(through.model_copy(update={"database_direct_url": url}), posts=True)
    assert problem == POOLED_DIRECTLY.format(name="DATABASE_DIRECT_URL")


async def test_what_else_it_says_is_told_in_its_words(
    settings: Settings, pooler: str, database_url: str, tmp_path: Path
) -> None:
    """With a name that it does not know."""
    async with pooled(database_url, tmp_path, IGNORED) as url:
        for address, prepared in ((pooler, False), (url, True)):
            other = make_url(address).set(database="unknown").render_as_string(hide_password=False)
            given = {"database_url": other, "database_direct_url": database_url, "prepared_statements": prepared}
            problem = str(await problem_among(settings.model_copy(update=given)))
            assert problem.startswith("The database cannot be reached: ")
            assert problem.endswith(". Check DATABASE_URL.")


async def test_migrations_go_past_it(through: Settings, tmp_path: Path) -> None:
    given = {
        "DATABASE_URL": str(through.database_url),
        "DATABASE_DIRECT_URL": str(through.database_direct_url),
        "PREPARED_STATEMENTS": "false",
    }
    ended = await run("migrate", folder=tmp_path, **given)
    assert (ended.code, ended.out) == (0, "The database is up to date.\n")
