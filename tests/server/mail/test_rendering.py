"""Rendered emails: the text and the HTML of each kind, and injection."""

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

from domain.email.content import (
    BookContext,
    EmailContent,
    EmailContext,
    LinkContext,
    OrderContext,
    ProviderContext,
    build_frontend_url,
)
from domain.shop import Policy
from persistence.accounts import UserRow
from persistence.emails import EmailKind, EmailRow, EmailStatus
from persistence.linked_accounts import Provider
from persistence.orders import AddressRow, OrderItemRow, OrderRow, OrderStatus
from server.mail.rendering import EmailRenderer
from tests.support.email.emails import get_text_and_html

WHEN = dt.datetime(2026, 11, 24, 23, 30, tzinfo=dt.UTC)
NUMBER = "7K2M-9QXT-41BD"
TOKEN = "t0k-en_" * 12
POLICY = Policy(public_url="https://api.example.com/shop", frontend_url="https://www.example.com/welcome?theme=dark")
RECIPIENT = UserRow(uuid.uuid4(), "zoe@example.com", "Zoë Müller", None, "USER", True, WHEN, WHEN)
ADDRESS = AddressRow("Zoë Müller", "Straße 1", "2nd floor", "Köln", None, "50667", "DE", None)
ORDER = OrderRow(
    uuid.uuid4(), NUMBER, RECIPIENT.id, OrderStatus.SHIPPED, Decimal("1234.50"), 4, "EUR", b"", None, None,
    "https://parcels.example.com/?a=1&b=2", WHEN, WHEN, WHEN, None,
)  # fmt: skip


def order_item(title: str, quantity: int = 1, price: str = "10.00") -> OrderItemRow:
    return OrderItemRow(uuid.uuid4(), ORDER.id, None, title, quantity, Decimal(price), "EUR")


ORDER_CONTEXT = OrderContext(ORDER, [order_item("Emma", 3, "12.50"), order_item("Persuasion", 1, "1197.00")], ADDRESS)
BOOK_CONTEXT = BookContext("Emma", Decimal("12.50"), "EUR", "https://www.example.com/books/emma")
LINK = LinkContext(build_frontend_url(POLICY, "verify-email", token=TOKEN), None, WHEN)
CONTEXTS: dict[EmailKind, EmailContext] = {
    EmailKind.ORDER_CONFIRMED: ORDER_CONTEXT,
    EmailKind.ORDER_SHIPPED: ORDER_CONTEXT,
    EmailKind.ORDER_CANCELLED: ORDER_CONTEXT,
    EmailKind.BOOK_BACK: BOOK_CONTEXT,
    EmailKind.VERIFY_EMAIL: LINK,
    EmailKind.RESET_PASSWORD: LINK,
    EmailKind.PROVIDER_LINKED: ProviderContext(Provider.GITHUB, WHEN),
}


def render_email(
    kind: EmailKind, context: EmailContext | None = None, user: UserRow = RECIPIENT, **policy: Any
) -> EmailMessage:
    email = EmailRow(uuid.uuid4(), kind, ORDER.id, user.id, EmailStatus.QUEUED, 0, None, WHEN, None, None, user.email)
    renderer = EmailRenderer(Mailbox("Bookstore", "shop", "example.com"), replace(POLICY, **policy))
    return renderer.render(EmailContent(email, user, context or CONTEXTS[kind]))


# ── Content ───────────────────────────────────────────────────────────────────────────────

EXPECTED_TEXTS = {
    EmailKind.ORDER_CONFIRMED: (NUMBER, "24 November 2026", "Emma", "€37.50", "€12.50 each", "€1,234.50", "Germany"),
    EmailKind.ORDER_SHIPPED: (NUMBER, "on its way", "https://parcels.example.com/?a=1", "Straße 1", "50667 Köln"),
    EmailKind.ORDER_CANCELLED: (NUMBER, "was cancelled", "goes back to you", "Persuasion", "€1,197.00"),
    EmailKind.BOOK_BACK: ("“Emma” is back", "€12.50", "https://www.example.com/books/emma"),
    EmailKind.VERIFY_EMAIL: ("zoe@example.com", TOKEN, "once, until 24 November 2026, 23:30 UTC"),
    EmailKind.RESET_PASSWORD: ("Choose a new password", TOKEN, "24 November 2026, 23:30 UTC"),
    EmailKind.PROVIDER_LINKED: ("sign in with GitHub", "zoe@example.com", "24 November 2026, 23:30 UTC"),
}


@pytest.mark.parametrize("kind", EmailKind)
def test_both_parts_have_the_content(kind: EmailKind) -> None:
    text, html = get_text_and_html(render_email(kind))
    for part in (text, html.replace("&amp;", "&")):
        single_line = " ".join(part.split())
        assert [phrase for phrase in ("Hello Zoë Müller,", *EXPECTED_TEXTS[kind]) if phrase not in single_line] == []


@pytest.mark.parametrize("kind", EmailKind)
def test_text_is_plain_and_html_has_inline_style(kind: EmailKind) -> None:
    text, html = get_text_and_html(render_email(kind))
    assert "<" not in text
    assert "&amp;" not in text
    assert "<style" not in html
    assert 'style="' in html
    assert "<script" not in html
    assert max(len(line) for line in text.splitlines() if "://" not in line) <= 76


@pytest.mark.parametrize("kind", EmailKind)
def test_headers(kind: EmailKind) -> None:
    message = render_email(kind)
    assert str(message["From"]) == "Bookstore <shop@example.com>"
    assert str(message["To"]) == "Zoë Müller <zoe@example.com>"
    assert str(message["Message-ID"]).endswith("@api.example.com>")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"]
    assert all(len(line) <= 998 for line in message.as_bytes().split(b"\r\n"))


def test_message_id_is_stable() -> None:
    email = EmailRow(
        uuid.uuid4(), EmailKind.BOOK_BACK, ORDER.id, RECIPIENT.id, "QUEUED", 0, None, WHEN, None, None, RECIPIENT.email
    )
    renderer = EmailRenderer(Mailbox("Bookstore", "shop", "example.com"), POLICY)
    first, second = (renderer.render(EmailContent(email, RECIPIENT, BOOK_CONTEXT))["Message-ID"] for _ in range(2))
    assert first == second == f"<{email.id}@api.example.com>"


def test_link_keeps_query_of_frontend_url() -> None:
    assert LINK.url == f"https://www.example.com/welcome/verify-email?theme=dark&token={TOKEN}"
    assert build_frontend_url(replace(POLICY, frontend_url=None), "x") == "https://api.example.com/shop/x"
    assert (
        build_frontend_url(replace(POLICY, frontend_url="https://f.example/"), "x", t="a b&c")
        == "https://f.example/x?t=a+b%26c"
    )


@pytest.mark.parametrize(
    ("kind", "mutation"), [(EmailKind.VERIFY_EMAIL, "verifyEmail"), (EmailKind.RESET_PASSWORD, "resetPassword")]
)
def test_token_is_shown_without_a_frontend(kind: EmailKind, mutation: str) -> None:
    for part in get_text_and_html(render_email(kind, replace(LINK, token=TOKEN))):
        assert mutation in part
        assert part.count(TOKEN) >= 2
    for part in get_text_and_html(render_email(kind)):
        assert mutation not in part


def test_no_book_link_without_a_frontend() -> None:
    text, html = get_text_and_html(render_email(EmailKind.BOOK_BACK, replace(BOOK_CONTEXT, url=None)))
    assert "See the book" not in text
    assert "See the book" not in html


def test_order_without_tracking_and_address() -> None:
    context = replace(ORDER_CONTEXT, order=replace(ORDER, tracking_url=None), address=None)
    for part in get_text_and_html(render_email(EmailKind.ORDER_SHIPPED, context)):
        assert "Follow the parcel" not in part
        assert "It goes to" not in part
        assert "None" not in part


@pytest.mark.parametrize(
    ("zone", "expected"), [("UTC", "24 November 2026, 23:30 UTC"), ("Europe/Berlin", "25 November 2026, 00:30 CET")]
)
def test_dates_use_the_configured_time_zone(zone: str, expected: str) -> None:
    text, _ = get_text_and_html(render_email(EmailKind.RESET_PASSWORD, time_zone=zone))
    assert expected in " ".join(text.split())
    text, _ = get_text_and_html(render_email(EmailKind.ORDER_CONFIRMED, time_zone=zone))
    assert expected.partition(",")[0] in text


@pytest.mark.parametrize(
    ("currency", "expected"),
    [("EUR", "€1,234.50"), ("GBP", "£1,234.50"), ("USD", "US$1,234.50"), ("CHF", "CHF 1,234.50")],
)
def test_prices_use_the_currency_of_the_order(currency: str, expected: str) -> None:
    text, _ = get_text_and_html(
        render_email(EmailKind.ORDER_CONFIRMED, replace(ORDER_CONTEXT, order=replace(ORDER, currency=currency)))
    )
    assert f"Total: {expected}" in text.replace("\N{NO-BREAK SPACE}", " ")


# ── Untrusted text ────────────────────────────────────────────────────────────────────────


def test_markup_in_a_title_is_escaped() -> None:
    title = "<script>alert('x')</script> & <b>Sons</b>"
    text, html = get_text_and_html(render_email(EmailKind.BOOK_BACK, replace(BOOK_CONTEXT, title=title)))
    assert f"“{title}” is back" in text
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    text, html = get_text_and_html(
        render_email(EmailKind.ORDER_CONFIRMED, replace(ORDER_CONTEXT, items=[order_item(title)]))
    )
    assert title in text
    assert "<b>" not in html


def test_markup_in_address_and_tracking_url_is_escaped() -> None:
    context = OrderContext(
        replace(ORDER, tracking_url='https://p.example/"><script>x</script>'),
        [order_item("Emma")],
        replace(ADDRESS, city="<i>"),
    )
    text, html = get_text_and_html(render_email(EmailKind.ORDER_SHIPPED, context))
    assert "<i>" in text
    assert "<i>" not in html
    assert "<script" not in html


@pytest.mark.parametrize("line_break", ["\r\n", "\n", "\r", "\x0b", "\x85", "\u2028", "\0", "\r\n\r\n"])
def test_line_breaks_do_not_inject_headers(line_break: str) -> None:
    injection = f"Emma{line_break}Bcc: everyone@example.com"
    message = render_email(
        EmailKind.BOOK_BACK, replace(BOOK_CONTEXT, title=injection), replace(RECIPIENT, display_name=injection)
    )
    received = _parse_message(message)
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
def test_display_name_does_not_inject_recipients(name: str) -> None:
    received = _parse_message(render_email(EmailKind.BOOK_BACK, user=replace(RECIPIENT, display_name=name)))
    assert [mailbox.addr_spec for mailbox in received["To"].addresses] == ["zoe@example.com"]


@pytest.mark.parametrize("title", ["=?utf-8?q?=41?=", "=?utf-8?q?. >=ab.=<a@b.c>.ab ?=<=?utf-8?q?ab)"])
def test_encoded_word_in_a_title_is_not_decoded(title: str) -> None:
    subject = str(_parse_message(render_email(EmailKind.BOOK_BACK, replace(BOOK_CONTEXT, title=title)))["Subject"])
    assert subject.replace(" ", "") == f"“{title}”isback".replace(" ", "")


TRICKY_TEXTS = st.lists(
    st.sampled_from([*'()<>[]:;@\\,." é', "x", "x" * 30, "=?utf-8?q?", "?=", "<a@b.c>", ", a@b.c", "=E2", "日本"]),
    max_size=25,
).map("".join)


@settings(deadline=None)  # the first email loads the templates
@given(name=st.one_of(st.text(max_size=60), TRICKY_TEXTS), title=st.one_of(st.text(max_size=200), TRICKY_TEXTS))
def test_arbitrary_text_keeps_one_recipient_and_two_parts(name: str, title: str) -> None:
    message = render_email(
        EmailKind.BOOK_BACK, replace(BOOK_CONTEXT, title=title), replace(RECIPIENT, display_name=name)
    )
    received = _parse_message(message)
    assert [mailbox.addr_spec for mailbox in received["To"].addresses] == ["zoe@example.com"]
    assert sorted(received.keys()) == sorted(message.keys())
    get_text_and_html(received)


def test_long_title_is_shortened_in_the_subject_only() -> None:
    title = "Of the Life and Strange Surprizing Adventures " * 10 + "x" * 100
    message = render_email(EmailKind.BOOK_BACK, replace(BOOK_CONTEXT, title=title))
    assert len(str(message["Subject"])) < 100
    text, _ = get_text_and_html(message)
    assert " ".join(title.split()) in " ".join(text.split())
    unbroken = render_email(EmailKind.BOOK_BACK, replace(BOOK_CONTEXT, title="x" * 500))
    assert len(str(unbroken["Subject"])) < 100


def test_unverified_user_is_greeted_without_a_name() -> None:
    """Otherwise an attacker could make the shop send any text to any address."""
    unverified_user = replace(RECIPIENT, email_verified_at=None, display_name="Win a prize at evil.example")
    for kind in EmailKind:
        message = render_email(kind, user=unverified_user)
        assert "evil" not in message.as_string()
        assert str(message["To"]) == "zoe@example.com"


@pytest.mark.parametrize(
    ("email", "expected"),
    [("zoe@bücher.example", "zoe@xn--bcher-kva.example"), ("dörte@bücher.example", "dörte@xn--bcher-kva.example")],
)
def test_non_ascii_addresses(email: str, expected: str) -> None:
    message = render_email(EmailKind.VERIFY_EMAIL, user=replace(RECIPIENT, email=email))
    assert message["To"].addresses[0].addr_spec == expected
    message.as_bytes()


def _parse_message(message: EmailMessage) -> EmailMessage:
    """Parse a message as its recipient would."""
    return email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
