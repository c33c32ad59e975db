"""A server's metrics, parsed as Prometheus parses them."""

from collections.abc import Callable

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.support.http.client import WITHOUT_TLS
from tests.support.waiting import wait_until

MetricValues = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Values by a series' name and labels."""


async def scrape_metrics(port: int) -> MetricValues:
    """Fetch the metrics of this port and check that names, help texts and series are valid."""
    async with httpx2.AsyncClient(timeout=30, **WITHOUT_TLS) as http:
        response = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert response.status_code == 200
    families = list(text_string_to_metric_families(response.text))
    assert all(family.name.startswith("bookstore_") and family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    values = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(values) == len(samples), "a series occurs twice"
    return values


def sum_series(values: MetricValues, name: str, **labels: str) -> float:
    """Return the sum of the series `bookstore_{name}` with at least these labels; there must be one."""
    matches = [
        value
        for (series_name, series_labels), value in values.items()
        if series_name == f"bookstore_{name}" and series_labels >= set(labels.items())
    ]
    assert matches, f"no series {name} has the labels {labels}"
    return sum(matches)


async def wait_for_metrics(port: int, condition: Callable[[MetricValues], bool]) -> MetricValues:
    """Scrape until the condition holds, and return those metrics; the server publishes some of them a second late."""

    async def scrape_if_true() -> MetricValues | None:
        values = await scrape_metrics(port)
        try:
            return values if condition(values) else None
        except AssertionError:  # a series does not exist yet
            return None

    values: MetricValues = await wait_until(scrape_if_true, 20)
    return values
