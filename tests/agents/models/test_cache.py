"""The ragged cache: rows of different lengths see themselves alone, whatever stood or stands beside them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from turngym.agents.models.cache import FIRST_COLUMNS, PADDING, RaggedCache
from turngym.agents.models.language_model import LanguageModel

MakeModel = Callable[..., LanguageModel]


def read(model: LanguageModel, cache: RaggedCache, slots: Sequence[int] | None, chunks: Sequence[tuple[int, list[int]]],
         ) -> Tensor:  # fmt: skip
    """Feed one chunk `(first position, ids)` to every row; return the logits after each row's last id, `[B, V]`."""
    width = max(len(ids) for _, ids in chunks)
    ids_BT = torch.zeros(len(chunks), width, dtype=torch.long)
    positions_BT = torch.full((len(chunks), width), PADDING)
    for row, (first, ids) in enumerate(chunks):
        if ids:
            ids_BT[row, -len(ids) :] = torch.tensor(ids)
            positions_BT[row, -len(ids) :] = torch.arange(first, first + len(ids))
    rows = None if slots is None else torch.tensor(slots)
    may_see = cache.place(rows, positions_BT, length=max(first + len(ids) for first, ids in chunks))
    mask = torch.zeros(may_see.shape, dtype=torch.float64).masked_fill_(~may_see, -1e300)
    with torch.inference_mode():
        output = model.model(input_ids=ids_BT, attention_mask=mask, position_ids=positions_BT.clamp(min=0),
                             past_key_values=cache, use_cache=True)  # fmt: skip
    return output.logits[:, -1].clone()


def alone(model: LanguageModel, ids: list[int]) -> Tensor:
    """Return the logits after a plain forward pass, `[V]`."""
    with torch.inference_mode():
        return model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].clone()


@pytest.fixture
def model(make_model: MakeModel) -> LanguageModel:
    return make_model(dtype=torch.float64)


def make_ids(count: int, seed: int = 0) -> list[int]:
    return torch.randint(300, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_rows_of_different_lengths_see_what_they_would_see_alone(model: LanguageModel) -> None:
    cache = RaggedCache(2, slots=3, columns=64)
    streams = [make_ids(20, 1), make_ids(31, 2), make_ids(7, 3)]
    starts = [11, 30, 2]
    read(model, cache, None, [(0, ids[:cut]) for ids, cut in zip(streams, starts, strict=True)])
    logits_BV = read(model, cache, None, [(cut, ids[cut:]) for ids, cut in zip(streams, starts, strict=True)])
    for row_V, ids in zip(logits_BV, streams, strict=True):
        torch.testing.assert_close(row_V, alone(model, ids), rtol=0, atol=1e-10)


def test_some_rows_may_be_read_and_others_may_idle(model: LanguageModel) -> None:
    cache = RaggedCache(2, slots=4, columns=64)
    first, second = make_ids(9, 1), make_ids(14, 2)
    read(model, cache, [3, 1], [(0, first[:5]), (0, second[:10])])
    rest = read(model, cache, [1], [(10, second[10:])])
    torch.testing.assert_close(rest[0], alone(model, second), rtol=0, atol=1e-10)
    everyone = read(model, cache, None, [(0, []), (0, []), (0, []), (5, first[5:])])
    torch.testing.assert_close(everyone[3], alone(model, first), rtol=0, atol=1e-10)
    assert torch.isfinite(everyone).all(), "padding is computed too"


def test_a_new_conversation_does_not_see_the_one_before_it(model: LanguageModel) -> None:
    cache = RaggedCache(2, slots=2, columns=64)
    read(model, cache, None, [(0, make_ids(40, 1)), (0, make_ids(30, 2))])
    new = make_ids(6, 3)
    logits_BV = read(model, cache, None, [(0, new), (30, make_ids(1, 4))])
    torch.testing.assert_close(logits_BV[0], alone(model, new), rtol=0, atol=1e-10)


def test_memory_grows_with_the_longest_conversation_and_keeps_what_it_holds(model: LanguageModel) -> None:
    cache = RaggedCache(2, slots=2, columns=400)
    ids = make_ids(390, 1)
    allocated = []
    for first in range(0, 390, 30):
        logits_BV = read(model, cache, [1], [(first, ids[first : first + 30])])
        torch.testing.assert_close(logits_BV[0], alone(model, ids[: first + 30]), rtol=0, atol=1e-9)
        allocated.append(cache.allocated)
    assert sorted(set(allocated)) == [FIRST_COLUMNS, 2 * FIRST_COLUMNS, 400]
    layer: Any = cache.layers[0]
    assert layer.keys.shape == (2, 2, 416, 8)


def test_the_mask_shows_the_past_alone() -> None:
    cache = RaggedCache(1, slots=2, columns=8)
    may_see = cache.place(None, torch.tensor([[PADDING, 3], [0, 1]]), length=5)
    assert may_see.shape == (2, 1, 2, 5)
    assert may_see[:, 0].int().tolist() == [[[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]], [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]]]
    layer: Any = cache.layers[0]
    assert (cache.get_seq_length(), layer.get_max_length(), layer.get_mask_sizes(2)) == (5, 8, (5, 0))


def test_more_columns_than_there_are_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        RaggedCache(1, slots=1, columns=4).place(None, torch.tensor([[4]]), length=5)


def test_a_cache_of_no_more_use_needs_no_collector() -> None:
    cache = RaggedCache(num_layers=2, slots=2, columns=8)
    cache.place(None, torch.zeros(2, 1, dtype=torch.long), length=1)
    keys, _ = cache.update(torch.ones(2, 1, 1, 4), torch.ones(2, 1, 1, 4), 0)
    kept = weakref.ref(cache), weakref.ref(cache.layers[0])
    del keys
    gc.disable()
    try:
        del cache
        assert [one() for one in kept] == [None, None]
    finally:
        gc.enable()
