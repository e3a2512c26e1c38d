"""The games in verl: the rows of a data set, and the agent loop on verl's own base class and tokens."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.agents.conftest import MakeTokenizer, qwen_tokenizer  # noqa: F401 - a fixture
from tests.integrations.others import environment, interpreter, needs

from turngym._errors import InputError
from turngym.agents import Instance, OracleAgent, collect_episodes
from turngym.agents.episode import Episode
from turngym.integrations.verl_rows import write_rows

SIZE = {"size": 3}
LOOP = """
import asyncio, json, sys
import hydra
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

folder, rows, replies, length = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
tokenizer = AutoTokenizer.from_pretrained(folder)

class Server:
    '''Says what it was told to; everything else is verl's.'''

    def __init__(self, said):
        self.said, self.asked = list(said), []

    async def generate(self, request_id, prompt_ids, sampling_params, **_):
        self.asked.append([request_id, list(prompt_ids)])
        ids = tokenizer.encode(self.said.pop(0), add_special_tokens=False) + [tokenizer.eos_token_id]
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), num_preempted=0)

async def play(row, said):
    server = Server(said)
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": {"prompt_length": 1024, "response_length": length}}})
    loop = hydra.utils.instantiate(
        {"_target_": "turngym.integrations.verl.GameLoop", "name": "turngym"}, trainer_config=DictConfigWrap(config),
        server_manager=server, tokenizer=tokenizer, processor=None, hf_model_type="qwen2", dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(OmegaConf.create({})), tools=ToolListWrap([]))
    output = await loop.run({"temperature": 1.0}, priority=0, raw_prompt=row["prompt"], **row)
    output.as_dict()
    told = output.model_dump() | {"asked": server.asked, "prompt": tokenizer.decode(output.prompt_ids)}
    told["response"] = tokenizer.decode(output.response_ids)
    told["sampled"] = tokenizer.decode([one for one, kept in zip(output.response_ids, output.response_mask) if kept])
    return told

async def play_all():
    return await asyncio.gather(*(play(row, said) for row, said in zip(rows, replies)))

print(json.dumps(asyncio.run(play_all())))
"""


def episodes(count: int, split: str = "train", first: int = 0) -> list[Episode]:
    asked = [Instance(split=split, index=index, seed=0) for index in range(first, first + count)]
    return collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", asked, env_kwargs=SIZE)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_name_instances(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, "frozenlake", 3, split="test", first=5, env_kwargs=SIZE)
    rows = rows_of(path)
    named = {"env": "turngym/FrozenLake-v0", "env_kwargs": '{"size": 3}', "split": "test"}
    assert [row["extra_info"] for row in rows] == [named | {"index": index} for index in (5, 6, 7)]
    assert rows[0]["prompt"] == [{"role": "user", "content": "FrozenLake test 5"}]
    assert {(row["data_source"], row["agent_name"]) for row in rows} == {("turngym/FrozenLake-v0", "turngym")}
    write_rows(path, "FrozenLake", 1)
    assert len(rows_of(path)) == 1, "a file that is there is replaced"
    with pytest.raises(InputError, match="takes no argument 'sise'"):
        write_rows(path, "FrozenLake", 1, env_kwargs={"sise": 3})
    assert len(rows_of(path)) == 1


@pytest.fixture
def folder(qwen_tokenizer: MakeTokenizer, tmp_path: Path) -> Path:  # noqa: F811
    """A tokenizer in Qwen's frame."""
    qwen_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def looped(folder: Path, rows: list[Any], replies: list[list[str]], length: int) -> list[dict[str, Any]]:
    command = [str(interpreter("verl")), "-W", "ignore", "-c", LOOP, str(folder), json.dumps(rows), json.dumps(replies)]
    done = subprocess.run([*command, str(length)], env=environment(HF_HUB_OFFLINE="1"), capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


@needs("verl")
def test_the_loop_trains_on_what_was_sampled(folder: Path, tmp_path: Path) -> None:
    played = [one for one in episodes(12) if len(one.turns) > 1][:3]
    write_rows(tmp_path / "rows.jsonl", "FrozenLake", 12, env_kwargs=SIZE)
    rows = [
        row for row in rows_of(tmp_path / "rows.jsonl") if row["extra_info"]["index"] in {one.index for one in played}
    ]
    replies = [["<think>Hm.</think>nowhere", *(turn.action for turn in one.turns)] for one in played]
    for episode, said, told in zip(played, replies, looped(folder, rows, replies, 2000), strict=True):
        frame = "<|im_start|>{}\n{}<|im_end|>\n".format
        start = "<|im_start|>assistant\n"
        assert (
            told["prompt"]
            == frame("system", episode.instructions) + frame("user", episode.turns[0].observation) + start
        )
        assert told["sampled"] == "".join(f"{reply}<|im_end|>" for reply in said)
        for turn in episode.turns[1:]:
            assert frame("user", turn.observation) + start in told["response"]
        assert "Invalid action: write one of" in told["response"], "of the reply that is no move"
        pairs = zip(told["response_ids"], told["response_mask"], told["response_logprobs"], strict=True)
        assert {(kept, logprob) for _, kept, logprob in pairs} == {(1, -0.5), (0, 0.0)}
        assert told["reward_score"] == episode.total_reward == 1.0
        assert told["extra_fields"]["turn_scores"] == [0.0, *(turn.reward for turn in episode.turns)]
        assert told["extra_fields"]["reward_extra_info"] == {"success": 1.0}
        assert len({request for request, _ in told["asked"]}) == 1 and len(told["asked"]) == len(said)
        whole = told["prompt_ids"] + told["response_ids"]
        assert all(whole[: len(ids)] == ids for _, ids in told["asked"]), "nothing is tokenized anew"


@needs("verl")
def test_the_loop_ends_where_there_is_no_room(folder: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", "FrozenLake", 1, env_kwargs=SIZE)
    (told,) = looped(folder, rows_of(tmp_path / "rows.jsonl"), [["nowhere"] * 10], 90)
    assert len(told["response_ids"]) == len(told["response_mask"]) == 90
    assert 0 < len(told["asked"]) < 10 and told["reward_score"] == 0.0
