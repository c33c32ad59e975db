"""Texts that are stored: what is normalized, and which characters are rejected because they show nothing."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.text import (
    has_invisible_characters,
    is_blank,
    normalize_line,
    normalize_lines,
    remove_format_characters,
    remove_invisible_characters,
    remove_separators,
    shorten,
)

JOINERS = "\u200c\u200d"
SPACES = " \u00a0\u1680\u2002\u2003\u2007\u2009\u202f\u205f\u3000"
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
NONCHARACTERS = "\ufdd0\ufdef\ufffe\uffff\U0001fffe\U0010ffff"

VISIBLE = st.characters(categories=["L", "N", "P", "S"], exclude_characters=FILLERS + "\ufffc")
LETTERS = st.characters(categories=["Lu", "Ll"])
WORDS = st.text(VISIBLE, min_size=1, max_size=8)
INVISIBLE = st.characters(categories=["Cc", "Cf", "Co", "Cs"], exclude_characters=JOINERS) | st.sampled_from(
    FILLERS + NONCHARACTERS + "\u2028\u2029\ufe0f\U000e0100"
)


# ── Normalization ─────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, st.text(st.sampled_from(SPACES), min_size=1, max_size=4)), min_size=1))
def test_a_line_keeps_its_words_and_single_spaces(pairs: list[tuple[str, str]]) -> None:
    words = unicodedata.normalize("NFC", " ".join(word for word, _ in pairs))
    line = normalize_line(" \t" + "".join(word + spaces for word, spaces in pairs))
    assert line == words
    assert not has_invisible_characters(line)
    assert not is_blank(line)
    assert normalize_line(line) == normalize_lines(line) == line


@given(st.lists(st.lists(WORDS, max_size=3).map(" ".join), min_size=1), st.sampled_from(["\n", "\r\n", "\r", "\u2028"]))
def test_a_text_of_several_lines_keeps_them(lines: list[str], line_end: str) -> None:
    expected = unicodedata.normalize("NFC", "\n".join(lines)).strip()
    text = normalize_lines(line_end.join(line + "  " for line in lines))
    assert text == expected
    assert not has_invisible_characters(text, multiline=True)


def test_lines_keep_indentation_and_lose_runs_of_spaces() -> None:
    poem = "Tyger   Tyger,\u00a0 burning bright,\n   In the forests\u202f!\n\n\tof the night"
    expected = "Tyger Tyger, burning bright,\n   In the forests\u202f!\n\n\tof the night"
    assert normalize_lines(poem) == expected


# ── Invisible characters ──────────────────────────────────────────────────────────────────


@given(st.text(LETTERS, min_size=2, max_size=10), st.data(), INVISIBLE)
def test_one_invisible_character_inside_is_found_and_removed(text: str, data: st.DataObject, character: str) -> None:
    text = unicodedata.normalize("NFC", text)
    position = data.draw(st.integers(1, len(text) - 1)) if len(text) > 1 else 0
    spoiled = text[:position] + character + text[position:]
    assert has_invisible_characters(spoiled)
    assert has_invisible_characters(spoiled, multiline=True) is (character not in "\n\t")
    assert remove_invisible_characters(spoiled) == text
    assert not has_invisible_characters(text)


def test_every_control_and_format_character_is_invisible() -> None:
    for code_point in range(0x110000):
        character = chr(code_point)
        if unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp"):
            assert has_invisible_characters(character), hex(code_point)


@pytest.mark.parametrize(
    "text",
    [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian with a non-joiner
        "\u0647\u200d",  # the abbreviation of Hijri
        "\u0d28\u0d4d\u200d",  # an old Malayalam chillu at the end of a word
        "\u0915\u094d\u200d\u0937",  # a Devanagari half form
        "Auf\u200clage",
        "\u8fbb\U000e0100\u672c",  # a variant of a character in a Japanese name
        "\u2764\ufe0f\u200d\U0001f525",
        "\U0001f469\U0001f3fd\u200d\U0001f4bb",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "\U0001f3f4\u200d\u2620\ufe0f",
        "1\ufe0f\u20e3",
        "\u00a9\ufe0f \u2139\ufe0f \u2602\ufe0e",
        "\U0001fae9",  # an emoji of a later Unicode than that of Python 3.11
        "\u1820\u180b",
    ],
)
def test_joiners_and_selectors_are_valid_where_they_show(text: str) -> None:
    assert normalize_line(text) == text
    assert not has_invisible_characters(text)
    assert remove_invisible_characters(f"\u200b{text}\ufeff") == text


@pytest.mark.parametrize(
    "text",
    [
        "Ada\u200d",
        "\u200dAda",
        "Ada \u200cLovelace",
        "Ada\u200c\u200dLovelace",
        "\u200c",
        "Ada\ufe0f",
        "1\ufe0f",
        "Ada\U000e0100",
        "Ada\U000e0061",
        "\U0001f3f4\U000e0067\U000e0062",  # a flag without an end
        "\u2764\ufe0f\ufe0f",
        "Ada\u180b",
    ],
)
def test_joiners_and_selectors_are_invisible_elsewhere(text: str) -> None:
    assert has_invisible_characters(text)
    assert not has_invisible_characters(remove_invisible_characters(text))


@settings(max_examples=60, deadline=None)
@given(st.text(INVISIBLE | VISIBLE))
@example("\u200b\U0001f3f4\u200d\u2620\ufe0f\u200d")
def test_format_characters_are_removed_from_searches(text: str) -> None:
    kept = remove_format_characters(text)
    assert not [character for character in kept if unicodedata.category(character) == "Cf" and character not in JOINERS]
    assert set(kept) <= set(text)


@pytest.mark.parametrize("text", ["", " ", "\u0301", "\u0301 \u0308\u0301", "\u20dd", "\u3164\u200d", "\u093f"])
def test_marks_without_a_letter_show_nothing(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["x", "\u0301x", "\u674e", "!", "\U0001fae9", "\U0001f3fb"])
def test_a_single_character_shows_something(text: str) -> None:
    assert not is_blank(text)


# ── Codes and names ───────────────────────────────────────────────────────────────────────


@given(st.text("0123456789XYZ", min_size=1), st.data())
def test_separators_of_a_code_are_removed(code: str, data: st.DataObject) -> None:
    separators = st.sampled_from(
        ["", "-", " ", "\u2010", "\u2011", "\u2013", "\u2212", "\u00a0", "\u00ad", "\u200e", "\u30fc"]
    )
    dressed = "".join(data.draw(separators) + character for character in code)
    full_width = "".join(chr(ord(character) + 0xFEE0) for character in code)
    assert remove_separators(dressed) == remove_separators(full_width) == code


@given(st.text(VISIBLE | st.sampled_from(" \u0301\u200d"), min_size=1), st.integers(1, 20))
def test_a_shortened_text_begins_the_text(text: str, max_length: int) -> None:
    shortened = shorten(text, max_length)
    assert len(shortened) <= max_length
    assert text.startswith(shortened)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wolfgang", "Wolfgang"),
        ("Wolfgangus", "Wolfgangus"),
        ("Wolfgang Amadeus", "Wolfgang"),
        ("Wolfgangusamadeus", "Wolfgangus"),
        ("Joannes Ch Wolfgangus", "Joannes Ch"),
        ("abcdefghi\U0001f469\u200d\U0001f4bb", "abcdefghi"),
        ("abcdefghie\u0301\u0301", "abcdefghi"),
    ],
)
def test_names_are_shortened_at_the_end_of_a_word(text: str, expected: str) -> None:
    assert shorten(text, 10) == expected
