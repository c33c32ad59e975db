"""A bookshop as FastAPI's documentation teaches it: REST endpoints, Pydantic models, and SQLAlchemy's ORM."""

import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from tools.bench.peers import accounts, orm, purchases, queries
from tools.bench.peers.fastapi_orm.models import (
    BooksOut,
    BookWithReviewsOut,
    CartItemIn,
    CartOut,
    CheckoutIn,
    OrderOut,
    SearchOut,
)

app = FastAPI()
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
WITH_RELATIONS = (selectinload(orm.Book.authors), selectinload(orm.Book.genre), selectinload(orm.Book.rating))


async def get_session() -> AsyncIterator[AsyncSession]:
    async with orm.Session() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]


async def get_current_user(session: SessionDep, token: Annotated[str, Depends(oauth2_scheme)]) -> orm.User:
    user = await accounts.find_user(session, token)
    if user is None:
        raise HTTPException(401, "Sign in first.", {"WWW-Authenticate": "Bearer"})
    return user


UserDep = Annotated[orm.User, Depends(get_current_user)]


@app.get("/books", response_model=BooksOut)
async def list_books(session: SessionDep, first: int = 20, after: str | None = None, count: bool = False) -> Any:
    books = (await session.scalars(queries.select_newest(first, after).options(*WITH_RELATIONS))).all()
    total = await session.scalar(select(func.count()).select_from(orm.Book)) if count else None
    has_next = len(books) > first
    return {
        "items": books[:first],
        "next": queries.encode_cursor(books[first - 1]) if has_next else None,
        "total": total,
    }


@app.get("/search", response_model=SearchOut)
async def search_books(session: SessionDep, words: str, first: int = 20) -> Any:
    relations = (selectinload(orm.Book.authors), selectinload(orm.Book.rating))
    books = (await session.scalars(queries.select_matches(words, first).options(*relations))).all()
    return {"items": books[:first], "has_more": len(books) > first}


@app.get("/books/{book_id}", response_model=BookWithReviewsOut)
async def get_book(session: SessionDep, book_id: uuid.UUID, reviews: int = 10) -> Any:
    book = await session.get(orm.Book, book_id, options=WITH_RELATIONS)
    if book is None:
        raise HTTPException(404, "The book does not exist.")
    query = queries.select_reviews(book_id, reviews).options(selectinload(orm.Review.user))
    rows = (await session.scalars(query)).all()
    return {"book": book, "reviews": rows[:reviews], "has_more_reviews": len(rows) > reviews}


@app.post("/cart/items", response_model=CartOut)
async def add_to_cart(session: SessionDep, user: UserDep, item: CartItemIn) -> Any:
    try:
        items = await purchases.add_to_cart(session, user, item.book_id, item.quantity)
    except purchases.UserError as error:
        raise HTTPException(409, {"code": error.code, "message": error.message}) from error
    return {"items": items, "total": purchases.cart_total(items)}


@app.post("/orders", response_model=OrderOut, status_code=201)
async def checkout(session: SessionDep, user: UserDep, purchase: CheckoutIn) -> Any:
    try:
        return await purchases.checkout(session, user, purchase.idempotency_key, purchase.payment_token)
    except purchases.UserError as error:
        raise HTTPException(409, {"code": error.code, "message": error.message}) from error
