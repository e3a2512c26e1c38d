"""The games in verifiers: its own evaluation command plays them against a server on this machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.agents.serving.conftest import Serve, _short_pauses, folder, serve  # noqa: F401 - fixtures
from tests.agents.serving.model_server import CHAT, Answer
from tests.integrations.games import ENDLESS, FAILS
from tests.integrations.others import ROOT, environment, interpreter, needs
from tests.trainers.conftest import _cloned, tiny  # noqa: F401 - fixtures
from tests.trainers.conftest import model as player  # noqa: F401 - a fixture

from turngym.agents import Instance, collect_episodes
from turngym.agents.api import ApiAgent, ApiSettings

COMMAND = interpreter("verifiers").parent / "vf-eval"
pytestmark = needs("verifiers")
SIZE = {"size": 3}


def evaluate(url: str, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the evaluation command as in the README of the package, with replies of four tokens."""
    command = [str(COMMAND), "turngym-verifiers", "--model", "tiny", "--client.base-url", f"{url}/v1",
               "--client.api-key-var", "NO_KEY", "--sampling.max-tokens", "4", "--sampling.temperature", "0",
               "--no-push", "--no-rich", "--output-dir", str(out), "--run.name", "played", *words]  # fmt: skip
    # Modules of games lie in `tests`; the home is where verifiers keeps its cache.
    variables = environment(ROOT, HOME=str(out), PRIME_API_KEY="", HF_HUB_OFFLINE="1")
    return subprocess.run(command, env=variables, cwd=out, capture_output=True, text=True, check=False)


def records(out: Path) -> list[dict[str, Any]]:
    """Return the episodes that were written, in the order of their tasks."""
    lines = (out / "played" / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted(map(json.loads, lines), key=lambda episode: episode["task"]["data"]["idx"])


def test_episodes_are_those_of_an_agent_here(serve: Serve, tmp_path: Path) -> None:  # noqa: F811
    server = serve()
    instances = [Instance(split="test", index=index, seed=0) for index in range(2, 8)]
    settings = ApiSettings(model="tiny", base_url=server.url, temperature=0.0, max_reply_tokens=4)
    with ApiAgent(settings) as agent:
        episodes = collect_episodes(agent, "turngym/FrozenLake-v0", instances, env_kwargs=SIZE)
    assert {episode.success for episode in episodes} == {True, False} and len({len(e.turns) for e in episodes}) > 1
    server.requests.clear()

    done = evaluate(server.url, tmp_path, "--env.taskset.game", "FrozenLake", "--env.taskset.game-kwargs",
                    json.dumps(SIZE), "--env.taskset.split", "test", "--env.taskset.first", "2",
                    "--env.taskset.num-examples", "6")  # fmt: skip
    assert done.returncode == 0, done.stderr
    played = records(tmp_path)
    assert [one["task"]["data"]["id"] for one in played] == [f"test-{index}" for index in range(2, 8)]
    for episode, record in zip(episodes, played, strict=True):
        (trace,) = record["traces"]
        assert record["ok"] and trace["ok"] and trace["agent"]["runtime"]["type"] == "subprocess"
        said = [{"role": node["message"]["role"], "content": node["message"]["content"]} for node in trace["nodes"]]
        assert [(one["role"], one["content"].strip()) for one in said] == [
            (one["role"], one["content"].strip()) for one in episode.messages()
        ]
        assert [node["sampled"] for node in trace["nodes"]] == [one["role"] == "assistant" for one in said]
        assert trace["rewards"] == {"episode_return": {"score": episode.total_reward, "weight": 1.0}}
        assert trace["metrics"] == {
            "success": float(episode.success), "turns": float(len(episode.turns)), "finished": 1.0,
            "valid_replies": sum(turn.valid for turn in episode.turns) / len(episode.turns),
        }  # fmt: skip
        assert trace["info"]["turn_rewards"] == [turn.reward for turn in episode.turns]
        assert (trace["info"]["split"], trace["info"]["index"]) == ("test", episode.index)
        assert trace["task"]["key"] == record["task"]["key"]
    assert server.count(CHAT) == sum(len(episode.turns) for episode in episodes)


def test_failures_are_errors_and_full_conversations_are_not(serve: Serve, tmp_path: Path) -> None:  # noqa: F811
    server = serve(context_length=1024)

    def go(path: str, body: dict[str, Any]) -> Answer:
        if path == CHAT and len(str(body["messages"])) > 8000:
            told = "This model's maximum context length is 1024 tokens; 2000 were asked for."
            return Answer(status=400, content={"error": {"message": told, "code": 400}})
        message = {"role": "assistant", "content": "<think>Stop?</think>\n\ngo"}
        return Answer(content={"id": "1", "object": "chat.completion", "created": 0, "model": "tiny",
                               "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})  # fmt: skip

    server.script = go
    (tmp_path / "trouble_game.py").write_text(
        "from turngym.envs import register\nfrom tests.integrations.games import TroubleEnv\n"
        "register('tests/Trouble-v0', TroubleEnv, max_turns=4)\n"
    )
    game = "trouble_game:tests/Trouble-v0"
    done = evaluate(server.url, tmp_path, "--env.taskset.game", game, "-n", "4", "--env.taskset.seed", "5",
                    "--select.exclude.idx", "2", "-r", "2")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[int, list[tuple[Any, Any]]] = {}
    for record in records(tmp_path):
        (trace,) = record["traces"]
        told.setdefault(record["task"]["data"]["index"], []).append((record, trace))
    assert {index: len(both) for index, both in told.items()} == {0: 2, FAILS: 2, ENDLESS: 2, 4: 2}
    for record, trace in told[0] + told[4]:
        assert record["ok"] and trace["metrics"]["success"] == 1.0 and trace["metrics"]["turns"] == 4.0
        assert trace["rewards"]["episode_return"]["score"] == 1.0 and trace["info"]["turn_rewards"] == [0.25] * 4
        assert trace["info"]["seed"] == 5
    for record, trace in told[FAILS]:
        assert not record["ok"] and trace["rewards"] == {} and trace["metrics"] == {}
        assert "RuntimeError: the board is broken" in trace["errors"][-1]["message"]
    for record, trace in told[ENDLESS]:
        assert record["ok"] and trace["metrics"]["finished"] == 0.0 and trace["info"]["turn_rewards"] == [0.25]


def test_what_cannot_be_played_is_told(tmp_path: Path) -> None:
    asked = [["--env.taskset.game", "FrozenLakee"], [],
             ["--env.taskset.game", "FrozenLake", "--env.taskset.game-kwargs", '{"sise": 3}']]  # fmt: skip
    program = """
import json, sys
from verifiers.v1.cli.eval.main import main
for words in json.loads(sys.argv[1]):
    try:
        main(["turngym-verifiers", "-n", "1", "--no-push", "--no-rich", *words])
    except (SystemExit, ValueError) as error:
        print("refused", error, file=sys.stderr)
"""
    done = subprocess.run([str(COMMAND.with_name("python")), "-c", program, json.dumps(asked)], cwd=tmp_path,
                          env=environment(HOME=str(tmp_path)), capture_output=True, text=True, check=True)  # fmt: skip
    told = " ".join(done.stderr.replace("│", " ").split())
    assert told.count("refused") == 3
    for sentence in ("there is no environment 'FrozenLakee'; did you mean 'FrozenLake'?",
                     "refused name a game: --env.taskset.game FrozenLake",
                     "FrozenLake takes no argument 'sise'; did you mean 'size'?"):  # fmt: skip
        assert sentence in told
