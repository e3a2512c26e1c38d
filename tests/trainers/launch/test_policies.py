"""The policy of a run: sound, or another one with a word, also while the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import turngym
from turngym._checksums import SEAL, seal
from turngym._errors import InputError, InputWarning
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import CheckpointError, LanguageModel
from turngym.cli import main
from turngym.trainers.checkpoints.checkpoint import prune, save_checkpoint
from turngym.trainers.config import TrainConfig, write_toml
from turngym.trainers.launch.configure import configure
from turngym.trainers.launch.policies import load_policy, policy_folder


def save(folder: Path, model: LanguageModel, step: int) -> Path:
    """Save a checkpoint of a run."""
    return save_checkpoint(
        folder / "checkpoints", step, save_policy=model.save_pretrained, optimizer_state={}, extra={}
    )


def flip(path: Path, place: int = -100) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture
def folder(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> Path:
    """A run with the checkpoints of the steps 1 and 2."""
    (tmp_path / "config.toml").write_text(write_toml(tiny))
    for step in (1, 2):
        save(tmp_path, model, step)
    return tmp_path


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "turngym.json", SEAL])
def test_a_damaged_checkpoint_is_passed_over_with_a_word(folder: Path, name: str) -> None:
    first, last = (folder / "checkpoints" / f"step-00000{step}" for step in (1, 2))
    flip(last / "policy" / name, -4)
    with pytest.warns(InputWarning, match=rf"passing over a damaged checkpoint: .*{last.name}"):
        assert policy_folder(folder) == first / "policy"
    with pytest.warns(InputWarning):
        turngym.load_agent(folder)
    for place in (last, last / "policy"):
        with pytest.raises((InputError, CheckpointError), match=rf"{last.name}.* is damaged"):
            turngym.load_agent(place)
    with pytest.raises(CheckpointError, match="is damaged"):
        LanguageModel.from_pretrained(last / "policy")


def test_a_policy_that_lost_its_configuration_is_damaged(folder: Path) -> None:
    for path in (folder / "checkpoints").glob("*/policy/config.json"):
        path.unlink()
    with pytest.raises(InputError, match=r"is damaged: config\.json is missing"):
        policy_folder(folder)


def test_a_run_without_a_sound_policy_is_refused(folder: Path) -> None:
    for path in (folder / "checkpoints").glob("*/policy/model.safetensors"):
        flip(path)
    with pytest.raises(InputError, match=r"model\.safetensors has changed since it was written.* No policy in .*sound"):
        turngym.load_agent(folder)


def test_what_an_earlier_version_saved_is_verified_by_its_manifest(folder: Path) -> None:
    last = folder / "checkpoints" / "step-000002"
    (last / "policy" / SEAL).unlink()
    manifest = (last / "manifest.json").read_text().replace(f"policy/{SEAL}", "optimizer.json")
    (last / "manifest.json").write_text(manifest)
    assert policy_folder(folder) == last / "policy"
    flip(last / "policy" / "model.safetensors")
    with pytest.raises(InputError, match=r"policy/model\.safetensors has changed since it was written"):
        policy_folder(last / "policy")
    with pytest.warns(InputWarning, match="passing over"):
        assert policy_folder(folder) == folder / "checkpoints" / "step-000001" / "policy"


def test_training_from_a_run_and_explorers_pass_over_what_is_damaged(folder: Path) -> None:
    flip(folder / "checkpoints" / "step-000002" / "policy" / "model.safetensors")
    with pytest.warns(InputWarning, match="passing over"):
        config = configure("FrozenLake", overrides={"model": {"path": str(folder)},
                                                    "values": {"explorer_models": [str(folder)]}})  # fmt: skip
    first = str(folder / "checkpoints" / "step-000001" / "policy")
    assert config.model.path == first and config.values.explorer_models == [first]


def test_the_command_line_says_it_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(folder / "checkpoints" / "step-000002" / "policy" / "model.safetensors")
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("turngym: warning: passing over a damaged checkpoint: ") and said.count("\n") == 1


def test_a_copy_that_was_changed_on_purpose_is_read_without_its_seal(model: LanguageModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    Decoding(temperature=0.5).save(tmp_path)
    with pytest.raises(CheckpointError, match=r"if it was changed on purpose, delete .*checksums\.json"):
        LanguageModel.from_pretrained(tmp_path)
    (tmp_path / SEAL).unlink()
    assert LanguageModel.from_pretrained(tmp_path).decoding.temperature == 0.5
    seal(tmp_path)
    assert LanguageModel.from_pretrained(tmp_path).decoding.temperature == 0.5


# While the run goes on ----------------------------------------------------------------------------------------------


@pytest.fixture
def training(folder: Path, model: LanguageModel) -> Iterator[None]:
    """A run that saves a checkpoint after every step, and deletes those before, as fast as it can."""
    done = threading.Event()

    def go_on() -> None:
        step = 2
        while not done.is_set():
            step += 1
            save(folder, model, step)
            prune(folder / "checkpoints", 2)

    thread = threading.Thread(target=go_on)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.mark.usefixtures("training")
def test_a_run_that_saves_after_every_step_is_loaded_all_the_while(folder: Path) -> None:
    for _ in range(5):
        assert turngym.load_agent(folder).max_reply_tokens == 4
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0


def test_a_checkpoint_that_is_deleted_while_it_is_read_gives_way_to_the_next(
    folder: Path, model: LanguageModel
) -> None:
    read: list[Path] = []

    def load(weights: Path) -> str:
        read.append(weights)
        if len(read) == 1:
            save(folder, model, 3)
            save(folder, model, 4)
            prune(folder / "checkpoints", 2)
        return (weights / "config.json").read_text()

    assert load_policy(folder, load).startswith("{")
    assert read[0] == folder / "checkpoints" / "step-000002" / "policy" and len(read) == 2


def test_what_cannot_be_read_though_it_is_there_is_an_error(folder: Path) -> None:
    def load(weights: Path) -> None:
        raise ValueError(f"{weights.name} is strange")

    with pytest.raises(ValueError, match="policy is strange"):
        load_policy(folder, load)
