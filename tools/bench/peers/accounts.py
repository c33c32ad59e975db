"""Authentication of the ORM peers: an access token, its session and its user, read once per request."""

import datetime as dt
import os
import uuid

import jwt
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from tools.bench.peers.orm import User, UserSession

KEY = bytes.fromhex(os.environ.get("ACCESS_TOKEN_KEY", ""))
ISSUER = os.environ.get("PUBLIC_URL", "")


async def find_user(session: AsyncSession, token: str) -> User | None:
    """Return the user of a token; `None` if the token is invalid or its session has ended."""
    try:
        claims = jwt.decode(token, KEY, algorithms=["HS256"], audience="bookstore", issuer=ISSUER)
    except jwt.PyJWTError:
        return None
    query = select(UserSession).options(joinedload(UserSession.user)).where(UserSession.id == uuid.UUID(claims["sid"]))
    login = await session.scalar(query)
    if login is None or login.revoked_at is not None or login.expires_at <= dt.datetime.now(dt.UTC):
        return None
    return login.user if login.user.is_active else None
