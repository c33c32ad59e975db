"""What letters tell: the facts of each, as they are when it is posted."""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlencode, urlsplit

from domain.shop import Policy, Shop
from persistence import accounts, catalog, identities, one_time_tokens, orders, prebookings
from persistence.accounts import User
from persistence.database import Transaction
from persistence.identities import Provider
from persistence.letters import Letter, LetterKind
from persistence.orders import Address, Order, OrderItem


class Obsolete(Exception):
    """What the letter would tell is not there, or not so, any more."""


class NotHere(Exception):
    """It can be told elsewhere, or later, but not here and now."""


@dataclass(frozen=True, slots=True)
class OrderFacts:
    order: Order
    items: list[OrderItem]
    address: Address | None


@dataclass(frozen=True, slots=True)
class BookFacts:
    """`link` is `None` while there is no frontend that shows books."""

    title: str
    price: Decimal
    currency: str
    link: str | None


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """`token` is told where no frontend takes it from the link."""

    link: str = field(repr=False)
    token: str | None = field(repr=False)
    ends: dt.datetime


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    provider: Provider
    linked_at: dt.datetime


Facts = OrderFacts | BookFacts | LinkFacts | ProviderFacts


@dataclass(frozen=True, slots=True)
class Contents:
    """A letter with all that it tells, and whom."""

    letter: Letter
    reader: User
    facts: Facts


async def contents_of(tx: Transaction, shop: Shop, letter: Letter) -> Contents:
    """Raises `Obsolete`. What was bought is told to those who may no longer come in, too; nothing else is."""
    reader = await accounts.find_user(tx, letter.user_id)
    read, even_if_deactivated = _FACTS[LetterKind(letter.kind)]
    if reader is None or not (reader.is_active or even_if_deactivated):
        raise Obsolete("The account is deactivated.")
    return Contents(letter, reader, await read(tx, shop, letter))


async def _order(tx: Transaction, _: Shop, letter: Letter) -> Facts:
    order = await orders.find_order(tx, letter.subject_id)
    if order is None:
        raise Obsolete("The order is not there any more.")
    items = await orders.list_order_items(tx, [order.id])
    addresses = [address for _, address in await orders.list_addresses(tx, [order.id])]
    return OrderFacts(order, items, addresses[0] if addresses else None)


async def _book(tx: Transaction, shop: Shop, letter: Letter) -> Facts:
    prebooking = await prebookings.find_prebooking(tx, letter.subject_id)
    book = prebooking and await catalog.find_book(tx, prebooking.book_id)
    if not book:
        raise Obsolete("The book has left the catalogue.")
    link = link_to(shop.policy, f"books/{book.slug}") if shop.policy.frontend_url else None
    return BookFacts(book.title, book.price, shop.policy.currency, link)


async def _verification(tx: Transaction, shop: Shop, letter: Letter) -> Facts:
    return await _link(tx, shop, letter, "verify-email")


async def _reset(tx: Transaction, shop: Shop, letter: Letter) -> Facts:
    return await _link(tx, shop, letter, "reset-password")


async def _link(tx: Transaction, shop: Shop, letter: Letter, page: str) -> Facts:
    found = await one_time_tokens.find_token(tx, letter.subject_id)
    if found is None or found.used_at is not None or found.expires_at <= dt.datetime.now(dt.UTC):
        raise Obsolete("The link would no longer work.")
    token = shop.tokens.repeat_one_time_token(found.id, found.hash)
    if token is None:
        raise NotHere("SECRET_KEY is another than the one that the link was made with.")
    link = link_to(shop.policy, page, token=token)
    return LinkFacts(link, None if shop.policy.frontend_url else token, found.expires_at)


async def _provider(tx: Transaction, _: Shop, letter: Letter) -> Facts:
    identity = await identities.find_identity(tx, letter.subject_id)
    if identity is None:
        raise Obsolete("The provider is not linked any more.")
    return ProviderFacts(identity.provider, identity.created_at)


Read = Callable[[Transaction, Shop, Letter], Awaitable[Facts]]
_FACTS: dict[LetterKind, tuple[Read, bool]] = {
    LetterKind.ORDER_CONFIRMED: (_order, True),
    LetterKind.ORDER_SHIPPED: (_order, True),
    LetterKind.ORDER_CANCELLED: (_order, True),
    LetterKind.BOOK_BACK: (_book, False),
    LetterKind.VERIFY_EMAIL: (_verification, False),
    LetterKind.RESET_PASSWORD: (_reset, False),
    LetterKind.PROVIDER_LINKED: (_provider, False),
}


def link_to(policy: Policy, page: str, **query: str) -> str:
    """A page below the frontend's address, or below our own while there is no frontend; what that asks for stays."""
    parts = urlsplit(policy.frontend_url or policy.public_url)
    asked = "&".join(filter(None, (parts.query, urlencode(query))))
    return parts._replace(path=f"{parts.path.rstrip('/')}/{page}", query=asked).geturl()
