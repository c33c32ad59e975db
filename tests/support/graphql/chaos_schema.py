"""A schema with every kind of field, in which any field may fail deterministically."""

import asyncio
import datetime as dt
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import orjson
import strawberry
from graphql import GraphQLError
from strawberry.extensions import FieldExtension

from graph.executor import BATCH_FIELD_KEY, BatchField, Executor
from tests.support.graphql.comparison import ComparableResult, Execution, execute_with_both


class ResolverError(Exception):
    """Raised by failing resolvers."""


@dataclass(slots=True)
class ChaosContext:
    """The context. `failures_per_thousand` of 1,000 values are wrong; `log` lists the mutations in order."""

    failures_per_thousand: int = 0
    log: list[str] = field(default_factory=list)

    def choose_failure(self, *key: Any) -> int:
        """Return 0 for no failure, else the kind of failure (1 to 5)."""
        checksum = zlib.crc32(repr(key).encode())
        return 1 + checksum // 1000 % 5 if checksum % 1000 < self.failures_per_thousand else 0


def _maybe_fail(info: strawberry.Info, value: Any, *key: Any) -> Any:
    match info.context.choose_failure(*key):
        case 0:
            return value
        case 1:
            raise ResolverError(f"{key} raises")
        case 2:
            return None
        case 3:
            return ResolverError(f"{key} is a failure")
        case 4:
            return object  # not of any type in the schema
        case _:
            raise GraphQLError(f"{key} is rejected", extensions={"code": "REJECTED"})


@strawberry.enum
class Colour(Enum):
    RED = "r"
    GREEN = 2


@dataclass(slots=True)
class Row:
    """The object behind a `Thing`; all values are computed from its number."""

    number: int
    kind: int = 0
    depth: int = 0

    def child(self, number: int, kind: int = 0) -> "Row":
        return Row(number % 1000, kind, self.depth + 1)

    def child_range(self, count: int) -> range:
        """Return fewer children at greater depth, to bound the size of responses."""
        return range(min(count, max(0, 4 - self.depth)))

    @property
    def name(self) -> str:
        return f"thing {self.number}"

    @property
    def maybe(self) -> str | None:
        return None if self.number % 3 == 0 else "there"

    @property
    def size(self) -> Any:
        return 2**31 if self.number % 17 == 16 else self.number

    @property
    def share(self) -> Any:
        return float("nan") if self.number % 19 == 18 else self.number / 4

    @property
    def is_even(self) -> Any:
        return "yes" if self.number % 23 == 22 else self.number % 2 == 0

    @property
    def price(self) -> Decimal | None:
        return Decimal(self.number).quantize(Decimal("1.00")) if self.number % 13 else None

    @property
    def day(self) -> Any:
        return dt.date(2026, 1, 1) + dt.timedelta(self.number)

    @property
    def colour(self) -> Any:
        return (Colour.RED, Colour.GREEN, "blue")[self.number % 3]

    @property
    def words(self) -> Any:
        if self.number % 11 == 10:
            return 5
        return ("a", "b") if self.number % 2 else [None if self.number % 7 == 6 else "c"]

    @property
    def preloaded_length(self) -> int:
        """A preloaded value that most rows have."""
        if self.number % 7 == 5:
            raise AttributeError("preloaded_length")
        return self.number

    @property
    def label(self) -> int:
        """Another preloaded value; other rows lack it."""
        if self.number % 9 == 4:
            raise AttributeError("label")
        return self.number + 1

    @property
    def missing(self) -> str:
        raise AttributeError("missing")


class DoublingExtension(FieldExtension):
    """An async field extension."""

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: strawberry.Info, **kwargs: Any) -> Any:
        value = next_(source, info, **kwargs)
        return 2 * (await value if hasattr(value, "__await__") else value)


class TriplingExtension(FieldExtension):
    def resolve(self, next_: Callable[..., Any], source: Any, info: strawberry.Info, **kwargs: Any) -> Any:
        return 3 * next_(source, info, **kwargs)


class WeightLoader:
    """A batch loader that has cached the small values."""

    requires = frozenset({"number"})
    preloaded: str | None = None

    async def load(self, parents: Sequence[Row], context: ChaosContext) -> Sequence[Any]:
        await asyncio.sleep(0)
        if context.choose_failure("weighing"):
            raise ResolverError("loading failed")
        return [
            ResolverError("too heavy") if context.choose_failure("weight", row.number) else row.number
            for row in parents
        ]

    def get_cached(self, parents: Sequence[Row], context: ChaosContext) -> Sequence[Any] | None:
        return [row.number for row in parents] if not context.failures_per_thousand and parents[0].number < 3 else None


class LengthLoader:
    """A batch loader whose value some rows have already."""

    requires = frozenset({"number"})
    preloaded: str | None = "preloaded_length"

    async def load(self, parents: Sequence[Row], context: ChaosContext) -> Sequence[Any]:
        await asyncio.sleep(0)
        return [
            row.preloaded_length if hasattr(row, "preloaded_length") else self._load_length(row, context)
            for row in parents
        ]

    def get_cached(self, parents: Sequence[Row], context: ChaosContext) -> Sequence[Any] | None:
        return None

    def _load_length(self, row: Row, context: ChaosContext) -> Any:
        return ResolverError("too long") if context.choose_failure("length", row.number) else row.number


class LabelLoader:
    """A batch loader that must not be called if all rows have their value."""

    requires = frozenset({"number"})
    preloaded: str | None = "label"

    async def load(self, parents: Sequence[Row], context: ChaosContext) -> Sequence[Any]:
        await asyncio.sleep(0)
        if all(hasattr(row, "label") for row in parents):
            raise RuntimeError("all rows have their label")
        return [row.number + 1 for row in parents]

    def get_cached(self, parents: Sequence[Row], context: ChaosContext) -> Sequence[Any] | None:
        return None


WEIGHT_LOADER = WeightLoader()
LENGTH_LOADER = LengthLoader()
LABEL_LOADER = LabelLoader()


def _batch_field(
    transform: Callable[[Any], Any], return_type: Any, loader: WeightLoader | LengthLoader | LabelLoader = WEIGHT_LOADER
) -> Any:
    async def resolve(self: Row, info: strawberry.Info) -> Any:
        if loader is LABEL_LOADER and hasattr(self, "label"):
            return transform(self.label)
        [value] = await loader.load([self], info.context)
        return value if isinstance(value, Exception) else transform(value)

    resolve.__annotations__["return"] = return_type
    return strawberry.field(resolve, metadata={BATCH_FIELD_KEY: BatchField(loader, transform)})


def _fail_or_null(value: int) -> int | None:
    if value % 5 == 4:
        raise ResolverError("transform failed")
    return None if value % 5 == 3 else value


@strawberry.input
class Wish:
    count: int = 2
    colour: Colour | None = None
    names: list[str] = strawberry.field(default_factory=list)
    more: "Wish | None" = None


@strawberry.input
class Measure:
    """An input object of immutable values only."""

    width: int
    height: int | None = 3
    colour: Colour | None = Colour.RED
    label: str | None = strawberry.UNSET


@strawberry.interface
class Named:
    name: str
    maybe: str | None


def _build_type_check(kind: int) -> Any:
    return classmethod(lambda _, row, __: isinstance(row, Row) and row.kind == kind)


@strawberry.type
class Stone(Named):
    is_type_of = _build_type_check(1)
    size: int
    hardness: int | None = strawberry.field(resolver=lambda self: self.number)

    @strawberry.field
    async def thing(self: Row) -> "Thing":
        return self.child(self.number + 1)  # type: ignore[return-value]


@strawberry.type
class Plant(Named):
    is_type_of = _build_type_check(2)
    is_even: bool

    @strawberry.field
    def stones(self: Row, info: strawberry.Info, first: int = 2) -> list[Stone]:
        return _maybe_fail(  # type: ignore[no-any-return]
            info, [self.child(self.number + i, 1) for i in self.child_range(first)], "stones", self.number
        )


Either = Annotated[Stone | Plant, strawberry.union("Either")]


@strawberry.type
class Inner:
    name: str
    maybe: str | None
    size: int


@strawberry.type
class Thing:
    name: str
    maybe: str | None
    size: int
    maybe_size: int | None = strawberry.field(resolver=lambda self: self.size)
    share: float | None
    is_even: bool | None
    price: Decimal | None
    day: dt.date
    colour: Colour | None
    words: list[str] | None
    loose_words: list[str | None] = strawberry.field(resolver=lambda self: self.words)
    missing: str | None
    weight: int = _batch_field(lambda weight: weight, int)
    heavier: int | None = _batch_field(_fail_or_null, int | None)
    length: int = _batch_field(lambda length: length, int, LENGTH_LOADER)
    longer: int | None = _batch_field(_fail_or_null, int | None, LENGTH_LOADER)
    marks: list[Inner] = _batch_field(lambda length: [Row(length), Row(length + 1)], list[Inner], LENGTH_LOADER)

    label: int | None = _batch_field(_fail_or_null, int | None, LABEL_LOADER)
    labelled: list["Thing"] = _batch_field(lambda label: [Row(label % 1000, 0, 3)], list["Thing"], LABEL_LOADER)

    @strawberry.field
    def id(self: Row) -> strawberry.ID:
        return strawberry.ID(str(self.number))

    @strawberry.field
    def text(
        self: Row, info: strawberry.Info, times: int = 1, wish: Wish | None = None, measure: Measure | None = None
    ) -> str:
        result = f"{self.number}" * (times % 5) + (f" {wish}" if wish else "") + (f" {measure}" if measure else "")
        return _maybe_fail(info, result, "text", self.number)  # type: ignore[no-any-return]

    @strawberry.field
    def maybe_text(self: Row, info: strawberry.Info, at: dt.date | None = None) -> str | None:
        return _maybe_fail(info, f"{self.number} {at}", "maybe text", self.number)  # type: ignore[no-any-return]

    @strawberry.field
    async def soon(self: Row, info: strawberry.Info) -> int:
        return _maybe_fail(info, self.number, "soon", self.number)  # type: ignore[no-any-return]

    @strawberry.field
    async def maybe_later(self: Row, info: strawberry.Info, ids: list[strawberry.ID] | None = None) -> int | None:
        await asyncio.sleep(0)
        return _maybe_fail(info, self.number + len(ids or ()), "later", self.number)  # type: ignore[no-any-return]

    @strawberry.field(extensions=[DoublingExtension()])  # type: ignore[untyped-decorator]  # Strawberry's decorator is untyped
    def doubled(self: Row) -> int | None:
        return self.number

    @strawberry.field(extensions=[TriplingExtension()])  # type: ignore[untyped-decorator]  # as above
    def tripled(root: Row, plus: int = 0) -> int:
        return root.number + plus

    @strawberry.field
    def inner(self: Row, info: strawberry.Info) -> Inner:
        return _maybe_fail(info, self.child(self.number + 1), "inner", self.number)  # type: ignore[no-any-return]

    @strawberry.field
    def maybe_inner(self: Row, info: strawberry.Info) -> Inner | None:
        return _maybe_fail(info, self.child(self.number + 2), "maybe inner", self.number)  # type: ignore[no-any-return]

    @strawberry.field
    def inners(self: Row, info: strawberry.Info) -> list[Inner]:
        return _maybe_fail(  # type: ignore[no-any-return]
            info, [self.child(self.number + i) for i in self.child_range(self.number % 4)], "inners", self.number
        )

    @strawberry.field
    def grid(self: Row) -> list[list[Inner | None]] | None:
        return [[self.child(i), None] for i in self.child_range(self.number % 3)]  # type: ignore[list-item]

    @strawberry.field
    def things(self: Row, info: strawberry.Info, first: int = 3) -> list["Thing"]:
        return _maybe_fail(  # type: ignore[no-any-return]
            info, [self.child(2 * self.number + i) for i in self.child_range(first)], "things", self.number
        )

    @strawberry.field
    async def maybe_things(self: Row, info: strawberry.Info) -> list["Thing | None"] | None:
        things = [None if i == self.number % 5 else self.child(3 * self.number + i) for i in self.child_range(4)]
        return _maybe_fail(info, things, "maybe things", self.number)  # type: ignore[no-any-return]

    @strawberry.field
    def either(self: Row, info: strawberry.Info) -> Either | None:
        return _maybe_fail(info, self.child(self.number, 1 + self.number % 2), "either", self.number)  # type: ignore[no-any-return]

    @strawberry.field
    async def eithers(self: Row) -> list[Either]:
        return [self.child(i, i % 3) for i in self.child_range(3 + self.number % 3)]  # type: ignore[misc]

    @strawberry.field
    def named(self: Row) -> Named:
        return self.child(self.number, 1 + self.number % 2)  # type: ignore[return-value]


@strawberry.type
class Query:
    @strawberry.field
    def thing(self, number: int = 1) -> Thing | None:
        return Row(number % 1000) if number >= 0 else None  # type: ignore[return-value]

    @strawberry.field
    async def things(self, info: strawberry.Info, first: int = 3, wish: Wish | None = None) -> list[Thing]:
        return [Row(i) for i in range(min(first, 6))]  # type: ignore[misc]

    @strawberry.field
    def sure(self, info: strawberry.Info, number: int = 5) -> Thing:
        return _maybe_fail(info, Row(number % 1000), "sure", number)  # type: ignore[no-any-return]

    @strawberry.field
    async def named(self, number: int) -> Named | None:
        return Row(number % 1000, number % 4)  # type: ignore[return-value]


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def change(self, info: strawberry.Info, number: int, wish: Wish | None = None) -> Thing | None:
        info.context.log.append(f"begins {number}")
        await asyncio.sleep(0)
        info.context.log.append(f"ends {number} {wish}")
        return _maybe_fail(info, Row(number % 1000), "change", number)  # type: ignore[no-any-return]

    @strawberry.mutation
    def surely_change(self, info: strawberry.Info, number: int) -> Thing:
        info.context.log.append(f"surely {number}")
        return _maybe_fail(info, Row(number % 1000), "surely", number)  # type: ignore[no-any-return]


schema = strawberry.Schema(query=Query, mutation=Mutation)
executor = Executor(schema)


# ── Comparison of the executors ───────────────────────────────────────────────────────────


async def assert_equivalent(
    text: str, variables: dict[str, Any] | None = None, failures_per_thousand: int = 0
) -> ComparableResult:
    """Assert that both executors return equivalent results, and return the result of graphql-core."""
    execution, executions = await execute_with_both(
        executor, text, variables, lambda: ChaosContext(failures_per_thousand)
    )
    expected = _build_comparable(execution)
    for actual in map(_build_comparable, executions):
        assert actual.is_equivalent_to(expected), text
    return expected


def _build_comparable(execution: Execution) -> ComparableResult:
    errors = [orjson.dumps(error.formatted, option=orjson.OPT_SORT_KEYS).decode() for error in execution.errors]
    return ComparableResult(orjson.dumps(execution.data, default=repr).decode(), sorted(errors), execution.context.log)
