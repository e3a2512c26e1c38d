"""What a run that goes on has of the one that was stopped: on a processor everything, on a card all but last bits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.trainers.harness import run, with_learning
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.agents.models import language_model
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.placement import AdapterSettings, Placement
from turngym.trainers.batches import make_batch
from turngym.trainers.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from turngym.trainers.config import TrainConfig
from turngym.trainers.live.tuning import Tuning
from turngym.trainers.loop import Loop
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import TrainingRun
from turngym.trainers.run_checkpoints import RunCheckpoints
from turngym.trainers.run_files import CHECKPOINTS, store_name

Load = Callable[[], LanguageModel]
no_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA card")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=no_card)])
variants = pytest.mark.parametrize(
    ("algorithm", "rank"), [("astarpo_turn", 0), ("ppo", 0), ("astarpo", 4)], ids=["values", "critic", "adapter"]
)


@pytest.fixture
def load(model: LanguageModel, device: str, rank: int, tmp_path: Path) -> Load:
    """Load the base onto the device: all of it learns, or an adapter beside it."""
    folder = tmp_path / "given"
    model.save_pretrained(folder)

    def loaded() -> LanguageModel:
        base = LanguageModel.from_pretrained(folder, placement=Placement(device=device), learns=not rank)
        if not rank:
            return base
        pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[lora]'")
        return base.with_adapter(AdapterSettings(rank=rank, alpha=8.0, targets=()), seed=0, folder=folder)

    return loaded


def begun(base: LanguageModel, config: TrainConfig, folder: Path) -> Loop:
    """Return a run of a folder: after its stage 1, or as its last checkpoint holds it."""
    return TrainingRun(base, config, folder, Metrics(folder / "metrics.jsonl"), SilentProgress()).loop


def stopped_and_resumed(load: Load, config: TrainConfig, folder: Path) -> tuple[Loop, Loop, Sequence[Episode]]:
    """Return a run after two steps, the one that goes on from its checkpoint, and the episodes of the second step.

    The value store is left in the checkpoint alone.
    """
    folder.mkdir()
    stopped = begun(load(), config, folder)
    _, played = run(stopped, folder, steps=2)
    RunCheckpoints(folder / CHECKPOINTS, stopped, Tuning(config, folder, lambda note: None)).save()
    if config.needs_stage_one:
        (folder / store_name(1)).unlink()
    return stopped, begun(load(), config, folder), played[-1]


def numbers_in(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors and all else in nested containers, by where they are."""
    if isinstance(tree, dict | list | tuple):
        for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from numbers_in(value, f"{place}/{name}")
    else:
        yield place, tree


def assert_same_bits(mine: Any, theirs: Any) -> None:
    """Assert that nested containers hold the same, tensors with the same bits on the same device."""
    found, expected = dict(numbers_in(mine)), dict(numbers_in(theirs))
    assert found.keys() == expected.keys()
    for place, value in found.items():
        other = expected[place]
        if isinstance(value, Tensor):
            assert (value.dtype, value.device, value.shape) == (other.dtype, other.device, other.shape), place
            flat, others = (each.detach().cpu().contiguous().view(-1).view(torch.uint8) for each in (value, other))
            assert torch.equal(flat, others), place
        else:
            assert value == other, place


def state_of(loop: Loop) -> dict[str, Any]:
    """Return everything that a step begins with."""
    network = {name: weight for name, weight in loop.learner.policy.model.state_dict().items() if "lora_" not in name}
    learner, parts = loop.learner, (loop.schedule, loop.prompts, loop.successes, loop.baseline, loop.monitors)
    return {
        "policy": learner.policy.learned.state_dict(), "network": network,
        "critic": learner.critic.state_dict() if learner.critic else {},
        "optimizer": learner.optimizer.state_dict(), "reference": loop.references.current.learned.state_dict(),
        "others": [part.state_dict() for part in parts if part is not None], "moment": str(loop.schedule.moment()),
    }  # fmt: skip


def random_state(device: str) -> bytes:
    """Return the state of torch's own generator on a device."""
    state = torch.cuda.get_rng_state() if device == "cuda" else torch.get_rng_state()
    return bytes(state.numpy().tobytes())


@devices
@variants
def test_everything_is_restored_to_the_bit(
    load: Load, device: str, algorithm: str, tiny: TrainConfig, tmp_path: Path
) -> None:
    config = with_learning(tiny, algorithm, steps=4)
    stopped, resumed, _ = stopped_and_resumed(load, config, tmp_path / "run")
    assert next(resumed.learner.policy.learned.parameters()).device.type == device
    assert resumed.learner.optimizer.state_dict()["state"], "it has moved"
    assert_same_bits(state_of(resumed), state_of(stopped))
    last = latest_checkpoint(tmp_path / "run" / CHECKPOINTS)
    assert last is not None and load_checkpoint(last).step == 2
    if config.needs_stage_one:
        assert (tmp_path / "run" / store_name(1)).read_bytes() == (last / store_name(1)).read_bytes()


@devices
@variants
def test_the_next_step_begins_with_the_same_prompts_uniforms_tokens_and_values(
    load: Load, device: str, algorithm: str, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_learning(tiny, algorithm, steps=3)
    stopped, resumed, last = stopped_and_resumed(load, config, tmp_path / "run")
    loops = stopped, resumed
    # Of the same episodes the same tokens count, and are worth the same.
    batches = [make_batch(last, loop.learner.policy) for loop in loops]
    values = [loop.baseline.values(batch, last) if loop.baseline else None
              for loop, batch in zip(loops, batches, strict=True)]  # fmt: skip
    assert_same_bits(*([part.reward_BK, part.episode_N, part.old_logp_N, value]
                       for part, value in zip(batches, values, strict=True)))  # fmt: skip
    drawn: list[list[NDArray[np.float64]]] = [[], []]
    before = random_state(device)
    with monkeypatch.context() as patch:
        steps = []
        for loop, draws in zip(loops, drawn, strict=True):
            patch.setattr(language_model, "on_device", functools.partial(_recorded, draws))
            (numbers,), (played,) = run(loop, tmp_path)
            steps.append((numbers, played))
    assert random_state(device) == before, "nothing is drawn from a state that a checkpoint would have to keep"
    (numbers, shown), (more, again) = steps
    assert [(each.index, each.seed, each.split) for each in again] == [(e.index, e.seed, e.split) for e in shown]
    assert np.array_equal(drawn[0][0], drawn[1][0]) and len(drawn[0][0]) == len(shown), "of the first tokens"
    scheduled = ("step", "learning_rate", "beta", "rollbacks")
    assert [more.get(name) for name in scheduled] == [numbers.get(name) for name in scheduled]
    if device == "cpu":
        assert again == shown and _untimed(more) == _untimed(numbers)
        assert len(drawn[0]) == len(drawn[1]) and all(map(np.array_equal, *drawn))
        assert_same_bits(state_of(resumed), state_of(stopped))


def _recorded(draws: list[NDArray[np.float64]], numbers: NDArray[Any], device: torch.device) -> Tensor:
    draws.append(numbers.copy())
    return torch.from_numpy(numbers).to(device)


def _untimed(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numbers.items() if "seconds" not in name}
