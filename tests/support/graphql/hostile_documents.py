"""Documents that are small to send and expensive to process."""


def _chain(length: int, step: str, last_selection: str) -> str:
    """Build fragments f0 to f`length`; NEXT in `step` is replaced with the name of the next fragment."""
    links = " ".join(f"fragment f{n} on Query {{ {step.replace('NEXT', f'f{n + 1}')} }}" for n in range(length))
    return f"{{ ...f0 }} {links} fragment f{length} on Query {{ {last_selection} }}"


def _repeat(count: int, text: str) -> str:
    """Repeat a text; each N in it is replaced with the index."""
    return " ".join(text.replace("N", str(n)) for n in range(count))


BOMBS = {
    "fragments that double 12 times": _chain(12, "...NEXT ...NEXT", "__typename"),
    "fragments that double 24 times": _chain(24, "...NEXT ...NEXT", "__typename"),
    "fragments that double 28 times": _chain(28, "...NEXT ...NEXT", "__typename"),
    "unused fragments that double 24 times": "{ __typename } "
    + _chain(24, "...NEXT ...NEXT", "__typename").removeprefix("{ ...f0 } "),
    "too many fragments": _chain(30, "...NEXT ...NEXT", "__typename"),
    "nested fragments that double": _chain(20, "node(id: 1) { ...NEXT } nodes(ids: []) { ...NEXT }", "__typename"),
    "400 fields with one name": f"{{ books {{ nodes {{ {'title ' * 400} }} }} }}",
    "300 fields with one alias": f"{{ books {{ nodes {{ {'a: title ' * 300} }} }} }}",
    "one fragment spread 120 times": f"{{ books {{ nodes {{ {'...f ' * 120} }} }} }} fragment f on Book {{ id title }}",
    "one field in 160 inline fragments": f"{{ books {{ nodes {{ {'... on Book { id } ' * 160} }} }} }}",
    "31 aliases": f"{{ books {{ nodes {{ {_repeat(31, 'aN: title')} }} }} }}",
    "4,000 aliases": f"{{ {_repeat(4_000, 'aN: __typename')} }}",
    "100 directives": f"{{ __typename {'@include(if: true) ' * 100} }}",
    "directives on a fragment": f"{{ ...f {'@skip(if: false) ' * 4} }} fragment f on Query {{ __typename }}",
    "directives on an operation": f"query {'@a ' * 50} {{ __typename }}",
    "13 levels": f"{'{ a ' * 13}{'}' * 13}",
    "300 levels": f"{'{ a ' * 300}{'}' * 300}",
    "300 levels of inline fragments": f"{'{ ... ' * 300}{{ __typename }}{'}' * 300}",
    "a list nested 450 deep": f"{{ books(filter: {'[' * 450}{']' * 450}) {{ totalCount }} }}",
    "501 fields": f"{{ books {{ nodes {{ {_repeat(498, 'xN')} }} pageInfo {{ endCursor }} }} }}",
    "21 root fields": "{ " + "__typename " * 21 + "}",
    "six operations": _repeat(6, "query qN { __typename }"),
    "31 fragments": "{ __typename } " + _repeat(31, "fragment fN on Query { __typename }"),
    "10,001 characters": "{ __typename }" + " " * 9_987,
    "1,001 tokens": "{ " + "__typename " * 999 + "}",
    "10,000 comments": "{ __typename }" + "#\n" * 4_900,
}
"""Documents that are rejected quickly."""

CYCLES = {
    "a fragment that spreads itself": "{ ...a } fragment a on Query { ...a }",
    "two fragments that spread each other": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
    "a nested cycle": "{ ...a } fragment a on Query { genre(slug: 1) { books { nodes { ...b } } } } "
    "fragment b on Book { genre { books { nodes { ...b } } } }",
    "a cycle at the end of a chain that doubles": _chain(28, "...NEXT ...NEXT", "...f28"),
    "an unused fragment that spreads itself": "{ __typename } fragment a on Query { ...a }",
}

NOT_GRAPHQL = {
    "an empty selection set at the end of a chain that doubles": _chain(28, "...NEXT ...NEXT", ""),
    "an empty selection set": "{ }",
    "a single brace": "{",
}
