"""Documents become plans."""

from collections import Counter

from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode
from strawberry import Schema

from graph.executor.completion import Tracer
from graph.executor.plan import Plan, Unsupported


class Executor:
    """Compiles the documents of one schema. `watch`, if anybody does, is put around each job that is waited for."""

    def __init__(self, schema: Schema, *, hide_suggestions: bool = False, tracer: Tracer | None = None) -> None:
        self.schema = schema
        self.hide_suggestions = hide_suggestions
        self.tracer = tracer
        self.fallbacks: Counter[str] = Counter()
        """What was left to graphql-core: documents by what they had in them, and each time a condition was null."""

    def compile(self, document: DocumentNode, operation: OperationDefinitionNode) -> "Plan":
        """The document must be valid. Raises `NotSpoken`, and counts it."""
        fragments = {it.name.value: it for it in document.definitions if isinstance(it, FragmentDefinitionNode)}
        try:
            hide_suggestions = self.hide_suggestions
            return Plan(
                self.schema,
                operation,
                fragments,
                hide_suggestions=hide_suggestions,
                fallbacks=self.fallbacks,
                tracer=self.tracer,
            )
        except Unsupported as error:
            self.fallbacks[str(error)] += 1
            raise
