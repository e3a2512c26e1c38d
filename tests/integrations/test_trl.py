"""The games in TRL's own `GRPOTrainer`: what it trains on is what was sampled, and what it is paid is the game's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from turngym._errors import InputError
from turngym.agents.episode import Episode, Status
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.rollout import Instance, collect_episodes
from turngym.agents.scripted import OracleAgent
from turngym.cli import main
from turngym.envs import make_env
from turngym.integrations import trl as games

trl = pytest.importorskip("trl", reason="the games are tried in TRL: pip install 'trl>=1.16,<2'")

# What TRL says of its own: experimental hooks, and attributes that the next transformers will have under another name.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*experimental feature:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
]
LAKE = {"size": 3}
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    instances = [Instance(split="train", index=index, seed=index) for index in range(40)]
    played = collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", instances, env_kwargs=LAKE)
    return train_tokenizer((text for episode in played for text in episode.texts()), vocabulary_size=512)


@pytest.fixture
def trainer(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Make:
    """Make a trainer of a small random model."""

    def make(rollout: games.Rollout | None, *, steps: int = 2, model: Any = None, **others: Any) -> Any:
        settings = {"rollout_func": rollout, "reward_funcs": games.episode_return} if rollout else {}
        arguments = trl.GRPOConfig(
            output_dir=str(tmp_path / "trl"), max_steps=steps, per_device_train_batch_size=8, num_generations=4,
            beta=0.0, report_to=[], logging_steps=1, save_strategy="no", use_cpu=True, bf16=False, seed=1,
            gradient_checkpointing=False, disable_tqdm=True, **{"learning_rate": 1e-3, **others.pop("config", {})},
        )  # fmt: skip
        network = model or build_decoder(tokenizer, hidden_size=32, layers=2, heads=2, feedforward_size=64,
                                         context_length=1024)  # fmt: skip
        return trl.GRPOTrainer(model=network, processing_class=tokenizer, args=arguments,
                               train_dataset=games.dataset("FrozenLake", 16), **settings, **others)  # fmt: skip

    return make


class Watched(games.Rollout):
    """A rollout whose answers are kept."""

    def __init__(self, rollout: games.Rollout) -> None:
        super().__init__(rollout.env_id, rollout.env_kwargs, rollout._decoding, rollout.slots)
        self.calls: list[tuple[list[Any], dict[str, list[Any]], list[Episode]]] = []

    def __call__(self, prompts: Any, trainer: Any) -> dict[str, list[Any]]:
        output = super().__call__(prompts, trainer)
        self.calls.append((list(prompts), output, self.episodes))
        return output


def lake(**options: Any) -> Watched:
    return Watched(games.rollout("FrozenLake", env_kwargs=LAKE, max_reply_tokens=4, **options))


def test_groups_play_one_instance_with_chance_of_their_own(trainer: Make) -> None:
    rollout = lake()
    made = trainer(rollout)
    made.train()
    assert len(rollout.calls) == 2
    seeds = []
    for prompts, _, episodes in rollout.calls:
        assert [f"FrozenLake {one.split} {one.index}" for one in episodes] == prompts
        for begin in (0, 4):
            assert len({episode.index for episode in episodes[begin : begin + 4]}) == 1
        seeds += [episode.seed for episode in episodes]
    assert len(set(seeds)) == len(seeds) == 16
    paid = [sum(output["episode_return"]) / 8 for _, output, _ in rollout.calls]
    assert [line["reward"] for line in made.state.log_history if "reward" in line] == pytest.approx(paid)


def test_the_same_seed_plays_the_same(trainer: Make) -> None:
    one, other = lake(), lake()
    trainer(one).train()
    trainer(other).train()
    assert [output for _, output, _ in one.calls] == [output for _, output, _ in other.calls]


@pytest.mark.parametrize("thoughts", [None, 2])
def test_trl_scores_what_was_sampled(trainer: Make, thoughts: int | None) -> None:
    """Its own log-probabilities of its own padded batch are those of the sampler, wherever the mask is 1."""
    kwargs = LAKE | ({"reasoning": True} if thoughts else {})
    rollout = Watched(games.rollout("FrozenLake", env_kwargs=kwargs, max_reply_tokens=28 if thoughts else 4,
                                    max_thought_tokens=thoughts))  # fmt: skip
    made = trainer(rollout)
    made.model.eval()
    rows = [made.train_dataset[index] for index in (0, 0, 0, 0, 1, 1, 1, 1)]
    batch = made._generate_and_score_completions([dict(row) for row in rows])
    ((_, output, episodes),) = rollout.calls
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad():
        scored = made._get_per_token_logps_and_entropies(made.model, ids, seen, batch["completion_ids"].shape[1])[0]
    for row, episode in enumerate(episodes):
        told = [logprob for turn in episode.turns for logprob in turn.logprobs]
        mask = torch.tensor(output["env_mask"][row], dtype=torch.bool)
        assert int(mask.sum()) == episode.num_sampled == len(told) > 0
        torch.testing.assert_close(scored[row, : len(mask)][mask], torch.tensor(told), atol=1e-4, rtol=0.0)
        assert torch.equal(batch["tool_mask"][row, : len(mask)].bool(), mask)
        stream = output["prompt_ids"][row] + output["completion_ids"][row]
        assert stream[: len(episode.token_ids)] == episode.token_ids[: len(stream)]
    if thoughts:
        assert any(any(turn.forced) for episode in episodes for turn in episode.turns)


def test_a_game_that_is_over_is_not_clipped(trainer: Make) -> None:
    rollout = lake()
    made = trainer(rollout)
    made.train()
    cut = [episode.turns[-1].cut for _, _, episodes in rollout.calls for episode in episodes]
    assert any(cut), "some last replies end at their limit"
    clipped = [line["completions/clipped_ratio"] for line in made.state.log_history if "reward" in line]
    assert clipped == [0.0, 0.0], [one.status for _, _, episodes in rollout.calls for one in episodes]


def test_an_episode_without_room_is_clipped(tokenizer: PreTrainedTokenizerFast, trainer: Make) -> None:
    rollout = lake(context_length=80)
    made = trainer(rollout, steps=1)
    made.train()
    ((_, _, episodes),) = rollout.calls
    ends = tokenizer.eos_token_id, tokenizer.pad_token_id  # a random model says both
    full = [one.status is Status.TRUNCATED_LENGTH and one.token_ids[one.turns[-1].span[1] - 1] not in ends
            for one in episodes]  # fmt: skip
    assert made.state.log_history[0]["completions/clipped_ratio"] == pytest.approx(sum(full) / 8) and any(full)


def test_learning_moves_what_pays(trainer: Make) -> None:
    """Paid for even numbers among the tokens that were sampled, the model learns by TRL's loss to say them."""
    rollout = lake()

    def even(episode: Episode) -> float:
        said = [i for turn in episode.turns for part in turn.sampled() for i in episode.token_ids[slice(*part)]]
        return sum(i % 2 == 0 for i in said) / len(said)

    def paid(**_: Any) -> list[float]:
        return list(map(even, rollout.episodes))

    trainer(None, steps=15, rollout_func=rollout, reward_funcs=paid, config={"learning_rate": 3e-2}).train()
    shares = [sum(map(even, episodes)) / 8 for _, _, episodes in rollout.calls]
    assert shares[0] < 0.6 and sum(shares[-3:]) / 3 > 0.75, shares


def test_adapters_of_trl_play_and_learn(trainer: Make) -> None:
    peft = pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[lora]'")
    rollout = lake()
    made = trainer(rollout, peft_config=peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    before = {name: weight.detach().clone() for name, weight in made.model.named_parameters() if weight.requires_grad}
    made.train()
    assert before and all("lora" in name for name in before) and len(rollout.calls) == 2


def test_a_game_that_fails_is_left_out(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = lake()
    made = trainer(rollout, steps=1)

    def failing(*arguments: Any, **options: Any) -> list[Episode]:
        episodes = collect_episodes(*arguments, **options)
        episodes[0].status, episodes[0].turns = Status.ERROR_ENVIRONMENT, []
        episodes[5].status = Status.ERROR_ENVIRONMENT
        return episodes

    monkeypatch.setattr(games, "collect_episodes", failing)
    made.train()
    ((_, output, _),) = rollout.calls
    assert [number for number, reward in enumerate(output["episode_return"]) if reward is None] == [0, 5]
    assert sum(output["env_mask"][0]) == 0 and len(output["completion_ids"][0]) == 1


def test_what_cannot_be_played_is_a_sentence(trainer: Make) -> None:
    with pytest.raises(InputError, match="there is no environment 'FrozenLook'"):
        games.rollout("FrozenLook")
    with pytest.raises(InputError, match="FrozenLake takes no argument 'sizes'"):
        games.rollout("FrozenLake", env_kwargs={"sizes": 3})
    with pytest.raises(InputError, match="split must be"):
        games.dataset("FrozenLake", 2, split="tests")
    rollout = lake()
    made = trainer(rollout)
    for prompt in ("Countdown train 3", "FrozenLake train x", [{"role": "user", "content": "Hello"}]):
        with pytest.raises(InputError, match="is no instance of FrozenLake: use the data set of"):
            rollout([prompt], made)
    processes = SimpleNamespace(distributed_type=SimpleNamespace(name="FSDP"), process_index=0)
    sharded = SimpleNamespace(accelerator=processes, state=made.state, args=made.args)
    with pytest.raises(InputError, match="shared out by FSDP"):
        rollout(["FrozenLake train 1"], sharded)


# As a tool ------------------------------------------------------------------------------------------------------------


def test_the_tool_plays_the_game(tokenizer: PreTrainedTokenizerFast) -> None:
    kind = games.environment("FrozenLake", env_kwargs=LAKE)
    one, other, env = kind(), kind(), make_env("turngym/FrozenLake-v0", LAKE)
    first, _ = env.reset(seed=0, options={"split": "train", "index": 7})
    opening = one.reset(split="train", index=7, prompt="FrozenLake train 7")
    inside: Any = env.unwrapped
    assert opening == f"\n\n{inside.instructions}\n\n{first}" == other.reset(split="train", index=7)
    while True:
        action = inside.optimal_action() if hasattr(inside, "optimal_action") else "right"
        answer, _, terminated, truncated, _ = env.step(action)
        said = one.act(action)
        assert said.startswith(answer)
        if terminated or truncated:
            break
    assert said.endswith("The game is over.") and one.act("up") == "The game is over."
    assert other.get_reward() == 0.0 and one.get_reward() >= 0.0


def test_trl_takes_the_tool(trainer: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    """A trainer with a template that calls tools asks the environment for its reward, once per episode."""
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    calling = train_tokenizer(["right left up down <tool_call> </tool_call>"] * 3, vocabulary_size=300)
    calling.chat_template = template.read_text(encoding="utf-8")
    network = build_decoder(calling, hidden_size=32, layers=2, heads=2, feedforward_size=64, context_length=2048)
    kind = games.environment("FrozenLake", env_kwargs=LAKE)
    made = trl.GRPOTrainer(
        model=network, processing_class=calling, environment_factory=kind,
        train_dataset=games.dataset("FrozenLake", 8).map(
            lambda row: {"prompt": [{"role": "user", "content": "Play."}]}),
        args=trl.GRPOConfig(
            output_dir="unused", max_steps=1, per_device_train_batch_size=4, num_generations=2, beta=0.0, report_to=[],
            logging_steps=1, save_strategy="no", use_cpu=True, bf16=False, max_completion_length=8, disable_tqdm=True,
            gradient_checkpointing=False,
        ),
    )  # fmt: skip
    made.train()
    assert made.state.log_history[0]["rewards/ToolEnvironment/mean"] == 0.0


# Written episodes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [("json", "shown.jsonl"), ("parquet", "shown.parquet")])
def test_sft_reads_what_rollout_writes(
    kind: str, name: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of `turngym rollout` is a conversational data set: its `messages` are trained on as they are."""
    from datasets import load_dataset

    monkeypatch.chdir(tmp_path)
    assert main(["rollout", "oracle", "FrozenLake", "--episodes", "8", "--out", name]) == 0
    shown = load_dataset(kind, data_files=name, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(shown) == 8 and {message["role"] for message in shown[0]["messages"]} == {"system", "user", "assistant"}
    network = build_decoder(tokenizer, hidden_size=32, layers=2, heads=2, feedforward_size=64, context_length=1024)
    made = trl.SFTTrainer(
        model=network, processing_class=tokenizer, train_dataset=shown,
        args=trl.SFTConfig(output_dir="sft", max_steps=3, per_device_train_batch_size=4, learning_rate=1e-2,
                           report_to=[], logging_steps=1, save_strategy="no", use_cpu=True, bf16=False,
                           disable_tqdm=True, gradient_checkpointing=False),
    )  # fmt: skip
    made.train()
    losses = [line["loss"] for line in made.state.log_history if "loss" in line]
    assert len(losses) == 3 and losses[-1] < losses[0]
    text = tokenizer.decode(made.train_dataset[0]["input_ids"])
    said = [message["content"] for message in shown[0]["messages"] if message["role"] == "assistant"]
    assert all(f"<|assistant|>{words}<|end|>" in text for words in said) and said
