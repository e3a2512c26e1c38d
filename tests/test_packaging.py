"""The package that is built holds exactly the modules of the tree, and works where it is unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "turngym"
TOP_LEVEL = ("agents", "benchmarks", "envs", "trainers", "webshop_server")
"""The folders that are parts of the package through links."""
BUILD_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info")


def files_of_the_tree() -> set[str]:
    """Return the files that belong into the package, by their place in it."""
    folders = {"turngym": PACKAGE, **{f"turngym/{name}": ROOT / name for name in TOP_LEVEL}}
    return {
        f"{place}/{path.relative_to(folder).as_posix()}"
        for place, folder in folders.items()
        for pattern in ("*.py", "*.toml", "*.html", "*.css", "*.js", "*.json", "py.typed")
        for path in folder.rglob(pattern)
        if folder != PACKAGE or path.relative_to(folder).parts[0] not in TOP_LEVEL
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the tree, with the setuptools that is installed: nothing is downloaded."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", tree / "src", symlinks=True, ignore=CACHES)
    for name in TOP_LEVEL:
        shutil.copytree(ROOT / name, tree / name, ignore=CACHES)
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, tree)
    program = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    result = subprocess.run(
        [sys.executable, "-c", program, str(out)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    (path,) = out.glob("turngym-*-py3-none-any.whl")
    return path


def metadata(wheel: Path, name: str) -> str:
    """Return a file of the wheel's metadata folder."""
    with ZipFile(wheel) as archive:
        (member,) = [member for member in archive.namelist() if member.endswith(f".dist-info/{name}")]
        return archive.read(member).decode()


def test_wheel_holds_the_modules_of_the_tree(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == files_of_the_tree()
    assert {"turngym/py.typed", "turngym/cli/__init__.py", "turngym/envs/core.py"} <= packed
    assert any(name.startswith("turngym/presets/") for name in packed)


def test_metadata(wheel: Path) -> None:
    lines = metadata(wheel, "METADATA").splitlines()
    extras = {line.partition(": ")[2] for line in lines if line.startswith("Provides-Extra: ")}
    assert "License-Expression: MIT" in lines
    assert "Requires-Python: >=3.11" in lines
    expected = ("train", "lora", "webshop", "lucene", "oracle", "plot", "parquet", "tensorboard", "wandb", "modal",
                "docs", "dev", "all")  # fmt: skip
    assert extras == {*expected}
    assert "turngym = turngym.cli:main" in metadata(wheel, "entry_points.txt")


def test_the_core_does_not_depend_on_torch(wheel: Path) -> None:
    required = [line for line in metadata(wheel, "METADATA").splitlines() if line.startswith("Requires-Dist: ")]
    core = {line.removeprefix("Requires-Dist: ").split("<")[0].split(">")[0] for line in required if ";" not in line}
    assert core == {"gymnasium", "numpy", "rich", "tyro"}


def test_wheel_works_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = """
import gymnasium, turngym
print(turngym.__file__)
print(gymnasium.make("turngym/FrozenLake-v0").reset(seed=0)[0])
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    place, observation = result.stdout.split("\n", 1)
    assert Path(place).resolve() == (tmp_path / "turngym" / "__init__.py").resolve()
    assert observation.strip()


def test_every_folder_at_the_top_level_is_linked() -> None:
    links = {path.name: path.resolve() for path in PACKAGE.iterdir() if path.is_symlink()}
    assert links == {name: ROOT / name for name in TOP_LEVEL}


def test_a_user_of_an_editable_install_sees_types(tmp_path: Path) -> None:
    """Type checkers follow the path that the install adds, as they would not follow an import hook."""
    script = tmp_path / "user.py"
    script.write_text("from turngym.envs import TextEnv, env_ids\nreveal_type(env_ids())\nreveal_type(TextEnv)\n")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path), str(script)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    assert 'Revealed type is "list[str]"' in result.stdout


def test_nothing_hides_the_package() -> None:
    assert not (ROOT / "turngym").exists()
