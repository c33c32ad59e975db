"""The schema of the examples in the GraphQL specification."""

import asyncio
from dataclasses import dataclass
from enum import Enum

import strawberry
from graphql import GraphQLError

from graph.executor import Executor


@strawberry.enum
class Episode(Enum):
    NEWHOPE = 4
    EMPIRE = 5


CHARACTER_NAMES = {"1000": "Luke Skywalker", "1003": "Leia Organa"}


def _get_character_name(id_: str) -> str:
    if id_ not in CHARACTER_NAMES:
        message = f"Name for character with ID {id_} could not be fetched."
        extensions = {"code": "CAN_NOT_FETCH_BY_ID", "timestamp": "Fri Feb 9 14:33:09 UTC 2018"}
        raise GraphQLError(message, extensions=extensions)
    return CHARACTER_NAMES[id_]


@strawberry.type
class Friend:
    id: strawberry.ID

    @strawberry.field
    async def name(self) -> str | None:
        return _get_character_name(self.id)


@strawberry.type
class NamedFriend:
    """A friend whose name is non-null."""

    id: strawberry.ID

    @strawberry.field
    def name(self) -> str:
        return _get_character_name(self.id)


@strawberry.type
class Hero:
    name: str = "R2-D2"

    @strawberry.field
    def friends(self) -> list[Friend | None]:
        return [Friend(id=strawberry.ID(id_)) for id_ in ("1000", "1002", "1003")]

    @strawberry.field
    async def named_friends(self) -> list[NamedFriend | None]:
        return [NamedFriend(id=strawberry.ID(id_)) for id_ in ("1000", "1002", "1003")]

    @strawberry.field
    def sure_friends(self) -> list[NamedFriend]:
        return [NamedFriend(id=strawberry.ID(id_)) for id_ in ("1000", "1002", "1003")]


@strawberry.enum
class DogCommand(Enum):
    SIT = 1
    DOWN = 2
    HEEL = 3


@strawberry.enum
class CatCommand(Enum):
    JUMP = 1


@strawberry.interface
class Pet:
    name: str


@strawberry.type
class Dog(Pet):
    nickname: str | None = None
    bark_volume: int | None = 11

    @strawberry.field
    def does_know_command(self, dog_command: DogCommand) -> bool:
        return dog_command is DogCommand.SIT


@strawberry.type
class Cat(Pet):
    nickname: str | None = None
    meow_volume: int | None = 3

    @strawberry.field
    async def does_know_command(self, cat_command: CatCommand) -> bool:
        return cat_command is CatCommand.JUMP


@strawberry.type
class Count:
    count: int


@strawberry.interface
class Profile:
    handle: str


@strawberry.type
class User(Profile):
    friends: Count


@strawberry.type
class Page(Profile):
    likers: Count


@strawberry.type
class Person:
    first_name: str = "Luke"
    last_name: str = "Skywalker"


@strawberry.type
class Halves:
    subfield1: int = 1
    subfield2: int = 2


class ResolverError(Exception):
    pass


def _parse_values(texts: list[str] | None) -> list[int | None]:
    """Parse the values `1`, `null` and `Error` of the table in section 3.12."""
    values = [
        ResolverError("Error") if text == "Error" else None if text == "null" else int(text) for text in texts or ()
    ]
    return None if texts is None else values  # type: ignore[return-value]


@strawberry.type
class Box:
    """A list field of each nullability, sync and async."""

    @strawberry.field
    def nullable(self, of: list[str] | None = None) -> list[int | None] | None:
        return _parse_values(of)

    @strawberry.field
    async def non_null_list(self, of: list[str] | None = None) -> list[int | None]:
        return _parse_values(of)

    @strawberry.field
    async def non_null_items(self, of: list[str] | None = None) -> list[int] | None:
        return _parse_values(of)  # type: ignore[return-value]

    @strawberry.field
    def non_null(self, of: list[str] | None = None) -> list[int]:
        return _parse_values(of)  # type: ignore[return-value]


@strawberry.type
class Query:
    foo: int = strawberry.field(resolver=lambda: 1)
    bar: int = strawberry.field(resolver=lambda: 2)
    baz: int = strawberry.field(resolver=lambda: 3)
    qux: int = strawberry.field(resolver=lambda: 4)
    b: int = strawberry.field(resolver=lambda: 5)
    dog: Dog = strawberry.field(resolver=lambda: Dog(name="Odie", nickname="O"))

    @strawberry.field
    async def hero(self, episode: Episode | None = None) -> Hero | None:
        return Hero()

    @strawberry.field
    def sure_hero(self) -> Hero:
        return Hero()

    @strawberry.field
    def pets(self) -> list[Pet]:
        return [Dog(name="Odie"), Cat(name="Garfield")]

    @strawberry.field
    def profiles(self, handles: list[str]) -> list[Profile]:
        users = {"zuck": User(handle="zuck", friends=Count(count=1234))}
        return [users.get(handle) or Page(handle=handle, likers=Count(count=90234512)) for handle in handles]

    @strawberry.field
    async def me(self) -> Person:
        return Person()

    @strawberry.field
    def a(self) -> Halves:
        return Halves()

    @strawberry.field
    def box(self) -> Box | None:
        return Box()


@strawberry.type
class Number:
    the_number: int


@dataclass(slots=True)
class NumberContext:
    """The context, with one number that mutations change asynchronously."""

    value: int = 0

    async def change(self, new: int) -> Number:
        for _ in range(4 - new):  # without serial execution, later changes would overtake the first
            await asyncio.sleep(0)
        self.value = new
        await asyncio.sleep(0)
        return Number(the_number=self.value)


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def change_the_number(self, info: strawberry.Info[NumberContext, None], new_number: int) -> Number:
        return await info.context.change(new_number)

    @strawberry.mutation
    async def fail_to_change_the_number(
        self, info: strawberry.Info[NumberContext, None], new_number: int
    ) -> Number | None:
        await info.context.change(new_number)
        raise ResolverError("The number was changed, but cannot be returned.")


schema = strawberry.Schema(query=Query, mutation=Mutation, types=[Dog, Cat, User, Page])
executor = Executor(schema)
