"""Debian's Prometheus asks a shop that has had a day: each expression of the dashboard and of the rules tells something.

It is run where `prometheus` and `promtool` are (`apt-get install prometheus`), and says where they are not. What is told is
tested in `test_metrics.py` without them.
"""

import asyncio
import json
import math
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.exposition import free_port
from tests.processes import serving
from tests.smtp import mail_server
from tests.traffic import a_day

OBSERVE = Path(__file__).parent.parent.parent / "deploy" / "observe"
RULES = OBSERVE / "prometheus" / "rules.yml"
DASHBOARD = OBSERVE / "grafana" / "dashboards" / "bookstore.json"
PATIENCE = 60  # seconds

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="Prometheus is not on this machine"
)


async def promtool(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        "promtool", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_the_rules_and_the_configuration_are_well_formed() -> None:
    for what, path in (("rules", RULES), ("config", RULES.with_name("prometheus.yml"))):
        code, told = await promtool("check", what, str(path))
        assert code == 0, told


async def test_every_expression_tells_something(settings: Settings, shop: Shop, tmp_path: Path) -> None:
    metrics, silent, rules = free_port(), dict(expressions()), list[dict[str, Any]]()
    async with AsyncExitStack() as stack:
        mailbox = await stack.enter_async_context(mail_server())
        given = {"METRICS_PORT": str(metrics), "WORKER": "true", "SMTP_URL": mailbox.url}
        server = await stack.enter_async_context(serving(settings, tmp_path, "--workers", "2", **given))
        asked = await stack.enter_async_context(prometheus(tmp_path, metrics))
        await a_day(server.visitor, shop)
        await mailbox.until(3)
        await asked.until("count(bookstore_letters_total) and count(bookstore_refusals_total)")
        await a_day(server.visitor, shop)  # what was there at the first look has not grown
        until = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < until and (silent or not _all_evaluated(rules)):
            await asyncio.sleep(0.5)
            silent = {place: expression for place, expression in silent.items() if not await asked.tells(expression)}
            rules = await asked.rules()
    assert silent == {}
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert {rule["type"] for rule in rules} == {"alerting", "recording"}
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


def _all_evaluated(rules: list[dict[str, Any]]) -> bool:
    return bool(rules) and all(rule["health"] != "unknown" for rule in rules)


def expressions() -> Iterator[tuple[str, str]]:
    """Of the dashboard, by where they are."""
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']}: {target['refId']}", target["expr"].replace("$__rate_interval", "1m")


class Prometheus:
    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def tells(self, expression: str) -> bool:
        """Whether it has at least one number to show."""
        answer = (await self._http.get("/api/v1/query", params={"query": expression})).json()
        assert answer["status"] == "success", (expression, answer)
        return any(not math.isnan(float(found["value"][1])) for found in answer["data"]["result"])

    async def until(self, expression: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await self.tells(expression):
                await asyncio.sleep(0.2)

    async def rules(self) -> list[dict[str, Any]]:
        groups = (await self._http.get("/api/v1/rules")).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@asynccontextmanager
async def prometheus(folder: Path, metrics: int) -> AsyncIterator[Prometheus]:
    """As in compose.yml, but in a hurry."""
    port, config = free_port(), folder / "prometheus.yml"
    text = RULES.with_name("prometheus.yml").read_text("utf-8")
    for before, after in (("shop:9000", f"127.0.0.1:{metrics}"), ("15s", "1s"), ("rules.yml", str(RULES))):
        assert before in text
        text = text.replace(before, after)
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
                await _until_ready(http, process)
                yield Prometheus(http)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _until_ready(http: httpx2.AsyncClient, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(PATIENCE):
        while process.returncode is None:
            try:
                if (await http.get("/-/ready")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise RuntimeError("Prometheus ended before it was ready.")
