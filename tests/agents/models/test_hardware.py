"""Devices and precisions: what is there, what is the default of every pair, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from turngym._errors import InputError
from turngym.agents import collect_episodes
from turngym.agents.evaluation import instance_range
from turngym.agents.models.hardware import attention_kernel, find_device, fused_on, precision_name, precisions
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.models.placement import Placement
from turngym.agents.models.scoring import sampled_logprobs, token_batches

F32, F64, BF16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16


def test_the_processor_is_always_there() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_is_the_first_that_there_is(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert find_device("auto").type == expected


@pytest.mark.parametrize("name", ["toaster", "meta", "cpu:x", "", "CUDA 1"])
def test_what_is_no_device(name: str) -> None:
    with pytest.raises(InputError, match=r"there is no device .*; choose auto, cpu, cuda, cuda:N or mps"):
        find_device(name)


def test_a_card_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(InputError, match="is built without CUDA"):
        find_device("cuda")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    with pytest.raises(InputError, match="torch sees no CUDA device"):
        find_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="the last CUDA device here is cuda:1"):
        find_device("cuda:2")


# device, whether it has bfloat16, stored, whether the weights learn: in what they are held, and in what is computed
DEFAULTS = [
    ("cpu", False, F32, True, F32, F32),
    ("cpu", False, BF16, True, F32, F32),
    ("cpu", False, F16, True, F32, F32),
    ("cpu", False, F64, True, F64, F64),
    ("cpu", False, BF16, False, F32, F32),
    ("cuda", True, F32, True, F32, BF16),
    ("cuda", True, BF16, True, F32, BF16),
    ("cuda", True, F64, True, F64, F64),
    ("cuda", True, BF16, False, BF16, BF16),
    ("cuda", True, F32, False, BF16, BF16),
    ("cuda", False, BF16, True, F32, F32),
    ("cuda", False, BF16, False, F32, F32),
    ("mps", False, BF16, True, F32, F32),
]


@pytest.mark.parametrize(("device", "has", "stored", "learns", "held", "computes"), DEFAULTS)
def test_the_default_of_every_pair(
    device: str, has: bool, stored: torch.dtype, learns: bool, held: torch.dtype, computes: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has)
    assert precisions(Placement(), torch.device(device), stored, learns=learns) == (held, computes)


def test_one_kernel_takes_a_step_of_an_optimizer_on_a_card() -> None:
    assert [fused_on(torch.device(name)) for name in ("cuda:1", "cpu", "mps")] == [True, None, None]


def test_what_is_asked_for_is_done_or_refused() -> None:
    cpu = torch.device("cpu")
    asked = Placement(dtype="bfloat16")
    assert precisions(asked, cpu, F32, learns=False) == (BF16, BF16)
    assert precisions(Placement(compute_dtype="bfloat16"), cpu, BF16, learns=True) == (F32, BF16)
    assert precisions(Placement(compute_dtype="bfloat16"), cpu, F64, learns=True) == (F64, F64)
    with pytest.raises(InputError, match=r"Set lora\.rank, whose adapter learns in float32"):
        precisions(asked, cpu, BF16, learns=True)
    with pytest.raises(InputError, match=r"set model\.dtype to float32"):
        precisions(Placement(dtype="bfloat16", compute_dtype="float32"), cpu, BF16, learns=False)
    with pytest.raises(InputError, match="an mps device has no float64"):
        precisions(Placement(), torch.device("mps"), F64, learns=True)
    assert [precision_name(dtype) for dtype in (F32, BF16, F64)] == ["float32", "bfloat16", "auto"]


def test_the_kernel_of_attention_is_found_by_trying() -> None:
    assert attention_kernel(torch.device("cpu"), F32, masked=True) in ("flash", "math")
    assert attention_kernel(torch.device("cpu"), F32, masked=False) in ("flash", "math")


def test_weights_in_float32_learn_at_the_usual_rate_while_products_are_in_bfloat16(
    make_model: Callable[..., LanguageModel], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("stored")
    make_model().save_pretrained(folder)
    model = LanguageModel.from_pretrained(folder, placement=Placement(compute_dtype="bfloat16"))
    assert (model.model.dtype, model.compute_dtype) == (F32, BF16)
    episodes = collect_episodes(LanguageModelAgent(model, slots=4), "turngym/FrozenLake-v0",
                                instance_range("train", 4), slots=4)  # fmt: skip
    (batch,) = token_batches(episodes, 10**6, model.device)
    recorded = torch.tensor([logprob for i in batch.members for turn in episodes[i].turns for logprob in turn.logprobs])
    assert torch.allclose(sampled_logprobs(model, batch).detach(), recorded, atol=0.1)
    exact = LanguageModel.from_pretrained(folder)
    assert not torch.allclose(sampled_logprobs(exact, batch).detach(), recorded, atol=1e-6)  # it is in bfloat16 indeed
    before = {name: weights.detach().clone() for name, weights in model.model.named_parameters()}
    optimizer = torch.optim.AdamW(model.learned.parameters(), lr=1e-6, weight_decay=0.0)
    for _ in range(6):
        optimizer.zero_grad()
        sampled_logprobs(model, batch).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    moved = {name: int((weights != before[name]).sum()) for name, weights in model.model.named_parameters()}
    touched = {name: int((weights.grad != 0).sum()) for name, weights in model.model.named_parameters()
               if weights.grad is not None}  # fmt: skip
    assert sum(moved.values()) > 0.95 * sum(touched.values()) > 0
