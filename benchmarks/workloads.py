"""What is asked of every contender: documents, and the variables that go with them, the same for all."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.stage import Stage

Variables = dict[str, object]

PAGE = """nodes { id title authors { name } isbn price { amount } stockQuantity genre { name } averageRating reviewCount }
    pageInfo { hasNextPage endCursor }"""
CATALOGUE = f"query Catalogue($first: Int!, $after: String) {{ books(first: $first, after: $after) {{ {PAGE} }} }}"
COUNTED = (
    f"query Counted($first: Int!, $after: String) {{ books(first: $first, after: $after) {{ totalCount {PAGE} }} }}"
)
SEARCH = """query Search($words: String!, $first: Int!) { books(search: $words, first: $first) {
    nodes { id title authors { name } price { amount } stockQuantity averageRating } pageInfo { hasNextPage } } }"""
BOOK = """query Book($id: ID!, $first: Int!) { book(by: {id: $id}) {
    id title description isbn authors { name } genre { name } price { amount } stockQuantity averageRating reviewCount
    reviews(first: $first) { nodes { id rating text createdAt reviewer { displayName } } pageInfo { hasNextPage } } } }"""
ADD = """mutation Add($input: AddToCartInput!) { addToCart(input: $input) { __typename
    ... on CartUpdated { cart { totalQuantity total { amount } items { quantity lineTotal { amount } book { id title } } } }
    ... on UserError { code message } } }"""
BUY = """mutation Buy($input: CheckoutInput!) { checkout(input: $input) { __typename
    ... on OrderPlaced { order { id number status totalQuantity total { amount }
        items { title quantity unitPrice { amount } } } }
    ... on UserError { code message } } }"""


@dataclass(frozen=True, slots=True)
class Question:
    """One request: what goes with the document, who asks, and from which address where a proxy tells it.

    Where a workload asks for several things, it has a document of its own.
    """

    variables: Variables
    token: str | None = None
    address: str | None = None
    document: str | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """`success` is in every good answer of a contender that speaks GraphQL. `prepare` sets the stage for so many questions.

    What `writes` is asked once by each reader; `most` requests are kept ready for each second.
    """

    name: str
    title: str
    document: str
    questions: Callable[[Stage, str], Iterator[Question]]
    success: bytes = b'"data"'
    prepare: Callable[[Stage, int], None] = lambda _stage, _count: None
    writes: bool = False
    most: int = 6_000


def _pages(_: Stage, __: str) -> Iterator[Question]:
    return itertools.repeat(Question({"first": 20, "after": None}))


def _searches(stage: Stage, _: str) -> Iterator[Question]:
    return itertools.cycle([Question({"words": words, "first": 20}) for words in stage.searches])


def _books(stage: Stage, _: str) -> Iterator[Question]:
    return itertools.cycle([Question({"id": id_, "first": 10}) for id_ in stage.reviewed])


def _additions(stage: Stage, _: str) -> Iterator[Question]:
    """Every reader adds one book to an empty cart."""
    books = itertools.cycle(stage.in_stock)
    return (Question({"input": {"bookId": next(books)}}, token) for token in stage.tokens)


def _purchases(stage: Stage, key: str) -> Iterator[Question]:
    return (
        Question({"input": {"idempotencyKey": f"{key}-{number}", "paymentToken": "mock-approve"}}, token)
        for number, token in enumerate(stage.tokens)
    )


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", "catalogue page", CATALOGUE, _pages),
        Workload("W1c", "the same with totalCount", COUNTED, _pages),
        Workload("W2", "search for two words", SEARCH, _searches),
        Workload("W3", "book page with ten reviews", BOOK, _books),
        Workload("W4", "add to cart", ADD, _additions, b"CartUpdated", Stage.empty_carts, True),
        Workload("W5", "checkout of three books", BUY, _purchases, b"OrderPlaced", Stage.fill_carts, True, 2_000),
    )
}
