"""What a shop tells Prometheus, as Prometheus reads it."""

import asyncio
import socket
from collections.abc import Callable

import httpx2
from prometheus_client.parser import text_string_to_metric_families

MetricValues = dict[tuple[str, frozenset[tuple[str, str]]], float]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def scrape_metrics(port: int) -> MetricValues:
    async with httpx2.AsyncClient(timeout=30) as http:
        response = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert response.status_code == 200
    families = list(text_string_to_metric_families(response.text))
    assert all(family.name.startswith("bookstore_") and family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    values = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(values) == len(samples), "a series is told twice"
    return values


def sum_series(values: MetricValues, name: str, **labels: str) -> float:
    """The sum of all series that have these labels, others beside them or not; there must be one."""
    matches = [
        value for (named, has), value in values.items() if named == f"bookstore_{name}" and has >= set(labels.items())
    ]
    assert matches, f"nothing is told of {name} {labels}"
    return sum(matches)


async def wait_for_metrics(port: int, condition: Callable[[MetricValues], bool]) -> MetricValues:
    """What is told as soon as it is so: some of it is told a second later."""
    async with asyncio.timeout(20):
        while True:
            values = await scrape_metrics(port)
            try:
                if condition(values):
                    return values
            except AssertionError:
                pass
            await asyncio.sleep(0.1)
