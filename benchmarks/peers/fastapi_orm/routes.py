"""Each workload as a request to the REST endpoints, and their answers as GraphQL has them."""

import uuid
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import orjson

from benchmarks.dialects import Asked, Route
from graph.kit.ids import parse_key, to_global_id

Json = dict[str, Any]


def _get(path: str, **parameters: Any) -> Asked:
    given = {name: value for name, value in parameters.items() if value is not None}
    return "GET", f"{path}?{urlencode(given)}", None


def _post(path: str, body: Json) -> Asked:
    return "POST", path, orjson.dumps(body)


def _key(variables: Json) -> str:
    return str(parse_key("Book", variables["id"]))


def _id(kind: str, text: str) -> str:
    return str(to_global_id(kind, uuid.UUID(text)))


def _book(book: Json) -> Json:
    """Whatever of a book is told."""
    rating = book.get("rating") or {"average": None, "count": 0}
    told = {
        "id": _id("Book", book["id"]),
        "title": book["title"],
        "description": book.get("description"),
        "authors": book["authors"],
        "isbn": book.get("isbn"),
        "price": {"amount": book["price"]},
        "stockQuantity": book["stock_quantity"],
        "genre": book.get("genre"),
        "averageRating": rating["average"] if rating["count"] else None,
        "reviewCount": rating["count"],
    }
    absent = {"description": "description", "isbn": "isbn", "genre": "genre", "reviewCount": "isbn"}
    return {name: value for name, value in told.items() if absent.get(name, "id") in book}


def _books(answer: Json) -> Json:
    page = {"hasNextPage": answer["next"] is not None, "endCursor": answer["next"]}
    counted = {} if answer["total"] is None else {"totalCount": answer["total"]}
    return {"books": {**counted, "nodes": [_book(book) for book in answer["items"]], "pageInfo": page}}


def _found(answer: Json) -> Json:
    page = {"hasNextPage": answer["has_more"]}
    return {"books": {"nodes": [_book(book) for book in answer["items"]], "pageInfo": page}}


def _review(review: Json) -> Json:
    return {
        "id": _id("Review", review["id"]),
        "rating": review["rating"],
        "text": review["text"],
        "createdAt": review["created_at"],
        "reviewer": {"displayName": review["user"]["display_name"]},
    }


def _page(answer: Json) -> Json:
    reviews = [_review(review) for review in answer["reviews"]]
    page = {"hasNextPage": answer["has_more_reviews"]}
    return {"book": {**_book(answer["book"]), "reviews": {"nodes": reviews, "pageInfo": page}}}


def _cart(answer: Json) -> Json:
    lines = [
        {
            "quantity": item["quantity"],
            "lineTotal": {"amount": str(Decimal(item["book"]["price"]) * item["quantity"])},
            "book": {"id": _id("Book", item["book"]["id"]), "title": item["book"]["title"]},
        }
        for item in answer["items"]
    ]
    total = sum(line["quantity"] for line in lines)
    cart = {"totalQuantity": total, "total": {"amount": answer["total"]}, "items": lines}
    return {"addToCart": {"__typename": "CartUpdated", "cart": cart}}


def _order(answer: Json) -> Json:
    lines = [
        {"title": item["title"], "quantity": item["quantity"], "unitPrice": {"amount": item["unit_price"]}}
        for item in answer["items"]
    ]
    order = {
        "id": _id("Order", answer["id"]),
        "number": answer["number"],
        "status": answer["status"],
        "totalQuantity": answer["total_quantity"],
        "total": {"amount": answer["total"]},
        "items": lines,
    }
    return {"checkout": {"__typename": "OrderPlaced", "order": order}}


ROUTES = {
    "W1": Route(lambda asked: _get("/books", first=asked["first"], after=asked["after"]), _books),
    "W1c": Route(lambda asked: _get("/books", first=asked["first"], after=asked["after"], count="true"), _books),
    "W2": Route(lambda asked: _get("/search", words=asked["words"], first=asked["first"]), _found),
    "W3": Route(lambda asked: _get(f"/books/{_key(asked)}", reviews=asked["first"]), _page),
    "W4": Route(
        lambda asked: _post("/cart/items", {"book_id": _key({"id": asked["input"]["bookId"]})}),
        _cart,
    ),
    "W5": Route(
        lambda asked: _post(
            "/orders",
            {"idempotency_key": asked["input"]["idempotencyKey"], "payment_token": asked["input"]["paymentToken"]},
        ),
        _order,
    ),
}
