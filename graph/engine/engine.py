"""Documents become plans."""

from collections import Counter

from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode
from strawberry import Schema

from graph.engine.plan import NotSpoken, Plan
from graph.engine.shapes import Watch


class Engine:
    """Compiles the documents of one schema. `watch`, if anybody does, is put around each job that is waited for."""

    def __init__(self, schema: Schema, *, hide_suggestions: bool = False, watch: Watch | None = None) -> None:
        self.schema = schema
        self.hide_suggestions = hide_suggestions
        self.watch = watch
        self.left: Counter[str] = Counter()
        """What was left to graphql-core: documents by what they had in them, and each time a condition was null."""

    def compile(self, document: DocumentNode, operation: OperationDefinitionNode) -> "Plan":
        """The document must be valid. Raises `NotSpoken`, and counts it."""
        fragments = {it.name.value: it for it in document.definitions if isinstance(it, FragmentDefinitionNode)}
        try:
            hide = self.hide_suggestions
            return Plan(self.schema, operation, fragments, hide_suggestions=hide, left=self.left, watch=self.watch)
        except NotSpoken as error:
            self.left[str(error)] += 1
            raise
