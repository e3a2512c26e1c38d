"""How fast episodes are played: the kept ragged cache against reading the whole history again in every turn.

Three loops play the same episodes greedily with the same weights and must say the same texts:

* kept cache: `collect_episodes` with `LanguageModelAgent`, which reads every token once;
* generate, batched: Hugging Face's `generate` on the whole history of all episodes in every turn, padded on the left;
* generate, one at a time: the same without a batch.

The model is the built-in one, cloned from the oracle for a few steps so that its replies are actions of the game.
Run `python -m turngym.benchmarks.throughput`; it prints the table and writes it to `benchmarks/results/throughput.md`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from turngym.agents.base import Agent, Reply
from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import DemonstrationAgent, OracleAgent
from turngym.benchmarks import night_watch
from turngym.benchmarks.page import kept
from turngym.envs.core import TextEnv
from turngym.trainers.config import EnvConfig, TrainConfig, WarmStartConfig
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.warm_start.cloning import scripted_play
from turngym.trainers.warm_start.course import cloning_optimizers, cloning_step

ENVIRONMENTS = ("turngym/FrozenLake-v0", night_watch.ENV_ID)
MAX_REPLY_TOKENS = 8


@dataclass(frozen=True)
class Options:
    """Measure how fast episodes are played."""

    episodes: int = 128
    """Episodes of every loop."""
    slots: int = 64
    """Episodes played at once, in the loops that play many."""
    cloning_steps: int = 150
    """How long the model imitates the oracle before it is measured."""
    repeats: int = 3
    """How often every loop is measured; the best time counts, as whatever else the machine does only costs time."""
    threads: int = 1
    """Threads of torch."""
    out: Path = Path("benchmarks/results/throughput.md")
    """The file to write."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One loop on one environment."""

    env_id: str
    """What was played."""
    loop: str
    """How it was played."""
    stream_tokens: float
    """Mean length of an episode's stream."""
    agent_tokens: int
    """Sampled tokens of all episodes."""
    episodes: int
    """How many episodes."""
    seconds: float
    """The best of all repeats: processor seconds of all threads, or elapsed seconds on an accelerator."""


class RereadingAgent:
    """Plays greedily by `generate`, which reads the whole history again in every turn; the usual way to do it."""

    policy_version = 0

    def __init__(self, model: LanguageModel, max_reply_tokens: int) -> None:
        self._model = model
        self._max_reply_tokens = max_reply_tokens
        self._streams: dict[int, list[int]] = {}

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        """Open a conversation."""
        self._streams[slot] = self._model.chat.opening(env.instructions, observation)

    def observe(self, slot: int, observation: str) -> None:
        """Append the environment's answer."""
        stream = self._streams[slot]
        stream += self._model.chat.continuation(observation, closed=stream[-1] in self._model.chat.stop_ids)

    def finish(self, slot: int) -> list[int]:
        """Close the conversation and return its ids."""
        return self._streams.pop(slot)

    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Generate a reply to every history."""
        streams = [self._streams[slot] for slot in slots]
        width = max(map(len, streams))
        pad = self._model.tokenizer.pad_token_id
        ids_BT = torch.tensor([[pad] * (width - len(stream)) + stream for stream in streams])
        mask_BT = torch.tensor([[0] * (width - len(stream)) + [1] * len(stream) for stream in streams])
        stops = self._model.chat.stop_ids
        generated_BT = self._model.model.generate(
            ids_BT.to(self._model.device), attention_mask=mask_BT.to(self._model.device), do_sample=False,
            max_new_tokens=self._max_reply_tokens, eos_token_id=list(stops), pad_token_id=pad,
        )  # fmt: skip
        return [self._append(slot, row) for slot, row in zip(slots, generated_BT[:, width:].tolist(), strict=True)]

    def _append(self, slot: int, row: list[int]) -> Reply:
        """Append what was generated up to its stop token; padding follows."""
        chat, stream = self._model.chat, self._streams[slot]
        end = next((at for at, token in enumerate(row, start=1) if token in chat.stop_ids), len(row))
        start = len(stream)
        stream += row[:end]
        return Reply(text=chat.text(row[:end]), span=(start, len(stream)))


def prepare_model(env_id: str, cloning_steps: int) -> LanguageModel:
    """Build the built-in model for an environment and have it imitate the oracle for a few steps."""
    played = collect_episodes(OracleAgent(), env_id, instance_range("train", 200), slots=1)
    texts = (message["content"] for episode in played for message in episode.messages())
    tokenizer = train_tokenizer(texts)
    model = LanguageModel(build_decoder(tokenizer), tokenizer)
    config = TrainConfig(env=EnvConfig(id=env_id), warm_start=WarmStartConfig(batch_size=16))
    optimizers = cloning_optimizers(model.learned, config.warm_start)
    rng = np.random.default_rng(config.run.seed)
    rollouts = Rollouts.of(config)
    for _ in range(cloning_steps):
        cloning_step(
            model,
            optimizers,
            scripted_play(model, rollouts, rng, config.warm_start.batch_size, DemonstrationAgent(0.0)),
        )
    model.model.eval()
    return model


def measure(env_id: str, model: LanguageModel, options: Options) -> list[Measurement]:
    """Play the same episodes with every loop.

    Raises:
        RuntimeError: Two loops did not say the same.
    """
    kept = LanguageModelAgent(model, greedy=True, slots=options.slots, max_reply_tokens=MAX_REPLY_TOKENS)
    rereading = RereadingAgent(model, MAX_REPLY_TOKENS)
    loops: list[tuple[str, Agent, int]] = [
        ("kept cache", kept, options.slots),
        ("generate, batched", rereading, options.slots),
        ("generate, one at a time", rereading, 1),
    ]
    played: list[list[Episode]] = []
    measurements = []
    for name, agent, slots in loops:
        play(env_id, agent, min(4, options.episodes), slots)  # memory and first-call costs are not what is measured
        runs = [timed_play(env_id, agent, options.episodes, slots, model.device) for _ in range(options.repeats)]
        episodes = runs[0][0]
        played.append(episodes)
        if texts(episodes) != texts(played[0]):
            raise RuntimeError(f"{env_id}: {name!r} and {loops[0][0]!r} do not say the same")
        tokens = sum(len(episode.token_ids) for episode in episodes)
        sampled = sum(episode.num_sampled for episode in episodes)
        seconds = min(seconds for _, seconds in runs)
        measurements.append(Measurement(env_id, name, tokens / len(episodes), sampled, len(episodes), seconds))
    return measurements


def play(env_id: str, agent: Agent, episodes: int, slots: int) -> list[Episode]:
    """Play the first validation instances."""
    return collect_episodes(agent, env_id, instance_range("validation", episodes), slots=slots)


def timed_play(
    env_id: str, agent: Agent, episodes: int, slots: int, device: torch.device
) -> tuple[list[Episode], float]:
    """Play, and return with the episodes how long it took, seconds."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    started = clock()
    played = play(env_id, agent, episodes, slots)
    return played, clock() - started


def texts(episodes: Sequence[Episode]) -> list[list[str]]:
    """Return what the agent said."""
    return [[turn.action for turn in episode.turns] for episode in episodes]


def table(measurements: Sequence[Measurement]) -> str:
    """Return the measurements as Markdown, each against batched `generate` on the same environment."""
    lines = [
        "| environment | tokens of an episode | loop | agent tokens/s | episodes/s | against batched generate |",
        "|---|---|---|---|---|---|",
    ]
    for one in measurements:
        base = next(m for m in measurements if (m.env_id, m.loop) == (one.env_id, "generate, batched"))
        name = one.env_id.partition("/")[2]
        lines.append(
            f"| {name} | {one.stream_tokens:.0f} | {one.loop} | {one.agent_tokens / one.seconds:,.0f} | "
            f"{one.episodes / one.seconds:,.1f} | {base.seconds / one.seconds:.2f}x |"
        )
    return "\n".join(lines)


def report(measurements: Sequence[Measurement], options: Options, device: torch.device) -> str:
    """Return the page: the table, and what it was measured on."""
    seconds = "processor second" if device.type == "cpu" else "second"
    return (
        "# Throughput\n\n"
        f"{options.episodes} greedy episodes, {options.slots} at once, best of {options.repeats} runs, per {seconds}; "
        f"the texts of all loops are identical.\nDevice {device.type}, {platform.machine()}, {options.threads} "
        f"thread(s), torch {torch.__version__}, float32, the built-in model.\n"
        "Command: `python -m turngym.benchmarks.throughput`\n\n"
        f"{table(measurements)}\n"
    )


def main(options: Options) -> str:
    """Measure everything, write the page and return it."""
    torch.set_num_threads(options.threads)
    night_watch.register()
    measurements = []
    device = torch.device("cpu")
    for env_id in ENVIRONMENTS:
        model = prepare_model(env_id, options.cloning_steps)
        device = model.device
        measurements += measure(env_id, model, options)
    return kept(report(measurements, options, device), options.out)


if __name__ == "__main__":
    print(main(tyro.cli(Options)))
