"""What AWS asks, from one dated file: for the commands here, and for whoever else works out a bill. Pure, but for the file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("aws_prices.json")


@dataclass(frozen=True)
class AwsPrice:
    """So many US dollars for `per` of a unit."""

    dollars: float
    per: int
    unit: str
    source: str

    def cost(self, amount: float) -> float:
        return self.dollars * amount / self.per


@dataclass(frozen=True)
class AwsPrices:
    """Prices by name, and the month (yyyy-mm) and region that they are of."""

    as_of: str
    region: str
    prices: Mapping[str, AwsPrice]


@cache
def aws_prices() -> AwsPrices:
    content = json.loads(FILE.read_text(encoding="utf-8"))
    prices = {name: AwsPrice(**entry) for name, entry in content["prices"].items()}
    return AwsPrices(content["as_of"], content["region"], prices)


def aws_price(name: str) -> AwsPrice:
    return aws_prices().prices[name]
