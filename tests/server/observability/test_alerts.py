"""The alerts, evaluated by promtool: each fires in time, and none fires below its threshold."""

import asyncio
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

OBSERVABILITY_DIR = Path(__file__).parents[3] / "deploy" / "observe"
RULES = OBSERVABILITY_DIR / "prometheus" / "rules.yml"
CASES = RULES.with_name("rules.test.yml")
DOCS = OBSERVABILITY_DIR.parent.parent / "docs" / "how-to" / "operate.md"
PROMTOOL_TIMEOUT = 60  # seconds

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool: apt-get install prometheus")


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        yield from group["rules"]


def alerts() -> list[str]:
    return [rule["alert"] for rule in rules() if "alert" in rule]


async def run_promtool(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        "promtool", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(PROMTOOL_TIMEOUT):
        stdout, _ = await process.communicate()
    return process.returncode, stdout.decode()


@needs_promtool
async def test_rules_and_configuration_are_valid() -> None:
    for kind, path in (("rules", RULES), ("config", RULES.with_name("prometheus.yml"))):
        code, output = await run_promtool("check", kind, str(path))
        assert code == 0, output


@needs_promtool
async def test_alerts_fire_exactly_when_they_should() -> None:
    code, output = await run_promtool("test", "rules", str(CASES))
    assert code == 0, output


def test_every_alert_has_test_cases() -> None:
    failing, healthy, *_ = yaml.safe_load(CASES.read_text("utf-8"))["tests"]
    cases = [(case["alertname"], bool(case.get("exp_alerts"))) for case in failing["alert_rule_test"]]
    assert cases == [(name, fires) for name in alerts() for fires in (False, True)]
    assert [(case["alertname"], bool(case.get("exp_alerts"))) for case in healthy["alert_rule_test"]] == [
        (name, False) for name in alerts()
    ]


def test_every_alert_is_documented() -> None:
    rows = [line.split("|")[1] for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `Bookstore")]
    assert re.findall(r"`(\w+)`", "".join(rows)) == alerts()
