"""Documents become plans."""

from collections import Counter

from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode
from strawberry import Schema

from graph.engine.plan import NotSpoken, Plan


class Engine:
    """Compiles the documents of one schema."""

    def __init__(self, schema: Schema, *, hide_suggestions: bool = False) -> None:
        self.schema = schema
        self.hide_suggestions = hide_suggestions
        self.left: Counter[str] = Counter()
        """What was left to graphql-core: documents by what they had in them, and each time a condition was null."""

    def compile(self, document: DocumentNode, operation: OperationDefinitionNode) -> "Plan":
        """The document must be valid. Raises `NotSpoken`, and counts it."""
        fragments = {it.name.value: it for it in document.definitions if isinstance(it, FragmentDefinitionNode)}
        try:
            return Plan(self.schema, operation, fragments, hide_suggestions=self.hide_suggestions, left=self.left)
        except NotSpoken as error:
            self.left[str(error)] += 1
            raise
