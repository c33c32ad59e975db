"""Each mutation declares the user errors that its domain functions can raise: all of them and no others."""

import uuid
from collections.abc import Callable

import pytest
from strawberry.types import get_object_definition
from strawberry.types.field import StrawberryField
from structlog.testing import capture_logs

from domain import wishlist
from domain.errors import (
    AccountDeactivated,
    CartEmpty,
    Constraint,
    InvalidInput,
    InvalidToken,
    NotFound,
    UserError,
)
from domain.shop import Shop
from domain.validation import invalid_input, validating
from graph.kit.mutations import UserErrorExtension
from graph.schema import Mutation
from tests.support.graphql.raised_errors import RaisedErrors
from tests.support.http.client import ApiClient
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_book, book_id

MUTATIONS = get_object_definition(Mutation, strict=True).fields


@pytest.fixture(scope="module")
def raised_errors() -> RaisedErrors:
    return RaisedErrors("graph", "domain")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_declares_the_errors_it_can_raise(mutation: StrawberryField, raised_errors: RaisedErrors) -> None:
    [declared_errors] = [
        extension.errors for extension in mutation.extensions if isinstance(extension, UserErrorExtension)
    ]
    assert mutation.base_resolver is not None
    actual_errors = raised_errors.find(mutation.base_resolver.wrapped_func)
    assert {error.__name__ for error in declared_errors} == {error.__name__ for error in actual_errors}
    assert len(set(declared_errors)) == len(declared_errors)


# ── Search for errors ───────────────────────────────────────────────────────────────────────


def _raise_through_helpers(kind: str) -> None:
    if kind == "quantity":
        raise invalid_input(("quantity",), Constraint.REQUIRED, "Required.")
    with validating() as validator:
        validator.number(("quantity",), 0, 1, 2)


def _raise_in_callback() -> list[None]:
    return [action() for action in ACTIONS.values()]


def _raise_cart_empty() -> None:
    raise CartEmpty


ACTIONS: dict[str, Callable[[], None]] = {"empty": lambda: _raise_cart_empty()}


def _translate() -> None:
    try:
        _raise_cart_empty()
    except CartEmpty as error:
        raise InvalidToken from error


def _reraise() -> None:
    try:
        _raise_cart_empty()
    except UserError:
        ACTIONS.clear()
        raise


def _recurse(depth: int) -> None:
    _recurse(depth - 1)
    Raiser(depth).check()


class Raiser:
    def __init__(self, depth: int) -> None:
        if depth < 0:
            raise AccountDeactivated

    def check(self) -> None:
        raise NotFound("Book", uuid.UUID(int=7))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (_raise_through_helpers, {InvalidInput}),
        (_raise_in_callback, {CartEmpty}),
        (_translate, {InvalidToken}),
        (_reraise, {CartEmpty}),
        (_recurse, {AccountDeactivated, NotFound}),
    ],
)
def test_raised_errors_include_every_kind_of_raise(
    function: Callable[..., None], expected: set[type[UserError]]
) -> None:
    assert RaisedErrors("domain", "tests").find(function) == expected


# ── At run time ───────────────────────────────────────────────────────────────────────────


async def test_undeclared_user_error_is_an_internal_error(
    client: ApiClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_cart_empty(*_: object) -> None:
        raise CartEmpty

    customer = await add_customer(client, shop)
    book = await add_book(shop, "Emma")
    monkeypatch.setattr(wishlist, "add_to_wishlist", raise_cart_empty)
    with capture_logs() as log:
        response = await customer.execute(
            "mutation ($id: ID!) { addToWishlist(input: {bookId: $id}) { __typename } }", id=book_id(book)
        )
    assert response.data == {"addToWishlist": None}
    assert response.codes == ["INTERNAL_SERVER_ERROR"]
    assert [type(entry["exc_info"]) for entry in log if entry["log_level"] == "error"] == [CartEmpty]
