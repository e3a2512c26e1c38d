"""`live.toml` as it is watched, its echo, and what the page writes."""

from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path

import pytest

from turngym._errors import InputError
from turngym.trainers.config import TrainConfig
from turngym.trainers.live.files import MOST_BYTES, WatchedFile, ask_for, read_echo, write_echo
from turngym.trainers.live.settings import read_settings, tuned, with_values


def put(path: Path, content: bytes, seconds_ago: float = 60.0) -> None:
    path.write_bytes(content)
    written = time.time() - seconds_ago
    os.utime(path, (written, written))


def test_a_file_is_read_once_for_every_time_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    file = WatchedFile(path)
    assert file.read() is None
    put(path, b"a = 1")
    assert file.read() == "a = 1" and file.read() is None
    put(path, b"a = 2", seconds_ago=30)
    assert file.read() == "a = 2"
    path.unlink()
    assert file.read() is None


def test_a_file_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    file = WatchedFile(path)
    put(path, b"[objective]\nbeta = 0.", seconds_ago=0.0)
    assert file.read() is None
    put(path, b"[objective]\nbeta = 0.05")
    assert file.read() == "[objective]\nbeta = 0.05"
    put(path, b"x", seconds_ago=-3600)  # by a clock that is ahead
    assert file.read() == "x"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"\xff", "live.toml is not UTF-8"), (b"#" * (MOST_BYTES + 1), "live.toml is no file of settings")],
)
def test_what_is_no_text_of_settings_is_refused_once(tmp_path: Path, content: bytes, sentence: str) -> None:
    put(tmp_path / "live.toml", content)
    file = WatchedFile(tmp_path / "live.toml")
    with pytest.raises(InputError, match=sentence):
        file.read()
    assert file.read() is None


def test_a_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "live.toml").mkdir()
    os.utime(tmp_path / "live.toml", (1.0, 1.0))
    with pytest.raises(InputError, match=r"live.toml cannot be read"):
        WatchedFile(tmp_path / "live.toml").read()


def test_the_echo_can_be_copied_into_the_file(tmp_path: Path) -> None:
    held = with_values({}, {"objective.beta": 0.1, "objective.group_size": 2, "objective.filter": "mixed"})
    write_echo(tmp_path, tuned(TrainConfig(), held), held, step=7, answer="taken", said=['a "word"', "more"])
    echo = read_echo(tmp_path)
    assert echo is not None and (echo["step"], echo["answer"], echo["said"]) == (7, "taken", ['a "word"', "more"])
    assert echo["settings"]["objective.beta"] == "0.1" and echo["settings"]["learning.temperature"] == "auto"
    asked = read_settings((tmp_path / "live.echo.toml").read_text())
    assert {name: asked[name] for name in held if name in asked} == {
        "objective.beta": 0.1, "objective.group_size": 2, "objective.filter": "mixed",
    }  # fmt: skip
    assert "curriculum.min_share" not in asked and "objective.kl_coef" not in asked
    (tmp_path / "live.echo.toml").write_text("half")
    assert read_echo(tmp_path) is None


def test_the_page_sets_one_setting_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    with pytest.raises(InputError, match="has not begun to learn"):
        ask_for(tmp_path, "objective.beta", "0.1")
    write_echo(tmp_path, TrainConfig(), {}, step=0, answer="watching")
    ask_for(tmp_path, "objective.beta", "0.1")
    ask_for(tmp_path, "learning.temperature", " auto ")
    ask_for(tmp_path, "objective.filter", '"mixed"')
    ask_for(tmp_path, "objective.beta", "1")
    assert tomllib.loads(path.read_text()) == {
        "objective": {"beta": 1, "filter": "mixed"}, "learning": {"temperature": "auto"},
    }  # fmt: skip
    for setting, value in [("env.id", "1"), ("objective.beta", "1\n[env]\nid = 2"), ("objective.beta", " "),
                           ("objective.beta", "[1]"), ("objective.beta", "1\nx = 2")]:  # fmt: skip
        with pytest.raises(InputError, match=r"cannot change|takes a number or a word"):
            ask_for(tmp_path, setting, value)
    before = path.read_text()
    path.write_text("[objective]\nbeta = ")
    with pytest.raises(InputError, match="not valid TOML"):
        ask_for(tmp_path, "objective.beta", "2")
    assert path.read_text() == "[objective]\nbeta = " != before
