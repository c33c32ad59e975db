"""Declares users and their sessions, profile changes, and deactivation by administrators."""

import datetime as dt
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import accounts
from domain.errors import InvalidInput, NotFound, ProtectedAccount
from graph.cart import Cart
from graph.context import Info
from graph.kit.batch_fields import batch_field
from graph.kit.declare import (
    argument,
    attribute,
    enum_type,
    field,
    input_type,
    none_if_unset,
    object_type,
    optional,
    query,
)
from graph.kit.ids import global_id_field, parse_key
from graph.kit.mutations import mutation
from graph.kit.nodes import Node, node_resolver
from graph.kit.pagination import After, Before, Connection, First, Last
from graph.kit.permissions import UserRole, admin_only, public, signed_in
from graph.loaders import batch_loader
from graph.orders import OrderConnection, OrderStatusesArgument, resolve_orders
from graph.prebookings import PrebookingConnection, PrebookingStatusesArgument, resolve_prebookings
from graph.reviews import ReviewConnection, resolve_reviews
from graph.wishlist import WishlistConnection, resolve_wishlist
from persistence import accounts as rows
from persistence.accounts import SessionRow, UserRow
from persistence.cart import CartRow
from persistence.linked_accounts import Provider
from persistence.orders import OrderRow
from persistence.prebookings import PrebookingRow
from persistence.reviews import ReviewQuery, ReviewRow
from persistence.wishlist import WishlistItemRow

enum_type(
    Provider,
    "A company whose accounts can be used to sign in.",
    GOOGLE="Google.",
    GITHUB="GitHub.",
    name="OAuthProvider",
)


@object_type(source_type=SessionRow)
class Session:
    """A sign-in on one device. It stays the same session when its tokens are refreshed."""

    id: strawberry.ID = global_id_field("Session", "The session's ID.")
    user_agent: str | None = attribute("The browser or app that opened it, as its `User-Agent` header named it.")
    created_at: dt.datetime = attribute("When it was opened.")
    last_used_at: dt.datetime = attribute("When its tokens were last refreshed.")

    @field()
    async def is_current(self: SessionRow, info: Info) -> bool:
        """Whether it is the session of this request."""
        viewer = await info.context.get_viewer()
        return viewer is not None and viewer.session_id == self.id


@object_type(source_type=UserRow)
class User(Node):
    """An account. Only its owner and administrators can see it."""

    id: strawberry.ID = global_id_field("User", "The user's global ID.")
    email: str = attribute("The email address they sign in with and receive email at.")
    is_email_verified: bool = attribute("Whether they have proved that the email address is theirs.")
    display_name: str = attribute("The name shown next to their reviews.")
    role: UserRole = attribute("What they may do.")
    is_active: bool = attribute("Whether they may sign in.")
    has_password: bool = attribute(
        "Whether they can sign in with a password. Without one they sign in through a provider."
    )

    @batch_field(batch_loader(lambda loaders: loaders.providers_by_user, "id"))
    def linked_providers(providers: list[Provider]) -> list[Provider]:
        """The providers they can sign in through."""
        return providers

    created_at: dt.datetime = attribute("When the account was created.")

    @field(Cart)
    def cart(self: UserRow) -> CartRow:
        """Their cart, which may be empty."""
        return CartRow(self.id)

    @field(OrderConnection)
    async def orders(
        self: UserRow,
        info: Info,
        statuses: OrderStatusesArgument = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[OrderRow]:
        """Their orders, the latest first."""
        return await resolve_orders(info, self.id, statuses, first, after, last, before)

    @field(WishlistConnection)
    async def wishlist(
        self: UserRow,
        info: Info,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[WishlistItemRow]:
        """The books they saved, the latest first."""
        return await resolve_wishlist(info, self.id, first, after, last, before)

    @field(PrebookingConnection)
    async def prebookings(
        self: UserRow,
        info: Info,
        statuses: PrebookingStatusesArgument = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[PrebookingRow]:
        """Their pre-bookings, the latest first."""
        return await resolve_prebookings(info, self.id, statuses, first, after, last, before)

    @field(ReviewConnection)
    async def reviews(
        self: UserRow,
        info: Info,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[ReviewRow]:
        """Their reviews, the latest first."""
        return await resolve_reviews(info, ReviewQuery(user_id=self.id), first, after, last, before)

    @field(list[Session])
    async def sessions(self: UserRow, info: Info) -> list[SessionRow]:
        """Their active sessions, the most recently used first."""
        return await rows.list_sessions(info.context.read_session, self.id)


@node_resolver("User")
async def find_user(info: Info, key: Any) -> UserRow | None:
    """Find a user for `node`."""
    viewer = await info.context.get_viewer()
    can_view = viewer is not None and accounts.is_owner_or_admin(viewer.user, key)
    return await info.context.loaders.user.load(key) if can_view else None


@node_resolver("Cart")
async def find_cart(info: Info, key: Any) -> CartRow | None:
    """Find a cart for `node`."""
    return CartRow(key) if await find_user(info, key) else None


@query(public, User | None)
async def me(info: Info) -> UserRow | None:
    """The signed-in user; `null` for an anonymous caller."""
    viewer = await info.context.get_viewer()
    return viewer.user if viewer else None


# ── Inputs ────────────────────────────────────────────────────────────────────────────────


@input_type()
class UpdateProfileInput:
    """Changes to a profile. A field left out stays as it is."""

    display_name: str | None = optional("The name to show next to reviews, 1 to 50 characters.")


@input_type()
class DeactivateUserInput:
    """An account to deactivate."""

    user_id: strawberry.ID = attribute("The ID of the user.")


@input_type()
class ReactivateUserInput:
    """An account to reactivate."""

    user_id: strawberry.ID = attribute("The ID of the user.")


# ── Results ───────────────────────────────────────────────────────────────────────────────


@object_type()
class ProfileUpdated:
    """The profile has changed."""

    user: UserRow = attribute("The user.", User)


@object_type()
class UserDeactivated:
    """The account has been deactivated."""

    user: UserRow = attribute("The user.", User)
    sessions_ended: int = attribute("How many sessions were ended.")


@object_type()
class UserReactivated:
    """The account may sign in again."""

    user: UserRow = attribute("The user.", User)


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@mutation(signed_in, ProfileUpdated, errors=(InvalidInput,))
async def update_profile(
    info: Info, input: Annotated[UpdateProfileInput, argument("The fields to change.")]
) -> ProfileUpdated:
    """Changes what others see of the caller."""
    viewer = await info.context.require_viewer()
    display_name = none_if_unset(input.display_name)
    return ProfileUpdated(user=await accounts.update_profile(info.context.shop, viewer, display_name))


@mutation(admin_only, UserDeactivated, errors=(ProtectedAccount, NotFound))
async def deactivate_user(
    info: Info, input: Annotated[DeactivateUserInput, argument("The account.")]
) -> UserDeactivated:
    """Deactivates an account at once and ends its sessions."""
    user, sessions_ended = await accounts.deactivate(info.context.shop, parse_key("User", input.user_id))
    return UserDeactivated(user=user, sessions_ended=sessions_ended)


@mutation(admin_only, UserReactivated, errors=(NotFound,))
async def reactivate_user(
    info: Info, input: Annotated[ReactivateUserInput, argument("The account.")]
) -> UserReactivated:
    """Lets a deactivated account sign in again."""
    return UserReactivated(user=await accounts.reactivate(info.context.shop, parse_key("User", input.user_id)))
