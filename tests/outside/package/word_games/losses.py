from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from turngym.trainers import ObjectiveConfig, StepParams, TrainingBatch, objective
from turngym.trainers.config import Positive


@dataclass(frozen=True, kw_only=True)
class MyLossConfig(ObjectiveConfig):
    """REINFORCE with the mean of the batch as baseline and a bound on the advantages."""

    name: ClassVar[str] = "my_loss"

    bound: Positive = 1.0
    """The most that an episode is taken to be better or worse than the others."""


def bounded_advantages(batch: TrainingBatch, step: StepParams[MyLossConfig]) -> Tensor:
    return_B = batch.returns()
    advantage_B = (return_B - return_B.mean()).clamp(-step.config.bound, step.config.bound)
    return advantage_B.float()[batch.episode_N]


@objective("my_loss", source="mine", config=MyLossConfig, advantages=bounded_advantages)
def my_loss(batch: TrainingBatch, step: StepParams[MyLossConfig]) -> Tensor:
    return -batch.per_episode(batch.advantage_N * batch.logp_N)
