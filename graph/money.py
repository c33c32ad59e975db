"""Amounts of money, in the shop's one currency."""

from decimal import Decimal

from graph.fields import MINUTE, column, shape


@shape(fresh_for=MINUTE)
class Money:
    """An amount of money."""

    amount: Decimal = column("The amount in the currency's main unit, with two decimals.")
    currency: str = column("The ISO 4217 code of the currency, such as `EUR`.")
