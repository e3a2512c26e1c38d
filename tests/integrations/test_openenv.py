"""The games behind a real OpenEnv server, played by OpenEnv's own client, in the environment that its package is in."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integrations.others import environment, interpreter, needs

from turngym.cli import main
from turngym.envs import make_env

PYTHON = interpreter("openenv")
pytestmark = needs("openenv")
SIZE = {"size": 3}
CLIENT = """
import json, sys
from openenv.core.generic_client import GenericEnvClient

url, games = sys.argv[1], json.loads(sys.argv[2])
sessions = [GenericEnvClient(base_url=url).sync() for _ in games]
told = [[] for _ in games]

def keep(place, result):
    told[place].append([result.observation, result.reward, result.done])

for session in sessions:
    session.connect()
for place, (session, game) in enumerate(zip(sessions, games)):
    keep(place, session.reset(split=game["split"], index=game["index"], seed=game["seed"]))
for turn in range(max(len(game["actions"]) for game in games)):  # in turns, so that sessions could mix
    for place, (session, game) in enumerate(zip(sessions, games)):
        if turn < len(game["actions"]):
            keep(place, session.step({"text": game["actions"][turn]}))
states = [session.state() for session in sessions]
for session in sessions:
    session.close()
print(json.dumps([told, states]))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server of the command line."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", "FrozenLake", "--env-kwargs", json.dumps(SIZE), "--port", str(port)]
    process = subprocess.Popen([PYTHON, "-m", "turngym", *words], env=environment(), stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            ask(f"{url}/health")
            break
        except OSError:
            time.sleep(0.1)
    yield url
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert said.startswith(f"FrozenLake at {url} (Ctrl-C ends it)")


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        return json.load(answer)


def played(split: str, index: int, seed: int, wrong: int = 0) -> tuple[dict[str, Any], list[Any]]:
    """Play an instance here, by the oracle after some unusable replies; return what a client has to say and sees."""
    env = make_env("turngym/FrozenLake-v0", SIZE)
    inside: Any = env.unwrapped
    text, info = env.reset(seed=seed, options={"split": split, "index": index})
    actions: list[str] = []
    seen: list[Any] = [[text, None, False, info["success"]]]
    over = False
    while not over:
        action = "nowhere" if len(actions) < wrong else inside.oracle_action()
        text, reward, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        actions.append(action)
        seen.append([text, reward, over, info["success"]])
    return {"split": split, "index": index, "seed": seed, "actions": actions}, seen


def test_sessions_are_played_as_in_this_process(server: str) -> None:
    games = [played("train", 5, 1), played("test", 5, 2, wrong=2), played("validation", 9, 3), played("train", 5, 1)]
    said = json.dumps([game for game, _ in games])
    done = subprocess.run([PYTHON, "-c", CLIENT, server, said], env=environment(), capture_output=True, text=True,
                          check=True)  # fmt: skip
    told, states = json.loads(done.stdout)
    for (game, seen), answers, state in zip(games, told, states, strict=True):
        assert [[answer["text"], reward, over, answer["success"]] for answer, reward, over in answers] == seen
        assert "Move" in answers[0][0]["instructions"] or answers[0][0]["instructions"]
        assert [answer["valid"] for answer, _, _ in answers[1:]] == [act != "nowhere" for act in game["actions"]]
        assert (state["split"], state["index"], state["step_count"]) == (game["split"], game["index"], len(seen) - 1)
    assert told[0] == told[3] and told[0][-1][0]["success"], "the same instance and seed, in two sessions"


def test_instances_are_tasks(server: str) -> None:
    game = f"{server}/FrozenLake"
    assert ask(f"{server}/list_environments") == ["FrozenLake"]
    assert [split["name"] for split in ask(f"{game}/splits")] == ["train", "validation", "test"]
    assert ask(f"{game}/num_tasks", {"split": "test"}) == {"num_tasks": 2**30}
    assert ask(f"{game}/task", {"split": "test", "index": 7})["task"] == {"id": "test-7", "split": "test", "index": 7}
    listed = ask(f"{game}/task_range", {"split": "train", "start": 4, "stop": 6})["tasks"]
    assert [task["index"] for task in listed] == [4, 5] and len(
        ask(f"{game}/tasks", {"split": "train"})["tasks"]
    ) == 100
    for body in ({"split": "tests", "index": 0}, {"split": "test", "index": 2**30}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"{game}/task", body)
        with refused.value as answer:
            assert answer.code == 400


def test_the_server_passes_the_validation_of_openenv(server: str) -> None:
    command = [str(PYTHON.parent / "openenv"), "validate", "--url", server, "--json", "--timeout", "30"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["passed"] and report["summary"]["passed_count"] == report["summary"]["total_count"] >= 6


def test_it_is_asked_for_where_it_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    if "openenv" in sys.modules:
        pytest.skip("openenv is installed here")
    assert main(["serve", "FrozenLake"]) == 2
    assert "serve needs the package openenv, version 0.10, and openenv is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [(["--port", "0"], "--port takes 1 to 65535"),
                                             (["--sessions", "0"], "--sessions takes at least 1")])  # fmt: skip
def test_numbers_out_of_range_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "FrozenLake", *words]) == 2
    assert said in capsys.readouterr().err
