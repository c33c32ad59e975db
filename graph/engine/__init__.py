"""GraphQL compiled: each document once, into functions that answer it. Knows Strawberry, and nothing of any shop."""

from graph.engine.asked import ALL_ATTRIBUTES, NO_ATTRIBUTES, REQUIRES_KEY, Lookahead
from graph.engine.batches import BATCH_FIELD_KEY, BatchField, BatchLoaderProtocol
from graph.engine.engine import Executor
from graph.engine.plan import ExecutionResult, Plan, Unsupported
from graph.engine.shapes import Tracer

__all__ = [
    "ALL_ATTRIBUTES",
    "BATCH_FIELD_KEY",
    "NO_ATTRIBUTES",
    "REQUIRES_KEY",
    "BatchField",
    "BatchLoaderProtocol",
    "ExecutionResult",
    "Executor",
    "Lookahead",
    "Plan",
    "Tracer",
    "Unsupported",
]
