"""A checkpoint of others that learns by an adapter: warm start, both stages, resets, resuming, and its export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import turngym
from turngym._errors import InputError
from turngym.agents.episode import read_episodes
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.cli import main
from turngym.trainers.config import LoraConfig, RunConfig, TrainConfig
from turngym.trainers.launch.exporting import export

pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[lora]'")

FILES = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture(scope="module")
def base(_cloned: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model as another program writes it, stored in bfloat16."""
    folder = tmp_path_factory.mktemp("base")
    model = _cloned.copy()
    model.model.to(torch.bfloat16)
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    return folder


@pytest.fixture
def short(tiny: TrainConfig, base: Path, tmp_path: Path) -> TrainConfig:
    """A warm start of a few steps and four steps of learning by an adapter, with a reset half way."""
    return replace(
        tiny,
        model=replace(tiny.model, path=str(base), dtype="bfloat16"),
        lora=LoraConfig(rank=4),
        warm_start=replace(tiny.warm_start, enabled=True, course_steps=4, batch_size=4, success_low=0.0,
                           success_high=1.0, learning_rate=1e-3, check_episodes=8),
        values=replace(tiny.values, instances=8, extra_samples=0),
        learning=replace(tiny.learning, steps=4, reset_every=2, batch_size=8, learning_rate=1e-3),
        evaluation=replace(tiny.evaluation, episodes=8),
        run=RunConfig(root=str(tmp_path / "runs"), name="short", threads=1, checkpoint_every=1, device="cpu"),
    )  # fmt: skip


def policy(folder: Path, step: int = 4) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"step-{step:06d}" / "policy" / FILES[1])


def scores(result: Any) -> dict[str, Any]:
    return {name: (score.successes, score.mean_return) for name, score in result.scores.items()}


@pytest.fixture
def trained(short: TrainConfig) -> turngym.TrainingResult:
    return turngym.train(short)


def test_a_run_holds_adapters_alone_and_the_network_stays_as_it_was(
    trained: turngym.TrainingResult, base: Path
) -> None:
    folder = trained.folder
    places = [folder / "base", folder / "references" / "round-2", *folder.glob("checkpoints/*/policy")]
    assert len(places) >= 3
    for place in places:
        assert all((place / name).is_file() for name in FILES) and not (place / "model.safetensors").exists()
        assert json.loads((place / FILES[0]).read_text())["base_model_name_or_path"] == str(base)
    cloned, reference, learned = (load_file(place / FILES[1]) for place in (places[0], places[1], places[-1]))
    assert any(bool(weights.any()) for name, weights in cloned.items() if "lora_B" in name)
    assert {weights.dtype for weights in learned.values()} == {torch.float32}
    assert any(not torch.equal(learned[name], reference[name]) for name in learned)


def test_a_run_that_was_killed_goes_on_with_the_same_bits(
    short: TrainConfig, trained: turngym.TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    from turngym.trainers.learner import Learner

    killed = replace(short, run=replace(short.run, name="killed"))
    step = Learner.train_step
    taken: list[None] = []

    def dies(self: Learner, *args: Any) -> Any:
        taken.append(None)
        if len(taken) == 4:
            raise MemoryError("killed")
        return step(self, *args)

    monkeypatch.setattr(Learner, "train_step", dies)
    with pytest.raises(MemoryError):
        turngym.train(killed)
    monkeypatch.setattr(Learner, "train_step", step)
    result = turngym.train("FrozenLake", resume=True, run={"name": "killed", "root": short.run.root})
    whole, resumed = policy(trained.folder), policy(result.folder)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole) and whole.keys() == resumed.keys()
    assert scores(result) == scores(trained)


def test_layers_may_be_recomputed_for_the_same_gradients(short: TrainConfig, trained: turngym.TrainingResult) -> None:
    learning = replace(short.learning, gradient_checkpointing=True)
    less = turngym.train(replace(short, learning=learning, run=replace(short.run, name="less")))
    whole, other = policy(trained.folder), policy(less.folder)
    assert all(torch.allclose(whole[name], other[name], atol=1e-4) for name in whole)


def test_what_is_exported_is_plain_and_plays_the_same_table(
    trained: turngym.TrainingResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "deep" / "mine"
    assert main(["export", str(trained.folder), str(target)]) == 0
    assert "AutoModelForCausalLM" in capsys.readouterr().out
    theirs = AutoModelForCausalLM.from_pretrained(target)
    assert not any("lora" in name for name, _ in theirs.named_parameters())
    words = ["--env", "FrozenLake", "--env-kwargs", json.dumps(trained.config.env.kwargs), "--episodes", "32"]
    tables = []
    for agent in (target, trained.folder):
        assert main(["evaluate", str(agent), *words, "--greedy"]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(agent.name)]
        tables.append([float(row[1]) for row in rows[1:]])
    # In bfloat16 a merged weight is rounded once more, and where two replies are nearly alike that decides.
    assert tables[0] and tables[0] == pytest.approx(tables[1], abs=0.1)
    episodes = [*read_episodes(trained.folder / "episodes" / "test_trained_greedy.jsonl")]
    batch = next(token_batches(episodes, 10**6, torch.device("cpu")))
    with torch.inference_mode():
        merged, beside = (
            sampled_logprobs(turngym.load_agent(place).model, batch) for place in (target, trained.folder)
        )
    assert float((merged - beside).abs().mean()) < 0.02 < float(beside.abs().mean())
    card = (target / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers") and "license: apache-2.0" in card
    assert "trained, sampled" in card and "Adapter: rank 4, alpha 8" in card and "95%" in card
    assert str(trained.folder.parent) not in card and str(tmp_path) not in card


def test_an_adapter_is_what_another_run_begins_from(
    trained: turngym.TrainingResult, short: TrainConfig, tmp_path: Path
) -> None:
    further = replace(
        short, model=replace(short.model, path=str(trained.folder)), warm_start=replace(short.warm_start, enabled=False)
    )
    onwards = turngym.train(replace(further, run=replace(short.run, name="onwards")))
    last = policy(trained.folder)
    begun = load_file(onwards.folder / "base" / FILES[1])
    assert all(torch.equal(last[name], begun[name]) for name in last)
    with pytest.raises(ValueError, match=r"set lora\.rank to 4 and lora\.alpha to 8"):
        turngym.train(replace(further, lora=LoraConfig(rank=2), run=replace(short.run, name="other")))
    full = replace(further, lora=LoraConfig(), model=replace(further.model, dtype="auto"))
    whole = turngym.train(replace(full, run=replace(short.run, name="whole")))
    assert (whole.folder / "base" / "model.safetensors").is_file()


def test_export_refuses_a_folder_that_exists(trained: turngym.TrainingResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        export(trained.folder, tmp_path)
    assert main(["export", str(tmp_path / "nothing"), str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": {"dtype": "bfloat16"}}, "model.dtype bfloat16 is for frozen weights"),
        ({"lora": {"alpha": 4.0}}, "lora.alpha is not read without lora.rank"),
        ({"lora": {"rank": 4, "targets": ["queries"]}}, "lora.targets"),
        ({"run": {"device": "cuda:7"}}, "CUDA"),
        ({"run": {"device": "toaster"}}, "there is no device 'toaster'; choose auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_refused_before_anything_is_written(
    settings: dict[str, Any], sentence: str, short: TrainConfig, base: Path, tmp_path: Path
) -> None:
    root = {"root": str(tmp_path / "runs"), "name": "refused"}
    settings = {"model": {"path": str(base)}, **settings, "run": {**root, **settings.get("run", {})}}
    settings["model"] = {"path": str(base), "context_length": 256, **settings["model"]}
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(").replace(".", r"\.")):
        turngym.train("FrozenLake", warm_start={"enabled": False}, **settings)
    assert not (tmp_path / "runs").exists()


def test_an_adapter_needs_a_checkpoint(short: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"lora\.rank is for a checkpoint"):
        replace(short, model=replace(short.model, path="", dtype="auto"))
