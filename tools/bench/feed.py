"""A CSV file of books for the import, of any length and the same every time: `python -m tools.bench.feed 100000 > feed.csv`."""

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
FIRST_NAMES = (
    "Ada Ben Cleo Dana Emil Fay Gus Hana Ivo June Kai Lena Max Nora Otto Pia Quinn Rosa Sam Tess Ugo Vera Will Zoe"
).split()
LAST_NAMES = (
    "Abel Brandt Costa Duarte Eriksen Fischer Grant Holm Ito Jensen Kovac Lange Meyer Novak Olsen Petit Rossi Silva"
).split()
INITIALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COLUMNS = ("isbn", "title", "author", "genre", "price", "stock", "cover_url")


def format_isbn(number: int) -> str:
    """Return a valid ISBN-13."""
    digits = f"979{number:09d}"
    check = -sum(int(digit) * (1, 3)[position % 2] for position, digit in enumerate(digits)) % 10
    return f"{digits}{check}"


def make_rows(count: int) -> Iterator[tuple[str, ...]]:
    """Make titles of three to seven words, up to 40,000 authors, and 50 genres. One book in ten is out of stock."""
    randomness = random.Random(SEED)
    choice, weights = randomness.choice, [1 / (rank + 1) for rank in range(len(WORDS))]
    for number in range(count):
        title = " ".join(randomness.choices(WORDS, weights, k=randomness.randint(3, 7))).capitalize()
        author = f"{choice(FIRST_NAMES)} {choice(INITIALS)}. {choice(LAST_NAMES)}-{choice(LAST_NAMES)}"
        stock = 0 if randomness.random() < 0.1 else randomness.randint(1, 60)
        price = f"{randomness.randint(390, 8990) / 100:.2f}"
        yield format_isbn(number), title, author, f"Genre {randomness.randint(1, 50):02d}", price, str(stock), ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="number of rows")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(make_rows(parser.parse_args().count))


if __name__ == "__main__":
    main()
