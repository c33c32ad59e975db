"""The catalogue as administrators run it: books, stock and genres."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import catalog as shelves
from domain import stock
from graph.catalog import Book, Genre
from graph.context import Info
from graph.errors import GenreNameTaken, GenreNotEmpty, InvalidInput, IsbnTaken, NotFound
from graph.fields import column, input_shape, mutation, outcomes, shape
from graph.gates import administrator
from graph.ids import global_id, key_of
from graph.pagination import argument
from persistence.catalog import Book as BookRow
from persistence.catalog import BookFormat
from persistence.catalog import Genre as GenreRow


def _optional(description: str) -> Any:
    return strawberry.field(default=UNSET, description=description)


@input_shape()
class CreateBookInput:
    """A new book."""

    title: str = column("The title, 500 characters at most.")
    subtitle: str | None = _optional("The line under the title.")
    authors: list[str] = column(
        "The names of the authors in the order of the title page, none for a book without a named author. Unknown "
        "names become new authors."
    )
    price: Decimal = column("The price of a copy in the store's currency, more than zero.")
    stock_quantity: int = strawberry.field(default=0, description="The copies in stock.")
    isbn: str | None = _optional(
        "The ISBN, of ten or thirteen digits, with or without hyphens. Its check digit is checked."
    )
    genre_id: strawberry.ID | None = _optional("The ID of the genre.")
    description: str | None = _optional("The blurb, as plain text.")
    cover_url: str | None = _optional("The address of the cover image.")
    format: BookFormat | None = _optional("How it is bound.")
    publisher: str | None = _optional("The publishing house.")
    published_on: dt.date | None = _optional("The day it came out, or will.")
    page_count: int | None = _optional("The number of pages.")
    language: str | None = _optional("The language it is in, as a BCP 47 tag.")


@input_shape()
class UpdateBookInput:
    """Changes to a book.

    A field left out stays as it is; `null` clears a field that a book can be without. Stock has its own mutation.
    """

    book_id: strawberry.ID = column("The ID of the book.")
    title: str | None = _optional("The title, 500 characters at most.")
    subtitle: str | None = _optional("The line under the title.")
    authors: list[str] | None = _optional("The names of all the authors, in the order of the title page.")
    price: Decimal | None = _optional("The price of a copy in the store's currency, more than zero.")
    isbn: str | None = _optional("The ISBN, of ten or thirteen digits, with or without hyphens.")
    genre_id: strawberry.ID | None = _optional("The ID of the genre.")
    description: str | None = _optional("The blurb, as plain text.")
    cover_url: str | None = _optional("The address of the cover image.")
    format: BookFormat | None = _optional("How it is bound.")
    publisher: str | None = _optional("The publishing house.")
    published_on: dt.date | None = _optional("The day it came out, or will.")
    page_count: int | None = _optional("The number of pages.")
    language: str | None = _optional("The language it is in, as a BCP 47 tag.")


@input_shape()
class DeleteBookInput:
    """A book to delete."""

    book_id: strawberry.ID = column("The ID of the book.")


@input_shape(one_of=True)
class StockChangeInput:
    """What to do with a stock: exactly one of these."""

    set_to: int | None = _optional("Makes it this many copies, as after a stocktake.")
    adjust_by: int | None = _optional("Adds this many copies, as after a delivery; takes copies away when negative.")


@input_shape()
class UpdateStockInput:
    """A change of stock."""

    book_id: strawberry.ID = column("The ID of the book.")
    change: StockChangeInput = column("What to do with the stock.")


@input_shape()
class CreateGenreInput:
    """A new genre."""

    name: str = column("The name, 100 characters at most.")


@input_shape()
class RenameGenreInput:
    """A new name for a genre."""

    genre_id: strawberry.ID = column("The ID of the genre.")
    name: str = column("The name, 100 characters at most.")


@input_shape()
class DeleteGenreInput:
    """A genre to delete."""

    genre_id: strawberry.ID = column("The ID of the genre.")


# ── Outcomes ──────────────────────────────────────────────────────────────────────────────


@shape()
class BookSaved:
    """The catalog has the book."""

    book: BookRow = column("The book.", Book)


@shape()
class BookDeleted:
    """The book is out of the catalog."""

    book_id: strawberry.ID = column("The ID of the book.")


@shape()
class StockUpdated:
    """The stock has changed."""

    book: BookRow = column("The book.", Book)
    prebookings_notified: int = column("How many waiting customers were told that it is back.")


@shape()
class GenreSaved:
    """The store has the genre."""

    genre: GenreRow = column("The genre.", Genre)


@shape()
class GenreDeleted:
    """The genre is gone."""

    genre_id: strawberry.ID = column("The ID of the genre.")


CreateBookResult = Annotated[
    BookSaved | IsbnTaken | NotFound | InvalidInput, outcomes("CreateBookResult", "createBook")
]
UpdateBookResult = Annotated[
    BookSaved | IsbnTaken | NotFound | InvalidInput, outcomes("UpdateBookResult", "updateBook")
]
DeleteBookResult = Annotated[BookDeleted | NotFound, outcomes("DeleteBookResult", "deleteBook")]
UpdateStockResult = Annotated[StockUpdated | NotFound | InvalidInput, outcomes("UpdateStockResult", "updateStock")]
CreateGenreResult = Annotated[GenreSaved | GenreNameTaken | InvalidInput, outcomes("CreateGenreResult", "createGenre")]
RenameGenreResult = Annotated[
    GenreSaved | GenreNameTaken | NotFound | InvalidInput, outcomes("RenameGenreResult", "renameGenre")
]
DeleteGenreResult = Annotated[GenreDeleted | GenreNotEmpty | NotFound, outcomes("DeleteGenreResult", "deleteGenre")]


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


def _given(input: Any, *but: str) -> dict[str, Any]:
    """What the input names, as fields of `BookDetails`."""
    given = {name: value for name, value in vars(input).items() if value is not UNSET and name not in but}
    if given.get("genre_id") is not None:
        given["genre_id"] = key_of("Genre", given["genre_id"])
    return given


@mutation(administrator)
async def create_book(info: Info, input: Annotated[CreateBookInput, argument("The book.")]) -> CreateBookResult | None:
    """Adds a book to the catalog."""
    given = _given(input, "stock_quantity")
    details = shelves.BookDetails(**given | {"authors": tuple(given["authors"])})
    return BookSaved(book=await shelves.create_book(info.context.shop, details, input.stock_quantity))


@mutation(administrator)
async def update_book(
    info: Info, input: Annotated[UpdateBookInput, argument("The fields to change.")]
) -> UpdateBookResult | None:
    """Changes a book. Orders already placed keep the price they were placed at."""
    changes = _given(input, "book_id")
    return BookSaved(book=await shelves.update_book(info.context.shop, key_of("Book", input.book_id), changes))


@mutation(administrator)
async def delete_book(info: Info, input: Annotated[DeleteBookInput, argument("The book.")]) -> DeleteBookResult | None:
    """Takes a book out of the catalog, carts and wishlists. Order history keeps its title and price."""
    book_id = key_of("Book", input.book_id)
    await shelves.delete_book(info.context.shop, book_id)
    return BookDeleted(book_id=global_id("Book", book_id))


@mutation(administrator)
async def update_stock(
    info: Info, input: Annotated[UpdateStockInput, argument("The book and the change.")]
) -> UpdateStockResult | None:
    """Changes the number of copies in stock. Going from none to some notifies everyone on the waiting list."""
    book_id, change = key_of("Book", input.book_id), input.change
    if change.set_to is not None and change.set_to is not UNSET:
        book, notified = await stock.take_stock(info.context.shop, book_id, change.set_to)
    else:
        assert change.adjust_by is not None
        book, notified = await stock.restock(info.context.shop, book_id, change.adjust_by)
    return StockUpdated(book=book, prebookings_notified=notified)


@mutation(administrator)
async def create_genre(
    info: Info, input: Annotated[CreateGenreInput, argument("The genre.")]
) -> CreateGenreResult | None:
    """Adds a genre."""
    return GenreSaved(genre=await shelves.create_genre(info.context.shop, input.name))


@mutation(administrator)
async def rename_genre(
    info: Info, input: Annotated[RenameGenreInput, argument("The genre and its new name.")]
) -> RenameGenreResult | None:
    """Renames a genre. Its slug stays, so links keep working."""
    return GenreSaved(genre=await shelves.rename_genre(info.context.shop, key_of("Genre", input.genre_id), input.name))


@mutation(administrator)
async def delete_genre(
    info: Info, input: Annotated[DeleteGenreInput, argument("The genre.")]
) -> DeleteGenreResult | None:
    """Deletes a genre that no book is in."""
    genre_id = key_of("Genre", input.genre_id)
    await shelves.delete_genre(info.context.shop, genre_id)
    return GenreDeleted(genre_id=global_id("Genre", genre_id))
