"""Fields take the fast path. An exception in generated code leads to the slow path, which would hide a bug in the generator."""

from tests.support.graphql import chaos_schema, specification_examples
from tests.support.graphql.comparison import compile_document

ALL_FIELD_KINDS_QUERY = """query ($width: Int!, $times: Int!) { things(first: 2) {
    __typename id name maybe size maybeSize share isEven price day colour words looseWords
    text(times: $times, measure: {width: $width, colour: GREEN}) maybeText(at: "2026-01-31")
    weight heavier length longer marks { name } label labelled { name label } soon maybeLater doubled tripled(plus: 1)
    inner { name size } maybeInner { size } inners { name } grid { name } things { name things { name } }
    maybeThings { name } either { ... on Stone { size hardness } ... on Plant { isEven } } named { name }
} }"""


async def test_every_kind_of_field_takes_the_fast_path(slow_fields: list[str]) -> None:
    plan = compile_document(chaos_schema.executor, ALL_FIELD_KINDS_QUERY)
    variables = {"width": 3, "times": 2}
    first = await plan.execute(chaos_schema.ChaosContext(), variables)
    assert first.errors == []
    assert slow_fields
    slow_fields.clear()
    second = await plan.execute(chaos_schema.ChaosContext(), variables)
    assert (second.data, slow_fields) == (first.data, [])


async def test_resolvers_without_parent_take_the_fast_path(slow_fields: list[str]) -> None:
    plan = compile_document(specification_examples.executor, "{ foo bar a { subfield1 } dog { name } }")
    first = await plan.execute(None, {})
    slow_fields.clear()
    second = await plan.execute(None, {})
    assert (second.data, slow_fields) == (first.data, [])


async def test_failing_field_takes_the_slow_path(slow_fields: list[str]) -> None:
    plan = compile_document(chaos_schema.executor, "{ thing { missing } }")
    for _ in range(2):
        slow_fields.clear()
        await plan.execute(chaos_schema.ChaosContext(), {})
        assert slow_fields == ["Query.thing", "Thing.missing"]
