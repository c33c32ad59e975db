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
from domain.sweeper import sweep
from persistence.invariants import find_violations
from persistence.postgres.connection import SESSION_SETTINGS
from persistence.postgres.database import Database
from persistence.postgres.errors import Unavailable
from persistence.postgres.statements import Command, Query
from server.database.preflight import TRANSACTION_POOLER, TRANSACTION_POOLER_AT_DIRECT_URL, check_database_urls
from server.settings import Settings
from tests.support.database.db_snapshots import is_stock_consistent
from tests.support.database.pgbouncer import PGBOUNCER, start_pgbouncer
from tests.support.email.emails import list_email_statuses, run_worker, wait_until_queue_is_empty
from tests.support.http.apps import running_client
from tests.support.http.probes import INCREMENT_STOCK
from tests.support.observability.prometheus import scrape_metrics, sum_series
from tests.support.processes.cli import run_command
from tests.support.processes.ports import find_free_port
from tests.support.shop.carts import ADD_TO_CART, REMOVE_FROM_CART, change_cart
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_admin, add_book, book_id
from tests.support.shop.reviews import are_ratings_exact, submit_review

pytestmark = [
    pytest.mark.skipif(PGBOUNCER is None, reason="needs PgBouncer: apt-get install pgbouncer"),
    pytest.mark.usefixtures("check_invariants"),
]

PAGE = "{ books(first: 5, sort: TITLE_ASC) { totalCount nodes { title authors { name } } } }"
"""Nothing in it changes while books are sold: queries are asked twice, and answers that change in between would differ."""
RATINGS_AND_STOCK_QUERY = "{ books(first: 5, sort: TITLE_ASC) { nodes { averageRating reviewCount stockQuantity } } }"
SEARCH = '{ books(first: 5, search: "bok") { nodes { title } } }'
TRANSACTIONS = 1000
BUYERS = 20
IGNORED = (
    "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,pg_trgm.word_similarity_threshold,"
    "plan_cache_mode,default_transaction_read_only,tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count"
)


@pytest.fixture
async def pgbouncer_url(database_url: str, shop: Shop, tmp_path: Path) -> AsyncIterator[str]:
    async with start_pgbouncer(database_url, tmp_path) as url:
        yield url


@pytest.fixture
def pgbouncer_settings(settings: Settings, database_url: str, pgbouncer_url: str) -> Settings:
    told = {"database_url": pgbouncer_url, "database_direct_url": database_url, "prepared_statements": False}
    return settings.model_copy(update=told)


@pytest.fixture
async def database(pgbouncer_settings: Settings) -> AsyncIterator[Database]:
    assert pgbouncer_settings.database_url is not None
    async with Database(pgbouncer_settings.database_url, use_prepared_statements=False) as database:
        yield database


# ── What holds in a session holds in each transaction ─────────────────────────────────────


def get_setting(name: str) -> Query[str]:
    return Query(select(func.current_setting(name)), str)


@pytest.mark.parametrize("name", sorted(SESSION_SETTINGS))
async def test_session_settings_apply_to_reads_and_writes(database: Database, name: str) -> None:
    for _ in range(3):
        assert await database.read_session.first(get_setting(name)) == SESSION_SETTINGS[name]
        async with database.transaction() as tx:
            assert await tx.first(get_setting(name)) == SESSION_SETTINGS[name]


async def test_reads_cannot_write(database: Database) -> None:
    writes = Query(select(func.nextval("catalog_changes")), int)
    with pytest.raises((Unavailable, asyncpg.ReadOnlySQLTransactionError)):
        await database.read_session.first(writes)
    assert await database.read_session.first(get_setting("transaction_read_only")) == "on"
    async with database.transaction() as tx:
        assert await tx.first(writes)


async def test_session_state_does_not_leak(
    database: Database, pgbouncer_url: str, pgbouncer_settings: Settings
) -> None:
    await database.read_session.first(get_setting("statement_timeout"))
    async with database.transaction() as tx:
        await tx.scalar(Command(text("SELECT 1")))
    other = await asyncpg.connect(pgbouncer_url, statement_cache_size=0)
    assert await other.fetchval("SELECT current_setting('statement_timeout')") == "0"
    await other.close()


async def test_failed_read_leaves_no_open_transaction(database: Database) -> None:
    broken = Query(select(column("nothing", Integer())), int)
    for _ in range(40):
        with pytest.raises(asyncpg.UndefinedColumnError):
            await database.read_session.first(broken)
    assert await database.read_session.first(get_setting("timezone")) == "UTC"


async def test_migration_during_requests_fails_none(database: Database, postgres: asyncpg.Connection) -> None:
    await postgres.execute("CREATE TABLE shelves (place text)")
    try:
        everything = Query(select(text("*")).select_from(text("shelves")), lambda *row: row)
        several = Command(text("SELECT * FROM shelves WHERE place = :place").bindparams(place="window"))
        await postgres.execute("INSERT INTO shelves VALUES ('window')")
        assert await database.read_session.first(everything) == ("window",)
        async with database.transaction() as tx:
            assert len(await tx.fetch_records(several)) == 1
        await postgres.execute("ALTER TABLE shelves ADD width int DEFAULT 3")
        assert await database.read_session.first(everything) == ("window", 3)
        async with database.transaction() as tx:
            assert [tuple(row) for row in await tx.fetch_records(several)] == [("window", 3)]
    finally:
        await postgres.execute("DROP TABLE shelves")


# ── The shop behind it ────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(600)
async def test_thousand_concurrent_transactions(
    pgbouncer_settings: Settings, shop: Shop, postgres: asyncpg.Connection
) -> None:
    books = [await add_book(shop, f"Book {n}", stock=10_000) for n in range(4)]
    scarce = await add_book(shop, "The last copies", stock=BUYERS // 2)
    told = Counter[str]()  # how mutations ended, each of which is a transaction or three
    async with running_client(pgbouncer_settings) as visitor:
        admin = visitor.with_token((await add_admin(shop)).token)

        async def shops(customer: Customer) -> None:
            told[(await change_cart(customer, ADD_TO_CART, scarce, quantity=1))["__typename"]] += 1
            for turn, book in enumerate(books):
                told[(await change_cart(customer, ADD_TO_CART, book, quantity=1))["__typename"]] += 1
                ended = await customer.checkout(f"purchase {turn}")
                told[ended["__typename"]] += 1
                if ended["__typename"] == "InsufficientStock":
                    await change_cart(customer, REMOVE_FROM_CART, scarce)
                    told["taken out"] += 1
                    continue
                assert await customer.checkout(f"purchase {turn}") == ended
                told["told again"] += 1
                told[(await submit_review(customer, book, 1 + turn))["__typename"]] += 1
                told[(await customer.cancel_order(ended["order"]["id"]))["__typename"]] += 1
                for document in (PAGE, SEARCH):
                    assert (await visitor.execute(document)).errors == []
                restocked = await admin.execute(INCREMENT_STOCK, id=book_id(book))
                told[restocked["updateStock"]["__typename"]] += 1
                await customer.list_orders()

        while told.total() < TRANSACTIONS:
            await asyncio.gather(*map(shops, [await add_customer(visitor, shop) for _ in range(BUYERS)]))
        await sweep(visitor._app.state.shop)  # type: ignore[union-attr]  # an application of our own
        assert (await visitor.execute(RATINGS_AND_STOCK_QUERY)).errors == []
    ends = {"CartUpdated", "OrderPlaced", "InsufficientStock", "ReviewSaved", "OrderCancelled", "StockUpdated"}
    assert set(told) <= ends | {"taken out", "told again"}
    assert min(told[end] for end in ends - {"InsufficientStock"}) > 0
    assert await is_stock_consistent(postgres)
    assert await are_ratings_exact(postgres)
    assert await find_violations(postgres) == []


async def test_email_worker_bypasses_the_pooler(
    pgbouncer_settings: Settings, shop: Shop, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    ours = pgbouncer_settings.model_copy(update={"mail_folder": tmp_path / "mail"})
    async with running_client(ours) as visitor:
        theirs: Any = visitor._app.state.shop  # type: ignore[union-attr]  # an application of our own
        async with run_worker(theirs, ours):
            customer = await add_customer(visitor, shop, (await add_book(shop), 1))
            await customer.checkout()
            assert await wait_until_queue_is_empty(postgres) == [("ORDER_CONFIRMED", "SENT")]
    assert await list_email_statuses(postgres) == [("ORDER_CONFIRMED", "SENT")]
    assert len(list((tmp_path / "mail" / "new").iterdir())) == 1


async def test_metrics_bypass_the_pooler(pgbouncer_settings: Settings, shop: Shop) -> None:
    watched = pgbouncer_settings.model_copy(update={"metrics_port": find_free_port()})
    async with running_client(watched) as visitor:
        customer = await add_customer(visitor, shop, (await add_book(shop), 1))
        await customer.checkout()
        found = await scrape_metrics(watched.metrics_port)
    assert sum_series(found, "database_up") == 1
    assert sum_series(found, "orders", status="CONFIRMED") == 1
    assert sum_series(found, "queued_letters") == 1


# ── Told at the start ─────────────────────────────────────────────────────────────────────


async def test_correct_settings_pass_preflight(pgbouncer_settings: Settings) -> None:
    assert await check_database_urls(pgbouncer_settings, sends_email=True) is None


@pytest.mark.parametrize("ignored", ["", IGNORED], ids=["refuses", "passes over"])
async def test_undeclared_pooler_is_reported(
    settings: Settings, database_url: str, shop: Shop, tmp_path: Path, ignored: str
) -> None:
    async with start_pgbouncer(database_url, tmp_path, ignored) as url:
        problem = await check_database_urls(settings.model_copy(update={"database_url": url}))
    assert problem == TRANSACTION_POOLER.format(setting="DATABASE_URL")


@pytest.mark.parametrize("ignored", ["", IGNORED], ids=["refuses", "passes over"])
async def test_pooler_as_direct_url_is_reported(
    pgbouncer_settings: Settings, database_url: str, tmp_path: Path, ignored: str
) -> None:
    async with start_pgbouncer(database_url, tmp_path, ignored) as url:
        problem = await check_database_urls(
            pgbouncer_settings.model_copy(update={"database_direct_url": url}), sends_email=True
        )
    assert problem == TRANSACTION_POOLER_AT_DIRECT_URL.format(setting="DATABASE_DIRECT_URL")


async def test_other_pooler_errors_are_passed_on(
    settings: Settings, pgbouncer_url: str, database_url: str, tmp_path: Path
) -> None:
    """With a name that it does not know."""
    async with start_pgbouncer(database_url, tmp_path, IGNORED) as url:
        for address, prepared in ((pgbouncer_url, False), (url, True)):
            other = make_url(address).set(database="unknown").render_as_string(hide_password=False)
            given = {"database_url": other, "database_direct_url": database_url, "prepared_statements": prepared}
            problem = str(await check_database_urls(settings.model_copy(update=given)))
            assert problem.startswith("The database cannot be reached: ")
            assert problem.endswith(". Check DATABASE_URL.")


async def test_migrations_bypass_the_pooler(pgbouncer_settings: Settings, tmp_path: Path) -> None:
    given = {
        "DATABASE_URL": str(pgbouncer_settings.database_url),
        "DATABASE_DIRECT_URL": str(pgbouncer_settings.database_direct_url),
        "PREPARED_STATEMENTS": "false",
    }
    ended = await run_command("migrate", directory=tmp_path, **given)
    assert (ended.exit_code, ended.stdout) == (0, "The database is up to date.\n")
