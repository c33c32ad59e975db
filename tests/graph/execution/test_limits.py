"""Documents at the limits are accepted. Documents beyond them: tests/guarantees/test_query_bombs_are_rejected.py."""

import pytest

from graph.execution import documents
from graph.execution.documents import DocumentRejected, Documents

LARGEST_DOCUMENTS = {
    "30 aliases": "{ books { nodes { " + " ".join(f"a{n}: title" for n in range(30)) + " } } }",
    "three directives": "{ __typename @include(if: true) @skip(if: false) }",
    "12 levels": "{ books { nodes { genre { books { nodes { genre { books { nodes { genre { books { nodes { id }"
    + "}" * 11,
    "20 root fields": "{ " + "__typename " * 20 + "}",
    "five operations": " ".join(f"query q{n} {{ __typename }}" for n in range(5)),
    "30 fragments": "{ books { nodes { " + " ".join(f"...f{n}" for n in range(30)) + " } } } "
    + " ".join(f"fragment f{n} on Book {{ id }}" for n in range(30)),
    "10,000 characters": "{ __typename }" + " " * 9_986,
    "the same fields in several fragments": "{ books { nodes { " + "...a ...b ...c " * 6 + "} } } "
    "fragment a on Book { id title } fragment b on Book { id slug } fragment c on Book { id genre { name } }",
}  # fmt: skip


def get_error_codes(document: str) -> set[str]:
    try:
        Documents(introspection=True).get(document)
    except DocumentRejected as rejection:
        return {(error.extensions or {}).get("code", "GRAPHQL_PARSE_FAILED") for error in rejection.errors}
    return set()


@pytest.mark.parametrize("document", LARGEST_DOCUMENTS.values(), ids=LARGEST_DOCUMENTS)
def test_documents_at_the_limits_are_accepted(document: str) -> None:
    assert "QUERY_TOO_COMPLEX" not in get_error_codes(document)


@pytest.mark.parametrize(
    ("mutations", "message"),
    [
        ("a: logout(input: {}) { __typename } " * 6, "more than 5 mutations"),
        ("login(input: {}) { __typename } logout(input: {}) { __typename }", "`login` must be the only mutation"),
        ("...twice } fragment twice on Mutation { a: login { __typename } b: login { __typename }", "`login` must"),
        ("checkout { __typename } checkout { __typename }", "`checkout` must"),
        ("a: register { __typename } b: logout { __typename }", "`register` must"),
        ("a: resetPassword { __typename } b: logout { __typename }", "`resetPassword` must"),
        ("a: changePassword { __typename } b: logout { __typename }", "`changePassword` must"),
        ("a: loginWithOAuth { __typename } b: logout { __typename }", "`loginWithOAuth` must"),
        ("a: requestPasswordReset { __typename } b: logout { __typename }", "`requestPasswordReset` must"),
    ],
)
def test_multiple_mutations_in_one_document(mutations: str, message: str) -> None:
    with pytest.raises(DocumentRejected) as error_info:
        Documents(introspection=True).get(f"mutation {{ {mutations} }}")
    assert error_info.value.errors[0].extensions == {"code": "QUERY_TOO_COMPLEX"}
    assert message in error_info.value.errors[0].message


def test_validation_stops_at_maximum_errors() -> None:
    unknown_fields = " ".join(f"unknown{n}" for n in range(400))
    with pytest.raises(DocumentRejected) as error_info:
        Documents(introspection=True).get(f"{{ books {{ nodes {{ {unknown_fields} }} }} }}")
    assert (
        len(error_info.value.errors) == documents.MAX_VALIDATION_ERRORS + 1
    )  # the last error says that validation stopped


def test_document_cache_is_bounded() -> None:
    cached_documents = Documents(introspection=True)
    for number in range(100):
        cached_documents.get(f"{{ __typename }} # {number} " + "x" * 9_900)
    assert sum(len(text) for text in cached_documents._cache) <= documents.MAX_CACHED_CHARACTERS
    latest = "{ __typename } # 99 " + "x" * 9_900
    assert cached_documents.get(latest) is cached_documents.get(latest)
