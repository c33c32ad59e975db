"""Pins the whole dependency tree in pyproject.toml: resolves it anew and writes down what was chosen.

The lock file itself stays out of the repository, because it carries download addresses.
"""

import argparse
import re
import subprocess
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
PINS = re.compile(r"(?<=^constraint-dependencies = \[\n).*?(?=^\])", re.MULTILINE | re.DOTALL)


def uv(*arguments: str) -> str:
    return subprocess.run(["uv", *arguments], check=True, capture_output=True, text=True, timeout=600).stdout


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    before = PYPROJECT.read_text(encoding="utf-8")
    PYPROJECT.write_text(PINS.sub("", before, count=1), encoding="utf-8")
    try:
        uv("lock", "--upgrade")
        exported = uv("export", "--all-groups", "--no-emit-project", "--no-hashes", "--no-annotate", "--no-header")
    except BaseException:
        PYPROJECT.write_text(before, encoding="utf-8")
        raise
    pins = "".join(f'    "{line}",\n' for line in exported.splitlines() if line.strip())
    PYPROJECT.write_text(PINS.sub(lambda _: pins, before, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
