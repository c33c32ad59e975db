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
WRITABLE_PATHS = {"/tmp", "/home/shopkeeper/.bookstore"}
SECRET_SETTINGS = {"DATABASE_URL", "SECRET_KEY", "SMTP_URL"}
COMPOSE_SERVICES = yaml.safe_load((ROOT / "compose.yml").read_text())["services"]
OWN_SERVICES = {
    name: service for name, service in COMPOSE_SERVICES.items() if service.get("image") == "bookstore:local"
}


def _read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _list_pods() -> dict[str, Any]:
    manifests = {path.name: _read_yaml(path) for path in MANIFESTS}
    return {
        name: manifest["spec"]["template"]["spec"]
        for name, manifest in manifests.items()
        if "template" in manifest.get("spec", {})
    }


def test_manifests_exist() -> None:
    assert set(_list_pods()) == {"server.yaml", "worker.yaml", "job.yaml"}
    assert {"migrate", "shop", "worker"} <= set(OWN_SERVICES)


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_compose(name: str) -> None:
    service = OWN_SERVICES[name]
    assert set(service["environment"]) <= SETTINGS
    assert service["command"][0] == "bookstore"
    assert service["command"][1] in COMMANDS
    assert service["read_only"] is True
    assert {*service["tmpfs"], *(volume.partition(":")[2] for volume in service["volumes"])} == WRITABLE_PATHS


def test_prometheus_scrapes_every_process_with_metrics() -> None:
    [job] = _read_yaml(ROOT / "deploy/observe/prometheus/prometheus.yml")["scrape_configs"]
    [static_config] = job["static_configs"]
    targets = {
        f"{name}:{service['environment'].get('METRICS_PORT')}"
        for name, service in OWN_SERVICES.items()
        if service["profiles"] == ["shop"] and service["command"][1] in {"serve", "worker"}
    }
    assert set(static_config["targets"]) == targets
    assert {OWN_SERVICES[target.partition(":")[0]]["environment"]["METRICS_HOST"] for target in targets} == {"0.0.0.0"}


def test_settings_in_kubernetes() -> None:
    data = _read_yaml(ROOT / "deploy/kubernetes/settings.yaml")["data"]
    assert set(data) <= SETTINGS - SECRET_SETTINGS
    Settings(
        _env_file=None,
        database_url="postgresql://database/bookstore",
        secret_key=["x7-qLw2_vR9tYp4KsD8hJf3NcB6mGa1Zx"],
        **{name.lower(): value for name, value in data.items()},
    )


@pytest.mark.parametrize("name", _list_pods())
def test_pods(name: str) -> None:
    pod = _list_pods()[name]
    [container] = pod["containers"]
    assert set(container.get("args", ["bookstore", "serve"])[1:]) <= COMMANDS
    assert {mount["mountPath"] for mount in container["volumeMounts"]} <= WRITABLE_PATHS
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert f"--uid {pod['securityContext']['runAsUser']} " in (ROOT / "Dockerfile").read_text()


def test_every_manifest_is_applied() -> None:
    """The migration has a kustomization of its own."""
    for folder in {path.parent for path in MANIFESTS}:
        resources = set(_read_yaml(folder / "kustomization.yaml")["resources"])
        assert resources == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}


def test_image_contains_only_files_of_the_wheel() -> None:
    packages = {"graph", "domain", "persistence", "migrations", "server"}
    included_paths = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied_paths = {
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied_paths == included_paths == packages | {"pyproject.toml", "README.md", "LICENSE"}
