"""Behind PgBouncer in transaction mode, orders, session settings and read-only transactions work as without it."""

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
"""Sales change none of these fields: the client executes each query twice and requires equal responses."""
RATINGS_AND_STOCK_QUERY = "{ books(first: 5, sort: TITLE_ASC) { nodes { averageRating reviewCount stockQuantity } } }"
SEARCH = '{ books(first: 5, search: "bok") { nodes { title } } }'
MIN_TRANSACTIONS = 1000
BUYER_COUNT = 20
IGNORED_PARAMETERS = (
    "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,pg_trgm.word_similarity_threshold,"
    "plan_cache_mode,default_transaction_read_only,tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count"
)


@pytest.fixture
async def pgbouncer_url(database_url: str, shop: Shop, tmp_path: Path) -> AsyncIterator[str]:
    async with start_pgbouncer(database_url, tmp_path) as url:
        yield url


@pytest.fixture
def pgbouncer_settings(settings: Settings, database_url: str, pgbouncer_url: str) -> Settings:
    updates = {"database_url": pgbouncer_url, "database_direct_url": database_url, "prepared_statements": False}
    return settings.model_copy(update=updates)


@pytest.fixture
async def database(pgbouncer_settings: Settings) -> AsyncIterator[Database]:
    assert pgbouncer_settings.database_url is not None
    async with Database(pgbouncer_settings.database_url, use_prepared_statements=False) as database:
        yield database


# ── Session settings ──────────────────────────────────────────────────────────────────────


def get_setting(name: str) -> Query[str]:
    return Query(select(func.current_setting(name)), str)


@pytest.mark.parametrize("name", sorted(SESSION_SETTINGS))
async def test_session_settings_apply_to_reads_and_writes(database: Database, name: str) -> None:
    for _ in range(3):
        assert await database.read_session.first(get_setting(name)) == SESSION_SETTINGS[name]
        async with database.transaction() as tx:
            assert await tx.first(get_setting(name)) == SESSION_SETTINGS[name]


async def test_reads_cannot_write(database: Database) -> None:
    writing_query = Query(select(func.nextval("catalog_changes")), int)
    with pytest.raises((Unavailable, asyncpg.ReadOnlySQLTransactionError)):
        await database.read_session.first(writing_query)
    assert await database.read_session.first(get_setting("transaction_read_only")) == "on"
    async with database.transaction() as tx:
        assert await tx.first(writing_query)


async def test_session_state_does_not_leak(
    database: Database, pgbouncer_url: str, pgbouncer_settings: Settings
) -> None:
    await database.read_session.first(get_setting("statement_timeout"))
    async with database.transaction() as tx:
        await tx.scalar(Command(text("SELECT 1")))
    other_connection = await asyncpg.connect(pgbouncer_url, statement_cache_size=0)
    assert await other_connection.fetchval("SELECT current_setting('statement_timeout')") == "0"
    await other_connection.close()


async def test_failed_read_leaves_no_open_transaction(database: Database) -> None:
    invalid_query = Query(select(column("nothing", Integer())), int)
    for _ in range(40):
        with pytest.raises(asyncpg.UndefinedColumnError):
            await database.read_session.first(invalid_query)
    assert await database.read_session.first(get_setting("timezone")) == "UTC"


async def test_migration_during_requests_fails_none(database: Database, postgres: asyncpg.Connection) -> None:
    await postgres.execute("CREATE TABLE shelves (place text)")
    try:
        select_all = Query(select(text("*")).select_from(text("shelves")), lambda *row: row)
        select_by_place = Command(text("SELECT * FROM shelves WHERE place = :place").bindparams(place="window"))
        await postgres.execute("INSERT INTO shelves VALUES ('window')")
        assert await database.read_session.first(select_all) == ("window",)
        async with database.transaction() as tx:
            assert len(await tx.fetch_records(select_by_place)) == 1
        await postgres.execute("ALTER TABLE shelves ADD width int DEFAULT 3")
        assert await database.read_session.first(select_all) == ("window", 3)
        async with database.transaction() as tx:
            assert [tuple(row) for row in await tx.fetch_records(select_by_place)] == [("window", 3)]
    finally:
        await postgres.execute("DROP TABLE shelves")


# ── The shop behind PgBouncer ─────────────────────────────────────────────────────────────


@pytest.mark.timeout(600)
async def test_thousand_concurrent_transactions(
    pgbouncer_settings: Settings, shop: Shop, postgres: asyncpg.Connection
) -> None:
    books = [await add_book(shop, f"Book {n}", stock=10_000) for n in range(4)]
    scarce_book = await add_book(shop, "The last copies", stock=BUYER_COUNT // 2)
    outcomes = Counter[str]()  # of mutations, each of which runs one to three transactions
    async with running_client(pgbouncer_settings) as visitor:
        admin = visitor.with_token((await add_admin(shop)).token)

        async def shop_once(customer: Customer) -> None:
            outcomes[(await change_cart(customer, ADD_TO_CART, scarce_book, quantity=1))["__typename"]] += 1
            for turn, book in enumerate(books):
                outcomes[(await change_cart(customer, ADD_TO_CART, book, quantity=1))["__typename"]] += 1
                result = await customer.checkout(f"purchase {turn}")
                outcomes[result["__typename"]] += 1
                if result["__typename"] == "InsufficientStock":
                    await change_cart(customer, REMOVE_FROM_CART, scarce_book)
                    outcomes["removed from the cart"] += 1
                    continue
                assert await customer.checkout(f"purchase {turn}") == result
                outcomes["replayed"] += 1
                outcomes[(await submit_review(customer, book, 1 + turn))["__typename"]] += 1
                outcomes[(await customer.cancel_order(result["order"]["id"]))["__typename"]] += 1
                for document in (PAGE, SEARCH):
                    assert (await visitor.execute(document)).errors == []
                response = await admin.execute(INCREMENT_STOCK, id=book_id(book))
                outcomes[response["updateStock"]["__typename"]] += 1
                await customer.list_orders()

        while outcomes.total() < MIN_TRANSACTIONS:
            await asyncio.gather(*map(shop_once, [await add_customer(visitor, shop) for _ in range(BUYER_COUNT)]))
        await sweep(visitor._app.state.shop)  # type: ignore[union-attr]  # the app is a `Starlette`
        assert (await visitor.execute(RATINGS_AND_STOCK_QUERY)).errors == []
    mutation_results = {
        "CartUpdated",
        "OrderPlaced",
        "InsufficientStock",
        "ReviewSaved",
        "OrderCancelled",
        "StockUpdated",
    }
    assert set(outcomes) <= mutation_results | {"removed from the cart", "replayed"}
    assert min(outcomes[typename] for typename in mutation_results - {"InsufficientStock"}) > 0
    assert await is_stock_consistent(postgres)
    assert await are_ratings_exact(postgres)
    assert await find_violations(postgres) == []


async def test_email_worker_bypasses_the_pooler(
    pgbouncer_settings: Settings, shop: Shop, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    email_settings = pgbouncer_settings.model_copy(update={"mail_folder": tmp_path / "mail"})
    async with running_client(email_settings) as visitor:
        app_shop: Any = visitor._app.state.shop  # type: ignore[union-attr]  # the app is a `Starlette`
        async with run_worker(app_shop, email_settings):
            customer = await add_customer(visitor, shop, (await add_book(shop), 1))
            await customer.checkout()
            assert await wait_until_queue_is_empty(postgres) == [("ORDER_CONFIRMED", "SENT")]
    assert await list_email_statuses(postgres) == [("ORDER_CONFIRMED", "SENT")]
    assert len(list((tmp_path / "mail" / "new").iterdir())) == 1


async def test_metrics_bypass_the_pooler(pgbouncer_settings: Settings, shop: Shop) -> None:
    metrics_settings = pgbouncer_settings.model_copy(update={"metrics_port": find_free_port()})
    async with running_client(metrics_settings) as visitor:
        customer = await add_customer(visitor, shop, (await add_book(shop), 1))
        await customer.checkout()
        metrics = await scrape_metrics(metrics_settings.metrics_port)
    assert sum_series(metrics, "database_up") == 1
    assert sum_series(metrics, "orders", status="CONFIRMED") == 1
    assert sum_series(metrics, "queued_letters") == 1


# ── Preflight ─────────────────────────────────────────────────────────────────────────────


async def test_correct_settings_pass_preflight(pgbouncer_settings: Settings) -> None:
    assert await check_database_urls(pgbouncer_settings, sends_email=True) is None


@pytest.mark.parametrize(
    "ignored_parameters", ["", IGNORED_PARAMETERS], ids=["rejects parameters", "ignores parameters"]
)
async def test_undeclared_pooler_is_reported(
    settings: Settings, database_url: str, shop: Shop, tmp_path: Path, ignored_parameters: str
) -> None:
    async with start_pgbouncer(database_url, tmp_path, ignored_parameters) as url:
        error_message = await check_database_urls(settings.model_copy(update={"database_url": url}))
    assert error_message == TRANSACTION_POOLER.format(setting="DATABASE_URL")


@pytest.mark.parametrize(
    "ignored_parameters", ["", IGNORED_PARAMETERS], ids=["rejects parameters", "ignores parameters"]
)
async def test_pooler_as_direct_url_is_reported(
    pgbouncer_settings: Settings, database_url: str, tmp_path: Path, ignored_parameters: str
) -> None:
    async with start_pgbouncer(database_url, tmp_path, ignored_parameters) as url:
        error_message = await check_database_urls(
            pgbouncer_settings.model_copy(update={"database_direct_url": url}), sends_email=True
        )
    assert error_message == TRANSACTION_POOLER_AT_DIRECT_URL.format(setting="DATABASE_DIRECT_URL")


async def test_other_pooler_errors_are_passed_on(
    settings: Settings, pgbouncer_url: str, database_url: str, tmp_path: Path
) -> None:
    """PgBouncer does not know the database name."""
    async with start_pgbouncer(database_url, tmp_path, IGNORED_PARAMETERS) as url:
        for pooler_url, use_prepared_statements in ((pgbouncer_url, False), (url, True)):
            unknown_database_url = make_url(pooler_url).set(database="unknown").render_as_string(hide_password=False)
            updates = {
                "database_url": unknown_database_url,
                "database_direct_url": database_url,
                "prepared_statements": use_prepared_statements,
            }
            error_message = str(await check_database_urls(settings.model_copy(update=updates)))
            assert error_message.startswith("The database cannot be reached: ")
            assert error_message.endswith(". Check DATABASE_URL.")


async def test_migrations_bypass_the_pooler(pgbouncer_settings: Settings, tmp_path: Path) -> None:
    environment = {
        "DATABASE_URL": str(pgbouncer_settings.database_url),
        "DATABASE_DIRECT_URL": str(pgbouncer_settings.database_direct_url),
        "PREPARED_STATEMENTS": "false",
    }
    result = await run_command("migrate", directory=tmp_path, **environment)
    assert (result.exit_code, result.stdout) == (0, "The database is up to date.\n")
