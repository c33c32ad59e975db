"""The cart and checkout as Strawberry mutations."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Self

import strawberry
from strawberry.permission import BasePermission

from graph.kit.ids import parse_key, to_global_id
from tools.bench.peers import accounts, orm, purchases
from tools.bench.peers.idiomatic_strawberry.catalog import Book, Context, Info, Money


class IsAuthenticated(BasePermission):
    message = "Sign in first."

    async def has_permission(self, source: Any, info: strawberry.Info[Context, None], **kwargs: Any) -> bool:  # noqa: ARG002  # as documented
        if info.context.token is None:
            return False
        async with orm.Session() as session:
            info.context.user = await accounts.find_user(session, info.context.token)
        return info.context.user is not None


@strawberry.interface
class UserError:
    code: str
    message: str


@strawberry.type
class Problem(UserError):
    pass


@strawberry.type
class CartItem:
    quantity: int
    line_total: Money
    book: Book

    @classmethod
    def marshal(cls, item: orm.CartItem) -> Self:
        return cls(
            quantity=item.quantity,
            line_total=Money(amount=item.quantity * item.book.price),
            book=Book.marshal(item.book),
        )


@strawberry.type
class Cart:
    total_quantity: int
    total: Money
    items: list[CartItem]

    @classmethod
    def marshal(cls, items: Sequence[orm.CartItem]) -> Self:
        return cls(
            total_quantity=sum(item.quantity for item in items),
            total=Money(amount=purchases.cart_total(items)),
            items=[CartItem.marshal(item) for item in items],
        )


@strawberry.type
class CartUpdated:
    cart: Cart


@strawberry.type
class OrderItem:
    title: str
    quantity: int
    unit_price: Money


@strawberry.type
class Order:
    id: strawberry.ID
    number: str
    status: str
    total_quantity: int
    total: Money
    items: list[OrderItem]

    @classmethod
    def marshal(cls, order: orm.Order) -> Self:
        return cls(
            id=to_global_id("Order", order.id),
            number=order.number,
            status=order.status,
            total_quantity=order.total_quantity,
            total=Money(amount=Decimal(order.total)),
            items=[
                OrderItem(title=item.title, quantity=item.quantity, unit_price=Money(amount=item.unit_price))
                for item in order.items
            ],
        )


@strawberry.type
class OrderPlaced:
    order: Order


AddToCartResult = Annotated[CartUpdated | Problem, strawberry.union("AddToCartResult")]
CheckoutResult = Annotated[OrderPlaced | Problem, strawberry.union("CheckoutResult")]


@strawberry.input
class AddToCartInput:
    book_id: strawberry.ID
    quantity: int = 1


@strawberry.input
class CheckoutInput:
    idempotency_key: str
    payment_token: str | None = None


@strawberry.type
class Mutation:
    @strawberry.mutation(permission_classes=[IsAuthenticated])  # type: ignore[untyped-decorator]  # Strawberry leaves it so
    async def add_to_cart(self, info: Info, input: AddToCartInput) -> AddToCartResult:
        user = info.context.user
        assert user is not None
        async with orm.Session() as session:
            try:
                items = await purchases.add_to_cart(session, user, parse_key("Book", input.book_id), input.quantity)
            except purchases.UserError as error:
                return Problem(code=error.code, message=error.message)
        return CartUpdated(cart=Cart.marshal(items))

    @strawberry.mutation(permission_classes=[IsAuthenticated])  # type: ignore[untyped-decorator]  # Strawberry leaves it so
    async def checkout(self, info: Info, input: CheckoutInput) -> CheckoutResult:
        user = info.context.user
        assert user is not None
        async with orm.Session() as session:
            try:
                order = await purchases.checkout(session, user, input.idempotency_key, input.payment_token)
            except purchases.UserError as error:
                return Problem(code=error.code, message=error.message)
        return OrderPlaced(order=Order.marshal(order))
