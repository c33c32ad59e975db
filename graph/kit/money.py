"""Declares amounts of money."""

from decimal import Decimal

from graph.kit.declare import MINUTE, attribute, object_type


@object_type(max_age=MINUTE)
class Money:
    """An amount of money."""

    amount: Decimal = attribute("The amount in the currency's main unit, with two decimals.")
    currency: str = attribute("The ISO 4217 code of the currency, such as `EUR`.")
