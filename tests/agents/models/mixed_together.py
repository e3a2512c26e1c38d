"""Run by torchrun: all processes compute a batch in bfloat16, with a shared network and alone, see `test_sharding`."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from tests.agents.models.test_sharded_files import model

from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.sharding import gathered, layers_of, shard, whole
from turngym.trainers import ranks
from turngym.trainers.config import TrainConfig, with_overrides
from turngym.trainers.memory import ModelShape, estimate_memory
from turngym.trainers.torchrun import is_first


def player(style: str) -> LanguageModel:
    """Return a model in float32 that computes in bfloat16, with norms whose weights bfloat16 does not hold."""
    made = model(style)
    with torch.no_grad():
        for weights in made.model.parameters():
            if weights.ndim == 1:
                weights.add_(0.1 * torch.rand(weights.shape, generator=torch.Generator().manual_seed(1)))
    return LanguageModel(made.model, made.tokenizer, compute_dtype=torch.bfloat16)


def computed(made: LanguageModel) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the log-probabilities of a few tokens, and the gradients of their sum."""
    ids = torch.randint(0, 300, (2, 20), generator=torch.Generator().manual_seed(2))
    with made.computing():
        logits = made.model(input_ids=ids, use_cache=False).logits
    logp = torch.log_softmax(logits.float(), dim=-1)[:, :-1].gather(2, ids[:, 1:, None])
    made.model.zero_grad()
    logp.sum().backward()
    grads = {name: whole(weights.grad) for name, weights in made.model.named_parameters() if weights.grad is not None}
    return logp.detach(), grads


def estimated(made: LanguageModel) -> int:
    """Return how much memory a network that is put together is said to take, bytes."""
    config = with_overrides(TrainConfig(), {"model": {"path": "random", "compute_dtype": "bfloat16"}})
    shape = ModelShape.of(made.model.config)
    phases = estimate_memory(config, shape, device="cpu", processes=ranks.size()).phases
    return next(phase.parts["gathered weights"] for phase in phases if phase.name == "stage 2, play: reading")


def run(style: str) -> dict[str, Any]:
    """Return how far the shared network is from the whole one, and in which precisions its weights are."""
    alone, together = player(style), player(style)
    logp, grads = computed(alone)
    layer = layers_of(together.model)[0]
    shard(together.model, together.compute_dtype)
    others, sums = computed(together)
    with torch.no_grad(), gathered(together.model):
        gathered_bytes = sum(weights.nbytes for weights in together.model.parameters())
        travelled = sorted({str(weights.dtype) for weights in layer.parameters()})
        ids = torch.randint(0, 300, (2, 20), generator=torch.Generator().manual_seed(2))
        with together.computing():
            played = torch.log_softmax(together.model(input_ids=ids, use_cache=False).logits.float(), dim=-1)
    copied = computed(together.copy())[0]
    return {
        "logp": float((others - logp).abs().max()),
        "gradients": max(
            float((sums[name] / ranks.size() - grad).norm() / grad.norm()) for name, grad in grads.items()
        ),
        "played": float((played[:, :-1].gather(2, ids[:, 1:, None]) - others).abs().max()),
        "copied": float((copied - others).abs().max()),
        "travelled": travelled,
        "gathered": gathered_bytes,
        "estimated": estimated(together),
        "held": sorted({str(weights.dtype) for weights in together.model.parameters()}),
        "added": sorted({str(grad.dtype) for grad in sums.values()}),
    }


def in_all(styles: list[str]) -> dict[str, Any]:
    """Return what the first process has seen."""
    return {style: run(style) for style in styles}


with ranks.joined():
    if is_first():
        with ranks.leading(sys.argv[1:]):
            print(json.dumps(in_all(sys.argv[1:])))
    else:
        ranks.following(in_all)
