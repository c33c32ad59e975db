"""Search: the books that match the words, and their order."""

import unicodedata
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer
from tests.support.shop.factories import add_admin, add_book, add_genre, book_id

SEARCH = """query ($search: String, $filter: BookFilter, $sort: BookSort, $first: Int = 100, $after: String) {
    books(search: $search, filter: $filter, sort: $sort, first: $first, after: $after) {
        totalCount nodes { id title } pageInfo { hasNextPage endCursor } } }"""
DELETE = "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }"
UPDATE_BOOK = """mutation ($id: ID!, $title: String!, $authors: [String!]) {
    updateBook(input: {bookId: $id, title: $title, authors: $authors}) { __typename } }"""

SAMPLE_BOOKS = (
    ("The Fellowship of the Ring", ("J. R. R. Tolkien",), "9780261103573"),
    ("The Two Towers", ("J. R. R. Tolkien",), "9780261102361"),
    ("Ringworld", ("Larry Niven",), None),
    ("Les Misérables", ("Victor Hugo",), None),
    ("Straße im Œdland", ("Ødön von Horváth",), None),
    ("C++ for Ostriches", ("Miles O'Brien",), None),
    ("Good Omens", ("Terry Pratchett", "Neil Gaiman"), None),
)
OPERATORS = ["&", "|", "!", ":", "*", "'", '"', "(", ")", "<->", "\\", "%", "_", "-", ";", "!!", ":*", "$", "\u2019"]


@pytest.fixture
async def sample_books(shop: Shop) -> list[BookRow]:
    return [await add_book(shop, title, authors=authors, isbn=isbn) for title, authors, isbn in SAMPLE_BOOKS]


async def search_titles(client: ApiClient, search: str, **arguments: Any) -> list[str]:
    """Return the titles of the results, in the order of the list."""
    page = (await client.execute(SEARCH, search=search, **arguments))["books"]
    assert page["totalCount"] == len(page["nodes"])
    return [node["title"] for node in page["nodes"]]


# ── Searches without words ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("search", ["x" * 201, "ring\0", "ri\nng", "\x1b[31m"])
async def test_invalid_search_is_a_request_error(client: ApiClient, sample_books: list[BookRow], search: str) -> None:
    assert (await client.execute(SEARCH, search=search)).codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("search", [*OPERATORS, "& | ! : *", '""', "--", "...", "&&&&", "!!! ???", "\u200b!\u00ad?"])
@pytest.mark.parametrize("sort", [None, "RELEVANCE", "TITLE_ASC"])
async def test_a_search_without_a_word_finds_nothing(
    client: ApiClient, sample_books: list[BookRow], search: str, sort: str | None
) -> None:
    assert await search_titles(client, search, sort=sort) == []


@pytest.mark.parametrize("search", [None, "", "   ", "\t\n", "\u00a0\u3000", "\u200b", " \ufeff\u202e "])
async def test_a_blank_search_does_not_filter(
    client: ApiClient, sample_books: list[BookRow], search: str | None
) -> None:
    all_books = (await client.execute(SEARCH))["books"]
    assert all_books["totalCount"] == len(all_books["nodes"]) == len(SAMPLE_BOOKS)
    for sort in (None, "RELEVANCE", "NEWEST"):
        assert (await client.execute(SEARCH, search=search, sort=sort))["books"] == all_books
    cheapest = (await client.execute(SEARCH, sort="PRICE_ASC"))["books"]
    assert (await client.execute(SEARCH, search=search, sort="PRICE_ASC"))["books"] == cheapest
    assert (await client.execute(SEARCH, search=search, filter={"author": search}))["books"] == all_books
    page = (await client.execute(SEARCH, search=search, filter={"author": "tolkien"}))["books"]
    assert [node["title"] for node in page["nodes"]] == ["The Two Towers", "The Fellowship of the Ring"]


@pytest.mark.parametrize("search", ["tow\u00aders", "\u202dtwo towers\u202c", "\ufefftwo", "two\u200e tow\u2060ers"])
async def test_format_characters_are_ignored(client: ApiClient, sample_books: list[BookRow], search: str) -> None:
    assert await search_titles(client, search) == ["The Two Towers"]


# ── Words ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("search", "titles"),
    [
        ("tolk ring", ["The Fellowship of the Ring"]),
        ("ring tolk", ["The Fellowship of the Ring"]),
        ("TOLKIEN", ["The Two Towers", "The Fellowship of the Ring"]),
        ("tolkien niven", []),
        ("ello", []),
        ("neil omens terry", ["Good Omens"]),
        ("miserables", ["Les Misérables"]),
        ("MISÉRABLES", ["Les Misérables"]),
        ("mise\u0301r", ["Les Misérables"]),
        ("strasse oedl", ["Straße im Œdland"]),
        ("straße", ["Straße im Œdland"]),
        ("odon horvath", ["Straße im Œdland"]),
        ("o'brien", ["C++ for Ostriches"]),
        ("c++", ["C++ for Ostriches"]),
        ("  the   two  ", ["The Two Towers"]),
        ("ｔｏｗｅｒｓ", ["The Two Towers"]),
    ],
)
async def test_every_search_word_must_match_a_prefix(
    client: ApiClient, sample_books: list[BookRow], search: str, titles: list[str]
) -> None:
    assert await search_titles(client, search) == titles


@pytest.mark.parametrize("operator", OPERATORS)
async def test_operators_are_plain_text(client: ApiClient, sample_books: list[BookRow], operator: str) -> None:
    for search in (f"towers {operator} two", f"{operator}towers", f"towers{operator}", f"two{operator}towers"):
        assert await search_titles(client, search) == ["The Two Towers"], search
    assert await search_titles(client, f"towers {operator} omens") == []


VOCABULARY = ("elan", "Élan", "ring", "Ringwald", "the", "Theo", "ox", "Zoë", "éc")
TITLES = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=3).map(" ".join)
SEARCHES = st.lists(
    st.tuples(st.sampled_from(VOCABULARY), st.integers(1, 8)).map(lambda pair: pair[0][: pair[1]]), min_size=1, max_size=3
)  # fmt: skip


def fold_accents(text: str) -> list[str]:
    return "".join(
        character for character in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(character)
    ).split()


def matches_prefix(word: str, book_words: list[str]) -> bool:
    return any(book_word.startswith(word) for book_word in book_words)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    titles=st.lists(st.tuples(TITLES, TITLES), min_size=1, max_size=4),
    searches=st.lists(SEARCHES, min_size=1, max_size=4),
)
async def test_arbitrary_words_match_prefixes(
    client: ApiClient,
    shop: Shop,
    postgres: asyncpg.Connection,
    titles: list[tuple[str, str]],
    searches: list[list[str]],
) -> None:
    await postgres.execute("TRUNCATE books CASCADE")
    shop.count_cache.clear()
    words = {
        book_id(await add_book(shop, title, authors=(author,))): fold_accents(f"{title} {author}")
        for title, author in titles
    }
    for search in searches:
        expected = {
            id_
            for id_, book_words in words.items()
            if all(matches_prefix(word, book_words) for word in fold_accents(" ".join(search)))
        }
        assume(expected or all(len(word) < 3 for word in search))  # words without a match are searched as misspelt
        page = (await client.execute(SEARCH, search=" ".join(search)))["books"]
        assert {node["id"] for node in page["nodes"]} == expected
        assert page["totalCount"] == len(page["nodes"]) == len(expected)


# ── ISBNs ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "isbn",
    [
        "9780261103573",
        "978-0-261-10357-3",
        " 978 0 261 10357 3 ",
        "0261103571",
        "0-261-10357-1",
        "ISBN: 978\u20140\u2014261\u201410357\u20143",
        "isbn-10 0\u2009261\u200910357\u20091.",
        "\u2067978\u00ad0261103573\u2069",
        "\uff10\uff12\uff16\uff11\uff11\uff10\uff13\uff15\uff17\uff11",
    ],
)
@pytest.mark.parametrize("sort", [None, "RELEVANCE", "PRICE_ASC"])
async def test_an_isbn_finds_its_book(
    client: ApiClient, sample_books: list[BookRow], isbn: str, sort: str | None
) -> None:
    assert await search_titles(client, isbn, sort=sort) == ["The Fellowship of the Ring"]
    document = "query ($isbn: String!) { book(by: {isbn: $isbn}) { title } }"
    assert (await client.execute(document, isbn=isbn))["book"] == {"title": "The Fellowship of the Ring"}


@pytest.mark.parametrize("isbn", ["9780261103574", "978026110357", "0-261-10357-2", "9780140449136", "978-0-261"])
async def test_unknown_isbn_finds_nothing(client: ApiClient, sample_books: list[BookRow], isbn: str) -> None:
    assert await search_titles(client, isbn) == []


async def test_filters_apply_to_isbn_search(client: ApiClient, sample_books: list[BookRow]) -> None:
    assert await search_titles(client, "0261103571", filter={"author": "tolkien"}) == ["The Fellowship of the Ring"]
    assert await search_titles(client, "0261103571", filter={"author": "niven"}) == []


# ── Sort order ────────────────────────────────────────────────────────────────────────────


async def test_ranking_prefers_whole_words_and_titles(client: ApiClient, shop: Shop) -> None:
    await add_book(shop, "Ring", authors=("Ann Other",))
    await add_book(shop, "Otherworldly", authors=("Ring Lardner",))
    await add_book(shop, "Rings and ringlets and ringing ringmasters", authors=("Ringo Starr",))
    assert await search_titles(client, "ring") == [
        "Ring",
        "Otherworldly",
        "Rings and ringlets and ringing ringmasters",
    ]


async def test_ties_are_sorted_by_id(client: ApiClient, shop: Shop) -> None:
    tied_ids = [book_id(await add_book(shop, "The Ring")) for _ in range(5)]
    full_page = (await client.execute(SEARCH, search="ring"))["books"]
    assert [node["id"] for node in full_page["nodes"]] == tied_ids[::-1]
    ids, after = [], None
    for _ in tied_ids:
        page = (await client.execute(SEARCH, search="ring", first=1, after=after))["books"]
        ids += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert ids == tied_ids[::-1]
    assert not page["pageInfo"]["hasNextPage"]


async def test_explicit_sort_and_filters_apply_to_search(client: ApiClient, shop: Shop) -> None:
    genre = await add_genre(shop, "Fantasy")
    await add_book(shop, "Ring", price="3")
    await add_book(shop, "The Rings", price="1", genre_id=genre.id)
    await add_book(shop, "A Ringing Ring", price="2", genre_id=genre.id, stock=0)
    await add_book(shop, "Towers", price="1", genre_id=genre.id)
    assert await search_titles(client, "ring", sort="PRICE_ASC") == ["The Rings", "A Ringing Ring", "Ring"]
    assert await search_titles(client, "ring", sort="PRICE_DESC", filter={"genres": ["fantasy"]}) == [
        "A Ringing Ring",
        "The Rings",
    ]
    assert await search_titles(client, "ring", filter={"genres": ["fantasy"], "inStock": True}) == ["The Rings"]


# ── Spelling mistakes ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("search", "titles"),
    [
        ("felowship", ["The Fellowship of the Ring"]),
        ("prachett", ["Good Omens"]),
        ("prachett omenns", ["Good Omens"]),
        ("MISERABELS", ["Les Misérables"]),
        ("prachett towers", []),
        ("tolkein", ["The Two Towers", "The Fellowship of the Ring"]),
        ("xyzzy", []),
        ("zz", []),
    ],
)
async def test_unknown_words_are_spell_corrected(
    client: ApiClient, sample_books: list[BookRow], search: str, titles: list[str]
) -> None:
    assert await search_titles(client, search) == titles


async def test_matching_word_is_not_spell_corrected(client: ApiClient, shop: Shop) -> None:
    await add_book(shop, "Ringwald", price="5")
    assert await search_titles(client, "ringwold") == ["Ringwald"]
    await add_book(shop, "Ringwold", price="50")
    assert await search_titles(client, "ringwold") == ["Ringwold"]
    assert await search_titles(client, "ringwold", filter={"price": {"max": "10"}}) == []


async def test_most_similar_spelling_comes_first_by_default(client: ApiClient, shop: Shop) -> None:
    await add_book(shop, "Pratchett", price="9")
    await add_book(shop, "Prattchet", price="10")
    assert await search_titles(client, "prattchett") == ["Prattchet", "Pratchett"]
    assert await search_titles(client, "prattchett", sort="PRICE_ASC") == ["Pratchett", "Prattchet"]
    first = (await client.execute(SEARCH, search="prattchett", first=1))["books"]
    second = (await client.execute(SEARCH, search="prattchett", first=1, after=first["pageInfo"]["endCursor"]))["books"]
    assert [node["title"] for node in first["nodes"] + second["nodes"]] == ["Prattchet", "Pratchett"]
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)


async def test_total_count_of_corrected_search_matches_list(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await postgres.execute(
        """INSERT INTO books (id, slug, title, price)
        SELECT gen_random_uuid(), 'ringwald-' || n, 'Ringwald', 1 FROM generate_series(1, 205) n"""
    )
    for sort in ("RELEVANCE", "PRICE_ASC"):
        listed_count, after, has_next = 0, None, True
        while has_next and listed_count < 300:
            page = (await client.execute(SEARCH, search="ringwold", sort=sort, after=after))["books"]
            listed_count += len(page["nodes"])
            after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        assert page["totalCount"] == listed_count, sort


# ── Changes between pages ─────────────────────────────────────────────────────────────────


async def test_a_deleted_book_is_not_found(client: ApiClient, shop: Shop, sample_books: list[BookRow]) -> None:
    admin = Customer(await add_admin(shop), client).with_client(client)
    assert (await admin.execute(DELETE, id=book_id(sample_books[0])))["deleteBook"]["__typename"] == "BookDeleted"
    assert await search_titles(client, "ring") == ["Ringworld"]
    assert await search_titles(client, "9780261103573") == []
    assert await search_titles(client, "felowship") == []


async def test_updated_book_is_found_by_its_new_words_only(
    client: ApiClient, shop: Shop, sample_books: list[BookRow]
) -> None:
    admin = Customer(await add_admin(shop), client).with_client(client)
    response = await admin.execute(
        UPDATE_BOOK, id=book_id(sample_books[2]), title="Protector", authors=["Edward Lerner"]
    )
    assert response["updateBook"]["__typename"] == "BookSaved"
    assert await search_titles(client, "lern prot") == ["Protector"]
    assert await search_titles(client, "niven") == []
    assert await search_titles(client, "ringworld") == []
