"""Which rows are read in one forward pass, and what is kept of it for the gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from turngym.agents.models.decoder import MAX_STRETCH, SLACK, recomputing, similar_parts
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.limits import MAX_PASS_TOKENS


@given(unread=st.dictionaries(st.integers(0, 200), st.integers(1, 20_000), min_size=1))
def test_rows_are_read_with_their_like(unread: dict[int, int]) -> None:
    parts = similar_parts(unread)
    assert sorted(slot for part in parts for slot in part) == sorted(unread)
    for part in parts:
        counts = [unread[slot] for slot in part]
        assert max(counts) <= MAX_STRETCH * min(counts) + SLACK
        assert len(part) == 1 or len(part) * max(counts) <= MAX_PASS_TOKENS


def test_a_single_token_each_is_one_pass() -> None:
    assert similar_parts(dict.fromkeys([5, 3, 4], 1)) == [[5, 3, 4]]


@pytest.mark.parametrize("style", ["qwen2", "qwen3", "llama", "built-in"])
def test_gradients_that_recompute_layers_are_the_same_and_keep_less(
    style: str, make_model: Callable[..., LanguageModel]
) -> None:
    network = make_model(style, **({} if style == "built-in" else {"attention_dropout": 0.5})).model
    ids = torch.arange(3, 43).reshape(1, -1)
    found = []
    for keeping in (nullcontext, recomputing):
        kept: dict[int, int] = {}

        def pack(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        network.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            with keeping() if keeping is nullcontext else recomputing(network):
                loss = network(input_ids=ids, use_cache=False).logits.square().mean()
            of_weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
            size = sum(count for place, count in kept.items() if place not in of_weights)
            loss.backward()
        found.append((size, {name: weights.grad.clone() for name, weights in network.named_parameters()}))
        assert not network.training
    (plain_size, plain), (small_size, small) = found
    assert all(torch.allclose(plain[name], small[name], rtol=1e-5, atol=1e-7) for name in plain)
    assert small_size < 0.5 * plain_size
