"""What a model folder may hold, and what is said of one that holds something else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from turngym.agents.models.language_model import CheckpointError, LanguageModel

MakeModel = Callable[..., LanguageModel]
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.fixture
def folder(make_model: MakeModel, tmp_path: Path) -> Path:
    """A sound folder as other programs write it, with an output head of its own."""
    make_model("llama", tie_word_embeddings=False).save_pretrained(tmp_path)
    (tmp_path / "checksums.json").unlink()
    return tmp_path


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        LanguageModel.from_pretrained(folder, **options)
    said = str(caught.value)
    assert str(folder) in said and "\n" not in said
    return said


def rewrite(folder: Path, change: Change) -> None:
    """Change the weights in a folder."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def edit(folder: Path, name: str, **settings: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def prefixed(prefix: str) -> Change:
    return lambda weights: {prefix + name: weight for name, weight in weights.items()}


def without(part: str) -> Change:
    return lambda weights: {name: weight for name, weight in weights.items() if part not in name}


def replaced(part: str, new: Callable[[Tensor], Tensor]) -> Change:
    return lambda weights: {name: new(weight) if part in name else weight for name, weight in weights.items()}


def one_value(value: float) -> Callable[[Tensor], Tensor]:
    def put(weight: Tensor) -> Tensor:
        weight = weight.clone()
        weight.view(-1)[3] = value
        return weight

    return put


# Weights ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (prefixed("_orig_mod."), "names begin with '_orig_mod.', those of a model wrapped by torch.compile"),
        (prefixed("module."), "names begin with 'module.', those of a model wrapped for several devices"),
        (prefixed("base_model.model."), "names begin with 'base_model.model.', those of a model with adapters"),
        (prefixed("module._orig_mod."), "names begin with 'module.'"),
        (prefixed("student."), "are missing (lm_head.weight, model.embed_tokens.weight, "),
        (without("layers.1."), "9 are missing (model.layers.1.input_layernorm.weight, "),
        (without("lm_head"), "1 are missing (lm_head.weight)"),
        (without("embed_tokens"), "1 are missing (model.embed_tokens.weight)"),
        (lambda weights: weights | {"value_head.weight": torch.zeros(3)}, "1 are unknown to it (value_head.weight)"),
        (replaced("model.norm", lambda weight: weight[:5]), "model.norm.weight has the shape (5,) in place of (32,)"),
        (replaced("embed_tokens", lambda weight: weight[:-3]), "model.embed_tokens.weight has the shape ("),
        (replaced("layers.1.mlp.up", one_value(float("nan"))), "not finite, in model.layers.1.mlp.up_proj.weight"),
        (replaced("model.norm", one_value(float("inf"))), "not finite, in model.norm.weight"),
    ],
)  # fmt: skip
def test_other_weights_than_those_of_the_model_are_refused(folder: Path, change: Change, message: str) -> None:
    rewrite(folder, change)
    assert message in refusal(folder)


def test_the_first_prefix_is_named_whatever_it_wraps(folder: Path) -> None:
    rewrite(folder, prefixed("_orig_mod.module."))
    assert "'_orig_mod.'" in refusal(folder)


def test_a_tied_head_may_be_missing(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("built-in")
    model.save_pretrained(tmp_path)
    assert not any("lm_head" in name for name in load_file(tmp_path / "model.safetensors"))
    assert LanguageModel.from_pretrained(tmp_path).model.config.tie_word_embeddings


@pytest.mark.parametrize("size", [0, 7, 9, 500, -1])
def test_a_file_that_was_cut_off_is_one_sentence(folder: Path, size: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert "cannot be loaded" in refusal(folder)


def test_a_missing_shard_is_one_sentence(folder: Path) -> None:
    LanguageModel.from_pretrained(folder).model.save_pretrained(folder / "shards", max_shard_size="20KB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / "shards" / name).write_bytes((folder / name).read_bytes())
    assert LanguageModel.from_pretrained(folder / "shards").context_length == 512
    shards = sorted((folder / "shards").glob("*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    assert shards[1].name in refusal(folder / "shards")


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("said", ["as stored", "as float32", "nothing"])
def test_weights_below_float32_are_loaded_in_float32(folder: Path, stored: torch.dtype, said: str) -> None:
    rewrite(folder, replaced("", lambda weight: weight.to(stored)))
    name = {"as stored": str(stored).removeprefix("torch."), "as float32": "float32", "nothing": None}[said]
    edit(folder, "config.json", dtype=name)
    loaded = LanguageModel.from_pretrained(folder)
    wide = stored is torch.float64 and said == "as stored"
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float64 if wide else torch.float32}
    for name, weight in load_file(folder / "model.safetensors").items():
        assert torch.equal(loaded.model.get_parameter(name), weight.to(loaded.model.dtype))


# Pickles and code ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "last.ckpt", "model.pth"])
def test_pickles_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / "weights.kept")
    torch.save(load_file(folder / "weights.kept"), folder / name)
    said = refusal(folder)
    assert name in said and "model.allow_pickle" in said and "save_pretrained" in said


def test_pickles_are_read_when_asked_for(folder: Path, make_model: MakeModel) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    loaded = LanguageModel.from_pretrained(folder, allow_pickle=True)
    assert torch.equal(loaded.model.lm_head.weight, weights["lm_head.weight"])


class Code:
    """Runs something when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran.txt"),)


def test_a_pickle_that_was_asked_for_runs_no_code(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Code()}, folder / "pytorch_model.bin")
    assert "cannot be loaded" in refusal(folder, allow_pickle=True)
    assert not (tmp_path / "ran.txt").exists()


def test_code_in_a_model_folder_is_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (folder / "own.py").write_text("open('ran.txt', 'w').close()\n")
    own = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    edit(folder, "config.json", model_type="own", architectures=["Model"], auto_map=own)
    assert "needs code of its own" in refusal(folder)
    edit(folder, "config.json", model_type="llama", auto_map={})
    edit(folder, "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": [None, "own.Tokenizer"]})
    assert "needs code of its own" in refusal(folder)
    assert not (tmp_path / "ran.txt").exists()
    assert capsys.readouterr().out == "", "nobody is asked"


# The rest of the folder ---------------------------------------------------------------------------------------------


def test_an_adapter_of_another_kind_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somewhere"}')
    assert "adapter_config.json cannot be read: KeyError 'peft_type'" in refusal(folder)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somewhere", "peft_type": "IA3"}')
    assert "merge it into its base" in refusal(folder)


def test_a_token_without_an_embedding_is_refused(folder: Path) -> None:
    model = LanguageModel.from_pretrained(folder)
    rows = len(model.tokenizer)
    model.tokenizer.add_tokens(["<one>", "<more>"])
    model.tokenizer.save_pretrained(folder)
    said = refusal(folder)
    assert f"'<more>' with the number {rows + 1}" in said and f"resize_token_embeddings({rows + 2})" in said
    model.model.resize_token_embeddings(rows + 2)
    model.model.save_pretrained(folder)
    assert LanguageModel.from_pretrained(folder).chat.content("<more>") == [rows + 1]


def test_a_template_is_refused_with_the_name_of_the_folder(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for")
    assert re.search("chat template fails on a conversation", refusal(folder))
    (folder / "chat_template.jinja").unlink()
    assert "no chat template" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "[]", "7", "null", "{", "\x00", '{"a": "\xe9"}'])
def test_a_file_that_is_no_object_is_named(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="latin-1")
    assert f"its {name} is no JSON object" in refusal(folder)


def test_a_folder_without_a_tokenizer_says_so(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "there is no tokenizer.json in it" in refusal(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": "wide"}, "Validation error for field 'hidden_size': TypeError: "),
        ({"rope_parameters": {"rope_type": "none such"}}, "KeyError 'none such'"),
        ({"model_type": "t5"}, "T5Config"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "GPTQ"),
        ({"num_attention_heads": 5}, "cannot be loaded: "),
    ],
)
def test_a_setting_that_cannot_be_used_is_told(folder: Path, settings: dict[str, Any], message: str) -> None:
    edit(folder, "config.json", **settings)
    assert message in refusal(folder)


def test_a_date_stays_with_the_folder(folder: Path, tmp_path: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text("{{ 'Today: ' + strftime_now('%d %B %Y') }}" + template.read_text())
    plain = template.read_text()
    first = LanguageModel.from_pretrained(folder, day=date(2026, 2, 3))
    assert "Today: 03 February 2026" in first.tokenizer.decode(first.chat.opening("Rules", "Go."))
    first.save_pretrained(tmp_path / "saved")
    again = LanguageModel.from_pretrained(tmp_path / "saved", day=date(2027, 1, 1))
    assert again.tokenizer.chat_template == first.tokenizer.chat_template != plain
    assert again.chat.opening("Rules", "Go.") == first.chat.opening("Rules", "Go.")
