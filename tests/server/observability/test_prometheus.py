"""Prometheus scrapes a shop under load: each expression of the dashboard and of the rules has a result.

Needs `prometheus`. The metrics themselves are tested in `test_metrics.py` without it.
"""

import asyncio
import json
import math
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.server.observability.test_alerts import OBSERVABILITY_DIR, RULES, rules
from tests.support.database.fault_proxy import FaultProxy, start_fault_proxy
from tests.support.email.smtp import start_mail_server
from tests.support.processes.cli import start_command
from tests.support.processes.ports import find_free_port
from tests.support.processes.servers import start_server
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book
from tests.support.shop.traffic import run_sample_traffic

DASHBOARD = OBSERVABILITY_DIR / "grafana" / "dashboards" / "bookstore.json"
PROMETHEUS_TIMEOUT = 60  # seconds

COMPARISON = re.compile(r"\s*(?:[=!]=|[<>]=?)\s*[\d.]+|\s*or vector\(0\)")

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="needs Prometheus: apt-get install prometheus")


async def test_every_expression_has_a_result(settings: Settings, shop: Shop, database_url: str, tmp_path: Path) -> None:
    pending_expressions = dict([*list_dashboard_expressions(), *list_rule_quantities()])
    evaluated_rules = list[dict[str, Any]]()
    shop_port, worker_port = find_free_port(), find_free_port()
    async with AsyncExitStack() as stack:
        mailbox = await stack.enter_async_context(start_mail_server())
        proxy = await stack.enter_async_context(start_fault_proxy(database_url))
        environment = {
            "METRICS_PORT": str(shop_port),
            "DATABASE_READ_URL": database_url,
        }  # the database is its own replica
        proxied_settings = settings.model_copy(update={"database_url": proxy.url})
        server = await stack.enter_async_context(
            start_server(proxied_settings, tmp_path, "--workers", "2", **environment)
        )
        environment = {"DATABASE_URL": proxy.url, "SECRET_KEY": settings.secret_key[0], "SMTP_URL": mailbox.url}
        environment |= {"METRICS_PORT": str(worker_port)}
        await stack.enter_async_context(start_command("worker", directory=tmp_path, settings=environment))
        client = await stack.enter_async_context(start_prometheus(tmp_path, shop_port, worker_port))
        await run_sample_traffic(server.client, shop)
        await mailbox.wait_for(3)
        await _assert_no_response(await add_customer(server.client, shop, (await add_book(shop), 1)), proxy)
        await client.wait_for_result("count(bookstore_letters_total) and count(bookstore_refusals_total)")
        await run_sample_traffic(server.client, shop)  # so that counters grow after the first scrape
        deadline = asyncio.get_running_loop().time() + PROMETHEUS_TIMEOUT
        while asyncio.get_running_loop().time() < deadline and (
            pending_expressions or not _are_all_evaluated(evaluated_rules)
        ):
            await asyncio.sleep(0.5)
            pending_expressions = {
                name: expression
                for name, expression in pending_expressions.items()
                if not await client.has_result(expression)
            }
            evaluated_rules = await client.rules()
    assert pending_expressions == {}
    assert [rule["name"] for rule in evaluated_rules if rule["health"] != "ok"] == []
    assert {rule["type"] for rule in evaluated_rules} == {"alerting", "recording"}
    assert [rule["name"] for rule in evaluated_rules if rule.get("state") == "firing"] == []


async def _assert_no_response(customer: Customer, proxy: FaultProxy) -> None:
    proxy.break_connections()
    assert (await customer.try_checkout()).codes == ["SERVICE_UNAVAILABLE"]
    proxy.restore()


def _are_all_evaluated(rules: list[dict[str, Any]]) -> bool:
    return bool(rules) and all(rule["health"] != "unknown" for rule in rules)


def list_dashboard_expressions() -> Iterator[tuple[str, str]]:
    """Return the dashboard's expressions by panel."""
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']}: {target['refId']}", target["expr"].replace("$__rate_interval", "1m")


def list_rule_quantities() -> Iterator[tuple[str, str]]:
    """Return the compared quantities of the rules by name; a misspelt metric has no result."""
    for rule in rules():
        yield rule.get("record") or rule["alert"], COMPARISON.sub("", rule["expr"])


def test_comparisons_are_removed() -> None:
    assert [name for name, expression in list_rule_quantities() if re.search("[<>]|==|!= ", expression)] == []


class Prometheus:
    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def has_result(self, expression: str) -> bool:
        """Return whether an expression has at least one value."""
        payload = (await self._http.get("/api/v1/query", params={"query": expression})).json()
        assert payload["status"] == "success", (expression, payload)
        return any(not math.isnan(float(sample["value"][1])) for sample in payload["data"]["result"])

    async def wait_for_result(self, expression: str) -> None:
        async with asyncio.timeout(PROMETHEUS_TIMEOUT):
            while not await self.has_result(expression):
                await asyncio.sleep(0.2)

    async def rules(self) -> list[dict[str, Any]]:
        groups = (await self._http.get("/api/v1/rules")).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@asynccontextmanager
async def start_prometheus(folder: Path, shop_port: int, worker_port: int) -> AsyncIterator[Prometheus]:
    """Start Prometheus as in compose.yml, with short intervals."""
    port, config = find_free_port(), folder / "prometheus.yml"
    text = RULES.with_name("prometheus.yml").read_text("utf-8")
    targets = (("shop:9000", f"127.0.0.1:{shop_port}"), ("worker:9000", f"127.0.0.1:{worker_port}"))
    for old, new in (*targets, ("15s", "1s"), ("rules.yml", str(RULES))):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
        try:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
                await _wait_until_ready(http, process)
                yield Prometheus(http)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _wait_until_ready(http: httpx2.AsyncClient, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(PROMETHEUS_TIMEOUT):
        while process.returncode is None:
            try:
                if (await http.get("/-/ready")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise RuntimeError("Prometheus ended before it was ready.")
