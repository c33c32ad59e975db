"""What `just roll` promises, at half its rate: a release is made, and nobody is without an answer."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.replicas import opened
from benchmarks.rolling import Release, rolled
from server.database.embedded import run_embedded_postgres

PATH = f"{os.environ['PATH']}:/usr/sbin"
RATE = 50  # requests a second: some are likely to be under way when a server is stopped
STEPS = 4


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("haproxy", path=PATH) is None, reason="needs HAProxy: apt-get install haproxy")
def test_migration_and_two_restarts_fail_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", PATH)
    with run_embedded_postgres(tmp_path / "data") as url, opened(url, tmp_path) as (port, servers):
        release = Release(url, tmp_path, servers)
        tally, broken, revision = asyncio.run(rolled(url, port, release, RATE))
    assert tally.failed == []
    assert broken == []
    assert revision == "next_release"
    assert len(release.steps) == STEPS
    assert len(tally.answered) > RATE * STEPS
