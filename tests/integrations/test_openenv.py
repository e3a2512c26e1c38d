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
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from tests.integrations.others import environment, interpreter, needs

from turngym.cli import main
from turngym.envs import make_env
from turngym.envs.finding import short_name

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


HOSTILE = "<script>parent.hacked = 1</script><b title='\"'>of the game</b>"
POSTERS = f'''
from turngym.envs import Drawing, register
from turngym.envs.frozen_lake import FrozenLakeEnv

class PosterEnv(FrozenLakeEnv):
    """A lake whose picture is a page that would like to run a script; it has none of a later turn."""
    def drawing(self):
        if self.turns_left < 4:
            raise RuntimeError("<i>no paint left")
        return Drawing(kind="html", source={HOSTILE!r}, words="A poster.")

register("tests/Poster-v0", PosterEnv, max_turns=4)
'''
VISITOR = """
import json, sys
from gradio_client import Client

visitor, shown = Client(sys.argv[1] + "/web/", verbose=False), []
for words in [[], *([text] for text in sys.argv[2:])]:
    shown.append(visitor.predict(*words, api_name="/step_fn" if words else "/reset_env")[0]["value"])
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server of the command line."""
    with serving("FrozenLake", "--env-kwargs", json.dumps(SIZE)) as url:
        yield url


@contextmanager
def serving(name: str, *further: str, folder: Path | None = None) -> Iterator[str]:
    """Serve a game, whose module may lie in a folder, and give the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words: list[str | Path] = [PYTHON, "-m", "turngym", "serve", name, *further, "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        words, env=environment(*filter(None, [folder])), stdout=subprocess.PIPE, text=True
    ) as process:
        for _ in range(600):
            assert process.poll() is None, "the server ended"
            try:
                ask(f"{url}/health")
                break
            except OSError:
                time.sleep(0.1)
        try:
            yield url
        finally:
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert said.startswith(f"{short_name(name.partition(':')[2] or name)} at {url} (Ctrl-C ends it)")


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


class Elements(HTMLParser):
    """The elements of a page with their attributes, those of its frames left out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep one."""
        self.found.append((tag, dict(attrs)))

    def the(self, tag: str) -> dict[str, str | None]:
        """Return the attributes of the only element of a kind."""
        (found,) = (attributes for name, attributes in self.found if name == tag)
        return found


def visited(url: str, *actions: str) -> list[str]:
    """Play on the page at /web, and return what it draws, after the reset and after every action."""
    done = subprocess.run([PYTHON, "-c", VISITOR, url, *actions], env=environment(), capture_output=True, text=True,
                          check=True)  # fmt: skip
    shown: list[str] = json.loads(done.stdout)
    return shown


def test_the_web_page_shows_the_lake_as_it_stands() -> None:
    with serving("FrozenLake", "--env-kwargs", json.dumps(SIZE), "--web") as url:
        before, *_, after = visited(url, "up", "left", "down", "right")
    (first, seen), (second, _) = ((Elements(page).the("img"), page) for page in (before, after))
    assert "Cross the frozen lake of 3 rows" in seen and str(first["alt"]).endswith("no moves yet.")
    assert str(first["alt"]).startswith("A lake of 3 rows and 3 columns") and second["alt"] != first["alt"]
    assert second["src"] != first["src"]
    kind, _, source = str(first["src"]).partition(",")
    assert kind == "data:image/svg+xml;charset=utf-8" and unquote(source).startswith("<svg ")


def test_a_page_that_a_game_draws_is_framed_without_any_right_and_text_alone_where_drawing_fails(
    tmp_path: Path,
) -> None:
    (tmp_path / "posters.py").write_text(POSTERS)
    with serving("posters:tests/Poster-v0", "--web", folder=tmp_path) as url:
        drawn, failed = visited(url, "nowhere")
    frame = Elements(drawn).the("iframe")
    assert (frame["sandbox"], frame["srcdoc"]) == ("", HOSTILE)
    assert {tag for tag, _ in Elements(drawn).found} == {"iframe", "details", "summary", "style", "pre"}
    assert failed.startswith("<p>No picture: RuntimeError: &lt;i&gt;no paint left, posters.py line ")
    assert "Around: " in failed and {tag for tag, _ in Elements(failed).found} == {"p", "style", "pre"}


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
