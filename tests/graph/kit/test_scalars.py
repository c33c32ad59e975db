"""Decimals: exact strings, and JSON numbers without the rounding errors of JavaScript."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graph.kit.scalars import parse_decimal
from graph.request_errors import BadUserInput


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=20))
@example([1299, 750, 549])
def test_a_sum_of_floats_is_the_sum_of_the_cents(cents: list[int]) -> None:
    total = parse_decimal(float(sum(amount / 100 for amount in cents)))
    assert total == Decimal(sum(cents)) / 100
    assert total == round(total, 2)


@given(st.decimals(-(10**9), 10**9, places=5))
def test_strings_are_exact(value: Decimal) -> None:
    assert parse_decimal(f"{value:f}") == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (19.99, "19.99"),
        (12.5, "12.5"),
        (0.0, "0"),
        (-1.1, "-1.1"),
        (100.0, "100"),
        (100, "100"),
        (9.999, "9.999"),
        (0.1 + 0.2 - 0.3, "0"),
        ("25.980", "25.980"),
    ],
)
def test_numbers_keep_their_decimals(value: Any, expected: str) -> None:
    assert str(parse_decimal(value)) == expected


@pytest.mark.parametrize(
    "value",
    ["25.980000000000004", "1e3", " 1", "", float("nan"), float("inf"), 1e25, 10**25, True, None, [1], "\u0661"],
)
def test_other_values_are_rejected(value: Any) -> None:
    with pytest.raises(BadUserInput, match="is not a decimal number"):
        parse_decimal(value)
