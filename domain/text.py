"""Text as people paste it: normalizes it, and finds the characters that cannot be seen."""

import re
import unicodedata
from functools import cache

_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
"""All spaces of Unicode but the usual one."""

_JOINERS = "\u200c\u200d"
_INVISIBLE_CATEGORIES = frozenset(("Cc", "Cf", "Co", "Cs", "Zl", "Zp"))
_BLANK_CATEGORIES = _INVISIBLE_CATEGORIES | {"Zs", "Mn", "Mc", "Me"}
_FILLERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\ufffc"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Letters, marks and symbols that show nothing: fillers, blanks and the selectors of variants."""

_RESERVED = re.compile("[\u2065\ufdd0-\ufdef\ufff0-\ufff8\U000e0000-\U000e0fff]")
"""Unassigned code points that never show anything. Others may be the emoji of a later Unicode version than Python's."""

_IN_TEXT = r"[^\s!-@\[-`{-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u2000-\u206f\u3000-\u303f]"
"""A letter, a mark or an emoji: what a joiner connects."""

_VIRAMAS = "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca"
_ARABIC_LETTERS = "\u0620-\u064a\u066e-\u06d3\u0750-\u077f"
_IDEOGRAPHS = "\u3400-\u9fff\U00020000-\U0003fffd"
_EMOJI = "\u00a9\u00ae\u203c\u2049\u2100-\u214f\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"

_FIND_SPACES = re.compile(rf"[{_SPACES}][ {_SPACES}]*| [ {_SPACES}]+")
_FIND_RUNS_OF_SPACES = re.compile(rf"(?<=\S)[ {_SPACES}]{{2,}}")
_FIND_LINE_ENDS = re.compile("\r\n?|[\u0085\u2028\u2029]")

_DASHES_AND_LOOKALIKES = "\u02d7\u2043\u2212\u2500\u30fc"
"""Characters that people type for a hyphen, and that are not dashes for Unicode."""


@cache
def _valid_sequences() -> re.Pattern[str]:
    """Compile the pattern of invisible characters that change how their neighbors look. It takes milliseconds."""
    return re.compile(
        "|".join(
            (
                rf"(?<={_IN_TEXT})[{_JOINERS}](?={_IN_TEXT})",  # inside words and emoji
                rf"(?<=[{_VIRAMAS}{_ARABIC_LETTERS}])[{_JOINERS}](?![{_JOINERS}])",  # at the end of a word
                rf"(?<=[{_EMOJI}])[\ufe0e\ufe0f]",
                r"(?<=[0-9#*])\ufe0f(?=\u20e3)",  # keycaps
                rf"(?<=[{_IDEOGRAPHS}])[\ufe00-\ufe02\U000e0100-\U000e01ef]",  # variants of Han characters, as in names
                r"(?<=[\u1000-\u109f\u2200-\u22ff\ua840-\ua87f])\ufe00",  # variants of Myanmar letters and operators
                r"(?<=[\u1820-\u18aa])[\u180b-\u180d\u180f]",  # variants of Mongolian letters
                r"(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f",  # the flag of England
            )
        )
    )


def normalize_line(value: str) -> str:
    """Return the text in NFC without surrounding spaces, and each run of spaces as one."""
    text = value.strip()
    if text.isascii():
        return _FIND_SPACES.sub(" ", text) if "  " in text else text
    return _FIND_SPACES.sub(" ", unicodedata.normalize("NFC", text))


def normalize_lines(value: str) -> str:
    r"""Return the text in NFC with `\n` as line end, without surrounding blanks and blanks at the ends of lines.

    A run of spaces in a line becomes one; the indentation of a line stays.
    """
    text = value if value.isascii() and "\r" not in value else _FIND_LINE_ENDS.sub("\n", value)
    text = text if text.isascii() else unicodedata.normalize("NFC", text)
    lines = (line.rstrip() for line in text.split("\n"))
    return "\n".join(
        line if line.isascii() and "  " not in line else _FIND_RUNS_OF_SPACES.sub(" ", line) for line in lines
    ).strip()


def has_invisible_characters(text: str, *, multiline: bool = False) -> bool:
    """Return whether the text has characters that show nothing; `multiline` allows newlines and tabs.

    These are control, format and direction characters, fillers, surrogates, private and nonexistent characters.
    Joiners inside words and emoji are allowed, and selectors where they choose the variant of a character.
    """
    if text.isprintable() and (text.isascii() or _FILLERS.isdisjoint(text)):
        return False
    suspects = _find_invisible(text, multiline=multiline)
    if not suspects:
        return False
    remaining_text = _valid_sequences().sub("", text)
    return any(character in remaining_text for character in suspects)


def remove_invisible_characters(text: str, *, multiline: bool = False) -> str:
    """Return the text without the characters for which `has_invisible_characters` is true."""
    suspects = _find_invisible(text, multiline=multiline)
    if not suspects:
        return text
    valid_sequences = [match.span() for match in _valid_sequences().finditer(text)]
    pieces, position = [], 0
    for begin, end in (*valid_sequences, (len(text), len(text))):
        pieces += [character for character in text[position:begin] if character not in suspects]
        pieces.append(text[begin:end])
        position = end
    return "".join(pieces)


def _find_invisible(text: str, *, multiline: bool) -> set[str]:
    """Return the distinct invisible characters, also those that are valid where they stand."""
    return {
        character for character in set(text) if _is_invisible(character) and not (multiline and character in "\n\t")
    }


def _is_invisible(character: str) -> bool:
    if character.isprintable():
        return character in _FILLERS
    category = unicodedata.category(character)
    if category == "Cn":
        return ord(character) & 0xFFFE == 0xFFFE or _RESERVED.match(character) is not None
    return category in _INVISIBLE_CATEGORIES


def is_blank(text: str) -> bool:
    """Return whether the text shows nothing: it has only spaces, invisible characters and marks without a letter."""
    return all(character in _FILLERS or unicodedata.category(character) in _BLANK_CATEGORIES for character in text)


def remove_format_characters(text: str) -> str:
    """Return the text without format and direction characters, except joiners."""
    if text.isprintable():
        return text
    return "".join(character for character in text if character in _JOINERS or unicodedata.category(character) != "Cf")


def remove_separators(text: str) -> str:
    """Return a number or code in NFKC without spaces, dashes and format characters, however it was pasted."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return "".join(
        character
        for character in text
        if not (
            character == "-"
            or character.isspace()
            or character in _DASHES_AND_LOOKALIKES
            or unicodedata.category(character) in ("Pd", "Cf")
        )
    )


def shorten(text: str, max_length: int) -> str:
    """Return the beginning of a line, at most `max_length` characters. It ends with a whole word if there are several."""
    if len(text) <= max_length:
        return text
    beginning, space, _ = text[: max_length + 1].rpartition(" ")
    if space:
        return beginning.rstrip()
    end = max_length
    while end > 1 and (_is_continuation(text[end]) or text[end - 1] in _JOINERS):
        end -= 1
    return text[:end]


def _is_continuation(character: str) -> bool:
    """Return whether the character belongs to the one before it: a mark, a joiner, a skin tone, a tag."""
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") or "\U0001f3fb" <= character <= "\U0001f3ff"
