"""With the HAProxy configuration of deploy/, live servers respond even if no server is ready."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
HAPROXY_CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
OK, UNAVAILABLE = "200 OK", "503 Service Unavailable"


class FakeServer:
    """A fake server that is live, and whose readiness tests control."""

    def __init__(self) -> None:
        self.ready_status = OK
        self.unready_checks = 0

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = self.ready_status if request.startswith("GET /ready ") else OK
        self.unready_checks += status == UNAVAILABLE
        writer.write(f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 4\r\n\r\nshop".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def start_haproxy(folder: Path) -> AsyncIterator[tuple[str, list[FakeServer]]]:
    assert HAPROXY is not None
    servers = [FakeServer(), FakeServer()]
    free_port_server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with (
        await asyncio.start_server(servers[0].respond, "127.0.0.1", 0) as first_server,
        await asyncio.start_server(servers[1].respond, "127.0.0.1", 0) as second_server,
    ):
        listeners = (free_port_server, first_server, second_server)
        text, ports = HAPROXY_CONFIG.read_text(), [listener.sockets[0].getsockname()[1] for listener in listeners]
        free_port_server.close()
        for configured_port, port in zip((8000, 8001, 8002), ports, strict=True):
            text = text.replace(f"127.0.0.1:{configured_port}", f"127.0.0.1:{port}")
        (folder / "haproxy.cfg").write_text(text)
        process = await asyncio.create_subprocess_exec(HAPROXY, "-db", "-q", "-f", str(folder / "haproxy.cfg"))
        try:
            yield f"http://127.0.0.1:{ports[0]}", servers
        finally:
            process.kill()
            await process.wait()


async def wait_for_status(http: httpx2.AsyncClient, url: str, status: int) -> None:
    async with asyncio.timeout(30):
        while await _get_status(http, url) != status:
            await asyncio.sleep(0.05)


async def _get_status(http: httpx2.AsyncClient, url: str) -> int:
    try:
        return (await http.get(url)).status_code
    except httpx2.TransportError:  # not listening yet
        return 0


@pytest.mark.skipif(HAPROXY is None, reason="needs HAProxy: apt-get install haproxy")
async def test_unready_live_servers_respond_when_none_is_ready(tmp_path: Path) -> None:
    async with start_haproxy(tmp_path) as (url, servers), httpx2.AsyncClient(base_url=url) as http:
        await wait_for_status(http, "/ready", 200)
        for server in servers:
            server.ready_status = UNAVAILABLE
        async with asyncio.timeout(30):
            while min(server.unready_checks for server in servers) < 2:  # the second check follows the first result
                await asyncio.sleep(0.05)
        response = await http.get("/graphql")
        assert (response.status_code, response.text) == (200, "shop")
        for server in servers:
            server.ready_status = OK
        await wait_for_status(http, "/ready", 200)
