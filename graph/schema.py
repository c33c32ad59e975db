"""Builds the schema from every query and mutation, in the order of the SDL."""

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import create_type

from graph import (
    accounts,
    admin,
    book_list,
    cart,
    catalog,
    catalog_admin,
    email_verification,
    orders,
    passwords,
    prebookings,
    reviews,
    sessions,
    wishlist,
)
from graph.kit import nodes
from graph.kit.permissions import UserRole
from graph.kit.scalars import SCALARS

Query = create_type(
    "Query",
    [
        nodes.node,
        nodes.nodes,
        book_list.books,
        catalog.book,
        catalog.genres,
        catalog.genre,
        book_list.authors,
        catalog.author,
        reviews.review,
        accounts.me,
        orders.order,
        sessions.oauth_logins,
        admin.admin,
    ],
    description="Everything that can be read.",
)

Mutation = create_type(
    "Mutation",
    [
        sessions.register,
        sessions.login,
        sessions.login_with_oauth,
        sessions.refresh_session,
        sessions.logout,
        sessions.revoke_session,
        email_verification.request_email_verification,
        email_verification.verify_email,
        passwords.request_password_reset,
        passwords.reset_password,
        passwords.change_password,
        accounts.update_profile,
        cart.add_to_cart,
        cart.update_cart_item,
        cart.remove_from_cart,
        cart.merge_cart,
        orders.checkout,
        orders.cancel_order,
        wishlist.add_to_wishlist,
        wishlist.remove_from_wishlist,
        prebookings.prebook,
        prebookings.cancel_prebooking,
        reviews.create_review,
        reviews.update_review,
        reviews.delete_review,
        catalog_admin.create_book,
        catalog_admin.update_book,
        catalog_admin.delete_book,
        catalog_admin.update_stock,
        catalog_admin.create_genre,
        catalog_admin.rename_genre,
        catalog_admin.delete_genre,
        orders.ship_order,
        accounts.deactivate_user,
        accounts.reactivate_user,
        reviews.delete_reviews,
    ],
    description="""Everything that changes something.

Each mutation takes one `input` and returns a union of its result and of every problem that the user can solve. These
problems implement `UserError`, so `... on UserError { code message }` selects those that a client does not handle one by
one, and those added later. Problems that no user can solve are top-level errors.""",
)

schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    types=[
        catalog.Book,
        catalog.Author,
        catalog.Genre,
        reviews.Review,
        accounts.User,
        cart.Cart,
        orders.Order,
        wishlist.WishlistItem,
        prebookings.Prebooking,
    ],
    config=StrawberryConfig(scalar_map=SCALARS),
)

# Strawberry supports neither a description of a directive's argument nor a default that its uses leave out.
for _directive in schema._schema.directives:
    if _directive.name == "requiresAuth":
        _directive.args["role"].description = "The lowest role that may use the field."
        _directive.args["role"].default_value = UserRole.USER
