"""What is requested of every target: documents with their variables, the mix of a day, and callers with rate limits."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from tools.bench.fixtures import SEED, Fixtures

Variables = dict[str, object]

PAGE = """nodes { id title authors { name } isbn price { amount } stockQuantity genre { name } averageRating reviewCount }
    pageInfo { hasNextPage endCursor }"""
CATALOG = f"query Catalogue($first: Int!, $after: String) {{ books(first: $first, after: $after) {{ {PAGE} }} }}"
CATALOG_WITH_COUNT = (
    f"query Counted($first: Int!, $after: String) {{ books(first: $first, after: $after) {{ totalCount {PAGE} }} }}"
)
SEARCH = """query Search($words: String!, $first: Int!) { books(search: $words, first: $first) {
    nodes { id title authors { name } price { amount } stockQuantity averageRating } pageInfo { hasNextPage } } }"""
BOOK = """query Book($id: ID!, $first: Int!) { book(by: {id: $id}) {
    id title description isbn authors { name } genre { name } price { amount } stockQuantity averageRating reviewCount
    reviews(first: $first) { nodes { id rating text createdAt reviewer { displayName } } pageInfo { hasNextPage } } } }"""
ADD_TO_CART = """mutation Add($input: AddToCartInput!) { addToCart(input: $input) { __typename
    ... on CartUpdated { cart { totalQuantity total { amount } items { quantity lineTotal { amount } book { id title } } } }
    ... on UserError { code message } } }"""
CHECKOUT = """mutation Buy($input: CheckoutInput!) { checkout(input: $input) { __typename
    ... on OrderPlaced { order { id number status totalQuantity total { amount }
        items { title quantity unitPrice { amount } } } }
    ... on UserError { code message } } }"""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: variables, access token, the client address that a proxy forwards, and the document if it is not the workload's."""

    variables: Variables
    token: str | None = None
    address: str | None = None
    document: str | None = None


Requests = Iterator[Request]


@dataclass(frozen=True, slots=True)
class Workload:
    """A stream of requests.

    Every good GraphQL response contains `success_marker`. `prepare` sets the database up for so many requests. A workload
    that `writes` sends each request once. At most `max_per_second` requests are prepared for each second.
    """

    name: str
    title: str
    document: str
    requests: Callable[[Fixtures, str], Requests]
    success_marker: bytes = b'"data"'
    prepare: Callable[[Fixtures, int], None] = lambda _fixtures, _count: None
    writes: bool = False
    max_per_second: int = 6_000


def _first_pages(_: Fixtures, __: str) -> Requests:
    return itertools.repeat(Request({"first": 20, "after": None}))


def _searches(fixtures: Fixtures, _: str) -> Requests:
    return itertools.cycle([Request({"words": words, "first": 20}) for words in fixtures.searches])


def _book_pages(fixtures: Fixtures, _: str) -> Requests:
    return itertools.cycle([Request({"id": id_, "first": 10}) for id_ in fixtures.reviewed])


def _cart_additions(fixtures: Fixtures, _: str) -> Requests:
    """Every user adds one book to an empty cart."""
    books = itertools.cycle(fixtures.in_stock)
    return (Request({"input": {"bookId": next(books)}}, token) for token in fixtures.tokens)


def _checkouts(fixtures: Fixtures, key: str) -> Requests:
    return (
        Request({"input": {"idempotencyKey": f"{key}-{number}", "paymentToken": "mock-approve"}}, token)
        for number, token in enumerate(fixtures.tokens)
    )


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", "catalogue page", CATALOG, _first_pages),
        Workload("W1c", "the same with totalCount", CATALOG_WITH_COUNT, _first_pages),
        Workload("W2", "search for two words", SEARCH, _searches),
        Workload("W3", "book page with ten reviews", BOOK, _book_pages),
        Workload("W4", "add to cart", ADD_TO_CART, _cart_additions, b"CartUpdated", Fixtures.empty_carts, True),
        Workload(
            "W5", "checkout of three books", CHECKOUT, _checkouts, b"OrderPlaced", Fixtures.fill_carts, True, 2_000
        ),
    )
}


# ── The mix of a day, as docs/reference/performance.md has it ────────────────────────────────────────

SHARES = {"W1": 70, "W2": 10, "W3": 15, "W4": 4, "W5": 1}
"""Percent of the requests."""


def _mix(fixtures: Fixtures, key: str) -> Requests:
    """Users who add to a cart start with an empty one, and are not those who check out."""
    requests = {name: WORKLOADS[name].requests(fixtures, key) for name in SHARES}
    requests["W4"] = itertools.islice(requests["W4"], _count_buyers(len(fixtures.tokens)), None)
    names = [name for name, share in SHARES.items() for _ in range(share)]
    random.Random(SEED).shuffle(names)
    for name in itertools.islice(itertools.cycle(names), len(fixtures.tokens)):
        yield replace(next(requests[name]), document=WORKLOADS[name].document)


def _count_buyers(requests: int) -> int:
    """Return how many of so many requests check out, at most."""
    return requests * SHARES["W5"] // 100 + 1


MIX = Workload(
    "mix",
    "the mix",
    "",
    _mix,
    success_marker=b'"title"',  # in every good response, and in no user error
    prepare=lambda fixtures, count: fixtures.fill_carts(_count_buyers(count)),
    writes=True,
    max_per_second=3_000,
)


# ── Callers with rate limits of their own ─────────────────────────────────────────────────

TEN_NETWORK = int(IPv4Address("10.0.0.0"))


def _pages_from_addresses(seed: str) -> Requests:
    """Catalogue pages, each for a random address; a seed repeats its addresses."""
    randomness = random.Random(seed)
    while True:
        address = str(IPv4Address(TEN_NETWORK + randomness.getrandbits(24)))
        yield Request({"first": 20, "after": None}, address=address)


def _pages_of_callers(count: int) -> Callable[[Fixtures, str], Requests]:
    """Catalogue pages for the same callers, in turn."""
    return lambda _, __: itertools.cycle([*itertools.islice(_pages_from_addresses(f"{count}"), count)])


FEW_CALLERS = Workload("few-callers", "catalogue page, 100 callers in turn", CATALOG, _pages_of_callers(100))
MANY_CALLERS = Workload("many-callers", "catalogue page, 1,000 callers in turn", CATALOG, _pages_of_callers(1_000))
NEW_CALLERS = Workload(
    "new-callers",
    "catalogue page, each for a new caller",
    CATALOG,
    lambda _, key: _pages_from_addresses(key),
    writes=True,  # into their rate limits
)
