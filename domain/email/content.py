"""What letters tell: the facts of each, as they are when it is posted."""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlencode, urlsplit

from domain.shop import Policy, Shop
from persistence import accounts, catalog, linked_accounts, one_time_tokens, orders, prebookings
from persistence.accounts import UserRow
from persistence.emails import EmailKind, EmailRow
from persistence.linked_accounts import Provider
from persistence.orders import AddressRow, OrderItemRow, OrderRow
from persistence.postgres.database import Transaction


class EmailObsolete(Exception):
    """What the letter would tell is not there, or not so, any more."""


class ContentUnavailable(Exception):
    """It can be told elsewhere, or later, but not here and now."""


@dataclass(frozen=True, slots=True)
class OrderContext:
    order: OrderRow
    items: list[OrderItemRow]
    address: AddressRow | None


@dataclass(frozen=True, slots=True)
class BookContext:
    """`link` is `None` while there is no frontend that shows books."""

    title: str
    price: Decimal
    currency: str
    url: str | None


@dataclass(frozen=True, slots=True)
class LinkContext:
    """`token` is told where no frontend takes it from the link."""

    url: str = field(repr=False)
    token: str | None = field(repr=False)
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ProviderContext:
    provider: Provider
    linked_at: dt.datetime


EmailContext = OrderContext | BookContext | LinkContext | ProviderContext


@dataclass(frozen=True, slots=True)
class EmailContent:
    """A letter with all that it tells, and whom."""

    email: EmailRow
    user: UserRow
    context: EmailContext


async def load_content(tx: Transaction, shop: Shop, email: EmailRow) -> EmailContent:
    """Raises `Obsolete`. What was bought is told to those who may no longer come in, too; nothing else is."""
    user = await accounts.find_user(tx, email.user_id)
    load_context, is_sent_if_deactivated = _CONTEXT_LOADERS[EmailKind(email.kind)]
    if user is None or not (user.is_active or is_sent_if_deactivated):
        raise EmailObsolete("The account is deactivated.")
    return EmailContent(email, user, await load_context(tx, shop, email))


async def _load_order(tx: Transaction, _: Shop, email: EmailRow) -> EmailContext:
    order = await orders.find_order(tx, email.subject_id)
    if order is None:
        raise EmailObsolete("The order is not there any more.")
    items = await orders.list_order_items(tx, [order.id])
    addresses = [address for _, address in await orders.list_addresses(tx, [order.id])]
    return OrderContext(order, items, addresses[0] if addresses else None)


async def _load_book(tx: Transaction, shop: Shop, email: EmailRow) -> EmailContext:
    prebooking = await prebookings.find_prebooking(tx, email.subject_id)
    book = prebooking and await catalog.find_book(tx, prebooking.book_id)
    if not book:
        raise EmailObsolete("The book has left the catalogue.")
    url = build_frontend_url(shop.policy, f"books/{book.slug}") if shop.policy.frontend_url else None
    return BookContext(book.title, book.price, shop.policy.currency, url)


async def _load_verification(tx: Transaction, shop: Shop, email: EmailRow) -> EmailContext:
    return await _load_link(tx, shop, email, "verify-email")


async def _load_password_reset(tx: Transaction, shop: Shop, email: EmailRow) -> EmailContext:
    return await _load_link(tx, shop, email, "reset-password")


async def _load_link(tx: Transaction, shop: Shop, email: EmailRow, page: str) -> EmailContext:
    token_row = await one_time_tokens.find_token(tx, email.subject_id)
    if token_row is None or token_row.used_at is not None or token_row.expires_at <= dt.datetime.now(dt.UTC):
        raise EmailObsolete("The link would no longer work.")
    token = shop.tokens.rederive_one_time_token(token_row.id, token_row.hash)
    if token is None:
        raise ContentUnavailable("SECRET_KEY is another than the one that the link was made with.")
    url = build_frontend_url(shop.policy, page, token=token)
    return LinkContext(url, None if shop.policy.frontend_url else token, token_row.expires_at)


async def _load_provider(tx: Transaction, _: Shop, email: EmailRow) -> EmailContext:
    linked_account = await linked_accounts.find_linked_account(tx, email.subject_id)
    if linked_account is None:
        raise EmailObsolete("The provider is not linked any more.")
    return ProviderContext(linked_account.provider, linked_account.created_at)


ContextLoader = Callable[[Transaction, Shop, EmailRow], Awaitable[EmailContext]]
_CONTEXT_LOADERS: dict[EmailKind, tuple[ContextLoader, bool]] = {
    EmailKind.ORDER_CONFIRMED: (_load_order, True),
    EmailKind.ORDER_SHIPPED: (_load_order, True),
    EmailKind.ORDER_CANCELLED: (_load_order, True),
    EmailKind.BOOK_BACK: (_load_book, False),
    EmailKind.VERIFY_EMAIL: (_load_verification, False),
    EmailKind.RESET_PASSWORD: (_load_password_reset, False),
    EmailKind.PROVIDER_LINKED: (_load_provider, False),
}


def build_frontend_url(policy: Policy, page: str, **query: str) -> str:
    """A page below the frontend's address, or below our own while there is no frontend; what that asks for stays."""
    parts = urlsplit(policy.frontend_url or policy.public_url)
    query_string = "&".join(filter(None, (parts.query, urlencode(query))))
    return parts._replace(path=f"{parts.path.rstrip('/')}/{page}", query=query_string).geturl()
