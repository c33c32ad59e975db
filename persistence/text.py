"""How text is made comparable.

Both sides of every comparison go through SQL functions that the first migration makes: `fold` takes case and accents
away, `words` also makes ASCII punctuation spaces, and `search_query` makes a tsquery of the words, NULL where none is.
"""


def folded(expression: str, length: int = 500) -> str:
    """Bounded, because an index entry has to fit a third of a page."""
    return f"left(fold({expression}), {length})"


def search_vector(**weighted: str) -> str:
    return " || ".join(
        f"setweight(to_tsvector('simple', words({text})), '{weight}')" for weight, text in weighted.items()
    )
