"""Measure the source tree: sizes, module names, words to avoid, commit subjects, words of documents.

usage: python tools/measure_source.py [CHECKOUT] [--since COMMIT]

CHECKOUT is a git checkout (default: the current folder). Commit subjects are those after COMMIT (default: all).
"""

import argparse
import re
import subprocess
from collections import Counter
from pathlib import Path
from statistics import median

AVOIDED = {
    "told": r"\b_?told\b",
    "whoever": r"\bwhoever\b",
    "nobody": r"\bnobody\b",
    "somebody": r"\bsomebody\b",
    "MOST_": r"\bMOST_",
    "LONGEST_": r"\bLONGEST_",
    '" is no "': r" is no ",
}
GENERATED = re.compile(r"static/|\.min\.|\.svg$|LICENSES|catalog\.csv$")
TEXT = re.compile(r"\.(py|js|mjs|md|graphql|sql|html|yml|yaml|toml|mako)$|(^|/)(Justfile|Dockerfile)$|\.env\.example$")


def git(checkout: Path, *arguments: str) -> list[str]:
    """Return the lines that a git command prints."""
    done = subprocess.run(["git", *arguments], cwd=checkout, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def main() -> None:
    """Print the measures of one checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", nargs="?", type=Path, default=Path())
    parser.add_argument("--since", metavar="COMMIT")
    options = parser.parse_args()

    paths = [path for path in git(options.checkout, "ls-files") if (options.checkout / path).is_file()]
    sources = [path for path in paths if TEXT.search(path) and not GENERATED.search(path)]
    texts = {path: (options.checkout / path).read_text(encoding="utf-8") for path in sources}

    print(f"{'folder':<14}{'files':>7}{'lines':>8}   Python alone")
    folders = sorted({path.split("/")[0] for path in sources if "/" in path})
    for folder in folders:
        python = [path for path in sources if path.startswith(f"{folder}/") and path.endswith(".py")]
        if python:
            print(f"{folder:<14}{len(python):>7}{sum(texts[path].count(chr(10)) for path in python):>8}")

    modules = [
        Path(path).stem
        for path in sources
        if path.endswith(".py") and not path.startswith(("tests/", "migrations/versions/"))
    ]
    named = Counter(name for name in modules if not name.startswith("__"))
    print(f"\ndistinct module names outside tests: {len(named)} of {sum(named.values())} modules")

    print("\nwords to avoid (all text files)")
    for word, pattern in AVOIDED.items():
        print(
            f"  {word:<12}{sum(len(re.findall(pattern, text, re.IGNORECASE if word.islower() else 0)) for text in texts.values()):>6}"
        )

    subjects = git(
        options.checkout, "log", "--no-merges", "--format=%s", f"{options.since}..HEAD" if options.since else "HEAD"
    )
    if subjects:
        print(f"\ncommit subjects: {len(subjects)}, median length {median(map(len, subjects)):.0f}")
    documents = [path for path in sources if path.endswith(".md") and (path.startswith("docs/") or "/" not in path)]
    print(f"words of documents: {sum(len(texts[path].split()) for path in documents)} in {len(documents)} files")


main()
