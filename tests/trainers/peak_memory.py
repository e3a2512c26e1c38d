"""Plays and learns in a process of its own and prints how much memory that took; `test_memory` compares estimates.

    python -m tests.trainers.peak_memory '{"style": "qwen2", "shape": {...}, "config": {...}}'

Where torchrun has started several processes, they do so together, and the first one prints the largest of their peaks.

Memory is the resident set of the process, less what it was before there was a model. The C library must give freed
memory back at once, so the caller sets `ENVIRONMENT`.
"""

from __future__ import annotations

import gc
import json
import math
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
import torch._dynamo  # which optimizers import when they take their first step
import torch.distributed.checkpoint.default_planner  # which is read, as the next one, when it is first used
import torch.distributed.fsdp
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from turngym.agents.episode import Episode
from turngym.agents.models.adapter import import_peft, new_adapter
from turngym.agents.models.language_model import LanguageModel, Origin
from turngym.agents.models.sharding import shard
from turngym.agents.models.small import train_tokenizer
from turngym.agents.rollout import Instance
from turngym.envs.core import TextEnv
from turngym.envs.splits import Split
from turngym.trainers import ranks
from turngym.trainers.batches import make_batch
from turngym.trainers.checkpoints.checkpoint import save_checkpoint
from turngym.trainers.checkpoints.models import save_model
from turngym.trainers.config import TrainConfig, with_overrides
from turngym.trainers.learner import Learner
from turngym.trainers.objectives import StepParams, find_objective
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.schedules import Moment
from turngym.trainers.torchrun import is_first
from turngym.trainers.warm_start.course import Course

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0",
               "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
"""Makes glibc map every larger tensor on its own and unmap it when it is freed."""
TALK = "test/Talk-v0"
OPENING, ANSWER = "Say anything; here is a game that goes on. " * 4, "You said something: go on and say more of it."


class TalkEnv(TextEnv):
    """Answers alike, whatever is said, until the context is full."""

    _rules = "Say anything."

    @property
    def instance_key(self) -> str:
        return f"talk {self.index}"

    def _begin(self, split: Split, index: int) -> None:
        self.index = index

    def _observe(self, feedback: str) -> str:
        return feedback or OPENING

    def _play(self, action: str) -> tuple[float, bool, str]:
        return 0.0, False, ANSWER

    @property
    def _success(self) -> bool:
        return False


def network_config(style: str, shape: Mapping[str, Any]) -> PreTrainedConfig:
    """Return the configuration of a network of some architecture."""
    return AutoConfig.for_model(style, bos_token_id=None, eos_token_id=1, pad_token_id=0, **shape)


def train_config(settings: Mapping[str, Mapping[str, Any]]) -> TrainConfig:
    """Return a configuration for a checkpoint, whose path is never read."""
    base: dict[str, dict[str, Any]] = {"env": {"id": TALK}, "model": {"path": "random"}, "run": {"device": "cpu"}}
    return with_overrides(TrainConfig(), {name: {**base.get(name, {}), **settings.get(name, {})}
                                          for name in {*base, *settings}})  # fmt: skip


def build(config: TrainConfig, architecture: PreTrainedConfig) -> LanguageModel:
    """Return a model with random weights, in the precisions of a configuration, with an adapter if one is to learn."""
    torch.manual_seed(0)
    network: Any = AutoModelForCausalLM.from_config(architecture).eval()
    if config.model.dtype == "bfloat16":
        network.to(torch.bfloat16)
    computes = {"bfloat16": torch.bfloat16}.get(config.model.compute_dtype)
    tokenizer = train_tokenizer([OPENING, ANSWER], vocabulary_size=320, show_instructions=True)
    if ranks.several():
        shard(network, computes)
    model = LanguageModel(network, tokenizer, decoding=config.decoding, compute_dtype=computes)
    if config.lora.rank:
        model.adapter = new_adapter(network, config.lora.settings, 0)
        model.origin = Origin(path="random", digest="")
    return model


class Meter:
    """Notes the peaks of phases.

    Attributes:
        peaks: The largest resident set in each, less that of the beginning, bytes.
    """

    def __init__(self) -> None:
        self.baseline = status("VmRSS")
        self.peaks: dict[str, int] = {}
        self.reset()

    def phase(self, name: str) -> None:
        """Note what the phase that ends here has taken, and begin the next one."""
        self.peaks[name] = max(self.peaks.get(name, 0), status("VmHWM") - self.baseline)
        self.reset()

    def reset(self) -> None:
        """Let the kernel note the largest resident set anew."""
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def status(name: str) -> int:
    """Return a size that the kernel tells about this process, bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def measure(config: TrainConfig, architecture: PreTrainedConfig) -> dict[str, float]:
    """Return the peaks of a warm start, if there is one, and of two steps of stage 2, and what episodes were like."""
    meter = Meter()
    model = build(config, architecture)
    meter.phase("model")
    instances = [Instance(split="train", index=i, seed=i) for i in range(config.learning.batch_size)]
    rollouts = Rollouts.of(config)
    if config.warm_start.enabled:
        shown = rollouts.play(rollouts.agent(model), instances)
        gc.collect()  # since the cache of an agent is part of a cycle
        clone(config, model, shown)
        meter.phase("warm start")
    reference, policy = model.freeze(), model.copy()
    policy.learned.requires_grad_(True)
    learner = Learner(policy, find_objective(config.objective.name), config.learning, seed=0)
    agent = rollouts.agent(policy, slots=min(rollouts.slots, math.ceil(config.learning.batch_size / ranks.size())))
    meter.phase("copies")
    episodes: list[Episode] = []
    for number in range(2):  # in the first there are no optimizer states yet
        played = instances if number else instances[:2]
        episodes = rollouts.play(agent, played)
        meter.phase("play")
        batch = make_batch(episodes, policy)
        learner.train_step(
            replace(batch, value_BK=torch.zeros_like(batch.reward_BK)), episodes, reference,
            StepParams(config=config.objective, beta=0.05),
            Moment(step=number, beta=0.05, temperature=1.0, learning_rate=1e-6),
        )  # fmt: skip
        meter.phase("learning")
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(ranks.once(lambda: folder)), 2, save_policy=partial(save_model, policy), extra={},
                        optimizer_state=learner.optimizer.state_dict())  # fmt: skip
    meter.phase("checkpoint")
    tokens = sum(len(episode.token_ids) for episode in episodes)
    peaks = {name: max(of_each) for name, of_each in zip(meter.peaks, zip(*ranks.exchange(
        lambda: list(meter.peaks.values())), strict=True), strict=True)}  # fmt: skip
    return {"share": sum(episode.num_sampled for episode in episodes) / tokens, "tokens": tokens,
            "baseline": meter.baseline, "peak": max(peaks.values()), **peaks}  # fmt: skip


def clone(config: TrainConfig, model: LanguageModel, episodes: list[Episode]) -> None:
    """Take two steps of a warm start, the second from its turning point on."""
    warm_start = replace(config.warm_start, course_steps=2, flawless_share=0.5, learning_rate=1e-9)
    course = Course(model, warm_start, lambda _: episodes, np.random.default_rng(0), config.learning)
    for _ in range(2):
        course.take_step()


def main(text: str) -> None:
    """Print what one measurement found, as JSON."""
    spec = json.loads(text)
    if "lora" in spec["config"]:
        import_peft()
    torch.set_num_threads(1)
    gym.register(TALK, entry_point=cast("Any", TalkEnv), max_episode_steps=1000)

    def measured(_: object = None) -> dict[str, float]:
        return measure(train_config(spec["config"]), network_config(spec["style"], spec["shape"]))

    with ranks.joined():
        if not is_first():
            ranks.following(measured)
            return
        with ranks.leading("measure"):
            found = measured()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
