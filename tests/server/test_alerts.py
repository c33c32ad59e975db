"""The alerts, as Prometheus itself evaluates them: each fires, not before its time, and keeps quiet while all is as it should be."""

import asyncio
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

OBSERVE = Path(__file__).parent.parent.parent / "deploy" / "observe"
RULES = OBSERVE / "prometheus" / "rules.yml"
CASES = RULES.with_name("rules.test.yml")
DOCS = OBSERVE.parent.parent / "docs" / "observing.md"
PATIENCE = 60  # seconds

asked_of_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool: apt-get install prometheus"
)


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        yield from group["rules"]


def alerts() -> list[str]:
    return [rule["alert"] for rule in rules() if "alert" in rule]


async def promtool(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        "promtool", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


@asked_of_promtool
async def test_the_rules_and_the_configuration_are_well_formed() -> None:
    for what, path in (("rules", RULES), ("config", RULES.with_name("prometheus.yml"))):
        code, told = await promtool("check", what, str(path))
        assert code == 0, told


@asked_of_promtool
async def test_they_fire_when_they_should_and_at_no_other_time() -> None:
    code, told = await promtool("test", "rules", str(CASES))
    assert code == 0, told


def test_each_has_its_cases() -> None:
    ill, well, *_ = yaml.safe_load(CASES.read_text("utf-8"))["tests"]
    cases = [(case["alertname"], bool(case.get("exp_alerts"))) for case in ill["alert_rule_test"]]
    assert cases == [(name, fires) for name in alerts() for fires in (False, True)]
    assert [(case["alertname"], bool(case.get("exp_alerts"))) for case in well["alert_rule_test"]] == [
        (name, False) for name in alerts()
    ]


def test_each_is_explained() -> None:
    rows = [line.split("|")[1] for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `Bookstore")]
    assert re.findall(r"`(\w+)`", "".join(rows)) == alerts()
