"""The mutations of the catalog: administrators add, change and delete books and genres, and change the stock."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import catalog, stock
from domain.book_fields import BookDetails
from domain.errors import GenreNameTaken, GenreNotEmpty, InvalidInput, IsbnTaken, NotFound
from graph.catalog import Book, Genre
from graph.context import Info
from graph.kit.declare import argument, attribute, input_type, object_type, optional
from graph.kit.ids import parse_key, to_global_id
from graph.kit.mutations import mutation
from graph.kit.permissions import admin_only
from persistence.catalog import BookFormat, BookRow, GenreRow


@input_type()
class OptionalBookFields:
    """Fields that a book can be without, for both inputs."""

    isbn: str | None = optional(
        "The ISBN, of ten or thirteen digits, with or without hyphens. Its check digit is checked."
    )
    genre_id: strawberry.ID | None = optional("The ID of the genre.")
    description: str | None = optional("The blurb, as plain text.")
    cover_url: str | None = optional("The address of the cover image.")
    format: BookFormat | None = optional("How it is bound.")
    publisher: str | None = optional("The publishing house.")
    published_on: dt.date | None = optional("The day it came out, or will.")
    page_count: int | None = optional("The number of pages.")
    language: str | None = optional("The language it is in, as a BCP 47 tag.")


@input_type()
class NewBookFields:
    """Fields of a new book that come first in the SDL."""

    title: str = attribute("The title, 500 characters at most.")
    subtitle: str | None = optional("The line under the title.")
    authors: list[str] = attribute(
        "The names of the authors in the order of the title page, none for a book without a named author. Unknown "
        "names become new authors."
    )
    price: Decimal = attribute("The price of a copy in the store's currency, more than zero.")
    stock_quantity: int = strawberry.field(default=0, description="The copies in stock.")


@input_type()
class CreateBookInput(NewBookFields, OptionalBookFields):
    """A new book."""


@input_type()
class BookChangeFields:
    """Fields of a change that come first in the SDL."""

    book_id: strawberry.ID = attribute("The ID of the book.")
    title: str | None = optional("The title, 500 characters at most.")
    subtitle: str | None = optional("The line under the title.")
    authors: list[str] | None = optional("The names of all the authors, in the order of the title page.")
    price: Decimal | None = optional("The price of a copy in the store's currency, more than zero.")


@input_type()
class UpdateBookInput(BookChangeFields, OptionalBookFields):
    """Changes to a book.

    A field left out stays as it is; `null` clears a field that a book can be without. Stock has its own mutation.
    """


@input_type()
class DeleteBookInput:
    """A book to delete."""

    book_id: strawberry.ID = attribute("The ID of the book.")


@input_type(one_of=True)
class StockChangeInput:
    """What to do with a stock: exactly one of these."""

    set_to: int | None = optional("Makes it this many copies, as after a stocktake.")
    adjust_by: int | None = optional("Adds this many copies, as after a delivery; takes copies away when negative.")


@input_type()
class UpdateStockInput:
    """A change of stock."""

    book_id: strawberry.ID = attribute("The ID of the book.")
    change: StockChangeInput = attribute("What to do with the stock.")


@input_type()
class CreateGenreInput:
    """A new genre."""

    name: str = attribute("The name, 100 characters at most.")


@input_type()
class RenameGenreInput:
    """A new name for a genre."""

    genre_id: strawberry.ID = attribute("The ID of the genre.")
    name: str = attribute("The name, 100 characters at most.")


@input_type()
class DeleteGenreInput:
    """A genre to delete."""

    genre_id: strawberry.ID = attribute("The ID of the genre.")


# ── Outcomes ──────────────────────────────────────────────────────────────────────────────


@object_type()
class BookSaved:
    """The catalog has the book."""

    book: BookRow = attribute("The book.", Book)


@object_type()
class BookDeleted:
    """The book is out of the catalog."""

    book_id: strawberry.ID = attribute("The ID of the book.")


@object_type()
class StockUpdated:
    """The stock has changed."""

    book: BookRow = attribute("The book.", Book)
    prebookings_notified: int = attribute("The number of waiting customers that were notified.")


@object_type()
class GenreSaved:
    """The store has the genre."""

    genre: GenreRow = attribute("The genre.", Genre)


@object_type()
class GenreDeleted:
    """The genre is gone."""

    genre_id: strawberry.ID = attribute("The ID of the genre.")


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


def _get_provided_fields(input: Any, *exclude: str) -> dict[str, Any]:
    """Return the values of the input's fields that are given, by names of `BookDetails`."""
    fields = {name: value for name, value in vars(input).items() if value is not UNSET and name not in exclude}
    if fields.get("genre_id") is not None:
        fields["genre_id"] = parse_key("Genre", fields["genre_id"])
    return fields


@mutation(admin_only, BookSaved, errors=(IsbnTaken, NotFound, InvalidInput))
async def create_book(info: Info, input: Annotated[CreateBookInput, argument("The book.")]) -> BookSaved:
    """Adds a book to the catalog."""
    fields = _get_provided_fields(input, "stock_quantity")
    details = BookDetails(**fields | {"authors": tuple(fields["authors"])})
    return BookSaved(book=await catalog.create_book(info.context.shop, details, input.stock_quantity))


@mutation(admin_only, BookSaved, errors=(IsbnTaken, NotFound, InvalidInput))
async def update_book(info: Info, input: Annotated[UpdateBookInput, argument("The fields to change.")]) -> BookSaved:
    """Changes a book. Orders already placed keep the price they were placed at."""
    changes = _get_provided_fields(input, "book_id")
    return BookSaved(book=await catalog.update_book(info.context.shop, parse_key("Book", input.book_id), changes))


@mutation(admin_only, BookDeleted, errors=(NotFound,))
async def delete_book(info: Info, input: Annotated[DeleteBookInput, argument("The book.")]) -> BookDeleted:
    """Takes a book out of the catalog, carts and wishlists. Order history keeps its title and price."""
    book_id = parse_key("Book", input.book_id)
    await catalog.delete_book(info.context.shop, book_id)
    return BookDeleted(book_id=to_global_id("Book", book_id))


@mutation(admin_only, StockUpdated, errors=(NotFound, InvalidInput))
async def update_stock(
    info: Info, input: Annotated[UpdateStockInput, argument("The book and the change.")]
) -> StockUpdated:
    """Changes the number of copies in stock. Going from none to some notifies everyone on the waiting list."""
    book_id, change = parse_key("Book", input.book_id), input.change
    if change.set_to is not None and change.set_to is not UNSET:
        book, notified_count = await stock.set_stock(info.context.shop, book_id, change.set_to)
    else:
        assert change.adjust_by is not None
        book, notified_count = await stock.adjust_stock(info.context.shop, book_id, change.adjust_by)
    return StockUpdated(book=book, prebookings_notified=notified_count)


@mutation(admin_only, GenreSaved, errors=(GenreNameTaken, InvalidInput))
async def create_genre(info: Info, input: Annotated[CreateGenreInput, argument("The genre.")]) -> GenreSaved:
    """Adds a genre."""
    return GenreSaved(genre=await catalog.create_genre(info.context.shop, input.name))


@mutation(admin_only, GenreSaved, errors=(GenreNameTaken, NotFound, InvalidInput))
async def rename_genre(
    info: Info, input: Annotated[RenameGenreInput, argument("The genre and its new name.")]
) -> GenreSaved:
    """Renames a genre. Its slug stays, so links keep working."""
    return GenreSaved(
        genre=await catalog.rename_genre(info.context.shop, parse_key("Genre", input.genre_id), input.name)
    )


@mutation(admin_only, GenreDeleted, errors=(GenreNotEmpty, NotFound))
async def delete_genre(info: Info, input: Annotated[DeleteGenreInput, argument("The genre.")]) -> GenreDeleted:
    """Deletes a genre that has no books."""
    genre_id = parse_key("Genre", input.genre_id)
    await catalog.delete_genre(info.context.shop, genre_id)
    return GenreDeleted(genre_id=to_global_id("Genre", genre_id))
