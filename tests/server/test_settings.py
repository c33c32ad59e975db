"""The defaults of the settings, and the one-line errors for invalid ones."""

import datetime as dt
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from domain.shop import Policy
from persistence.postgres.database import PoolSettings
from server.runtime import ConfigurationError, read_settings, resolve_runtime
from server.settings import Environment, Settings
from server.settings.accounts import load_or_create_secret

SECRET, OLD_SECRET = "Zx7-qLw2_vR9tYp4KsD8hJf3NcB6mGa1", "another0One9Of8Thirty7Two6Bytes5!"
DATABASE_URL = "postgresql://shop@db.example.com/shop"
PUBLIC_URL = "https://api.example.com"
PRODUCTION: dict[str, Any] = {"database_url": DATABASE_URL, "secret_key": SECRET, "public_url": PUBLIC_URL}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all settings from the environment, and change to a folder without `.env`."""
    for name in os.environ:
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _get_error(**values: Any) -> str:
    with pytest.raises(ValidationError) as error_info:
        Settings(**values)
    [error] = error_info.value.errors()
    assert SECRET not in str(error_info.value)  # it may be logged
    location = ".".join(str(part) for part in error["loc"])
    return f"{location} {error['msg'].removeprefix('Value error, ')}".strip()


# ── Invalid settings ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("overrides", [{}, {"environment": "production"}])
@pytest.mark.parametrize("missing", ["secret_key", "public_url"])
def test_production_needs_its_settings(missing: str, overrides: dict[str, str]) -> None:
    values = {name: value for name, value in PRODUCTION.items() if name != missing}
    assert _get_error(**values, **overrides).startswith(f"{missing.upper()} must be set in production")


@pytest.mark.parametrize("empty", [None, ""])
def test_production_needs_a_database(empty: str | None) -> None:
    values = PRODUCTION | {"database_url": empty, "environment": "production"}
    assert _get_error(**values) == "DATABASE_URL must be set in production"


@pytest.mark.parametrize("environment", list(Environment))
@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (SECRET[:31], "must have at least 32 bytes"),
        ("x", "must have at least 32 bytes"),
        ("a" * 64, "can be guessed"),
        ("abcdefg" * 10, "can be guessed"),
        ("changeme-" + SECRET, "can be guessed"),
        ("My-Secret-Key-Of-The-Book-Shop-2026", "can be guessed"),
        ("your-secret-key-goes-in-here-please", "can be guessed"),
        ("PASSWORD0123456789PASSWORD0123456789", "can be guessed"),
        (f"{SECRET},{SECRET[:31]}", "must have at least 32 bytes"),
        (f"{SECRET},{'0123' * 16}", "can be guessed"),
    ],
)
def test_weak_secret_key_is_rejected(secret: str, reason: str, environment: Environment) -> None:
    message = _get_error(**PRODUCTION | {"secret_key": secret, "environment": environment})
    assert message.startswith("SECRET_KEY")
    assert reason in message


@pytest.mark.parametrize("environment", list(Environment))
@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://localhost.example.com",
        "http://notlocalhost",
        "http://localhost@example.com",
        "http://192.168.0.1",
        "http://0.0.0.0:8000",
        "ftp://localhost",
        "api.example.com",
        "//api.example.com",
        "https://",
        "javascript:alert(1)",
    ],
)
def test_insecure_public_url_is_rejected(url: str, environment: Environment) -> None:
    message = _get_error(**PRODUCTION | {"public_url": url, "environment": environment})
    assert message == "PUBLIC_URL must begin with https://, unless its host is localhost"


@pytest.mark.parametrize("currency", ["JPY", "KWD", "CLF", "EURO", "eur", "ABC", "", "€"])
def test_currency_without_two_decimals_is_rejected(currency: str) -> None:
    assert _get_error(currency=currency).startswith("currency is ")


@pytest.mark.parametrize(
    "url", ["mysql://db/shop", "sqlite:///shop.db", "db.example.com", "postgresql+psycopg://db/shop"]
)
def test_unsupported_database_is_rejected(url: str) -> None:
    assert _get_error(**PRODUCTION | {"database_url": url}) == "DATABASE_URL must begin with postgresql://"


def test_unknown_rate_limit_storage_is_rejected() -> None:
    message = "rate_limit_storage must be memory or postgresql"
    assert _get_error(rate_limit_storage="memcached") == message
    redis_message = f"{message}; the Redis storage was removed, use postgresql"
    assert _get_error(rate_limit_storage="redis://shop@cache.example.com") == redis_message


@pytest.mark.parametrize("name", ["database_read_url", "database_direct_url"])
def test_read_url_without_database_url_is_rejected(name: str) -> None:
    assert _get_error(**{name: DATABASE_URL}).startswith(f"{name.upper()} needs DATABASE_URL")
    assert _get_error(**PRODUCTION | {name: "mysql://db/shop"}) == f"{name.upper()} must begin with postgresql://"


def test_pooler_without_direct_url_is_rejected() -> None:
    assert _get_error(**PRODUCTION, prepared_statements=False).startswith("PREPARED_STATEMENTS=false is for a pooler")
    assert not Settings(**PRODUCTION, prepared_statements=False, database_direct_url=DATABASE_URL).prepared_statements


def test_trusted_documents_only_without_documents_is_rejected() -> None:
    assert _get_error(trusted_documents_only=True).startswith("TRUSTED_DOCUMENTS must name a list")


def test_graphiql_with_trusted_documents_only_is_rejected(tmp_path: Path) -> None:
    values: dict[str, Any] = {"trusted_documents": tmp_path / "list.json", "trusted_documents_only": True}
    assert _get_error(**values, graphiql=True).startswith("GRAPHIQL cannot be used with TRUSTED_DOCUMENTS_ONLY")
    assert not Settings(**values).serves_graphiql


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("environment", ["staging"]),
        ("pool_size", [0, 201, "many"]),
        ("pool_max_overflow", [-1, 201]),
        ("pool_recycle_seconds", [0]),
        ("pool_timeout_seconds", [0, -1]),
        ("access_token_minutes", [0, 24 * 60 + 1, 0.5]),
        ("refresh_token_days", [0, 366]),
        ("session_max_days", [0, 366]),
        ("refresh_grace_seconds", [-1, 61]),
        ("password_min_length", [7, 65]),
        ("cache_seconds", [-1, 86_401]),
        ("low_stock_threshold", [0, 1_000_001]),
        ("sweep_after_seconds", [0]),
        ("sweep_every_seconds", [0]),
        ("log_level", ["loud", ""]),
        ("log_format", ["xml"]),
        ("port", [-1, 65_536]),
    ],
)
def test_value_out_of_range_is_rejected(name: str, values: list[Any]) -> None:
    for value in values:
        assert _get_error(**{name: value}).startswith(f"{name} ")


def test_settings_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_SIZE", "0")
    monkeypatch.setenv("CURRENCY", "JPY")
    with pytest.raises(ConfigurationError) as error_info:
        read_settings()
    assert str(error_info.value).splitlines() == [
        "POOL_SIZE: Input should be greater than or equal to 1",
        "CURRENCY: is a currency without two decimals, which prices require",
    ]


def test_data_directory_and_url_conflict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name.upper(), value)
    with pytest.raises(ConfigurationError, match="use only one of them"), resolve_runtime(tmp_path / "data"):
        pass
    assert list(tmp_path.iterdir()) == []


# ── Defaults ──────────────────────────────────────────────────────────────────────────────


def test_default_environment_is_development() -> None:
    settings = Settings()
    assert not settings.is_production
    assert (settings.serves_graphiql, settings.uses_json_logs) == (True, False)
    assert (settings.host, settings.port, settings.issuer) == ("127.0.0.1", 8000, "http://localhost:8000")
    assert settings.pool == PoolSettings(size=5, max_overflow=10, recycle_seconds=1800, timeout_seconds=2)
    assert settings.policy == Policy(
        currency="EUR",
        low_stock_threshold=5,
        password_min_length=8,
        access_token_lifetime=dt.timedelta(minutes=15),
        refresh_token_lifetime=dt.timedelta(days=7),
        session_lifetime=dt.timedelta(days=30),
        refresh_grace=dt.timedelta(0),
        sweep_after=dt.timedelta(minutes=2),
    )


def test_database_url_implies_production() -> None:
    settings = Settings(**PRODUCTION)
    assert settings.is_production
    assert (settings.serves_graphiql, settings.uses_json_logs, settings.issuer) == (False, True, PUBLIC_URL)
    assert Settings(**PRODUCTION, graphiql=True, log_format="pretty").serves_graphiql


def test_development_with_only_a_database_url() -> None:
    settings = Settings(environment=Environment.DEVELOPMENT, database_url=DATABASE_URL)
    assert not settings.is_production
    assert settings.secret_key == []


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "http://127.0.0.1:8000", "http://[::1]:8000", "http://shop.localhost", PUBLIC_URL + "/shop"],
)
def test_secure_public_urls(url: str) -> None:
    assert Settings(**PRODUCTION | {"public_url": url}).issuer == url


def test_settings_from_environment_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CURRENCY=USD\nREFRESH_GRACE_SECONDS=10\nSOMETHING_ELSE=1\nPUBLIC_URL=\n")
    monkeypatch.setenv("SECRET_KEY", f" {SECRET} , {OLD_SECRET},")
    monkeypatch.setenv("CURRENCY", "GBP")
    settings = Settings()
    assert settings.secret_key == [SECRET, OLD_SECRET]
    assert (settings.currency, settings.refresh_grace_seconds, settings.public_url) == ("GBP", 10, None)


# ── The secret in the data folder ─────────────────────────────────────────────────────────


def test_secret_key_is_created_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    secret = load_or_create_secret(folder)
    [file] = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_or_create_secret(folder) == secret == file.read_text()
    assert load_or_create_secret(tmp_path / "another") != secret
    assert Settings(secret_key=[secret]).secret_key == [secret]


def test_existing_secret_key_is_kept(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text(SECRET)
    assert load_or_create_secret(tmp_path) == SECRET
