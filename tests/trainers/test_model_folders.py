"""Runs that begin from a model folder: what is refused leaves nothing behind, and what is accepted is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig

import turngym
from turngym._errors import InputError, InputWarning
from turngym.agents.episode import Status, read_episodes
from turngym.agents.models.decoding import Decoding, History
from turngym.agents.models.language_model import LanguageModel
from turngym.cli import main
from turngym.trainers.config import RunConfig, TrainConfig
from turngym.trainers.launch import checking, configure
from turngym.trainers.memory import ModelShape, estimate_memory
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.stage_one.store import ValueStore

DATED = "{{ '<|system|>Today: ' + strftime_now('%d %B %Y') }}"


@pytest.fixture
def given(model: LanguageModel, tmp_path: Path) -> Path:
    """A folder as another program writes it."""
    folder = tmp_path / "given"
    model.save_pretrained(folder)
    (folder / "checksums.json").unlink()
    return folder


@pytest.fixture
def short(tiny: TrainConfig, given: Path, tmp_path: Path) -> TrainConfig:
    """Two steps from that folder."""
    return replace(
        tiny,
        model=replace(tiny.model, path=str(given)),
        warm_start=replace(tiny.warm_start, enabled=False),
        values=replace(tiny.values, instances=8, extra_samples=0),
        learning=replace(tiny.learning, steps=2),
        evaluation=replace(tiny.evaluation, episodes=4),
        run=RunConfig(root=str(tmp_path / "runs"), name="short", threads=1, checkpoint_every=1),
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (policy,) = folder.glob("checkpoints/step-000002/policy/model.safetensors")
    return load_file(policy)


# Refused --------------------------------------------------------------------------------------------------------


def wrap(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({f"_orig_mod.{name}": weight for name, weight in load_file(path).items()}, path, {"format": "pt"})


def drop_rules(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text() + " ")  # no longer the built-in one, which is allowed to


def narrow(folder: Path) -> None:
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    factors = settings["hidden_size"] // settings["num_attention_heads"] // 2
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 100,
            "short_factor": [1.0] * factors, "long_factor": [4.0] * factors}  # fmt: skip
    path.write_text(json.dumps(settings | {"rope_parameters": rope}))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "names": (wrap, "_orig_mod."),
    "rules": (drop_rules, "would never read the rules"),
    "window": (narrow, "sees 100 tokens at once"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_refused_model_leaves_no_run_folder(short: TrainConfig, given: Path, kind: str) -> None:
    change, message = DAMAGE[kind]
    kept = {path: path.read_bytes() for path in given.iterdir()}
    change(given)
    folder = Path(short.run.root) / short.run.name
    with pytest.raises(InputError, match=message):
        turngym.train(short)
    assert not folder.exists()
    for path, content in kept.items():
        path.write_bytes(content)
    assert turngym.train(short).folder == folder, "the same command works once the model is mended"


def test_damaged_limits_leave_no_run_folder(short: TrainConfig, given: Path) -> None:
    (given / "turngym.json").write_text("{")
    with pytest.raises(InputError, match=r"turngym\.json cannot be read"):
        turngym.train(short)
    assert not Path(short.run.root, short.run.name).exists()


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("command", ["train", "evaluate", "rollout", "play", "explorer"])
def test_every_command_refuses_it_in_one_sentence(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str,
    command: str,
) -> None:  # fmt: skip
    change, message = DAMAGE[kind]
    change(given)
    monkeypatch.chdir(tmp_path)
    off = ["--warm-start.enabled", "false"]
    words = {
        "train": ["train", "FrozenLake", "--model.path", str(given), *off],
        "evaluate": ["evaluate", str(given), "--env", "FrozenLake"],
        "rollout": ["rollout", str(given), "FrozenLake", "--out", "played.jsonl"],
        "play": ["play", "FrozenLake", "--agent", str(given)],
        "explorer": ["train", "FrozenLake", "--values.explorer-models", str(given), *off],
    }[command]
    assert main(words) == 2
    *warnings, said = capsys.readouterr().err.splitlines()
    assert message in said and said.startswith("turngym: ")
    assert all(line.startswith("turngym: warning: the model holds 512 tokens") for line in warnings)
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


@pytest.mark.parametrize("command", ["train", "dry-run", "evaluate", "doctor", "export"])
def test_an_architecture_that_cannot_be_played_is_refused_before_weights_are_read(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    MambaConfig(hidden_size=16, num_hidden_layers=2, vocab_size=512).save_pretrained(given)
    (given / "model.safetensors").write_bytes(b"no weights")
    monkeypatch.chdir(tmp_path)
    train = ["train", "FrozenLake", "--model.path", str(given)]
    words = {
        "train": train,
        "dry-run": [*train, "--dry-run"],
        "evaluate": ["evaluate", str(given), "--env", "FrozenLake"],
        "doctor": ["doctor", "--model", str(given)],
        "export": ["export", str(given), "exported"],
    }[command]
    assert main(words) == (1 if command == "doctor" else 2)
    said = " ".join("".join(capsys.readouterr()).split())
    assert "type mamba cannot be played" in said and "such as llama, mistral" in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_an_agent_of_a_refused_model_is_not_loaded(given: Path) -> None:
    wrap(given)
    with pytest.raises(ValueError, match=r"torch\.compile"):
        turngym.load_agent(given)


def test_pickled_weights_are_trained_when_asked_for(short: TrainConfig, given: Path) -> None:
    torch.save(load_file(given / "model.safetensors"), given / "pytorch_model.bin")
    (given / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.allow_pickle"):
        turngym.train(short)
    result = turngym.train(short, model={"allow_pickle": True})
    assert (result.folder / "base" / "model.safetensors").is_file(), "a run holds no pickles"
    assert turngym.load_agent(given, allow_pickle=True).context_length == 512


# Trained --------------------------------------------------------------------------------------------------------


def test_a_model_with_a_table_of_positions_is_trained_on_episodes_that_fill_it(
    model: LanguageModel, short: TrainConfig, given: Path
) -> None:
    tokenizer, positions = model.tokenizer, 80
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=positions, n_embd=32, n_layer=2, n_head=2,
                        bos_token_id=None, eos_token_id=tokenizer.eos_token_id)  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(given)
    (given / "turngym.json").unlink()
    for algorithm in ("astarpo", "grpo", "ppo"):
        with pytest.warns(UserWarning, match=f"the model holds {positions} tokens"):
            result = turngym.train(short, algorithm=algorithm, run={"name": algorithm})
        played = [episode for path in result.folder.glob("episodes/*.jsonl") for episode in read_episodes(path)]
        cut = [episode for episode in played if episode.status is Status.TRUNCATED_LENGTH]
        assert cut, "some episodes outgrow the table"
        for episode in cut:
            assert len(episode.token_ids) == (episode.turns[-1].span[1] if episode.turns else 0) <= positions


def test_weights_in_half_precision_are_trained_in_float32(short: TrainConfig, given: Path) -> None:
    path = given / "model.safetensors"
    half = {name: weight.bfloat16() for name, weight in load_file(path).items()}
    save_file(half, path, {"format": "pt"})
    settings = json.loads((given / "config.json").read_text())
    (given / "config.json").write_text(json.dumps(settings | {"dtype": "bfloat16"}))
    result = turngym.train(short, learning={"learning_rate": 1e-6, "final_learning_rate": 1e-6, "warmup_steps": 0})
    trained = weights(result.folder)
    assert {weight.dtype for weight in trained.values()} == {torch.float32}
    moved = sum(int((trained[name] != weight.float()).sum()) for name, weight in half.items())
    assert moved > 0.9 * sum(weight.numel() for weight in half.values()), "a small step moves nearly every weight"


@pytest.mark.parametrize("history", get_args(History))
def test_a_dry_run_says_in_which_rows_a_conversation_is_seen(
    given: Path, history: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(given.parent)
    words = ["train", "FrozenLake", "--warm-start.enabled", "false", "--model.context-length", "512", "--dry-run"]
    form = f"# {Decoding(history=history).history_form}"
    for more, times in ((["--model.path", str(given)], 1), ([], 0)):
        assert main([*words, "--model.history", history, *more]) == 0
        assert capsys.readouterr().out.splitlines().count(form) == times


# Dates ----------------------------------------------------------------------------------------------------------


class Stopping(SilentProgress):
    """Stops a run in its second phase of learning, as Ctrl-C does."""

    def advance(self, n: int = 1, **numbers: float) -> None:
        if "loss" in numbers:
            raise KeyboardInterrupt


def test_a_run_shows_the_date_of_its_first_start_for_good(
    short: TrainConfig, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = given / "chat_template.jinja"
    template.write_text(DATED + template.read_text().replace("if message['role'] != 'system'", "if true"))
    today, in_two_days = (datetime.now().astimezone() + timedelta(days=days) for days in (0, 2))
    whole = turngym.train(short)
    assert whole.config.model.date == today.date().isoformat()
    with pytest.raises(KeyboardInterrupt):
        turngym.train(short, run={"name": "stopped"}, progress=Stopping())
    monkeypatch.setattr(configure, "datetime", SimpleNamespace(now=lambda: in_two_days))
    resumed = turngym.train(short, run={"name": "stopped"}, resume=True)
    assert resumed.config.model.date == whole.config.model.date
    one, other = weights(whole.folder), weights(resumed.folder)
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    later = turngym.train(short, run={"name": "later"})
    assert later.config.model.date == in_two_days.date().isoformat()
    prints = []
    for folder in (whole.folder, resumed.folder, later.folder):
        with ValueStore(folder / "values.sqlite", None) as store:
            prints.append(store.fingerprint)
    assert prints[0] == prints[1] != prints[2]
    agent = turngym.load_agent(later.folder)
    shown = agent.model.tokenizer.decode(agent.model.chat.opening("", "Go."))
    assert f"Today: {in_two_days:%d %B %Y}" in shown


def test_a_date_that_is_none_is_refused(short: TrainConfig) -> None:
    with pytest.raises(InputError, match=r"model\.date must be a date such as 2026-11-29"):
        turngym.train(short, model={"date": "tomorrow"})


def test_what_cannot_fit_is_refused_before_it_is_loaded(
    short: TrainConfig, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(short.run.root) / short.run.name
    needed = estimate_memory(short, ModelShape.configured(short)).peak
    with monkeypatch.context() as patch:
        patch.setattr(checking, "available_memory", lambda _: needed // 2)
        patch.setattr(checking, "check_base", pytest.fail)
        with pytest.raises(InputError, match=r"the run needs about \S+ GB, and there are \S+: with .* it needs"):
            turngym.train(short)
        assert not folder.exists()
    with monkeypatch.context() as patch:  # each of two processes has half of the memory, or a card
        patch.setattr(checking, "available_memory", lambda _: needed)
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
            patch.setenv(name, value)
        with pytest.raises(InputError, match="the run needs about"):
            checking.checked_memory(short)
        patch.setenv("LOCAL_WORLD_SIZE", "1")
        estimate = checking.checked_memory(short)
        assert estimate is not None and estimate.processes == 2
    monkeypatch.setattr(checking, "available_memory", lambda _: int(needed / 1.1))
    with pytest.warns(InputWarning, match="the run may need .* GB, and .* are left; --dry-run shows for what"):
        assert turngym.train(short).folder == folder
