"""Content of emails: loads the data that an email's template needs when the email is sent."""

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
    """The email must not be sent, because its content no longer applies."""


class ContentUnavailable(Exception):
    """This process cannot load the content now; another process, or a later attempt, can."""


@dataclass(frozen=True, slots=True)
class OrderContext:
    """Data for emails about an order."""

    order: OrderRow
    items: list[OrderItemRow]
    address: AddressRow | None


@dataclass(frozen=True, slots=True)
class BookContext:
    """Data for emails about a book; `url` is `None` without a frontend that shows books."""

    title: str
    price: Decimal
    currency: str
    url: str | None


@dataclass(frozen=True, slots=True)
class LinkContext:
    """Data for emails with a one-time link; `token` is set when no frontend reads it from the URL."""

    url: str = field(repr=False)
    token: str | None = field(repr=False)
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """Data for emails about a linked provider."""

    provider: Provider
    linked_at: dt.datetime


EmailContext = OrderContext | BookContext | LinkContext | ProviderContext


@dataclass(frozen=True, slots=True)
class EmailContent:
    """An email with its recipient and the data of its template."""

    email: EmailRow
    user: UserRow
    context: EmailContext


async def load_content(tx: Transaction, shop: Shop, email: EmailRow) -> EmailContent:
    """Load the content of an email. A deactivated user gets emails about orders only.

    Raises:
        EmailObsolete: The content no longer applies.
        ContentUnavailable: This process cannot load the content now.
    """
    user = await accounts.find_user(tx, email.user_id)
    load_context, is_sent_if_deactivated = _CONTEXT_LOADERS[EmailKind(email.kind)]
    if user is None or not (user.is_active or is_sent_if_deactivated):
        raise EmailObsolete("The account is deactivated.")
    return EmailContent(email, user, await load_context(tx, shop, email))


async def _load_order(tx: Transaction, _: Shop, email: EmailRow) -> EmailContext:
    order = await orders.find_order(tx, email.subject_id)
    if order is None:
        raise EmailObsolete("The order no longer exists.")
    items = await orders.list_order_items(tx, [order.id])
    addresses = [address for _, address in await orders.list_addresses(tx, [order.id])]
    return OrderContext(order, items, addresses[0] if addresses else None)


async def _load_book(tx: Transaction, shop: Shop, email: EmailRow) -> EmailContext:
    prebooking = await prebookings.find_prebooking(tx, email.subject_id)
    book = prebooking and await catalog.find_book(tx, prebooking.book_id)
    if not book:
        raise EmailObsolete("The book was deleted.")
    url = build_frontend_url(shop.policy, f"books/{book.slug}") if shop.policy.frontend_url else None
    return BookContext(book.title, book.price, shop.policy.currency, url)


async def _load_verification(tx: Transaction, shop: Shop, email: EmailRow) -> EmailContext:
    return await _load_link(tx, shop, email, "verify-email")


async def _load_password_reset(tx: Transaction, shop: Shop, email: EmailRow) -> EmailContext:
    return await _load_link(tx, shop, email, "reset-password")


async def _load_link(tx: Transaction, shop: Shop, email: EmailRow, page: str) -> EmailContext:
    token_row = await one_time_tokens.find_token(tx, email.subject_id)
    if token_row is None or token_row.used_at is not None or token_row.expires_at <= dt.datetime.now(dt.UTC):
        raise EmailObsolete("The link is used or expired.")
    token = shop.tokens.rederive_one_time_token(token_row.id, token_row.hash)
    if token is None:
        raise ContentUnavailable("The link was created with a SECRET_KEY that this server does not have.")
    url = build_frontend_url(shop.policy, page, token=token)
    return LinkContext(url, None if shop.policy.frontend_url else token, token_row.expires_at)


async def _load_provider(tx: Transaction, _: Shop, email: EmailRow) -> EmailContext:
    linked_account = await linked_accounts.find_linked_account(tx, email.subject_id)
    if linked_account is None:
        raise EmailObsolete("The provider is no longer linked.")
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
    """Return the URL of a page of the frontend, or of the server without one. The base URL's query is kept."""
    parts = urlsplit(policy.frontend_url or policy.public_url)
    query_string = "&".join(filter(None, (parts.query, urlencode(query))))
    return parts._replace(path=f"{parts.path.rstrip('/')}/{page}", query=query_string).geturl()
