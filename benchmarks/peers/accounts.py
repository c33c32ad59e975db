"""Who asks: a signed token, and the session and the user it names, read from the database once a request."""

import datetime as dt
import os
import uuid

import jwt
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from benchmarks.peers.orm import User, UserSession

KEY = bytes.fromhex(os.environ.get("ACCESS_TOKEN_KEY", ""))
ISSUER = os.environ.get("PUBLIC_URL", "")


async def find_user(session: AsyncSession, token: str) -> User | None:
    """`None` for a token that is no good, and for one whose session is over."""
    try:
        claims = jwt.decode(token, KEY, algorithms=["HS256"], audience="bookstore", issuer=ISSUER)
    except jwt.PyJWTError:
        return None
    query = select(UserSession).options(joinedload(UserSession.user)).where(UserSession.id == uuid.UUID(claims["sid"]))
    found = await session.scalar(query)
    if found is None or found.revoked_at is not None or found.expires_at <= dt.datetime.now(dt.UTC):
        return None
    return found.user if found.user.is_active else None
