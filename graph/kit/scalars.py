"""Declares scalars, which serialize exactly and parse strictly."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import strawberry

from graph.request_errors import BadUserInput

_DECIMAL = re.compile(r"[+-]?\d{1,20}(\.\d{1,10})?")
MAX_DECIMALS = 10


def parse_decimal(value: Any) -> Decimal:
    """Parse a string without an exponent, or a JSON number, which is rounded to `MAX_DECIMALS`.

    JavaScript adds 12.99, 7.50 and 5.49 to 25.980000000000004; rounding removes such errors.

    Raises:
        BadUserInput: It is not such a number. NaN and infinities are not.
    """
    if isinstance(value, float):
        text = f"{value:.{MAX_DECIMALS}f}".rstrip("0").rstrip(".")
    else:
        text = str(value) if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else ""
    if not _DECIMAL.fullmatch(text, 0) or not text.isascii():
        raise BadUserInput(f'{str(value)[:50]!r} is not a decimal number such as "12.90".')
    return Decimal(text)


def parse_date(value: Any) -> dt.date:
    """Parse a date in the form `YYYY-MM-DD`.

    Raises:
        BadUserInput: It is not such a date.
    """
    try:
        if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
            raise ValueError
        return dt.date.fromisoformat(value)
    except ValueError as error:
        raise BadUserInput(f"{str(value)[:50]!r} is not a date such as 1937-09-21.") from error


def parse_datetime(value: Any) -> dt.datetime:
    """Parse an instant in ISO 8601 with an offset, and return it in UTC.

    Raises:
        BadUserInput: It is not such an instant.
    """
    try:
        if not isinstance(value, str) or len(value) > 40:
            raise ValueError
        instant = dt.datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError
        return instant.astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise BadUserInput(f"{str(value)[:50]!r} is not an instant such as 2026-03-01T09:30:00Z.") from error


def format_datetime(value: dt.datetime) -> str:
    """Format an instant as RFC 3339 in UTC, with milliseconds."""
    instant = value if value.tzinfo is dt.UTC else value.astimezone(dt.UTC)
    return instant.isoformat("T", "milliseconds")[: -len("+00:00")] + "Z"


SCALARS: dict[object, Any] = {
    Decimal: strawberry.scalar(
        name="Decimal",
        description='An exact decimal number, written as a string so that no client rounds it, such as `"12.90"`.',
        serialize=str,
        parse_value=parse_decimal,
    ),
    dt.date: strawberry.scalar(
        name="Date",
        description="A calendar date, such as `1937-09-21`.",
        specified_by_url="https://scalars.graphql.org/andimarek/local-date.html",
        serialize=dt.date.isoformat,
        parse_value=parse_date,
    ),
    dt.datetime: strawberry.scalar(
        name="DateTime",
        description="An instant with its offset from UTC, such as `2026-03-01T09:30:00Z`.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=format_datetime,
        parse_value=parse_datetime,
    ),
}
