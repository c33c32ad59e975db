"""Random documents over the chaos schema have equivalent results with both executors.

`FUZZ_DOCUMENTS` sets the number of documents per test, `FUZZ_SEED` the seed; CONTRIBUTING.md describes long runs.
"""

import gc
import os

import pytest
from graphql import OverlappingFieldsCanBeMergedRule, parse, validate

from tests.support.graphql.chaos_schema import assert_equivalent, schema
from tests.support.graphql.document_generator import Samples, generate_documents

# graphql-core leaves coroutines unawaited after errors; gc.collect() below reports them in this test instead of another.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

DOCUMENTS = int(os.environ.get("FUZZ_DOCUMENTS", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
SAMPLES: Samples = {
    "Date": ["2026-01-31", "1999-12-31", "no date"],
    "Decimal": ["1.50"],
    "number": [0, 1, 2, 3, 4, 5, 6, 10, 16, 18, 22, 32, 34],
}


def _is_valid(text: str) -> bool:
    """Return whether a document is valid. Most invalid ones fail one rule, which is therefore checked first."""
    document = parse(text)
    return not (
        validate(schema._schema, document, [OverlappingFieldsCanBeMergedRule]) or validate(schema._schema, document)
    )


@pytest.mark.timeout(60 + DOCUMENTS // 10)
@pytest.mark.parametrize("failures_per_thousand", [0, 10, 50, 300])
async def test_executors_agree_on_random_documents(failures_per_thousand: int) -> None:
    for text, variables in generate_documents(
        schema._schema, SEED * 1000 + failures_per_thousand, DOCUMENTS, SAMPLES, is_accepted=_is_valid
    ):
        await assert_equivalent(text, variables, failures_per_thousand)
    gc.collect()
