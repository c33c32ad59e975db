"""Compiles GraphQL documents over a Strawberry schema into plans and executes them."""

from graph.executor.batch_field import BATCH_FIELD_KEY, BatchField, BatchLoaderProtocol
from graph.executor.lookahead import ALL_ATTRIBUTES, NO_ATTRIBUTES, REQUIRES_KEY, Lookahead
from graph.executor.plan import ExecutionResult, Executor, Plan, Tracer, Unsupported

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
