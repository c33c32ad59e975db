"""How text is made comparable.

Both sides of every comparison go through SQL functions that the first migration makes: `fold` takes case and accents
away, `words` also makes ASCII punctuation spaces, and `search_query` makes a tsquery of the words, NULL where none is.
"""


def fold_expression(expression: str, max_length: int = 500) -> str:
    """Bounded, because an index entry has to fit a third of a page."""
    return f"left(fold({expression}), {max_length})"


def build_search_vector(**expressions_by_weight: str) -> str:
    return " || ".join(
        f"setweight(to_tsvector('simple', words({text})), '{weight}')" for weight, text in expressions_by_weight.items()
    )
