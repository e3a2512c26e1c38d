"""What all tests share: one thread, fixed seeds, no network, and tests that take long only when asked for."""

from __future__ import annotations

import os
import random
import runpy
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import settings

from turngym import credentials, plugins
from turngym.agents.registry import AGENTS
from turngym.envs.potentials import POTENTIALS
from turngym.trainers.launch.presets import PRESETS

# Set before torch or transformers is loaded, here and in the processes that tests start: pytest-xdist already fills the
# cores, and more threads would add up sums in another order.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

# No test leaves this machine, nor does any Python that one starts, which finds the guard by itself.
GUARD = Path(__file__).parent / "no_network"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(GUARD), os.environ.get("PYTHONPATH")]))
runpy.run_path(str(GUARD / "sitecustomize.py"))

# What starts tests in the background, as nohup and `&` do, lets them and what they start ignore these two.
for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, default)

# The same examples in every run, and no deadline: a busy machine is not a failure.
settings.register_profile("turngym", deadline=None, derandomize=True)
settings.load_profile("turngym")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take long as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes long; run with --slow"))


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Start every test from the same random state; torch is left alone where nothing has loaded it."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test without secrets of addresses, and forget those that it brings."""
    monkeypatch.setenv(credentials.VARIABLE, "")


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, for modules of a user; what these change in this process is put back afterwards."""
    registries: list[dict[Any, Any]] = [gymnasium.registry, AGENTS, POTENTIALS, PRESETS]
    before = [dict(registry) for registry in registries]
    monkeypatch.setattr(plugins, "_loaded", plugins._Loaded())
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, as Debian packages it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
