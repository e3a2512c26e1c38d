"""Other people's code: how it is found, imported once, and told of when it is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from turngym import plugins
from turngym.agents.registry import AGENTS
from turngym.plugins import PluginError, announced, import_requested, load_plugins, requested

COUNTING = "import sys\nsys.counted = getattr(sys, 'counted', 0) + 1\n"
AGENT = """
from turngym.agents.registry import register_agent
from turngym.agents.scripted import RandomAgent

@register_agent("{name}")
class Mine(RandomAgent):
    pass
"""


def announce(folder: Path, name: str, target: str, source: str, *, version: str = "1.0") -> None:
    """Write a package with one module and an entry point, as an installer leaves them."""
    (folder / f"{target.partition(':')[0]}.py").write_text(source)
    record = folder / f"{name}-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (record / "entry_points.txt").write_text(f"[turngym.plugins]\n{name} = {target}\n")


def turngym(*words: str, path: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process that finds packages in `path` too."""
    search = os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])
    program = "import sys; sys.path.remove(''); from turngym.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *words],
        env=os.environ | {"PYTHONPATH": search}, cwd=cwd, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


# Modules that are asked for -----------------------------------------------------------------------------------------


def test_a_module_of_the_current_folder_is_imported_once(own_code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "counted", 0, raising=False)
    (own_code / "my_games.py").write_text(COUNTING + AGENT.format(name="mine"))
    assert requested() == []
    for _ in range(2):
        assert load_plugins(["my_games", "my_games"]) == []
    assert vars(sys)["counted"] == 1
    assert requested() == ["my_games"] and "mine" in AGENTS
    assert sys.path[-1] == str(own_code)


def test_the_current_folder_is_searched_only_where_it_is_needed(own_code: Path) -> None:
    (own_code / "wave.py").write_text("raise RuntimeError('hides a module of the standard library')")
    load_plugins(["wave"])
    assert str(own_code) not in sys.path
    with pytest.raises(PluginError):
        load_plugins(["no_such_games"])
    assert str(own_code) not in sys.path


def test_a_module_in_a_package_is_imported_by_its_full_name(own_code: Path) -> None:
    (own_code / "my_pack").mkdir()
    (own_code / "my_pack" / "games.py").write_text("LOADED = True")
    assert vars(import_requested("my_pack.games"))["LOADED"]
    assert requested() == ["my_pack.games"]


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("no_such_games", "", "there is no module 'no_such_games': it is neither installed nor in {folder}"),
        ("my_games.no_such", "", "there is no module 'my_games.no_such': it is neither"),
        ("my_games.py", "", "'my_games.py' is no name of a module; write it as Python imports it, such as my_games"),
        ("./my_games", "", "'./my_games' is no name of a module"),
        ("", "", "'' is no name of a module"),
        ("bare", "", "bare is a folder without __init__.py, so that importing it loads nothing"),
        ("my_games", "\n1 / 0", "cannot be imported: ZeroDivisionError: division by zero, my_games.py line 2"),
        ("my_games", "import no_such", "my_games cannot be imported: ModuleNotFoundError: No module named 'no_such'"),
        ("my_games", "import my_games.part", "my_games cannot be imported: ModuleNotFoundError: No module named"),
        ("my_games", "x = = 1", "cannot be imported: SyntaxError: invalid syntax (my_games.py, line 1)"),
        ("my_games", "raise SystemExit(3)", "cannot be imported: SystemExit: 3, my_games.py line 1"),
        ("my_games", "raise ValueError('two\\n lines')", "cannot be imported: ValueError: two lines, my_games.py"),
        (
            "my_games",
            AGENT.format(name="random"),
            "ValueError: there is an agent 'random' already, turngym.agents.scripted.RandomAgent; register yours under",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_one_sentence(name: str, source: str, said: str, own_code: Path) -> None:
    (own_code / "my_games.py").write_text(source)
    (own_code / "bare").mkdir()
    with pytest.raises(PluginError) as refusal:
        load_plugins([name])
    text = str(refusal.value)
    assert said.format(folder=own_code) in text and "\n" not in text
    assert requested() == []


def test_an_interruption_is_no_fault_of_the_module(own_code: Path) -> None:
    (own_code / "my_games.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_plugins(["my_games"])


# Modules that packages announce -------------------------------------------------------------------------------------


def test_announced_modules_are_imported_once(own_code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "counted", 0, raising=False)
    monkeypatch.syspath_prepend(own_code)
    announce(own_code, "good-games", "good_games", COUNTING)
    announce(own_code, "bad-games", "bad_games", "raise OSError('no display')", version="0.3")
    (problem,) = load_plugins()
    assert problem == (
        "the plugin bad-games of bad-games 0.3 is broken and was left out; update it or get rid of it with pip "
        "uninstall bad-games (OSError: no display, bad_games.py line 1)"
    )
    assert load_plugins() == []
    assert announced() == {"good-games of good-games 1.0": "", "bad-games of bad-games 0.3": problem}
    assert vars(sys)["counted"] == 1 and requested() == []


def test_an_announced_function_is_called(own_code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "counted", 0, raising=False)
    monkeypatch.syspath_prepend(own_code)
    announce(own_code, "good-games", "good_games:load", "import sys\ndef load(): sys.counted += 1")
    announce(own_code, "bad-games", "bad_games:absent", "")
    (problem,) = load_plugins()
    assert "(AttributeError: module 'bad_games' has no attribute 'absent')" in problem
    assert vars(sys)["counted"] == 1


def test_nothing_is_announced_before_the_first_look(own_code: Path) -> None:
    assert announced() == {}
    assert load_plugins() == [] == list(announced())


def test_an_installed_plugin_is_there_without_being_named(tmp_path: Path) -> None:
    announce(tmp_path, "good-games", "good_games", AGENT.format(name="clever"))
    done = turngym("rollout", "clevr", path=tmp_path, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert "hostile, clever nor a folder" in done.stderr and "did you mean 'clever'?" in done.stderr


def test_a_broken_plugin_is_told_and_stops_nothing(tmp_path: Path) -> None:
    announce(tmp_path, "bad-games", "bad_games", "1 / 0")
    words = ("evaluate", "oracle", "--env", "FrozenLake", "--episodes", "2")
    done = turngym(*words, path=tmp_path, cwd=tmp_path)
    assert done.returncode == 0 and "oracle" in done.stdout
    assert done.stderr.startswith("turngym: warning: the plugin bad-games of bad-games 1.0 is broken and was left out")
    assert done.stderr.count("\n") == 1


def test_the_front_door_looks_for_no_plugins(tmp_path: Path) -> None:
    announce(tmp_path, "bad-games", "bad_games", "1 / 0")
    for words in (["--help"], ["--version"], ["webshop", "--help"]):
        done = turngym(*words, path=tmp_path, cwd=tmp_path)
        assert done.returncode == 0 and done.stderr == ""


def test_the_module_itself_loads_nothing_heavy() -> None:
    code = f"import runpy, sys, turngym; before = set(sys.modules); runpy.run_path({plugins.__file__!r}); "
    code += "print({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"
