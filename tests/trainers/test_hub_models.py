"""Runs that begin from a model of the hub, as its cache holds it: the commit is kept, and an adapter finds its base."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.agents.models.test_hub import NAME, ONE, TWO, lay_out
from tests.trainers.test_lora import policy

import turngym
from turngym._errors import InputError
from turngym.agents.models.language_model import LanguageModel
from turngym.cli import main
from turngym.trainers.config import LoraConfig, RunConfig, TrainConfig
from turngym.trainers.launch.run_folder import run_config


@pytest.fixture
def cache(model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with two commits of one model, of which the main branch is the first; there is no network."""
    from huggingface_hub import constants

    place = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for commit in (TWO, ONE):
        model.save_pretrained(tmp_path / commit)
        files = {file.name: file.read_bytes() for file in (tmp_path / commit).iterdir()
                 if file.name not in ("checksums.json", "turngym.json")}  # fmt: skip
        lay_out(place, files, commit=commit, refs=("main",))
        next(model.model.parameters()).data.mul_(1.01)
    return place


@pytest.fixture
def short(tiny: TrainConfig, tmp_path: Path) -> TrainConfig:
    """Two steps from that model."""
    return replace(
        tiny,
        model=replace(tiny.model, path=NAME),
        warm_start=replace(tiny.warm_start, enabled=False),
        values=replace(tiny.values, instances=8, extra_samples=0),
        learning=replace(tiny.learning, steps=2, batch_size=8),
        evaluation=replace(tiny.evaluation, episodes=4),
        run=RunConfig(root=str(tmp_path / "runs"), name="short", threads=1, checkpoint_every=1, device="cpu"),
    )


@pytest.mark.usefixtures("cache")
def test_a_run_keeps_the_commit_that_the_name_meant(short: TrainConfig) -> None:
    result = turngym.train(short)
    assert (run_config(result.folder).model.path, run_config(result.folder).model.revision) == (NAME, ONE)
    other = turngym.train(
        replace(short, model=replace(short.model, revision=TWO), run=replace(short.run, name="other"))
    )
    bases = [LanguageModel.from_pretrained(run.folder / "base").fingerprint() for run in (result, other)]
    assert bases[0] != bases[1]


def test_an_adapter_finds_its_base_by_name_and_commit(
    short: TrainConfig, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[lora]'")
    result = turngym.train(replace(short, lora=LoraConfig(rank=2)))
    settings = json.loads((result.folder / "base" / "adapter_config.json").read_text())
    assert (settings["base_model_name_or_path"], settings["revision"]) == (NAME, ONE)
    (cache / f"models--{NAME.replace('/', '--')}" / "refs" / "main").write_text(TWO)  # the branch has moved on
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir(parents=True)  # and somebody made a folder of that name
    assert main(["evaluate", str(result.folder), "--episodes", "2"]) == 0
    step = policy(result.folder, 2)
    (result.folder / "result.json").unlink()
    shutil.rmtree(result.folder / "checkpoints" / "step-000002")
    again = turngym.train("FrozenLake", resume=True, run={"name": "short", "root": short.run.root})
    assert all(bool((step[name] == weights).all()) for name, weights in policy(again.folder, 2).items())


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"path": "Some-Org/other"}, "hf download Some-Org/other"),
        ({"path": NAME, "revision": "v9"}, "v9"),
        ({"path": "runs/mine"}, "there is no folder"),
        ({"revision": ONE}, "model.revision is not read without model.path"),
    ],
)
def test_refused_before_anything_is_written(asked: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        turngym.train("FrozenLake", model=asked, warm_start={"enabled": False}, run={"root": str(tmp_path / "runs")})
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("cache")
def test_a_model_of_the_hub_is_an_agent(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--env", "FrozenLake", "--episodes", "2", "--max-reply-tokens", "4"]
    assert main(["evaluate", NAME, *words]) == 0
    assert NAME in capsys.readouterr().out
    assert main(["evaluate", "Some-Org/other", *words]) == 2
    said = capsys.readouterr().err
    assert "hf download Some-Org/other" in said and said.count("\n") == 1
