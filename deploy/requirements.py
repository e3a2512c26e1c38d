"""The requirements of turngym and of some of its extras, one a line: what an image installs before the code is there.

As a program: python requirements.py setup.cfg train lora webshop plot
"""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

EXTRAS = ("train", "lora", "webshop", "plot")
"""Those that images have."""


def requirements(setup: Path, *extras: str) -> list[str]:
    """Return the requirements that a `setup.cfg` names.

    Args:
        setup: The file.
        *extras: Names of extras.

    Raises:
        ValueError: There is no such file or extra.
    """
    config = configparser.ConfigParser()
    if not config.read(setup, encoding="utf-8"):
        raise ValueError(f"there is no file {setup}")
    known = config["options.extras_require"]
    if unknown := [extra for extra in extras if extra not in known]:
        raise ValueError(f"{setup} has no extra {unknown[0]}; it has {', '.join(known)}")
    texts = [config["options"]["install_requires"], *(known[extra] for extra in extras)]
    return sorted({line.strip() for text in texts for line in text.splitlines() if line.strip()})


if __name__ == "__main__":
    print(*requirements(Path(sys.argv[1]), *sys.argv[2:]), sep="\n")
