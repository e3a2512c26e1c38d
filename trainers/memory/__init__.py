"""How much memory a run needs, told from its configuration and the shape of its network before a weight is loaded.

What lives at the same time is added up for each phase of a run: warm start, stage 1, play and learning of stage 2,
the step of the optimizer, evaluation and so on. The largest sum is what the run needs. The sizes are derived from what
this package keeps, and from what the autograd of torch keeps of the layers of the transformers library; `RunSizes` says
which tensors these are. Whatever a configuration does not tell is taken at its most: episodes fill the context, and
micro-batches are full.
"""

from turngym.trainers.memory.advice import check_memory
from turngym.trainers.memory.available import available_memory, processor_memory
from turngym.trainers.memory.estimate import ERROR, GB, MemoryEstimate, Phase, estimate_memory, gigabytes
from turngym.trainers.memory.shape import Matrix, ModelShape, Norms

__all__ = [
    "ERROR", "GB", "Matrix", "MemoryEstimate", "ModelShape", "Norms", "Phase", "available_memory", "check_memory",
    "estimate_memory", "gigabytes", "processor_memory",
]  # fmt: skip
