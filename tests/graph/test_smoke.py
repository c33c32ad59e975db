from domain.shop import Shop
from tests.client import Visitor
from tests.factories import add_book, add_member, book_id, fill_cart


async def test_checkout(visitor: Visitor, shop: Shop) -> None:
    book = await add_book(shop, "The Hobbit", stock=3)
    member = await add_member(shop)
    me = visitor.signed_in(member.token)
    reply = await me.ask(
        "mutation ($id: ID!) { addToCart(input: {bookId: $id, quantity: 2}) { __typename ... on CartUpdated { cart { totalQuantity total { amount } items { book { title } } } } ... on UserError { code message } } }",
        id=book_id(book),
    )
    assert reply["addToCart"]["cart"]["total"]["amount"] == "20.00"
    reply = await me.ask(
        'mutation { checkout(input: {idempotencyKey: "k", paymentToken: "mock-approve"}) { __typename ... on OrderPlaced { order { number status items { title unitPrice { amount } } total { amount } } } ... on UserError { code message } } }'
    )
    assert reply["checkout"]["order"]["status"] == "CONFIRMED"
    reply = await me.ask('mutation { checkout(input: {idempotencyKey: "k2"}) { __typename ... on UserError { code } } }')
    assert reply["checkout"] == {"__typename": "CartEmpty", "code": "ORDER_CART_EMPTY"}
