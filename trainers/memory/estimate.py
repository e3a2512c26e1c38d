"""The estimate: what a run needs, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from turngym.agents.models.device_type import find_device_type
from turngym.trainers.config import TrainConfig
from turngym.trainers.memory.number_bytes import NumberBytes
from turngym.trainers.memory.phases import phases_of
from turngym.trainers.memory.shape import ModelShape
from turngym.trainers.memory.sizes import ANSWER_TOKENS, RunSizes

ERROR = 0.15
"""How far an estimate may be from what is measured, relatively; tests hold it to that."""
GB = 10**9
"""The unit of everything that is printed, bytes."""
PROCESS_BYTES = 35_000_000
"""What a run takes on the processor beside tensors: pages of libraries that are read when they are first used, and
small objects. A fitted constant: what was measured beyond the tensors of small runs was 30 MB for the smallest of
them, and between 20 and 45 MB for others."""
ROUGH_KERNELS_BYTES = 45_000_000
"""The same again where the processor computes in bfloat16, whose kernels oneDNN compiles for each shape of a product
and keeps; fitted likewise, to 40 to 60 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What lives at the same time at some point of a run."""

    name: str
    """Which point, such as "stage 2, learning: logits"."""
    parts: Mapping[str, int]
    """Bytes by what they are for, such as "activations"."""

    @property
    def total(self) -> int:
        """The sum of its parts, bytes."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """How much memory a run needs, phase by phase; printed, it is a table."""

    config: TrainConfig
    """Of which run."""
    shape: ModelShape
    """Of its network."""
    device: str
    """The type of the device that the model lies on."""
    sampled_share: float
    """The share of sampled tokens that is assumed."""
    processes: int
    """How many processes train together; the sizes are those of one of them."""
    phases: tuple[Phase, ...]
    """The phases of the run in their order."""

    @property
    def largest(self) -> Phase:
        """The phase that needs most."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def peak(self) -> int:
        """What the run needs, bytes."""
        return self.largest.total

    @property
    def parts(self) -> dict[str, int]:
        """The most that each part takes in any phase, bytes; not all at the same time."""
        names = dict.fromkeys(name for phase in self.phases for name in phase.parts)
        return {name: max(phase.parts.get(name, 0) for phase in self.phases) for name in names}

    def rows(self) -> list[tuple[str, str]]:
        """Return the table: the parts of the largest phase, its sum, and the sums of the other phases, in GB.

        Of phases that differ after their colon, such as "stage 2, play: reading", the largest is shown.
        """
        largest = self.largest
        rows = [(name, gigabytes(size)) for name, size in largest.parts.items() if size]
        rows.append((f"{largest.name} (peak)", gigabytes(largest.total)))
        others: dict[str, int] = {}
        for phase in self.phases:
            name = phase.name.partition(":")[0]
            others[name] = max(others.get(name, 0), phase.total)
        others.pop(largest.name.partition(":")[0])
        return [*rows, *((name, gigabytes(size)) for name, size in others.items())]

    def __str__(self) -> str:
        """Return the table as text."""
        rows = self.rows()
        left, right = (max(len(row[side]) for row in rows) for side in (0, 1))
        return "\n".join(f"{name:{left}}  {size:>{right}} GB" for name, size in rows)


def gigabytes(size: float) -> str:
    """Return bytes in GB with two decimals, below a tenth with two digits, and from a hundred on without decimals."""
    number = size / GB
    return f"{number:.0f}" if number >= 100 else f"{number:.2f}" if number >= 0.1 else f"{number:.2g}"


def estimate_memory(
    config: TrainConfig,
    shape: ModelShape,
    *,
    device: str | None = None,
    sampled_share: float | None = None,
    processes: int = 1,
) -> MemoryEstimate:
    """Return how much memory a run needs on the device that its model lies on; of several, on each.

    It is what the tensors take. On a card the libraries of CUDA and gaps between tensors come on top. Less is needed
    where episodes do not fill the context, where the environment says more than `ANSWER_TOKENS` in a turn, and where a
    step has a single micro-batch, while whose activations are kept there are no gradients yet.

    Args:
        config: The run.
        shape: The shape of the model that it begins from; those of explorers are taken to be the same.
        device: The type of the device, such as "cuda", which need not be here; None for that of the configuration.
        sampled_share: The share of the tokens of an episode that the agent samples, where it is known.
        processes: How many processes train together, at least 1, each on a device of its own; see
            `agents.models.sharding`.

    Raises:
        InputError: There is no such device here, its precisions do not go together, or an adapter needs peft.
    """
    kind = find_device_type(config.run.device) if device is None else device.partition(":")[0]
    replies = config.model.max_reply_tokens
    run = RunSizes(
        config=config, shape=shape, device=kind,
        share=replies / (replies + ANSWER_TOKENS) if sampled_share is None else sampled_share,
        size=NumberBytes.of(config.placement, kind, shape.stored, learns=not config.lora.rank),
        adapter_weights=shape.adapter_parameters(config.lora.settings) if config.lora.rank else 0, processes=processes,
    )  # fmt: skip
    process = PROCESS_BYTES + (ROUGH_KERNELS_BYTES if run.size.computed == 2 else 0)
    always = {"weights": run.weights, "adapter": run.adapter_weights * run.size.learned,
              "process": process if kind == "cpu" else 0}  # fmt: skip
    phases = tuple(Phase(name=name, parts=always | parts) for name, parts in phases_of(run))
    return MemoryEstimate(
        config=config, shape=shape, device=kind, sampled_share=run.share, processes=processes, phases=phases
    )
