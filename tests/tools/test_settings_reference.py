"""The generated references of the settings are complete, and their examples are valid."""

from pathlib import Path

import pytest

from server.settings import Settings
from tools import settings_reference
from tools.settings_reference import format_range, format_value, main, render_environment, render_markdown

NAMES = sorted(name.upper() for name in Settings.model_fields)


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert str(field.description).endswith("."), name


def test_every_setting_is_in_both_files() -> None:
    assignments = [line for line in render_environment().splitlines() if "=" in line and line[2:3].isupper()]
    assert sorted({line.removeprefix("# ").partition("=")[0] for line in assignments} & set(NAMES)) == NAMES
    rows = [line for line in render_markdown().splitlines() if line.startswith("| `")]
    assert sorted(row.split("`")[1] for row in rows) == NAMES


def test_examples_are_valid(tmp_path: Path) -> None:
    lines = [line.removeprefix("# ") for line in render_environment().splitlines()]
    examples = [line for line in lines if line.partition("=")[0] in NAMES and not line.startswith("GRAPHIQL=")]
    (tmp_path / ".env").write_text("\n".join(examples))
    settings = Settings(_env_file=tmp_path / ".env")
    assert (settings.metrics_port, settings.trusted_proxies) == (9000, ["10.0.0.0/8"])


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (True, "true"), ([], ""), (["a", "b"], "a,b"), (Path("a/b"), "a/b"), (1.5, "1.5")]
)
def test_values_are_written_as_in_the_environment(value: object, text: str) -> None:
    assert format_value(value) == text


def test_ranges() -> None:
    fields = Settings.model_fields
    assert [format_range(fields[name]) for name in ("pool_size", "pool_timeout_seconds", "currency")] == [
        "≥ 1, ≤ 200",
        "> 0",
        "",
    ]


def test_outdated_files_fail_the_check_and_are_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings_reference, "ROOT", tmp_path)
    (tmp_path / "docs/reference").mkdir(parents=True)
    (tmp_path / ".env.example").write_text("")
    assert main(["--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        ".env.example is outdated: run `just settings`.",
        "docs/reference/settings.md is outdated: run `just settings`.",
    ]
    assert (main([]), main(["--check"])) == (0, 0)
