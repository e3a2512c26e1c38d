"""Low-rank adapters: one network for several models, the same file for peft, and what is refused."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from turngym._errors import InputError
from turngym.agents import collect_episodes
from turngym.agents.evaluation import instance_range
from turngym.agents.models import adapter as adapter_module
from turngym.agents.models.adapter import new_adapter
from turngym.agents.models.language_model import CheckpointError, LanguageModel, LanguageModelAgent
from turngym.agents.models.placement import AdapterSettings, Placement
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.extras import install_command

pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[lora]'")

SETTINGS = AdapterSettings(rank=2, alpha=4.0)


@pytest.fixture
def base(make_model: Callable[..., LanguageModel], tmp_path: Path) -> Path:
    """A whole model on disk, as another program writes it."""
    make_model().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapted(base: Path) -> LanguageModel:
    """That model with an adapter that has learned something."""
    adapted = LanguageModel.from_pretrained(base).with_adapter(SETTINGS, seed=0, folder=base)
    disturb(adapted)
    return adapted


def disturb(model: LanguageModel, seed: int = 1) -> None:
    """Give an adapter weights as learning would."""
    generator = torch.Generator().manual_seed(seed)
    for weights in model.learned.parameters():
        weights.data += 0.1 * torch.randn(weights.shape, generator=generator)


def logits(model: LanguageModel) -> torch.Tensor:
    ids = torch.arange(3, 40).reshape(1, -1)
    with torch.no_grad(), model.computing():
        return model.model(input_ids=ids).logits  # type: ignore[no-any-return]


def test_a_new_adapter_changes_nothing_and_alone_learns(base: Path) -> None:
    plain, model = (LanguageModel.from_pretrained(base) for _ in range(2))
    model = model.with_adapter(SETTINGS, seed=0, folder=base)
    assert torch.equal(logits(model), logits(plain))
    learning = {name for name, weights in model.model.named_parameters() if weights.requires_grad}
    assert learning and all(".lora_" in name for name in learning)
    assert len(learning) == len(list(model.learned.parameters()))
    assert not any("lm_head" in name or "embed" in name for name in learning)


def test_equal_seeds_give_equal_adapters_and_leave_chance_alone(base: Path) -> None:
    before = torch.get_rng_state()
    models = [LanguageModel.from_pretrained(base).with_adapter(SETTINGS, seed=seed, folder=base)
              for seed in (0, 0, 1)]  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (model.fingerprint() for model in models)
    assert first == same != other


def test_copies_share_the_network_and_each_computes_with_its_own_adapter(adapted: LanguageModel) -> None:
    reference = adapted.copy().freeze()
    assert reference.model is adapted.model
    before = logits(reference)
    assert torch.equal(logits(adapted), before)
    disturb(adapted, seed=2)
    assert not torch.equal(logits(adapted), before) and torch.equal(logits(reference), before)
    assert all(weights.requires_grad for weights in adapted.learned.parameters())
    assert not any(weights.requires_grad for weights in reference.learned.parameters())


def test_a_frozen_adapter_that_learned_nothing_is_left_off(base: Path) -> None:
    model = LanguageModel.from_pretrained(base).with_adapter(SETTINGS, seed=0, folder=base)
    reference = model.copy().freeze()
    assert reference.adapter is not None and reference.adapter.idle
    layers = [module for module in model.model.modules() if hasattr(module, "lora_A")]
    logits(reference)
    assert layers and all(layer.disable_adapters for layer in layers)
    logits(model)
    assert not any(layer.disable_adapters for layer in layers)


def test_gradients_reach_the_adapter_alone_also_after_another_model_computed(adapted: LanguageModel) -> None:
    reference = adapted.copy().freeze()
    agent = LanguageModelAgent(adapted, slots=4)
    episodes = collect_episodes(agent, "turngym/FrozenLake-v0", instance_range("train", 4), slots=4)
    (batch,) = token_batches(episodes, 10**6, adapted.device)
    live = sampled_logprobs(adapted, batch)
    with torch.no_grad():
        frozen = sampled_logprobs(reference, batch)
    assert torch.allclose(live, frozen)
    live.sum().backward()  # type: ignore[no-untyped-call]
    assert all(weights.grad is not None for weights in adapted.learned.parameters())
    others = {*adapted.model.parameters()} - {*adapted.learned.parameters()}
    assert all(weights.grad is None for weights in others)
    recorded = torch.tensor([logprob for i in batch.members for turn in episodes[i].turns for logprob in turn.logprobs])
    assert torch.allclose(live.detach(), recorded, atol=1e-5)


def test_what_is_saved_is_the_adapter_and_other_programs_read_it(adapted: LanguageModel, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    adapted.save_pretrained(folder)
    assert not (folder / "model.safetensors").exists() and not (folder / "config.json").exists()
    loaded = LanguageModel.from_pretrained(folder)
    assert torch.equal(logits(loaded), logits(adapted)) and loaded.fingerprint() == adapted.fingerprint()
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()  # peft's own reading, through the library
    with torch.no_grad():
        assert torch.allclose(theirs(input_ids=torch.arange(3, 40).reshape(1, -1)).logits, logits(adapted), atol=1e-5)


def test_equal_adapters_are_equal_files(adapted: LanguageModel, tmp_path: Path) -> None:
    for name, model in {"one": adapted, "two": adapted.copy()}.items():
        model.save_pretrained(tmp_path / name)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    targets = json.loads((tmp_path / "one" / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets)


def test_an_adapter_of_the_same_network_shares_it(adapted: LanguageModel, tmp_path: Path) -> None:
    adapted.save_pretrained(tmp_path / "saved")
    beside = adapted.load_beside(tmp_path / "saved")
    assert beside.model is adapted.model and beside.adapter is not adapted.adapter
    assert torch.equal(logits(beside), logits(adapted))


def test_what_is_discarded_leaves_the_others_as_they_are(
    adapted: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_module, "_NUMBERS", itertools.count(99_999))
    adapted = adapted.copy()  # by its name behind the frozen ones, of which the library would put the first on
    reference, spare = adapted.copy().freeze(), adapted.copy()
    others = [adapted.copy().freeze() for _ in range(4)]
    disturb(adapted, seed=2)
    expected = [logits(model) for model in (adapted, reference)]
    logits(spare)  # the network computes with what is taken out
    spare.discard()
    assert [torch.equal(logits(model), one) for model, one in zip((adapted, reference), expected, strict=True)]
    names = {name.split(".lora_A.")[1] for name, _ in adapted.model.named_parameters() if ".lora_A." in name}
    assert len(names) == 3 + len(others) and len(adapted.model.peft_config) == 3 + len(others)
    assert not any(weights.requires_grad for one in (reference, *others) for weights in one.learned.parameters())
    assert all(weights.requires_grad for weights in adapted.learned.parameters())


def test_it_plays_beside_the_weights_in_the_precision_that_it_learned_beside(base: Path, tmp_path: Path) -> None:
    model = LanguageModel.from_pretrained(base, placement=Placement(dtype="bfloat16"), learns=False)
    model = model.with_adapter(SETTINGS, seed=0, folder=base)
    disturb(model)
    model.save_pretrained(tmp_path / "saved")
    loaded = LanguageModel.from_pretrained(tmp_path / "saved")
    assert loaded.model.dtype == torch.bfloat16 and torch.equal(logits(loaded), logits(model))
    exact = LanguageModel.from_pretrained(tmp_path / "saved", placement=Placement(dtype="float32"))
    assert exact.model.dtype == torch.float32
    assert LanguageModel.from_pretrained(tmp_path / "saved", merged=True).model.dtype == torch.float32


def test_a_merged_model_is_whole(adapted: LanguageModel, tmp_path: Path) -> None:
    adapted.save_pretrained(tmp_path / "saved")
    merged = LanguageModel.from_pretrained(tmp_path / "saved", merged=True)
    assert merged.adapter is None and torch.allclose(logits(merged), logits(adapted), atol=1e-5)
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    assert all(weights.requires_grad for weights in merged.model.parameters())
    merged.save_pretrained(tmp_path / "whole")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert {name for name, _ in plain.named_parameters()} == {name for name, _ in merged.model.named_parameters()}


def test_the_frozen_weights_may_be_in_bfloat16_while_the_adapter_is_not(base: Path) -> None:
    model = LanguageModel.from_pretrained(base, placement=Placement(dtype="bfloat16"), learns=False)
    model = model.with_adapter(SETTINGS, seed=0, folder=base)
    assert {weights.dtype for weights in model.learned.parameters()} == {torch.float32}
    frozen = {weights.dtype for name, weights in model.model.named_parameters() if ".lora_" not in name}
    assert frozen == {torch.bfloat16}
    optimizer = torch.optim.AdamW(model.learned.parameters(), lr=1e-6, weight_decay=0.0)
    before = {name: weights.clone() for name, weights in model.learned.state_dict().items()}
    for _ in range(3):
        optimizer.zero_grad()
        with model.computing():
            model.model(input_ids=torch.arange(3, 40).reshape(1, -1)).logits.float().square().mean().backward()
        optimizer.step()
    moved = sum(int((weights != before[name]).sum()) for name, weights in model.learned.state_dict().items())
    assert moved > 0.9 * sum(weights.numel() for name, weights in before.items() if "lora_B" in name)


def test_other_layers_may_be_named(base: Path) -> None:
    model = LanguageModel.from_pretrained(base)
    model = model.with_adapter(AdapterSettings(rank=1, alpha=1.0, targets=("q_proj", "v_proj")), seed=0, folder=base)
    named = {name.split("/lora_")[0].rpartition("/")[2] for name, _ in model.learned.named_parameters()}
    assert named == {"q_proj", "v_proj"}
    with pytest.raises(InputError, match=r"lora\.targets: .*queries"):
        LanguageModel.from_pretrained(base).with_adapter(
            AdapterSettings(rank=1, alpha=1.0, targets=("queries",)), seed=0, folder=base
        )


def rewrite(name: str, **changes: Any) -> Callable[[Path, Path], None]:
    def change(folder: Path, _: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def other_base(_: Path, base: Path) -> None:
    model = LanguageModel.from_pretrained(base)
    next(model.model.parameters()).data[0, 0] += 1
    model.save_pretrained(base)


REFUSED: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "no base": (lambda _, base: shutil.rmtree(base), "which is not there: put it back, or name its folder in"),
    "another base": (other_base, "for other weights than"),
    "no name": (rewrite("adapter_config.json", base_model_name_or_path=""), "does not name the model"),
    "another kind": (rewrite("adapter_config.json", peft_type="IA3"), "an adapter of the kind IA3"),
    "more than matrices": (rewrite("adapter_config.json", modules_to_save=["lm_head"]), "an adapter with modules_to_"),
    "another rank": (rewrite("adapter_config.json", r=3), "an adapter of another model"),
    "fewer layers": (rewrite("adapter_config.json", target_modules=["q_proj"]), "an adapter of another model"),
    "no digest": (rewrite("turngym_base.json", sha256=None), "for other weights than"),
    "a damaged digest": (lambda folder, _: (folder / "turngym_base.json").write_text("["), "cannot be read"),
    "a damaged file": (lambda folder, _: (folder / "adapter_model.safetensors").write_bytes(b"{"), "cannot be loaded"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, adapted: LanguageModel, base: Path, tmp_path: Path) -> None:
    damage, sentence = REFUSED[case]
    folder = tmp_path / "saved"
    adapted.save_pretrained(folder)
    (folder / "checksums.json").unlink()
    damage(folder, base)
    with pytest.raises(CheckpointError) as caught:
        LanguageModel.from_pretrained(folder)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_change_is_noticed_by_the_seal(adapted: LanguageModel, tmp_path: Path) -> None:
    adapted.save_pretrained(tmp_path / "saved")
    rewrite("adapter_config.json", lora_alpha=5)(tmp_path / "saved", tmp_path)
    with pytest.raises(CheckpointError, match="adapter_config"):
        LanguageModel.from_pretrained(tmp_path / "saved")


def test_without_peft_it_says_what_to_install(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel.from_pretrained(base)
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(InputError, match=re.escape(install_command("lora"))):
        new_adapter(model.model, SETTINGS, 0)
