"""Record two commits on this machine and compare them to the last bit.

    python tests/golden/compare.py BEFORE [AFTER]

Each commit is checked out aside and runs its own recorder with its own code; AFTER is the working tree if left out. The
exit code is 0 where all numbers and all weights are the same, 1 where they differ.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "typings")
"""Where a commit's package lies as plain folders; older commits have it behind links in `typings/`."""


def record(tree: Path, out: Path) -> dict[str, Any]:
    """Run the recorder of a tree with the code of that tree and return its numbers."""
    package = next(tree / source for source in SOURCES if (tree / source / "turngym" / "trainers").is_dir())
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{tree}", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "tests.golden.recorder", str(out)], cwd=tree, env=environment, check=True)
    numbers: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return numbers


def record_commit(commit: str, scratch: Path) -> dict[str, Any]:
    """Check a commit out aside and record it."""
    tree = scratch / "tree"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        return record(tree, scratch / "numbers.json")
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what is not the same, one line for each part and quantity."""
    lines = [f"{part} is in one of them only" for part in sorted(before.keys() ^ after.keys())]
    for part in sorted(before.keys() & after.keys()):
        names = sorted(before[part].keys() | after[part].keys())
        lines += [
            f"{part}: {name} was {before[part].get(name)}, is {after[part].get(name)}"
            for name in names
            if before[part].get(name) != after[part].get(name)
        ]
    return lines


def main(words: list[str]) -> int:
    """Compare and report."""
    if not 1 <= len(words) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    sides = []
    for commit in (words[0], words[1] if len(words) == 2 else None):
        with tempfile.TemporaryDirectory() as scratch:
            aside = Path(scratch)
            sides.append(record_commit(commit, aside) if commit else record(ROOT, aside / "numbers.json"))
    found = differences(*sides)
    print("\n".join(found) if found else f"{len(sides[0])} parts are the same to the last bit")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
