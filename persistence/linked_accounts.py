"""Accounts at OAuth providers that users log in with, identified by the provider's own id."""

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import String, Uuid, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query


class Provider(StrEnum):
    """An OAuth provider."""

    GOOGLE = "GOOGLE"
    GITHUB = "GITHUB"


@dataclass(slots=True)
class LinkedAccountRow:
    """An account at a provider that a user can log in with."""

    provider: Provider
    created_at: dt.datetime


_linked_account = tables.LinkedAccount
_OWNER: Query[uuid.UUID] = Query(
    select(_linked_account.user_id).where(
        _linked_account.provider == bindparam("provider", type_=String()),
        _linked_account.account == bindparam("account", type_=String()),
    ),
    lambda user_id: user_id,
)
_BY_ID = Query(
    select(_linked_account.provider, _linked_account.created_at).where(
        _linked_account.id == bindparam("id", type_=Uuid())
    ),
    lambda provider, created_at: LinkedAccountRow(Provider(provider), created_at),
)
_PROVIDERS: Query[tuple[uuid.UUID, Provider]] = Query(
    select(_linked_account.user_id, _linked_account.provider)
    .where(_linked_account.user_id == any_(bindparam("ids", type_=ARRAY(Uuid()))))
    .distinct()
    .order_by(_linked_account.user_id, _linked_account.provider),
    lambda user_id, provider: (user_id, Provider(provider)),
)
_ADD = Command(upsert(_linked_account).on_conflict_do_nothing().returning(_linked_account.id))


async def find_owner(tx: Transaction, provider: Provider, account: str) -> uuid.UUID | None:
    """Return the id of the user that the account is linked to, or `None`."""
    return await tx.first(_OWNER, provider=provider, account=account)


async def find_linked_account(db: ReadSession | Transaction, linked_account_id: uuid.UUID) -> LinkedAccountRow | None:
    """Return the linked account, or `None` when there is no such account."""
    return await db.first(_BY_ID, id=linked_account_id)


async def list_providers_by_user(db: ReadSession, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, Provider]]:
    """Return (user id, provider) of the linked accounts of several users, each pair once."""
    return await db.all(_PROVIDERS, ids=ids)


async def add_linked_account(tx: Transaction, user_id: uuid.UUID, provider: Provider, account: str) -> uuid.UUID | None:
    """Link an account to a user and return the link's id, or `None` when the account is linked already."""
    linked_account_id: uuid.UUID | None = await tx.scalar(_ADD, user_id=user_id, provider=provider, account=account)
    return linked_account_id
