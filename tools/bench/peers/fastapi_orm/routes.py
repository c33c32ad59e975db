"""Each workload as a REST request, and its response in the shape of the GraphQL schema."""

import uuid
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import orjson

from graph.kit.ids import parse_key, to_global_id
from tools.bench.protocols import HttpRequest, Route

Json = dict[str, Any]


def _get(path: str, **parameters: Any) -> HttpRequest:
    query = {name: value for name, value in parameters.items() if value is not None}
    return "GET", f"{path}?{urlencode(query)}", None


def _post(path: str, body: Json) -> HttpRequest:
    return "POST", path, orjson.dumps(body)


def _key(variables: Json) -> str:
    return str(parse_key("Book", variables["id"]))


def _id(kind: str, text: str) -> str:
    return str(to_global_id(kind, uuid.UUID(text)))


def _book(book: Json) -> Json:
    """Return those fields of a book that the response has."""
    rating = book.get("rating") or {"average": None, "count": 0}
    fields = {
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
    sources = {"description": "description", "isbn": "isbn", "genre": "genre", "reviewCount": "isbn"}
    return {name: value for name, value in fields.items() if sources.get(name, "id") in book}


def _books(response: Json) -> Json:
    page = {"hasNextPage": response["next"] is not None, "endCursor": response["next"]}
    count = {} if response["total"] is None else {"totalCount": response["total"]}
    return {"books": {**count, "nodes": [_book(book) for book in response["items"]], "pageInfo": page}}


def _matches(response: Json) -> Json:
    page = {"hasNextPage": response["has_more"]}
    return {"books": {"nodes": [_book(book) for book in response["items"]], "pageInfo": page}}


def _review(review: Json) -> Json:
    return {
        "id": _id("Review", review["id"]),
        "rating": review["rating"],
        "text": review["text"],
        "createdAt": review["created_at"],
        "reviewer": {"displayName": review["user"]["display_name"]},
    }


def _page(response: Json) -> Json:
    reviews = [_review(review) for review in response["reviews"]]
    page = {"hasNextPage": response["has_more_reviews"]}
    return {"book": {**_book(response["book"]), "reviews": {"nodes": reviews, "pageInfo": page}}}


def _cart(response: Json) -> Json:
    lines = [
        {
            "quantity": item["quantity"],
            "lineTotal": {"amount": str(Decimal(item["book"]["price"]) * item["quantity"])},
            "book": {"id": _id("Book", item["book"]["id"]), "title": item["book"]["title"]},
        }
        for item in response["items"]
    ]
    total = sum(line["quantity"] for line in lines)
    cart = {"totalQuantity": total, "total": {"amount": response["total"]}, "items": lines}
    return {"addToCart": {"__typename": "CartUpdated", "cart": cart}}


def _order(response: Json) -> Json:
    lines = [
        {"title": item["title"], "quantity": item["quantity"], "unitPrice": {"amount": item["unit_price"]}}
        for item in response["items"]
    ]
    order = {
        "id": _id("Order", response["id"]),
        "number": response["number"],
        "status": response["status"],
        "totalQuantity": response["total_quantity"],
        "total": {"amount": response["total"]},
        "items": lines,
    }
    return {"checkout": {"__typename": "OrderPlaced", "order": order}}


ROUTES = {
    "W1": Route(lambda variables: _get("/books", first=variables["first"], after=variables["after"]), _books),
    "W1c": Route(
        lambda variables: _get("/books", first=variables["first"], after=variables["after"], count="true"), _books
    ),
    "W2": Route(lambda variables: _get("/search", words=variables["words"], first=variables["first"]), _matches),
    "W3": Route(lambda variables: _get(f"/books/{_key(variables)}", reviews=variables["first"]), _page),
    "W4": Route(
        lambda variables: _post("/cart/items", {"book_id": _key({"id": variables["input"]["bookId"]})}),
        _cart,
    ),
    "W5": Route(
        lambda variables: _post(
            "/orders",
            {
                "idempotency_key": variables["input"]["idempotencyKey"],
                "payment_token": variables["input"]["paymentToken"],
            },
        ),
        _order,
    ),
}
