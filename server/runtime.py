"""Resolve which database a command uses: an embedded PostgreSQL in a folder, or the one at DATABASE_URL."""

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
    """A problem that the operator can solve; the message is one line."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The settings and the database of a command; `data` is the folder of an embedded one."""

    settings: Settings
    url: str
    data: Path | None

    @property
    def is_embedded(self) -> bool:
        """Whether this process started its own PostgreSQL."""
        return self.data is not None

    @property
    def direct_url_and_setting(self) -> tuple[str, str]:
        """The URL that bypasses a pooler, and the name of its setting."""
        direct_url = self.settings.database_direct_url
        return (direct_url, "DATABASE_DIRECT_URL") if direct_url else (self.url, "DATABASE_URL")


def read_settings(**overrides: object) -> Settings:
    """Return the settings.

    Raises:
        ConfigurationError: some are invalid or missing; one line for each.
    """
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
    """Provide the database of a command; start an embedded one if necessary, and by default migrate it.

    Raises:
        ConfigurationError: a setting is invalid, `data` and DATABASE_URL are both given, or PostgreSQL does not start.
    """
    settings = read_settings()
    if settings.database_url:
        if data is not None:
            raise ConfigurationError("--data and DATABASE_URL name two databases: use only one of them.")
        if not settings.secret_key:  # only in development: in production the settings are invalid
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
    from server.database.embedded import run_embedded_postgres  # slow to import

    with ExitStack() as stack:
        try:
            url = stack.enter_context(run_embedded_postgres(folder))
        except SubprocessError as error:
            raise ConfigurationError(
                f"PostgreSQL did not start in {folder}: see {folder / 'postgres' / 'log'}."
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"{folder} cannot be used for the data: {error.strerror}. Name another folder with --data."
            ) from error
        yield url


def export_to_environment(settings: Settings) -> None:
    """Pass the resolved settings to worker processes, which read them from the environment."""
    os.environ["DATABASE_URL"] = settings.database_url or ""
    os.environ["SECRET_KEY"] = ",".join(settings.secret_key)
    os.environ["ENVIRONMENT"] = "production" if settings.is_production else "development"
    os.environ["PORT"] = str(settings.port)
    os.environ["MAIL_FOLDER"] = str(settings.mail_folder.resolve())
    os.environ["WORKER"] = str(settings.worker).lower()
    os.environ["RATE_LIMIT_STORAGE"] = settings.rate_limit_storage or ""
