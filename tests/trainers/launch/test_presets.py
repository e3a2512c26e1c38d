"""Presets by name: those of the package, those that are added, and how little they load."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from turngym._errors import InputError
from turngym.envs import env_ids
from turngym.trainers.config import AstarpoConfig
from turngym.trainers.launch.configure import check_game
from turngym.trainers.launch.presets import PRESETS, load_preset, preset_for, preset_names, preset_text, register_preset

PACKAGE = Path(__file__).parents[2] / "src" / "turngym" / "presets"
TEXT = '[env]\nid = "me/Guess-v0"\n'


def test_the_package_brings_its_presets() -> None:
    assert {path.stem for path in PACKAGE.glob("*.toml")} <= set(preset_names())
    assert preset_names() == sorted(PRESETS)
    for path in PACKAGE.glob("*.toml"):
        assert preset_text(path.stem) == path.read_text(encoding="utf-8")
        assert tomllib.loads(preset_text(path.stem))["env"]


def test_a_text_and_a_file_may_be_registered(own_code: Path) -> None:
    (own_code / "guess.toml").write_text(TEXT)
    register_preset("guess", own_code / "guess.toml")
    register_preset("guess-too", TEXT)
    assert preset_text("guess") == preset_text("guess-too") == TEXT
    assert {"guess", "guess-too"} <= set(preset_names())


def test_a_name_has_one_owner(own_code: Path) -> None:
    register_preset("guess", TEXT)
    register_preset("guess", TEXT)
    with pytest.raises(ValueError, match="there is a preset 'guess' already; register yours under another name"):
        register_preset("guess", TEXT + "kwargs = {}")
    with pytest.raises(ValueError, match="there is a preset 'frozen_lake' already"):
        register_preset("frozen_lake", TEXT)
    assert preset_text("guess") == TEXT


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="there is no preset 'frozn_lake'; did you mean 'frozen_lake'"):
        preset_text("frozn_lake")


def test_files_that_cannot_be_read_are_one_sentence(own_code: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.toml of the preset 'x' cannot be read: No such file"):
        register_preset("x", own_code / "absent.toml")
    (own_code / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(ValueError, match="of the preset 'x' cannot be read: it is not UTF-8 text"):
        register_preset("x", own_code / "latin.toml")
    with pytest.raises(ValueError, match=r"but 'games/guess\.toml'; give a file as a Path"):
        register_preset("x", "games/guess.toml")
    with pytest.raises(ValueError, match="the name of a preset is made of letters"):
        register_preset("x.toml", TEXT)
    assert "x" not in PRESETS


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_sound(name: str) -> None:
    config = load_preset(name)
    own = preset_for(config.env.id)  # a variant is called after it
    assert config.env.id in env_ids() and own is not None and (name == own or name.startswith(f"{own}_"))
    check_game(config)


def test_not_every_environment_has_a_preset() -> None:
    assert preset_for("turngym/FrozenLake8x8-v0") is None


def test_a_preset_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[run]\nseed = 5\n[objective]\nbeta = 1\n")
    config = load_preset(str(path))
    assert config.run.seed == 5 and config.objective == AstarpoConfig(beta=1.0)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_preset(str(tmp_path / "absent.toml"))
    with pytest.raises(InputError, match="no preset 'frozen_lak'; did you mean 'frozen_lake'"):
        load_preset("frozen_lak")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_preset(str(path))


def test_presets_load_no_torch() -> None:
    code = "import sys, turngym.trainers.launch.presets; print('torch' in sys.modules, 'tyro' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False False\n"
