"""Letters as mail: each kind reads well in both its parts, and nobody can add to them."""

import datetime as dt
import email
import email.policy
import uuid
from dataclasses import replace
from decimal import Decimal
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.contents import BookFacts, Contents, Facts, LinkFacts, OrderFacts, ProviderFacts, link_to
from domain.shop import Policy
from persistence.accounts import User
from persistence.identities import Provider
from persistence.letters import Letter, LetterKind, LetterStatus
from persistence.orders import Address, Order, OrderItem, OrderStatus
from server.post.rendering import Stationery
from tests.letters import parts

WHEN = dt.datetime(2026, 11, 24, 23, 30, tzinfo=dt.UTC)
NUMBER = "7K2M-9QXT-41BD"
TOKEN = "t0k-en_" * 12
POLICY = Policy(public_url="https://api.example.com/shop", frontend_url="https://www.example.com/welcome?theme=dark")
READER = User(uuid.uuid4(), "zoe@example.com", "Zoë Müller", None, "USER", True, WHEN, WHEN)
ADDRESS = Address("Zoë Müller", "Straße 1", "2nd floor", "Köln", None, "50667", "DE", None)
ORDER = Order(
    uuid.uuid4(), NUMBER, READER.id, OrderStatus.SHIPPED, Decimal("1234.50"), 4, "EUR", b"", None, None,
    "https://parcels.example.com/?a=1&b=2", WHEN, WHEN, WHEN, None,
)  # fmt: skip


def item(title: str, copies: int = 1, price: str = "10.00") -> OrderItem:
    return OrderItem(uuid.uuid4(), ORDER.id, None, title, copies, Decimal(price), "EUR")


BOUGHT = OrderFacts(ORDER, [item("Emma", 3, "12.50"), item("Persuasion", 1, "1197.00")], ADDRESS)
BACK = BookFacts("Emma", Decimal("12.50"), "EUR", "https://www.example.com/books/emma")
LINK = LinkFacts(link_to(POLICY, "verify-email", token=TOKEN), None, WHEN)
TOLD: dict[LetterKind, Facts] = {
    LetterKind.ORDER_CONFIRMED: BOUGHT,
    LetterKind.ORDER_SHIPPED: BOUGHT,
    LetterKind.ORDER_CANCELLED: BOUGHT,
    LetterKind.BOOK_BACK: BACK,
    LetterKind.VERIFY_EMAIL: LINK,
    LetterKind.RESET_PASSWORD: LINK,
    LetterKind.PROVIDER_LINKED: ProviderFacts(Provider.GITHUB, WHEN),
}


def letter(kind: LetterKind, facts: Facts | None = None, reader: User = READER, **policy: Any) -> EmailMessage:
    about = Letter(
        uuid.uuid4(), kind, ORDER.id, reader.id, LetterStatus.QUEUED, 0, None, WHEN, None, None, reader.email
    )
    stationery = Stationery(Mailbox("Bookstore", "shop", "example.com"), replace(POLICY, **policy))
    return stationery.compose(Contents(about, reader, facts or TOLD[kind]))


# ── Each kind ─────────────────────────────────────────────────────────────────────────────

SAYS = {
    LetterKind.ORDER_CONFIRMED: (NUMBER, "24 November 2026", "Emma", "€37.50", "€12.50 each", "€1,234.50", "Germany"),
    LetterKind.ORDER_SHIPPED: (NUMBER, "on its way", "https://parcels.example.com/?a=1", "Straße 1", "50667 Köln"),
    LetterKind.ORDER_CANCELLED: (NUMBER, "was cancelled", "goes back to you", "Persuasion", "€1,197.00"),
    LetterKind.BOOK_BACK: ("“Emma” is back", "€12.50", "https://www.example.com/books/emma"),
    LetterKind.VERIFY_EMAIL: ("zoe@example.com", TOKEN, "once, until 24 November 2026, 23:30 UTC"),
    LetterKind.RESET_PASSWORD: ("Choose a new password", TOKEN, "24 November 2026, 23:30 UTC"),
    LetterKind.PROVIDER_LINKED: ("sign in with GitHub", "zoe@example.com", "24 November 2026, 23:30 UTC"),
}


@pytest.mark.parametrize("kind", LetterKind)
def test_both_parts_say_it(kind: LetterKind) -> None:
    text, html = parts(letter(kind))
    for part in (text, html.replace("&amp;", "&")):
        flat = " ".join(part.split())
        assert [words for words in ("Hello Zoë Müller,", *SAYS[kind]) if words not in flat] == []


@pytest.mark.parametrize("kind", LetterKind)
def test_the_text_is_plain_and_the_html_brings_its_style_along(kind: LetterKind) -> None:
    text, html = parts(letter(kind))
    assert "<" not in text
    assert "&amp;" not in text
    assert "<style" not in html
    assert 'style="' in html
    assert "<script" not in html
    assert max(len(line) for line in text.splitlines() if "://" not in line) <= 76


@pytest.mark.parametrize("kind", LetterKind)
def test_the_headers(kind: LetterKind) -> None:
    message = letter(kind)
    assert str(message["From"]) == "Bookstore <shop@example.com>"
    assert str(message["To"]) == "Zoë Müller <zoe@example.com>"
    assert str(message["Message-ID"]).endswith("@api.example.com>")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"]
    assert all(len(line) <= 998 for line in message.as_bytes().split(b"\r\n"))


def test_the_same_letter_has_the_same_message_id() -> None:
    about = Letter(
        uuid.uuid4(), LetterKind.BOOK_BACK, ORDER.id, READER.id, "QUEUED", 0, None, WHEN, None, None, READER.email
    )
    stationery = Stationery(Mailbox("Bookstore", "shop", "example.com"), POLICY)
    first, second = (stationery.compose(Contents(about, READER, BACK))["Message-ID"] for _ in range(2))
    assert first == second == f"<{about.id}@api.example.com>"


def test_a_link_keeps_what_the_frontends_address_asks_for() -> None:
    assert LINK.link == f"https://www.example.com/welcome/verify-email?theme=dark&token={TOKEN}"
    assert link_to(replace(POLICY, frontend_url=None), "x") == "https://api.example.com/shop/x"
    assert (
        link_to(replace(POLICY, frontend_url="https://f.example/"), "x", t="a b&c") == "https://f.example/x?t=a+b%26c"
    )


@pytest.mark.parametrize(
    ("kind", "mutation"), [(LetterKind.VERIFY_EMAIL, "verifyEmail"), (LetterKind.RESET_PASSWORD, "resetPassword")]
)
def test_without_a_frontend_the_token_is_told(kind: LetterKind, mutation: str) -> None:
    for part in parts(letter(kind, replace(LINK, token=TOKEN))):
        assert mutation in part
        assert part.count(TOKEN) >= 2
    for part in parts(letter(kind)):
        assert mutation not in part


def test_without_a_frontend_no_page_of_a_book_is_promised() -> None:
    text, html = parts(letter(LetterKind.BOOK_BACK, replace(BACK, link=None)))
    assert "See the book" not in text
    assert "See the book" not in html


def test_an_order_that_is_not_tracked_and_goes_nowhere() -> None:
    facts = replace(BOUGHT, order=replace(ORDER, tracking_url=None), address=None)
    for part in parts(letter(LetterKind.ORDER_SHIPPED, facts)):
        assert "Follow the parcel" not in part
        assert "It goes to" not in part
        assert "None" not in part


@pytest.mark.parametrize(
    ("zone", "shown"), [("UTC", "24 November 2026, 23:30 UTC"), ("Europe/Berlin", "25 November 2026, 00:30 CET")]
)
def test_dates_are_the_shops(zone: str, shown: str) -> None:
    text, _ = parts(letter(LetterKind.RESET_PASSWORD, time_zone=zone))
    assert shown in " ".join(text.split())
    text, _ = parts(letter(LetterKind.ORDER_CONFIRMED, time_zone=zone))
    assert shown.partition(",")[0] in text


@pytest.mark.parametrize(
    ("currency", "shown"), [("EUR", "€1,234.50"), ("GBP", "£1,234.50"), ("USD", "US$1,234.50"), ("CHF", "CHF 1,234.50")]
)
def test_prices_are_in_the_orders_currency(currency: str, shown: str) -> None:
    text, _ = parts(letter(LetterKind.ORDER_CONFIRMED, replace(BOUGHT, order=replace(ORDER, currency=currency))))
    assert f"Total: {shown}" in text.replace("\N{NO-BREAK SPACE}", " ")


# ── What others wrote travels along ───────────────────────────────────────────────────────


def test_markup_in_a_title_is_text() -> None:
    title = "<script>alert('x')</script> & <b>Sons</b>"
    text, html = parts(letter(LetterKind.BOOK_BACK, replace(BACK, title=title)))
    assert f"“{title}” is back" in text
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    text, html = parts(letter(LetterKind.ORDER_CONFIRMED, replace(BOUGHT, items=[item(title)])))
    assert title in text
    assert "<b>" not in html


def test_markup_in_an_address_and_a_tracking_link_is_text() -> None:
    facts = OrderFacts(
        replace(ORDER, tracking_url='https://p.example/"><script>x</script>'),
        [item("Emma")],
        replace(ADDRESS, city="<i>"),
    )
    text, html = parts(letter(LetterKind.ORDER_SHIPPED, facts))
    assert "<i>" in text
    assert "<i>" not in html
    assert "<script" not in html


@pytest.mark.parametrize("breaks", ["\r\n", "\n", "\r", "\x0b", "\x85", "\u2028", "\0", "\r\n\r\n"])
def test_line_breaks_add_no_headers(breaks: str) -> None:
    evil = f"Emma{breaks}Bcc: everyone@example.com"
    message = letter(LetterKind.BOOK_BACK, replace(BACK, title=evil), replace(READER, display_name=evil))
    received = _received(message)
    assert "Bcc" not in received
    assert str(received["Subject"]).isprintable()
    assert str(received["To"]).isprintable()
    assert str(received["To"]).endswith("<zoe@example.com>")
    assert received["To"].addresses[0].addr_spec == "zoe@example.com"
    assert len(received["To"].addresses) == 1


ENCODED = '=?utf-8?q?, everyone@example.com"<?=é?='


@pytest.mark.parametrize(
    "name", ['Zoë <x@y.z>, "evil"', "a, b@c.d", "Dr. Zoë", "é" * 50, "=?utf-8?q?x?=", "(", "\\", ENCODED]
)
def test_a_name_adds_no_recipient(name: str) -> None:
    received = _received(letter(LetterKind.BOOK_BACK, reader=replace(READER, display_name=name)))
    assert [mailbox.addr_spec for mailbox in received["To"].addresses] == ["zoe@example.com"]


@pytest.mark.parametrize("title", ["=?utf-8?q?=41?=", "=?utf-8?q?. >=ab.=<a@b.c>.ab ?=<=?utf-8?q?ab)"])
def test_a_title_is_not_decoded(title: str) -> None:
    subject = str(_received(letter(LetterKind.BOOK_BACK, replace(BACK, title=title)))["Subject"])
    assert subject.replace(" ", "") == f"“{title}”isback".replace(" ", "")


TRICKY = st.lists(
    st.sampled_from([*'()<>[]:;@\\,." é', "x", "x" * 30, "=?utf-8?q?", "?=", "<a@b.c>", ", a@b.c", "=E2", "日本"]),
    max_size=25,
).map("".join)


@settings(deadline=None)  # the first letter reads the templates
@given(name=st.one_of(st.text(max_size=60), TRICKY), title=st.one_of(st.text(max_size=200), TRICKY))
def test_whatever_is_written_the_letter_has_one_reader_and_two_parts(name: str, title: str) -> None:
    message = letter(LetterKind.BOOK_BACK, replace(BACK, title=title), replace(READER, display_name=name))
    received = _received(message)
    assert [mailbox.addr_spec for mailbox in received["To"].addresses] == ["zoe@example.com"]
    assert sorted(received.keys()) == sorted(message.keys())
    parts(received)


def test_a_long_title_is_short_in_the_subject_and_whole_in_the_letter() -> None:
    title = "Of the Life and Strange Surprizing Adventures " * 10 + "x" * 100
    message = letter(LetterKind.BOOK_BACK, replace(BACK, title=title))
    assert len(str(message["Subject"])) < 100
    text, _ = parts(message)
    assert " ".join(title.split()) in " ".join(text.split())
    unbroken = letter(LetterKind.BOOK_BACK, replace(BACK, title="x" * 500))
    assert len(str(unbroken["Subject"])) < 100


def test_a_stranger_is_greeted_without_the_name_that_somebody_gave() -> None:
    """Else anybody could have the shop send any text to any address."""
    stranger = replace(READER, email_verified_at=None, display_name="Win a prize at evil.example")
    for kind in LetterKind:
        message = letter(kind, reader=stranger)
        assert "evil" not in message.as_string()
        assert str(message["To"]) == "zoe@example.com"


@pytest.mark.parametrize(
    ("email", "written"),
    [("zoe@bücher.example", "zoe@xn--bcher-kva.example"), ("dörte@bücher.example", "dörte@xn--bcher-kva.example")],
)
def test_addresses_beyond_ascii(email: str, written: str) -> None:
    message = letter(LetterKind.VERIFY_EMAIL, reader=replace(READER, email=email))
    assert message["To"].addresses[0].addr_spec == written
    message.as_bytes()


def _received(message: EmailMessage) -> EmailMessage:
    """As it comes out at the other end."""
    return email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
