"""The settings of sign-in: providers, the frontend and the cookie."""

import os
from pathlib import Path
from typing import Any

import pytest

from persistence.linked_accounts import Provider
from server.runtime import ConfigurationError, read_settings
from server.settings import Settings

PRODUCTION: dict[str, Any] = {
    "database_url": "postgresql://shop@db.example.com/shop",
    "secret_key": "Zx7-qLw2_vR9tYp4KsD8hJf3NcB6mGa1",
    "public_url": "https://api.example.com/",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _get_error(**values: Any) -> str:
    with pytest.raises(ConfigurationError) as error_info:
        read_settings(**values)
    return str(error_info.value)


@pytest.mark.parametrize("provider", list(Provider))
@pytest.mark.parametrize("present", ["id", "secret"])
@pytest.mark.parametrize("missing_value", [None, ""])
def test_incomplete_provider_credentials_are_rejected(
    provider: Provider, present: str, missing_value: str | None
) -> None:
    names = {"id": f"{provider}_CLIENT_ID", "secret": f"{provider}_CLIENT_SECRET"}
    values = {name.lower(): "given" if key == present else missing_value for key, name in names.items()}
    assert _get_error(**values) == f"{names['id']} and {names['secret']} must be set together, or neither of them"
    assert "given" not in _get_error(**values)


@pytest.mark.parametrize("name", ["FRONTEND_URL", "GOOGLE_ISSUER", "GITHUB_URL", "GITHUB_API_URL"])
@pytest.mark.parametrize("url", ["http://example.com", "http://localhost@example.com", "example.com", "javascript:x"])
def test_insecure_urls_are_rejected(name: str, url: str) -> None:
    for values in ({}, PRODUCTION):
        message = _get_error(**values | {name.lower(): url})
        assert message == f"{name} must begin with https://, unless its host is localhost"


def test_defaults() -> None:
    settings = Settings()
    assert (settings.providers, settings.policy.frontend_url) == ((), None)
    assert settings.google_issuer == "https://accounts.google.com"
    assert (settings.github_url, settings.github_api_url) == ("https://github.com", "https://api.github.com")
    assert settings.policy.public_url == "http://localhost:8000"


@pytest.mark.parametrize(("values", "is_enabled"), [({}, True), ({"refresh_token_cookie": False}, False)])
def test_refresh_cookie_is_default_in_production(values: dict[str, Any], is_enabled: bool) -> None:
    assert Settings(**PRODUCTION | values).uses_refresh_cookie is is_enabled
    assert Settings(**values).uses_refresh_cookie is False
    assert Settings(refresh_token_cookie=True).uses_refresh_cookie is True


def test_providers_and_their_callback_urls() -> None:
    settings = Settings(
        **PRODUCTION,
        github_client_id="id",
        github_client_secret="secret",
        google_client_id="id",
        google_client_secret="secret",
        frontend_url="http://localhost:3000/signed-in",
    )
    assert settings.providers == (Provider.GOOGLE, Provider.GITHUB)
    assert settings.policy.build_login_url(Provider.GITHUB) == "https://api.example.com/auth/github"
    assert settings.policy.frontend_url == "http://localhost:3000/signed-in"
