"""Which rows are read in one forward pass, and what is kept of it for the gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from turngym.agents.models import decoder
from turngym.agents.models.decoder import MAX_STRETCH, SLACK, CachedDecoder, recomputing, similar_parts
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.limits import MAX_PASS_TOKENS
from turngym.agents.models.row import Row


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


@pytest.mark.parametrize(
    ("style", "masked"), [("qwen2", 0), ("qwen3", 0), ("llama", 0), ("built-in", 0), ("window", 1)]
)
def test_long_openings_are_read_without_a_mask_and_as_alone(
    style: str, masked: int, make_model: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    windowed = {"sliding_window": 12, "use_sliding_window": True, "max_window_layers": 0}
    network = (make_model("qwen2", **windowed) if style == "windowed" else make_model(style)).model
    monkeypatch.setattr(decoder, "LONG_OPENING", 20)
    masks: list[bool] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def noted(*args: Any, **kwargs: Any) -> torch.Tensor:
        masks.append(kwargs["attn_mask"] is not None)
        return attend(*args, **kwargs)

    def alone(row: Row) -> torch.Tensor:
        logits: torch.Tensor = network(input_ids=torch.tensor([row.stream]), use_cache=False).logits[0, -1]
        return logits

    cached = CachedDecoder(network, slots=6, columns=80)
    with torch.inference_mode():
        cached.read({slot: Row(stream=[*range(3, 40)]) for slot in range(6)})  # conversations that these replace
        for slots in ((4, 0, 2), (5, 1)):  # most of the slots in use, and few
            rows = {slot: Row(stream=[*range(5 + slot, 30 + 3 * slot)]) for slot in slots}
            with monkeypatch.context() as patched:
                patched.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
                read = cached.read(rows)
            torch.testing.assert_close(read, torch.stack([alone(row) for row in rows.values()]), rtol=1e-4, atol=1e-5)
            for row in rows.values():  # what follows sees them
                row.stream += [7, 9]
            read = cached.read(rows)
            torch.testing.assert_close(read, torch.stack([alone(row) for row in rows.values()]), rtol=1e-4, atol=1e-5)
    assert set(masks) == {style == "windowed"}


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
