"""GraphQL compiled: each document once, into functions that answer it. Knows Strawberry, and nothing of any shop."""

from graph.executor.batch_field import BATCH_FIELD_KEY, BatchField, BatchLoaderProtocol
from graph.executor.completion import Tracer
from graph.executor.executor import Executor
from graph.executor.lookahead import ALL_ATTRIBUTES, NO_ATTRIBUTES, REQUIRES_KEY, Lookahead
from graph.executor.plan import ExecutionResult, Plan, Unsupported

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
