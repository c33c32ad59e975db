"""Manifests and compose.yml use existing settings, commands and writable folders."""

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from server.cli.main import app
from server.settings import Settings

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted(ROOT.glob("deploy/kubernetes/**/*.yaml"))
SETTINGS = {name.upper() for name in Settings.model_fields}
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # only groups have it
WRITABLE = {"/tmp", "/home/shopkeeper/.bookstore"}
SECRET = {"DATABASE_URL", "SECRET_KEY", "SMTP_URL"}
COMPOSE_SERVICES = yaml.safe_load((ROOT / "compose.yml").read_text())["services"]
OWN_SERVICES = {name: it for name, it in COMPOSE_SERVICES.items() if it.get("image") == "bookstore:local"}


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _pods() -> dict[str, Any]:
    manifests = {path.name: _read(path) for path in MANIFESTS}
    return {name: it["spec"]["template"]["spec"] for name, it in manifests.items() if "template" in it.get("spec", {})}


def test_manifests_exist() -> None:
    assert set(_pods()) == {"server.yaml", "worker.yaml", "job.yaml"}
    assert {"migrate", "shop", "worker"} <= set(OWN_SERVICES)


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_compose(name: str) -> None:
    service = OWN_SERVICES[name]
    assert set(service["environment"]) <= SETTINGS
    assert service["command"][0] == "bookstore"
    assert service["command"][1] in COMMANDS
    assert service["read_only"] is True
    assert {*service["tmpfs"], *(it.partition(":")[2] for it in service["volumes"])} == WRITABLE


def test_prometheus_scrapes_every_process_with_metrics() -> None:
    [job] = _read(ROOT / "deploy/observe/prometheus/prometheus.yml")["scrape_configs"]
    [static_config] = job["static_configs"]
    watched = {
        f"{name}:{service['environment'].get('METRICS_PORT')}"
        for name, service in OWN_SERVICES.items()
        if service["profiles"] == ["shop"] and service["command"][1] in {"serve", "worker"}
    }
    assert set(static_config["targets"]) == watched
    assert {OWN_SERVICES[target.partition(":")[0]]["environment"]["METRICS_HOST"] for target in watched} == {"0.0.0.0"}


def test_settings_in_kubernetes() -> None:
    data = _read(ROOT / "deploy/kubernetes/settings.yaml")["data"]
    assert set(data) <= SETTINGS - SECRET
    Settings(
        _env_file=None,
        database_url="postgresql://database/bookstore",
        secret_key=["x7-qLw2_vR9tYp4KsD8hJf3NcB6mGa1Zx"],
        **{name.lower(): value for name, value in data.items()},
    )


@pytest.mark.parametrize("name", _pods())
def test_pods(name: str) -> None:
    pod = _pods()[name]
    [container] = pod["containers"]
    assert set(container.get("args", ["bookstore", "serve"])[1:]) <= COMMANDS
    assert {mount["mountPath"] for mount in container["volumeMounts"]} <= WRITABLE
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert f"--uid {pod['securityContext']['runAsUser']} " in (ROOT / "Dockerfile").read_text()


def test_every_manifest_is_applied() -> None:
    """The migration has a kustomization of its own."""
    for folder in {path.parent for path in MANIFESTS}:
        listed = set(_read(folder / "kustomization.yaml")["resources"])
        assert listed == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}


def test_image_contains_only_files_of_the_wheel() -> None:
    packages = {"graph", "domain", "persistence", "migrations", "server"}
    included = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == included == packages | {"pyproject.toml", "README.md", "LICENSE"}
