"""What a shop is asked all day, in the shares of docs/operations.md, and pages that many callers ask for."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address

from benchmarks.stage import SEED, Stage
from benchmarks.workloads import CATALOGUE, WORKLOADS, Question, Workload

SHARES = {"W1": 70, "W2": 10, "W3": 15, "W4": 4, "W5": 1}
"""Of a hundred requests."""
HUNDRED = sum(SHARES.values())
TEN_NETWORK = int(IPv4Address("10.0.0.0"))


def _mixed(stage: Stage, key: str) -> Iterator[Question]:
    """Whoever puts a book in a cart has an empty one, and is nobody who buys."""
    asked = {name: WORKLOADS[name].questions(stage, key) for name in SHARES}
    asked["W4"] = itertools.islice(asked["W4"], _buyers(len(stage.tokens)), None)
    names = [name for name, share in SHARES.items() for _ in range(share)]
    random.Random(SEED).shuffle(names)
    for name in itertools.islice(itertools.cycle(names), len(stage.tokens)):
        yield replace(next(asked[name]), document=WORKLOADS[name].document)


def _fill_carts(stage: Stage, count: int) -> None:
    stage.fill_carts(_buyers(count))


def _buyers(count: int) -> int:
    """Of so many requests at most."""
    return count * SHARES["W5"] // HUNDRED + 1


def _pages_for(callers: str) -> Iterator[Question]:
    """Each from an address of its own, the same ones for the same callers."""
    chance = random.Random(callers)
    while True:
        address = str(IPv4Address(TEN_NETWORK + chance.getrandbits(24)))
        yield Question({"first": 20, "after": None}, address=address)


def _by(count: int) -> Callable[[Stage, str], Iterator[Question]]:
    """Always the same ones, in turn."""
    return lambda _, __: itertools.cycle([*itertools.islice(_pages_for(f"{count}"), count)])


MIX = Workload(
    "mix",
    "the mix",
    "",
    _mixed,
    success=b'"title"',  # which every good answer has, and no refusal
    prepare=_fill_carts,
    writes=True,
    most=3_000,
)
BUSY = Workload("busy", "catalogue page, by 100 callers in turn", CATALOGUE, _by(100))
VISITORS = Workload("visitors", "catalogue page, by 1,000 visitors in turn", CATALOGUE, _by(1_000))
STRANGERS = Workload(
    "strangers",
    "catalogue page, each by a stranger",
    CATALOGUE,
    lambda _, key: _pages_for(key),
    writes=True,  # into their budgets
)
