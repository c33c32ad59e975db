"""What a shop tells Prometheus, as Prometheus reads it."""

import asyncio
import socket
from collections.abc import Callable

import httpx2
from prometheus_client.parser import text_string_to_metric_families

Told = dict[tuple[str, frozenset[tuple[str, str]]], float]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def asked(port: int) -> Told:
    async with httpx2.AsyncClient(timeout=30) as http:
        response = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert response.status_code == 200
    families = list(text_string_to_metric_families(response.text))
    assert all(family.name.startswith("bookstore_") and family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    told = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(told) == len(samples), "a series is told twice"
    return told


def total(told: Told, name: str, **labels: str) -> float:
    """The sum of all series that have these labels, others beside them or not; there must be one."""
    found = [
        value for (named, has), value in told.items() if named == f"bookstore_{name}" and has >= set(labels.items())
    ]
    assert found, f"nothing is told of {name} {labels}"
    return sum(found)


async def until(port: int, is_so: Callable[[Told], bool]) -> Told:
    """What is told as soon as it is so: some of it is told a second later."""
    async with asyncio.timeout(20):
        while True:
            told = await asked(port)
            try:
                if is_so(told):
                    return told
            except AssertionError:
                pass
            await asyncio.sleep(0.1)
