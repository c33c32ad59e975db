"""How text is made comparable. Both sides of every comparison go through the same three SQL functions."""

FUNCTIONS = (
    # Case and accents taken away. The body is bound to the dictionary when the function is made, so that
    # it may call itself IMMUTABLE; `unaccent` is only STABLE because its dictionary could be replaced.
    """\
CREATE FUNCTION fold(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN lower(unaccent('unaccent', normalize(value, NFKC)))""",
    # Folded, with ASCII punctuation as spaces: neither the text search parser nor `to_tsquery` sees an operator.
    """\
CREATE FUNCTION words(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN translate(fold(value), '!"#$%&''()*+,-./:;<=>?@[\\]^_`{|}~', repeat(' ', 32))""",
    # Every word must match, and `suffix` ':*' lets the start of a word do. NULL where there is no word.
    """\
CREATE FUNCTION search_query(value text, operator text, suffix text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN to_tsquery('simple',
    regexp_replace(nullif(trim(regexp_replace(left(words(value), 500), '\\s+', ' ', 'g')), ''), ' ', suffix || operator, 'g')
    || suffix)""",
)


def folded(expression: str, length: int = 500) -> str:
    """Bounded, because an index entry has to fit a third of a page."""
    return f"left(fold({expression}), {length})"


def search_vector(**weighted: str) -> str:
    return " || ".join(f"setweight(to_tsvector('simple', words({text})), '{weight}')" for weight, text in weighted.items())
