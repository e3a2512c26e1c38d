"""How noisy the policy gradient of a base is with one baseline or another.

    python -m turngym.benchmarks.algorithms run           # makes the bases
    python -m turngym.benchmarks.gradient_noise

A constant baseline b leaves the mean of g = (R - b) * grad log pi(episode) as it is, and its variance is least at
b = E[R |s|^2] / E[|s|^2], s = grad log pi(episode) (Greensmith, Bartlett and Baxter, "Variance reduction techniques for
gradient estimates in reinforcement learning", JMLR 2004). Where failures hang on one improbable token their scores are
long, and this b is far below the mean return: nearer to 0, where failures count for nothing, as in imitation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
import tyro
from torch import Tensor

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.rollout import Instance
from turngym.benchmarks.algorithm_tasks import TASKS, base_config
from turngym.benchmarks.algorithms import base_folder
from turngym.benchmarks.algorithms_rows import RESULTS
from turngym.benchmarks.page import kept, table
from turngym.trainers.rollouts import Rollouts

FIRST_INSTANCE = 10_000
"""Of the training split: beyond those of stage 1."""
HEAD = """# Noise of the policy gradient

    python -m turngym.benchmarks.gradient_noise

Of the bases of the comparison (`algorithms.md`), before they learn: the squared length of grad log pi of failed
episodes over that of solved ones, the baseline with the least variance, and the variance of (R - b) grad log pi, one
episode of each instance, in units of that with b the mean return. Means over seeds, lowest to highest in brackets.
"""


@dataclass(frozen=True)
class Options:
    """Measure the noise of the gradient at the bases of the comparison."""

    folder: Path = Path("runs/algorithms")
    """Where bases are kept."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """On which tasks."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of which bases."""
    episodes: int = 256
    """Of each base."""
    out: Path = RESULTS / "gradient_noise.md"
    """The page to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What was measured at one base."""

    mean_return: float
    length_ratio: float
    """Mean of |s|^2 over failed episodes by that over solved ones."""
    best_baseline: float
    """E[R |s|^2] / E[|s|^2]."""
    at_zero: float
    """Variance with baseline 0 by that with the mean return."""
    at_best: float
    """Variance with the best baseline by that with the mean return."""


def measure(return_E: Tensor, solved_E: Tensor, scores: Iterable[Tensor]) -> Noise:
    """Measure the noise of a gradient.

    Args:
        return_E: Return of each episode, `[E]`.
        solved_E: Whether it was solved, bool, `[E]`.
        scores: The gradient of each episode's log-probability, `[P]`, in this order; read once.

    Raises:
        ValueError: All episodes were solved, or none.
    """
    if solved_E.all() or not solved_E.any():
        raise ValueError(f"of {len(solved_E)} episodes {int(solved_E.sum())} were solved: play more, or another base")
    squares, total_P, weighted_P = [], torch.zeros(()), torch.zeros(())
    for reward, score_P in zip(return_E, scores, strict=True):
        squares.append(score_P.square().sum())
        total_P, weighted_P = total_P + score_P, weighted_P + reward * score_P
    square_E = torch.stack(squares)
    count = len(return_E)

    def variance(baseline: float) -> float:
        sum_P = weighted_P - baseline * total_P
        of_squares = ((return_E - baseline).square() * square_E).sum()
        return float((of_squares - sum_P.square().sum() / count) / (count - 1))

    mean = float(return_E.mean())
    best = float((return_E * square_E).sum() / square_E.sum())
    return Noise(
        mean_return=mean,
        length_ratio=float(square_E[~solved_E].mean() / square_E[solved_E].mean()),
        best_baseline=best,
        at_zero=variance(0.0) / variance(mean),
        at_best=variance(best) / variance(mean),
    )


def measure_base(task: str, seed: int, options: Options) -> Noise:
    """Let a base play, and measure its gradient.

    Raises:
        ValueError: There is no base, or it solved all episodes or none.
    """
    config = base_config(TASKS[task], seed)
    torch.set_num_threads(config.run.threads)
    base = base_folder(options.folder, task, seed) / "base"
    if not base.is_dir():
        raise ValueError(f"there is no base {base}: run `python -m turngym.benchmarks.algorithms run` first")
    model = LanguageModel.from_pretrained(base)
    instances = [Instance(split="train", index=FIRST_INSTANCE + k, seed=k) for k in range(options.episodes)]
    rollouts = Rollouts.of(config)
    episodes = [episode for episode in rollouts.play(rollouts.agent(model), instances) if episode.num_sampled]
    solved_E = torch.tensor([episode.success for episode in episodes])
    return_E = torch.tensor([episode.total_reward for episode in episodes])
    return measure(return_E, solved_E, (score(model, episode) for episode in episodes))


def score(model: LanguageModel, episode: Episode) -> Tensor:
    """Return the gradient of the log-probability of what was sampled in an episode, `[P]`."""
    (batch,) = token_batches([episode], len(episode.token_ids), model.device)
    model.model.zero_grad()
    sampled_logprobs(model, batch).sum().backward()  # type: ignore[no-untyped-call]
    return torch.cat([part.grad.flatten() for part in model.model.parameters() if part.grad is not None])


def cell(values: Sequence[float]) -> str:
    """Return a mean with the lowest and the highest."""
    return f"{fmean(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def page(noises: dict[str, list[Noise]]) -> str:
    """Return the whole page, of the noises of each task by seed."""
    columns = ["task", "failed by solved, length^2", "mean return", "best baseline", "variance at 0", "at the best"]
    rows = [[task, *(cell([getattr(noise, name) for noise in of_seeds]) for name in
                     ("length_ratio", "mean_return", "best_baseline", "at_zero", "at_best"))]
            for task, of_seeds in noises.items()]  # fmt: skip
    return f"{HEAD}\n{table(columns, rows)}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all bases and write the page."""
    options = tyro.cli(Options, args=arguments)
    noises = {task: [measure_base(task, seed, options) for seed in options.seeds] for task in options.tasks}
    print(kept(page(noises), options.out), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
