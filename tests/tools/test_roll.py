"""`just bench roll` at half its rate rolls out a release, and no request fails."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from server.database.embedded import run_embedded_postgres
from tools.bench.roll import roll_out_under_load, serve_two

PATH = f"{os.environ['PATH']}:/usr/sbin"
RATE = 50  # requests per second: enough that some are in flight when a server stops
STEPS = 4


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("haproxy", path=PATH) is None, reason="needs HAProxy: apt-get install haproxy")
def test_no_request_fails_during_a_migration_and_two_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", PATH)
    with run_embedded_postgres(tmp_path / "data") as url, serve_two(url, tmp_path) as (port, servers):
        outcome = asyncio.run(roll_out_under_load(url, tmp_path, port, servers, RATE))
    assert outcome.results.failures == []
    assert outcome.violations == []
    assert outcome.revision == "next_release"
    assert len(outcome.seconds) == STEPS
    assert len(outcome.results.responses) > RATE * STEPS
