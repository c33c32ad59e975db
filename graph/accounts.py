"""Accounts: the signed-in user, what they may change of theirs, and who may come in."""

import datetime as dt
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import accounts
from graph.cart import Cart
from graph.context import Info
from graph.errors import InvalidInput, NotFound, ProtectedAccount
from graph.fields import column, field, input_shape, mutation, outcomes, query, shape
from graph.gates import UserRole, administrator, public, signed_in
from graph.identities import Provider
from graph.ids import key_of, own_id
from graph.nodes import Node, refetched
from graph.orders import OrderConnection, StatusesArgument, orders_of
from graph.pagination import After, Before, Connection, First, Last, argument
from graph.prebookings import PrebookingConnection, prebookings_of
from graph.prebookings import StatusesArgument as PrebookingStatuses
from graph.questions import Question, loaded
from graph.reviews import ReviewConnection, reviews_of
from graph.wishlist import WishlistConnection, wishlist_of
from persistence import accounts as rows
from persistence.accounts import Session as SessionRow
from persistence.accounts import User as UserRow
from persistence.cart import Cart as CartRow
from persistence.orders import Order as OrderRow
from persistence.prebookings import Prebooking as PrebookingRow
from persistence.reviews import Review as ReviewRow
from persistence.reviews import ReviewList
from persistence.wishlist import WishlistItem as WishlistItemRow


@shape(of=SessionRow)
class Session:
    """One sign-in on one device, however often its tokens were refreshed since."""

    id: strawberry.ID = own_id("Session", "The session's ID.")
    user_agent: str | None = column("The browser or app it was opened from, as it named itself.")
    created_at: dt.datetime = column("When it was opened.")
    last_used_at: dt.datetime = column("When its tokens were last refreshed.")

    @field()
    async def is_current(self: SessionRow, info: Info) -> bool:
        """Whether it is the one that asks."""
        viewer = await info.context.viewer()
        return viewer is not None and viewer.session_id == self.id


@shape(of=UserRow)
class User(Node):
    """An account. Its owner and administrators can see it, no one else."""

    id: strawberry.ID = own_id("User", "The user's global ID.")
    email: str = column("The address they sign in with and get mail at.")
    is_email_verified: bool = column("Whether they proved that the address is theirs.")
    display_name: str = column("The name shown next to their reviews.")
    role: UserRole = column("What they may do.")
    is_active: bool = column("Whether they may sign in.")
    has_password: bool = column("Whether they can sign in with a password, or through a provider only.")

    @loaded(Question(lambda loaders: loaders.providers_of_user, "id"))
    def linked_providers(providers: list[Provider]) -> list[Provider]:
        """The providers they can sign in through."""
        return providers

    created_at: dt.datetime = column("When the account was created.")

    @field(Cart)
    def cart(self: UserRow) -> CartRow:
        """Their cart. Everyone has one, if only an empty one."""
        return CartRow(self.id)

    @field(OrderConnection)
    async def orders(
        self: UserRow,
        info: Info,
        statuses: StatusesArgument = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[OrderRow]:
        """Their orders, the latest first."""
        return await orders_of(info, self.id, statuses, first, after, last, before)

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
        return await wishlist_of(info, self.id, first, after, last, before)

    @field(PrebookingConnection)
    async def prebookings(
        self: UserRow,
        info: Info,
        statuses: PrebookingStatuses = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[PrebookingRow]:
        """Their pre-bookings, the latest first."""
        return await prebookings_of(info, self.id, statuses, first, after, last, before)

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
        return await reviews_of(info, ReviewList(user_id=self.id), first, after, last, before)

    @field(list[Session])
    async def sessions(self: UserRow, info: Info) -> list[SessionRow]:
        """Where they are signed in, the latest used first."""
        return await rows.list_sessions(info.context.reading, self.id)


@refetched("User")
async def find_user(info: Info, key: Any) -> UserRow | None:
    viewer = await info.context.viewer()
    may_see = viewer is not None and (viewer.user.id == key or viewer.user.role == "ADMIN")
    return await info.context.loaders.user.load(key) if may_see else None


@refetched("Cart")
async def find_cart(info: Info, key: Any) -> CartRow | None:
    return CartRow(key) if await find_user(info, key) else None


@query(public, User | None)
async def me(info: Info) -> UserRow | None:
    """The signed-in user; `null` for a visitor."""
    viewer = await info.context.viewer()
    return viewer.user if viewer else None


# ── Inputs ────────────────────────────────────────────────────────────────────────────────


@input_shape()
class UpdateProfileInput:
    """Changes to a profile. A field left out stays as it is."""

    display_name: str | None = strawberry.field(
        default=UNSET, description="The name to show next to reviews, 2 to 50 characters."
    )


@input_shape()
class DeactivateUserInput:
    """An account to lock out."""

    user_id: strawberry.ID = column("The ID of the user.")


@input_shape()
class ReactivateUserInput:
    """An account to let in again."""

    user_id: strawberry.ID = column("The ID of the user.")


# ── Outcomes ──────────────────────────────────────────────────────────────────────────────


@shape()
class ProfileUpdated:
    """The profile has changed."""

    user: UserRow = column("The user.", User)


@shape()
class UserDeactivated:
    """The account is locked out."""

    user: UserRow = column("The user.", User)
    sessions_ended: int = column("How many sessions ended with it.")


@shape()
class UserReactivated:
    """The account may sign in again."""

    user: UserRow = column("The user.", User)


UpdateProfileResult = Annotated[ProfileUpdated | InvalidInput, outcomes("UpdateProfileResult", "updateProfile")]
DeactivateUserResult = Annotated[
    UserDeactivated | ProtectedAccount | NotFound, outcomes("DeactivateUserResult", "deactivateUser")
]
ReactivateUserResult = Annotated[UserReactivated | NotFound, outcomes("ReactivateUserResult", "reactivateUser")]


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@mutation(signed_in)
async def update_profile(
    info: Info, input: Annotated[UpdateProfileInput, argument("The fields to change.")]
) -> UpdateProfileResult | None:
    """Changes what others see of the caller."""
    viewer = await info.context.signed_in()
    name = input.display_name if input.display_name is not UNSET else None
    return ProfileUpdated(user=await accounts.update_profile(info.context.shop, viewer, name))


@mutation(administrator)
async def deactivate_user(
    info: Info, input: Annotated[DeactivateUserInput, argument("The account.")]
) -> DeactivateUserResult | None:
    """Locks an account out at once and ends its sessions."""
    user, ended = await accounts.deactivate(info.context.shop, key_of("User", input.user_id))
    return UserDeactivated(user=user, sessions_ended=ended)


@mutation(administrator)
async def reactivate_user(
    info: Info, input: Annotated[ReactivateUserInput, argument("The account.")]
) -> ReactivateUserResult | None:
    """Lets a deactivated account sign in again."""
    return UserReactivated(user=await accounts.reactivate(info.context.shop, key_of("User", input.user_id)))
