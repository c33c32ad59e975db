"""The audits of npm's `graphql-http`, the reference for GraphQL over HTTP, run against a served shop."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.support.processes.servers import start_server

SCRIPT = Path(__file__).with_name("audits.mjs")
PACKAGES = ["graphql-http@1.23.1", "graphql@16"]
AUDIT_COUNT = 61
AUDIT_TIMEOUT = 60  # seconds


async def run_audits(*command: str, folder: Path) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(AUDIT_TIMEOUT):
        stdout, _ = await process.communicate()
    return process.returncode, stdout


@pytest.fixture
async def audits(tmp_path: Path) -> Path:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node; test_endpoint.py and test_request_parsing.py test the same behaviour")
    status, _ = await run_audits("npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES, folder=tmp_path)
    if status != 0:
        pytest.skip("npm's registry cannot be reached")
    return Path(shutil.copy(SCRIPT, tmp_path))


async def test_every_audit_of_graphql_over_http(settings: Settings, shop: Shop, audits: Path, tmp_path: Path) -> None:
    async with start_server(settings, tmp_path) as server:
        status, stdout = await run_audits("node", audits.name, f"{server.url}/graphql", folder=tmp_path)
    assert status == 0
    results = json.loads(stdout)
    assert [result for result in results if result["status"] != "ok"] == []
    assert len(results) == AUDIT_COUNT
