"""A feed of any length, the same every time: `python -m benchmarks.feed 100000 > feed.csv`."""

import argparse
import csv
import random
import sys
from collections.abc import Iterator

SEED = 20_26
WORDS = (
    "the of and a in to history story garden night river stone letters house winter summer king queen city sea light"
    " shadow road bridge fire water dream mountain island forest secret lost last first silver golden broken silent"
    " hidden northern southern ancient modern little great long short art science music war peace love death life time"
    " memory journey return"
).split()
FIRST = (
    "Ada Ben Cleo Dana Emil Fay Gus Hana Ivo June Kai Lena Max Nora Otto Pia Quinn Rosa Sam Tess Ugo Vera Will Zoe"
).split()
LAST = (
    "Abel Brandt Costa Duarte Eriksen Fischer Grant Holm Ito Jensen Kovac Lange Meyer Novak Olsen Petit Rossi Silva"
).split()
COLUMNS = ("isbn", "title", "author", "genre", "price", "stock", "cover_url")


def isbn(number: int) -> str:
    digits = f"979{number:09d}"
    check = -sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(digits)) % 10
    return f"{digits}{check}"


def rows(count: int) -> Iterator[tuple[str, ...]]:
    """Titles of three to seven words, common ones more often; 40,000 authors at most, 50 genres, a tenth out of stock."""
    chance = random.Random(SEED)
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    for number in range(count):
        title = " ".join(chance.choices(WORDS, weights, k=chance.randint(3, 7))).capitalize()
        author = f"{chance.choice(FIRST)} {chance.choice('ABCDEFGHIJKLMNOPQRSTUVWXYZ')}. {chance.choice(LAST)}-{chance.choice(LAST)}"
        stock = 0 if chance.random() < 0.1 else chance.randint(1, 60)
        price = f"{chance.randint(390, 8990) / 100:.2f}"
        yield (
            isbn(number),
            title,
            author,
            f"Genre {chance.randint(1, 50):02d}",
            price,
            str(stock),
            "",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="how many rows")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows(parser.parse_args().count))


if __name__ == "__main__":
    main()
