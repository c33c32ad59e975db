"""The mail server may hang, dawdle, refuse, be away or die in a letter: the shop goes on, and every letter arrives once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import asyncpg
import psutil
import pytest

from domain.posting import Patience, begin_again
from domain.shop import Shop
from persistence import connecting
from persistence.catalog import Book
from server.post import smtp
from server.post.smtp import FAREWELL_TIMEOUT, STEP_TIMEOUT, WHOLE_TIMEOUT
from server.settings import Settings
from tests.client import Visitor
from tests.clock import let_pass
from tests.commands import started
from tests.customers import Customer, add_customer
from tests.factories import add_book
from tests.faulty import shop_with
from tests.letters import GIVES_UP, QUICK, at, fates, posting, until_settled, until_tried
from tests.smtp import Mailbox, mail_server

pytestmark = pytest.mark.usefixtures("sound", "unhurried_database")

CONFIRMED = "ORDER_CONFIRMED"


@pytest.fixture
def unhurried_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that passes is the mail server's."""
    monkeypatch.setattr(connecting, "COMMAND_TIMEOUT", 100_000)


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma", price="12.50", stock=1000)


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop, book: Book) -> Customer:
    return await add_customer(visitor, shop, (book, 2))


async def all_is_well(mailbox: Mailbox, postgres: asyncpg.Connection, *orders: dict[str, str]) -> None:
    """Each order that was confirmed has its letter, once, and nobody else has one."""
    assert await until_settled(postgres) == [(CONFIRMED, "SENT")] * len(orders)
    told = [str(letter["Subject"]) for letter in mailbox.letters]
    assert sorted(told) == sorted(f"Your order {order['number']} is confirmed" for order in orders)


# ── It says no ────────────────────────────────────────────────────────────────────────────


async def test_putting_off_delays_and_loses_nothing(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        mailbox.on_recipient["*"] = "451 4.3.0 Not now"
        order = (await customer.buys())["order"]
        await mailbox.until(4, mailbox.turned_away)
        assert await fates(postgres) == [(CONFIRMED, "QUEUED")]
        assert "451 4.3.0 Not now" in await postgres.fetchval("SELECT problem FROM letters")

        mailbox.on_recipient.clear()
        await all_is_well(mailbox, postgres, order)


async def test_what_is_refused_for_good_is_kept_while_the_others_flow_on(
    visitor: Visitor, shop: Shop, book: Book, settings: Settings, postgres: asyncpg.Connection
) -> None:
    unknown = await add_customer(visitor, shop, (book, 1))
    known = await add_customer(visitor, shop, (book, 1))
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        mailbox.on_recipient[unknown.member.user.email] = "550 5.1.1 Nobody here by that name"
        orders = [(await who.buys())["order"] for who in (unknown, known)]
        assert await until_settled(postgres) == [(CONFIRMED, "FAILED"), (CONFIRMED, "SENT")]
        assert (len(mailbox.turned_away), len(mailbox.letters)) == (1, 1)

        mailbox.on_recipient.clear()
        assert await begin_again(shop) == 1
        await all_is_well(mailbox, postgres, *orders)
        assert await begin_again(shop) == 0


async def test_what_is_put_off_for_too_long_is_kept_too(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings), GIVES_UP):
        mailbox.on_recipient["*"] = "451 4.3.0 Not now"
        order = (await customer.buys())["order"]
        assert await until_settled(postgres) == [(CONFIRMED, "FAILED")]
        assert len(mailbox.turned_away) == GIVES_UP.attempts

        mailbox.on_recipient.clear()
        assert await begin_again(shop) == 1
        await all_is_well(mailbox, postgres, order)


# ── It says nothing ───────────────────────────────────────────────────────────────────────


def not_even_hello(mailbox: Mailbox) -> None:
    mailbox.never_says = "220"


def nothing_after_hello(mailbox: Mailbox) -> None:
    mailbox.never_says = "250-"


def nothing_before_a_letter(mailbox: Mailbox) -> None:
    mailbox.never_says = "354"


def more_and_more(mailbox: Mailbox) -> None:
    mailbox.never_ends = "250 OK"


@pytest.mark.parametrize("says", [not_even_hello, nothing_after_hello, nothing_before_a_letter, more_and_more])
async def test_hanging_holds_a_letter_up_for_so_long_and_loses_nothing(
    customer: Customer,
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    says: Callable[[Mailbox], None],
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        says(mailbox)
        order = (await customer.buys())["order"]
        await mailbox.until(1, mailbox.on_hold)
        assert await fates(postgres) == [(CONFIRMED, "QUEUED")]
        let_pass(STEP_TIMEOUT)
        await until_tried(postgres, 1)

        mailbox.never_says = mailbox.never_ends = None
        let_pass(STEP_TIMEOUT)  # for a try that hangs already
        await all_is_well(mailbox, postgres, order)


async def test_hanging_with_a_letter_in_its_hands(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        mailbox.gate = asyncio.Event()
        order = (await customer.buys())["order"]
        await mailbox.until(1, mailbox.on_their_way)
        let_pass(STEP_TIMEOUT)
        await until_tried(postgres, 1)
        assert mailbox.letters == []

        mailbox.gate = None
        let_pass(STEP_TIMEOUT)
        await all_is_well(mailbox, postgres, order)


async def test_without_a_goodbye_a_letter_is_sent_all_the_same(
    customer: Customer,
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtp, "STEP_TIMEOUT", 100_000)
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        mailbox.never_says = "221"
        order = (await customer.buys())["order"]
        await mailbox.until(1, mailbox.on_hold)
        let_pass(FAREWELL_TIMEOUT)
        await all_is_well(mailbox, postgres, order)
        assert len(mailbox.on_their_way) == 1


async def test_letters_that_hang_do_not_keep_the_others_for_ever(
    visitor: Visitor, shop: Shop, book: Book, settings: Settings, postgres: asyncpg.Connection
) -> None:
    """Both hands of the poster are full of them."""
    unlucky = [await add_customer(visitor, shop, (book, 1)) for _ in range(2)]
    lucky = [await add_customer(visitor, shop, (book, 1)) for _ in range(3)]
    patience, pace = Patience(timedelta(seconds=1), attempts=1000), replace(QUICK, at_once=2)
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings), patience, pace):
        mailbox.silent_to = {who.member.user.email for who in unlucky}
        orders = [(await who.buys())["order"] for who in unlucky]
        await mailbox.until(2, mailbox.on_hold)
        orders += [(await who.buys())["order"] for who in lucky]
        assert mailbox.letters == []
        given_up = 0
        for _ in range(1000):
            if len(mailbox.on_hold) == given_up + len(unlucky):
                let_pass(STEP_TIMEOUT)
                given_up = len(mailbox.on_hold)
            if len(mailbox.letters) == len(lucky):
                break
            await asyncio.sleep(0.02)
        assert all(len(mailbox.to(who.member.user.email)) == 1 for who in lucky)

        mailbox.silent_to.clear()
        let_pass(STEP_TIMEOUT)
        await all_is_well(mailbox, postgres, *orders)


# ── It is slow ────────────────────────────────────────────────────────────────────────────


async def test_dripping_gets_a_letter_there(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        mailbox.drips = True
        order = (await customer.buys())["order"]
        await all_is_well(mailbox, postgres, order)
        assert len(mailbox.on_their_way) == 1


async def test_answers_that_all_come_late_are_not_waited_for(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        mailbox.takes = STEP_TIMEOUT - 1
        assert mailbox.takes * 4 > WHOLE_TIMEOUT  # hello twice, the sender, the recipient
        order = (await customer.buys())["order"]
        await until_tried(postgres, 1)
        assert (await fates(postgres), mailbox.letters) == ([(CONFIRMED, "QUEUED")], [])

        mailbox.takes = 0
        await all_is_well(mailbox, postgres, order)


# ── It is away, or dies ───────────────────────────────────────────────────────────────────


async def test_being_away_delays_and_loses_nothing(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox:
        pass
    async with posting(shop, at(mailbox, settings)):
        order = (await customer.buys())["order"]
        await until_tried(postgres, 3)
        assert await fates(postgres) == [(CONFIRMED, "QUEUED")]
        async with mail_server(port=mailbox.port) as mailbox:
            await all_is_well(mailbox, postgres, order)


@pytest.mark.parametrize("dies", ["in a letter", "after a letter"])
async def test_dying_over_a_letter_loses_nothing(
    customer: Customer,
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    dies: Literal["in a letter", "after a letter"],
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        mailbox.dies = dies
        order = (await customer.buys())["order"]
        await until_tried(postgres, 3)
        assert mailbox.deaths >= 3
        assert (await fates(postgres), mailbox.letters) == ([(CONFIRMED, "QUEUED")], [])

        mailbox.dies = None
        await all_is_well(mailbox, postgres, order)


# ── Meanwhile ─────────────────────────────────────────────────────────────────────────────


async def test_nobody_at_the_till_waits_for_it(
    settings: Settings, shop: Shop, book: Book, postgres: asyncpg.Connection
) -> None:
    """Nor for a connection that letters on their way would hold: there is one."""
    async with mail_server() as mailbox:
        mailbox.gate = asyncio.Event()
        single = {"pool_size": 1, "pool_max_overflow": 0}
        async with shop_with(settings, worker=True, smtp_url=mailbox.url, **single) as visitor:
            customers = [await add_customer(visitor, shop, (book, 1)) for _ in range(12)]
            orders = [(await customer.buys())["order"] for customer in customers]
            await mailbox.until(10, mailbox.on_their_way)
            latest = await add_customer(visitor, shop, (book, 1))
            orders.append((await latest.buys())["order"])
            assert (await latest.orders())[0]["status"] == "CONFIRMED"
            assert mailbox.letters == []
            mailbox.gate.set()
            await all_is_well(mailbox, postgres, *orders)


# ── There is only a folder ────────────────────────────────────────────────────────────────


async def test_a_folder_without_room_delays_and_loses_nothing(
    customer: Customer, settings: Settings, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    """Nothing can be written for a while."""
    given = {"DATABASE_URL": str(settings.database_url), "SECRET_KEY": settings.secret_key[0], "MAIL_FOLDER": "mail"}
    async with started("worker", folder=tmp_path, settings=given) as worker:
        assert worker.stdout is not None
        assert b"Posting letters" in await worker.stdout.readline()
        process = psutil.Process(worker.pid)
        before = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (100, before[1]))
        await customer.buys()
        await until_tried(postgres, 1)
        assert await fates(postgres) == [(CONFIRMED, "QUEUED")]
        assert "File too large" in await postgres.fetchval("SELECT problem FROM letters")
        assert [file for file in (tmp_path / "mail").rglob("*") if file.is_file()] == []
        process.rlimit(psutil.RLIMIT_FSIZE, before)
        await postgres.execute("UPDATE pgqueuer SET execute_after = now()")
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(list((tmp_path / "mail" / "new").iterdir())) == 1
