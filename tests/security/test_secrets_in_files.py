"""The operator's key and every other secret of an address: in no file that a run writes, and on no screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.cli.tiny_run import TINY

from turngym.agents import RandomAgent
from turngym.agents.episode import Episode, write_episodes
from turngym.agents.rollout import Instance, collect_episodes
from turngym.cli import main
from turngym.credentials import VARIABLE
from turngym.envs import Split, TextEnv, make_env, register
from turngym.trainers import base_checks
from turngym.trainers.config import CurriculumConfig, EnvConfig, parse_toml, write_toml
from turngym.webshop_server.shop.connection import KEY_VARIABLE

KEY = "k3y/of the operator"
SPELLINGS = [KEY, quote(KEY, safe=""), b64encode(f"operator:{KEY}".encode()).decode(), json.dumps(KEY)[1:-1]]
SETTINGS = TINY.replace("[env]\nkwargs = {size = 2}\n", "").replace("[model]", "[model]\ncontext_length = 2048")


class Site:
    """A shop's site in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "turngym", "webshop", "serve", "--port", "0", "--no-log",
                   "--num-products", "60"]  # fmt: skip
        self._process = subprocess.Popen(command, env={**os.environ, KEY_VARIABLE: KEY, "COLUMNS": "300"},
                                         stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().split(" at ")[1].split("/ ")[0]
        self.with_key = self.address.replace("://", f"://operator:{quote(KEY, safe='')}@")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.stop()


def leaks(*texts: str | bytes) -> list[str]:
    """Return the spellings of the key that stand in texts, or in any file under the current folder."""
    files = [path.read_bytes() for path in Path().rglob("*") if path.is_file() and path.name != "given.toml"]
    whole = b"\n".join([*files, *(text.encode() if isinstance(text, str) else text for text in texts)])
    return [spelling for spelling in SPELLINGS if spelling.encode() in whole]


def test_no_file_and_no_screen_shows_the_key(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run by a configuration file, its dry run, resume, values, evaluation, rollout and play, all at the site."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(base_checks, "TOKENIZER_EPISODES", 10)
    Path("given.toml").write_text(
        f'[env]\nid = "turngym/WebShop-v0"\nkwargs = {{max_episode_steps = 2, url = "{site.with_key}"}}\n{SETTINGS}'
        '[curriculum]\nlevels = [{max_episode_steps = 1}]\n[run]\nname = "mine"\ntrackers = ["tensorboard"]\n'
    )
    address = json.dumps({"url": site.with_key, "max_episode_steps": 2})
    for words in (
        ["train", "--preset", "given.toml", "--dry-run"],
        ["train", "--preset", "given.toml"],
        ["evaluate", "runs/mine", "--episodes", "2"],
        ["evaluate", "random", "--env", "WebShop", "--env-kwargs", address, "--episodes", "2"],
        ["rollout", "random", "WebShop", "--env-kwargs", address, "--episodes", "2"],
        ["play", "WebShop", "--agent", "rule", "--env-kwargs", address],
        ["values", "runs/mine"],
    ):
        assert main(words) == 0, capfd.readouterr()
    Path("runs/mine/result.json").unlink()
    monkeypatch.setenv(VARIABLE, "")  # as in another process, on another day
    assert main(["train", "--resume", "runs/mine"]) == 2
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert main(["train", "--resume", "runs/mine"]) == 0
    told = capfd.readouterr()
    assert "needs the operator's key" in told.err and f"put it into {KEY_VARIABLE}" in told.err
    written = {path.name for path in Path().rglob("*") if path.is_file()}
    assert {"config.toml", "values.sqlite", "episodes.jsonl", "report.html", "result.json"} <= written
    assert any(name.startswith("events.out.tfevents") for name in written)
    assert leaks(told.out, told.err) == []
    assert site.address in Path("runs/mine/config.toml").read_text()
    assert site.address in Path("episodes.jsonl").read_text()


@pytest.mark.parametrize(
    "kwargs",
    [
        {"url": f"http://operator:{KEY.replace(' ', '%20')}@127.0.0.1:1"},
        {"url": f"http://operator:{quote(KEY)}@127.0.0.1:nine"},
        {"url": f"http://operator:{quote(KEY, safe='')}@127.0.0.1:1", "mode": "faithful"},
        {"uri": f"http://operator:{quote(KEY, safe='')}@127.0.0.1:1"},
        {"url": [f"http://operator:{quote(KEY, safe='')}@127.0.0.1:1"]},
    ],
)
def test_refusals_do_not_show_the_key(
    kwargs: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r".") as refusal:
        make_env("turngym/WebShop-v0", kwargs)
    texts = [str(refusal.value)]
    for words in (["rollout", "random", "WebShop", "--env-kwargs"], ["train", "WebShop", "--env.kwargs"]):
        for value in (json.dumps(kwargs), json.dumps(kwargs)[:-1], str(next(iter(kwargs.values())))):
            assert main([*words, value]) == 2
        told = capsys.readouterr()
        assert told.err.count("\n") == 3 and "Traceback" not in told.err
        texts += [told.out, told.err]
    assert not [text for text in texts if "k3y" in text]


class Vault(TextEnv):
    """Opens with the secret of its address, and tells it when it fails."""

    _rules = "Say anything."
    reward_range = (0.0, 1.0)

    def __init__(self, *, address: str, options: dict[str, Any] | None = None, split: Split = "train") -> None:
        super().__init__(split=split)
        self.seen = (address, options)

    def _begin(self, split: Split, index: int) -> None:
        self.index = index

    def _observe(self, feedback: str) -> str:
        return "A vault."

    def _play(self, action: str) -> tuple[float, bool, str]:
        if self.index:
            raise RuntimeError(f"{self.seen[0]} says that the password is wrong: hunter22")
        return 0.0, True, ""

    def sample_action(self, rng: Any) -> str:
        return "open"

    @property
    def _success(self) -> bool:
        return False


def test_games_of_others_get_their_secrets_and_leave_no_trace(own_code: Path) -> None:
    register("test/Vault-v0", Vault, max_turns=3)
    whole = "https://me:hunter22@vault/?token=t0ken"
    kwargs = {"address": whole, "options": {"mirrors": [whole]}}
    env: Any = make_env("test/Vault-v0", kwargs).unwrapped
    assert env.seen == (whole, {"mirrors": [whole]})
    instances = [Instance(split="test", index=index, seed=0) for index in range(2)]
    episodes = collect_episodes(RandomAgent(), "test/Vault-v0", instances, env_kwargs=kwargs)
    assert [episode.status for episode in episodes] == ["completed", "error_environment"]
    write_episodes(own_code / "episodes.jsonl", episodes)
    text = (own_code / "episodes.jsonl").read_text()
    assert "hunter22" not in text and "t0ken" not in text and "the password is wrong" in text
    replayed = Episode.from_json(text.splitlines()[0])
    assert collect_episodes(RandomAgent(), "test/Vault-v0", instances[:1], env_kwargs=replayed.env_kwargs)[0].turns
    toml = write_toml(parse_toml(f"[env]\nkwargs = {{address = {json.dumps(whole)}}}", source=""))
    assert "hunter22" not in toml and "t0ken" not in toml and "https://vault/?token=***" in toml
    assert EnvConfig(kwargs=kwargs).kwargs["address"] == "https://vault/?token=***"
    assert "hunter22" not in repr(CurriculumConfig(levels=[{"address": whole}]))


def test_what_gymnasium_says_of_arguments_is_cleaned(own_code: Path) -> None:
    register("test/Vault-v0", Vault, max_turns=3)
    with pytest.raises(TypeError, match="https://vault") as refusal:
        make_env("test/Vault-v0", {"address": "https://me:hunter22@vault", "door": 3})
    assert "hunter22" not in str(refusal.value)
