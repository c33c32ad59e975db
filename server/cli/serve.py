"""The command `bookstore serve`."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.context import DataOption, open_database, out, run_in_shop, warn_on_key_mismatch
from server.cli.emails import describe_delivery
from server.observability.setup import check_metrics_address, collect_process_metrics
from server.runtime import DEFAULT_DATA, ConfigurationError, Runtime, export_to_environment
from server.settings import Settings

if TYPE_CHECKING:
    from domain.shop import Shop

WORKER_START_TIMEOUT = 30  # seconds for one of several processes to start, on a busy machine


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", min=0, max=65535)] = None,
    workers: Annotated[int, typer.Option(help="Number of processes.", min=1, max=64)] = 1,
    data: DataOption = None,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Do not load demo books into an empty catalog.")] = False,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Leave emails to `bookstore worker`.")] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Restart when the source changes.")] = False,
) -> None:
    """Serve the GraphQL API, with an embedded PostgreSQL unless DATABASE_URL is set."""
    from server.http.trusted_documents import build_documents

    with open_database(data) as runtime:
        overrides: dict[str, Any] = {"host": host, "port": port, "worker": False if no_worker else None}
        if workers > 1:
            overrides["rate_limit_storage"] = runtime.settings.rate_limit_storage or "postgresql"
        settings = runtime.settings.model_copy(
            update={name: value for name, value in overrides.items() if value is not None}
        )
        build_documents(settings)  # reports errors in one line, where each process would print a traceback
        asyncio.run(_check_listen_address(settings.host, settings.port))
        check_metrics_address(settings)
        with_demo = runtime.is_embedded and not no_demo
        demo_count = run_in_shop(
            runtime, lambda shop: _prepare_shop(shop, with_demo=with_demo), sends_email=settings.worker
        )
        _print_welcome(settings, runtime, demo_count)
        export_to_environment(settings)
        _run_server(settings, workers=workers, reload=reload)


def _run_server(settings: Settings, *, workers: int, reload: bool) -> None:
    import uvicorn

    from graph.execution.deadline import EXECUTION_TIMEOUT

    is_multiprocess = workers > 1 or reload
    app_path = "server.supervisor:create_app" if is_multiprocess else "server.app:create_app"
    options: dict[str, Any] = {
        "factory": True,
        "host": settings.host,
        "port": settings.port,
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "proxy_headers": False,  # the app handles them, with TRUSTED_PROXIES
        "timeout_graceful_shutdown": EXECUTION_TIMEOUT,  # no request takes longer
        "timeout_worker_healthcheck": WORKER_START_TIMEOUT,
    }
    with collect_process_metrics(settings, is_multiprocess=is_multiprocess):
        if is_multiprocess and not reload:
            from server.supervisor import WorkerSupervisor

            config = uvicorn.Config(app_path, workers=workers, **options)
            WorkerSupervisor(config, sockets=[config.bind_socket()]).run()
        else:
            reload_dirs = ["graph", "domain", "persistence", "server"] if reload else None
            uvicorn.run(app_path, reload=reload, reload_dirs=reload_dirs, **options)


async def _check_listen_address(host: str, port: int) -> None:
    try:
        (await asyncio.start_server(lambda *_: None, host, port)).close()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen at {host}:{port}: {error.strerror}. Choose others with --host and --port."
        ) from error


async def _prepare_shop(shop: "Shop", *, with_demo: bool) -> int:
    """Load the demo books into an empty catalog if they are wanted, and return how many were loaded."""
    from persistence.catalog import is_empty
    from server.demo import load_demo

    await warn_on_key_mismatch(shop)
    return await load_demo(shop) if with_demo and await is_empty(shop.database.read_session) else 0


def _print_welcome(settings: Settings, runtime: Runtime, demo_count: int) -> None:
    host, port = settings.host, settings.port
    display_host = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0") else host  # noqa: S104  # only compared
    graphiql = "   (GraphiQL in a browser)" if settings.serves_graphiql else ""
    database = f"embedded, in {runtime.data}" if runtime.is_embedded else "DATABASE_URL"
    data_option = f" --data {runtime.data}" if runtime.data not in (None, DEFAULT_DATA.resolve()) else ""
    lines = [
        "",
        "  [bold]The bookstore is open.[/]",
        f"  GraphQL       http://{display_host}:{port}/graphql{graphiql}",
        f"  Database      {database}",
        f"  Emails        {describe_delivery(settings)}",
        *([f"  Catalog       {demo_count} demo books loaded"] if demo_count else []),
        f"  Administrator [cyan]bookstore admin create you@example.com{data_option}[/]  (in another terminal)",
        "  Stop          Ctrl+C",
        "",
    ]
    for line in lines:
        out.print(line, soft_wrap=True)
