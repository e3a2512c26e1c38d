"""The games as environments of RAGEN: played alone, and by RAGEN's own managers where its sources are."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.agents.conftest import MakeTokenizer, qwen_tokenizer  # noqa: F401 - a fixture
from tests.integrations.others import environment, interpreter, needs

from turngym.agents import Instance, OracleAgent, collect_episodes
from turngym.agents.episode import Episode
from turngym.integrations.ragen import GameConfig, GameEnv, rules

LAKE = GameConfig(game="FrozenLake", game_kwargs={"size": 3})
SOURCES = os.environ.get("TURNGYM_RAGEN_SOURCES", "")
"""The root of a checkout of RAGEN, for which gym, gym-sokoban and setuptools<81 are needed beside verl."""
MANAGED = """
import json, sys
import numpy as np
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from turngym.integrations.ragen import register, rules
register()
from ragen.llm_agent.ctx_manager import ContextManager
from ragen.llm_agent.es_manager import EnvStateManager
from verl import DataProto

folder, moves = sys.argv[1], json.loads(sys.argv[2])
side = {"env_groups": 2, "group_size": 3, "env_configs": {"tags": ["Lake"], "n_groups": [2]}}
config = OmegaConf.create({
    "seed": {"train": 7, "val": 3}, "es_manager": {"format_penalty": -0.1, "train": side, "val": side},
    "custom_envs": {"Lake": {
        "env_type": "turngym", "max_actions_per_traj": 10, "env_instruction": rules("FrozenLake", size=3),
        "max_tokens": 100, "env_config": {"game": "FrozenLake", "game_kwargs": {"size": 3}}}},
    "agent_proxy": {"action_sep": "||", "enable_think": True, "max_actions_per_turn": 1, "use_turn_scores": False,
                    "reward_normalization": {"grouping": "state", "method": "identity"}},
    "actor_rollout_ref": {"rollout": {"response_length": 100}}, "enable_response_mask": True})
tokenizer = AutoTokenizer.from_pretrained(folder)
managers = EnvStateManager(config, "train"), ContextManager(config, tokenizer, mode="train")
waiting, turn = managers[0].reset(), 0
starts = [cache["history"][0]["state"] for cache in waiting]
while waiting:
    prompts = managers[1].get_lm_inputs(waiting, prepare_for_update=False)
    texts = tokenizer.batch_decode(prompts.batch["input_ids"])
    said = [f"Hm.</think><answer>{moves[cache['group_id']][turn]}</answer>" for cache in waiting]
    answers = DataProto(non_tensor_batch={"env_ids": prompts.non_tensor_batch["env_ids"],
                                          "response_texts": np.array(said, dtype=object)})
    waiting, turn = managers[0].step(managers[1].get_env_inputs(answers)), turn + 1
ended = managers[0].get_rollout_states()
print(json.dumps({"starts": starts, "prompt": texts[0], "metrics": [one["metrics"] for one in ended],
                  "rewards": [[turn["reward"] for turn in one["history"][:-1]] for one in ended]}, default=float))
managers[0].close()
"""


def shown(split: str, *indices: int) -> list[Episode]:
    asked = [Instance(split=split, index=index, seed=index) for index in indices]
    return collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", asked, env_kwargs=LAKE.game_kwargs)


@pytest.mark.parametrize(("mode", "split"), [("train", "train"), ("val", "validation"), ("test", "test")])
def test_a_seed_is_an_instance(mode: str, split: str) -> None:
    env = GameEnv(LAKE)
    for episode in shown(split, 4, 9):
        assert env.reset(seed=episode.index, mode=mode) == env.render() == episode.turns[0].observation
        seen = [env.step(turn.action) for turn in episode.turns]
        assert [observation for observation, *_ in seen][-1] == episode.final_observation == env.render()
        assert [reward for _, reward, *_ in seen] == [turn.reward for turn in episode.turns]
        assert [done for _, _, done, _ in seen] == [False] * (len(seen) - 1) + [True]
        assert seen[-1][3] == {"action_is_effective": True, "action_is_valid": True, "success": True}
    env.close()


def test_what_ragen_counts() -> None:
    env = GameEnv(LAKE)
    env.reset(seed=0)
    assert env.step("nowhere")[3]["action_is_valid"] is False
    env.close()


def test_rules_leave_the_form_of_a_reply_to_ragen() -> None:
    text = rules("FrozenLake", size=3)
    assert "3 rows" in text and "Reply with" not in text and "turns" not in text


@needs("verl")
@pytest.mark.skipif(not SOURCES, reason="RAGEN has no release: TURNGYM_RAGEN_SOURCES names a checkout of it")
def test_its_managers_play(qwen_tokenizer: MakeTokenizer, tmp_path: Path) -> None:  # noqa: F811
    qwen_tokenizer().save_pretrained(tmp_path / "qwen")  # whose frame RAGEN knows by the name
    played = shown("train", 7, 8)
    moves = [[turn.action for turn in one.turns] for one in played]
    command = [str(interpreter("verl")), "-W", "ignore", "-c", MANAGED, str(tmp_path / "qwen"), json.dumps(moves)]
    done = subprocess.run(command, env=environment(Path(SOURCES), HF_HUB_OFFLINE="1"), capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    first = [one.turns[0].observation for one in played]
    assert told["starts"] == [first[0]] * 3 + [first[1]] * 3, "all of a group play one instance"
    assert told["rewards"] == [[turn.reward for turn in played[group].turns] for group in (0, 0, 0, 1, 1, 1)]
    assert all(metrics["Lake/success"] == 1.0 and metrics["Lake/pass@3"] == 1.0 for metrics in told["metrics"])
    assert played[0].turns[-1].observation in told["prompt"] or played[1].turns[-1].observation in told["prompt"]
    assert rules("FrozenLake", size=3) in told["prompt"]
