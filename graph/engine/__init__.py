"""GraphQL compiled: each document once, into functions that answer it. Knows Strawberry, and nothing of any shop."""

from graph.engine.asked import ANYTHING, NOTHING, READS, Asked
from graph.engine.batches import Batch, Loaded
from graph.engine.engine import Engine
from graph.engine.plan import NotSpoken, Outcome, Plan
from graph.engine.shapes import Watch

__all__ = [
    "ANYTHING",
    "NOTHING",
    "READS",
    "Asked",
    "Batch",
    "Engine",
    "Loaded",
    "NotSpoken",
    "Outcome",
    "Plan",
    "Watch",
]
