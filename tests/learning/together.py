"""Run by torchrun: all processes together train nothing once, and then as each line of a file says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import turngym
from turngym.cli import main

main(["train", "FrozenLake", "--dry-run"])
for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    turngym.train("FrozenLake", **json.loads(line))
