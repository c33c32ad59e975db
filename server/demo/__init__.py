"""Load the demo catalog of public-domain books."""

import csv
import datetime as dt
from decimal import Decimal
from importlib.resources import files

from domain.book_fields import BookDetails
from domain.catalog import add_book, get_or_create_genre
from domain.shop import Shop
from domain.slugs import make_slug
from persistence import catalog
from persistence.stock import MovementReason


async def load_demo(shop: Shop) -> int:
    """Add the demo books that do not exist yet, in one transaction, and return how many."""
    rows = list(csv.DictReader(files(__name__).joinpath("catalog.csv").read_text("utf-8").splitlines()))
    added = 0
    async with shop.database.transaction() as tx:
        for row in reversed(rows):  # so that the first row is the newest book
            if await catalog.find_book_by_slug(tx, make_slug(row["title"])) is not None:
                continue
            genre, _ = await get_or_create_genre(tx, row["genre"])
            details = BookDetails(
                title=row["title"],
                subtitle=row["subtitle"] or None,
                authors=tuple(name for name in row["author"].split(";") if name),
                genre_id=genre.id,
                # only the year of these books is given
                published_on=dt.date(int(row["year"]), 1, 1) if row["year"] else None,
                language=row["language"],
                format=row["format"],
                price=Decimal(row["price"]),
                description=row["description"],
            )
            await add_book(tx, details, int(row["stock"]), MovementReason.IMPORT)
            added += 1
    return added
