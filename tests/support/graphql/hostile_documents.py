"""Documents written to be slow: small to send, large to look at."""


def _chain(length: int, step: str, end: str) -> str:
    links = " ".join(f"fragment f{n} on Query {{ {step.replace('NEXT', f'f{n + 1}')} }}" for n in range(length))
    return f"{{ ...f0 }} {links} fragment f{length} on Query {{ {end} }}"


def _repeat(count: int, text: str) -> str:
    return " ".join(text.replace("N", str(n)) for n in range(count))


BOMBS = {
    "fragments that double 12 times": _chain(12, "...NEXT ...NEXT", "__typename"),
    "fragments that double 24 times": _chain(24, "...NEXT ...NEXT", "__typename"),
    "fragments that double 28 times": _chain(28, "...NEXT ...NEXT", "__typename"),
    "fragments that double 24 times, which nobody spreads": "{ __typename } "
    + _chain(24, "...NEXT ...NEXT", "__typename").removeprefix("{ ...f0 } "),
    "more fragments than may be": _chain(30, "...NEXT ...NEXT", "__typename"),
    "fragments that go deeper, twice each": _chain(
        20, "node(id: 1) { ...NEXT } nodes(ids: []) { ...NEXT }", "__typename"
    ),
    "400 fields of one name": f"{{ books {{ nodes {{ {'title ' * 400} }} }} }}",
    "400 fields of one alias": f"{{ books {{ nodes {{ {'a: title ' * 300} }} }} }}",
    "one fragment spread 120 times": f"{{ books {{ nodes {{ {'...f ' * 120} }} }} }} fragment f on Book {{ id title }}",
    "one name in 200 inline fragments": f"{{ books {{ nodes {{ {'... on Book { id } ' * 160} }} }} }}",
    "31 aliases": f"{{ books {{ nodes {{ {_repeat(31, 'aN: title')} }} }} }}",
    "4,000 aliases": f"{{ {_repeat(4_000, 'aN: __typename')} }}",
    "a flood of directives": f"{{ __typename {'@include(if: true) ' * 100} }}",
    "directives on a fragment": f"{{ ...f {'@skip(if: false) ' * 4} }} fragment f on Query {{ __typename }}",
    "directives on an operation": f"query {'@a ' * 50} {{ __typename }}",
    "13 levels": f"{'{ a ' * 13}{'}' * 13}",
    "300 levels": f"{'{ a ' * 300}{'}' * 300}",
    "300 levels of inline fragments": f"{'{ ... ' * 300}{{ __typename }}{'}' * 300}",
    "a list nested 450 deep": f"{{ books(filter: {'[' * 450}{']' * 450}) {{ totalCount }} }}",
    "501 fields": f"{{ books {{ nodes {{ {_repeat(498, 'xN')} }} pageInfo {{ endCursor }} }} }}",
    "21 fields at the root": "{ " + "__typename " * 21 + "}",
    "six operations": _repeat(6, "query qN { __typename }"),
    "31 fragments": "{ __typename } " + _repeat(31, "fragment fN on Query { __typename }"),
    "10,001 characters": "{ __typename }" + " " * 9_987,
    "1,001 tokens": "{ " + "__typename " * 999 + "}",
    "10,000 comments": "{ __typename }" + "#\n" * 4_900,
}
"""Each of them is refused, and none is looked at for long."""

CYCLES = {
    "a fragment of itself": "{ ...a } fragment a on Query { ...a }",
    "two of each other": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
    "one that goes deeper": "{ ...a } fragment a on Query { genre(slug: 1) { books { nodes { ...b } } } } "
    "fragment b on Book { genre { books { nodes { ...b } } } }",
    "at the end of a chain that doubles": _chain(28, "...NEXT ...NEXT", "...f28"),
    "one that nobody spreads": "{ __typename } fragment a on Query { ...a }",
}

NOT_GRAPHQL = {
    "an empty selection at the end of a chain that doubles": _chain(28, "...NEXT ...NEXT", ""),
    "nothing selected": "{ }",
    "a brace": "{",
}
