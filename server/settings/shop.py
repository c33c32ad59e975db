"""The settings of prices, stock and payments."""

from zoneinfo import ZoneInfo

from babel.numbers import get_currency_precision, list_currencies
from pydantic import BaseModel, Field, field_validator


class ShopSettings(BaseModel):
    """Shop."""

    currency: str = Field("EUR", description="Currency of all prices: an ISO 4217 code with two decimals.")
    time_zone: str = Field("UTC", description="Time zone of dates in emails and sales reports.")
    low_stock_threshold: int = Field(
        5, ge=1, le=1_000_000, description="Stock at or below which a book counts as low in stock."
    )
    sweep_after_seconds: int = Field(
        120, ge=1, description="Age at which the sweeper asks the payment provider about a pending order."
    )
    sweep_every_seconds: float = Field(5, gt=0, description="Interval between runs of the sweeper.")

    @field_validator("currency")
    @classmethod
    def _validate_currency(cls, value: str) -> str:
        if value not in list_currencies():
            raise ValueError("is not an ISO 4217 code such as EUR")
        if get_currency_precision(value) != 2:
            raise ValueError("is a currency without two decimals, which prices require")
        return value

    @field_validator("time_zone")
    @classmethod
    def _validate_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):  # an unknown name, not a name, or a folder
            raise ValueError("is not a time zone such as Europe/Berlin") from None
        return value
