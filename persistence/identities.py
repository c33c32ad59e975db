"""Accounts at providers that users sign in through, by the provider's own id of them."""

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import String, Uuid, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import models
from persistence.database import Reading, Transaction
from persistence.query import Command, Query


class Provider(StrEnum):
    GOOGLE = "GOOGLE"
    GITHUB = "GITHUB"


@dataclass(slots=True)
class Identity:
    provider: Provider
    created_at: dt.datetime


_identity = models.Identity
_OWNER: Query[uuid.UUID] = Query(
    select(_identity.user_id).where(
        _identity.provider == bindparam("provider", type_=String()),
        _identity.account == bindparam("account", type_=String()),
    ),
    lambda user_id: user_id,
)
_BY_ID = Query(
    select(_identity.provider, _identity.created_at).where(_identity.id == bindparam("id", type_=Uuid())),
    lambda provider, created_at: Identity(Provider(provider), created_at),
)
_PROVIDERS: Query[tuple[uuid.UUID, Provider]] = Query(
    select(_identity.user_id, _identity.provider)
    .where(_identity.user_id == any_(bindparam("ids", type_=ARRAY(Uuid()))))
    .distinct()
    .order_by(_identity.user_id, _identity.provider),
    lambda user_id, provider: (user_id, Provider(provider)),
)


_ADD = Command(upsert(_identity).on_conflict_do_nothing().returning(_identity.id))


async def find_owner(tx: Transaction, provider: Provider, account: str) -> uuid.UUID | None:
    return await tx.first(_OWNER, provider=provider, account=account)


async def find_identity(db: Reading | Transaction, identity_id: uuid.UUID) -> Identity | None:
    return await db.first(_BY_ID, id=identity_id)


async def list_providers_by_user(reading: Reading, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, Provider]]:
    return await reading.all(_PROVIDERS, ids=ids)


async def add_identity(tx: Transaction, user_id: uuid.UUID, provider: Provider, account: str) -> uuid.UUID | None:
    """`None` when the account has just become somebody's."""
    identity_id: uuid.UUID | None = await tx.scalar(_ADD, user_id=user_id, provider=provider, account=account)
    return identity_id
