"""Checkpoints: the same bits back, and never half of one."""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from turngym.agents.models.fingerprint import fingerprint_of
from turngym.trainers.checkpoints import checkpoint
from turngym.trainers.checkpoints.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_checkpoint,
    prune,
    remove_after,
    save_checkpoint,
)
from turngym.trainers.checkpoints.tensor_tree import from_json, read_tensors, to_json, write_tensors

CHECKPOINT_FILES = [
    "manifest.json", "optimizer.json", "optimizer.safetensors", "policy/weights.safetensors", "state.json",
]  # fmt: skip


def write_policy(weights: dict[str, Tensor]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir()
        save_file(weights, folder / "weights.safetensors")

    return write


class Training:
    """A small network with Muon on its matrix and AdamW on the rest."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 7, bias=False))
        embedding, weight, bias, head = self.model.parameters()
        rate = torch.tensor(0.01)  # shared by two groups: the same tensor twice in the state
        self.muon = torch.optim.Muon([weight], lr=0.02)
        self.adamw = torch.optim.AdamW(
            [{"params": [embedding, bias], "lr": rate}, {"params": [head], "lr": rate}], amsgrad=True
        )

    def steps(self, count: int) -> None:
        for _ in range(count):
            ids = torch.randint(7, (5,))
            nn.functional.cross_entropy(self.model(ids), ids.roll(1)).backward()
            for optimizer in (self.muon, self.adamw):
                optimizer.step()
                optimizer.zero_grad()

    def save(self, folder: Path, step: int) -> Path:
        return save_checkpoint(
            folder,
            step,
            save_policy=write_policy(self.model.state_dict()),
            optimizer_state={"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()},
            extra={"rng": torch.get_rng_state().tolist()},
        )

    def load(self, path: Path) -> None:
        loaded = load_checkpoint(path)
        self.model.load_state_dict(load_file(loaded.policy / "weights.safetensors"))
        state = loaded.optimizer_state()
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
        torch.set_rng_state(torch.tensor(loaded.extra["rng"], dtype=torch.uint8))


def save(folder: Path, step: int, value: float = 0.0, **settings: Any) -> Path:
    settings.setdefault("extra", {"value": value})
    settings.setdefault("optimizer_state", {"lr": 0.1, "m": torch.full((3,), value)})
    return save_checkpoint(folder, step, save_policy=write_policy({"w": torch.full((64,), value)}), **settings)


def value_of(path: Path | None) -> float:
    assert path is not None
    loaded = load_checkpoint(path)
    assert load_file(loaded.policy / "weights.safetensors")["w"].tolist() == [loaded.extra["value"]] * 64
    return float(loaded.extra["value"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_training_continues_bit_for_bit(tmp_path: Path) -> None:
    uninterrupted, resumed = Training(seed=0), Training(seed=1)
    uninterrupted.steps(3)
    path = uninterrupted.save(tmp_path, 3)
    uninterrupted.steps(4)
    torch.manual_seed(99)
    resumed.load(path)
    resumed.steps(4)
    assert fingerprint_of(resumed.model.state_dict()) == fingerprint_of(uninterrupted.model.state_dict())
    for one, other in ((resumed.muon, uninterrupted.muon), (resumed.adamw, uninterrupted.adamw)):
        tensors: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        structures = [to_json(o.state_dict(), t, "o") for o, t in zip((one, other), tensors, strict=True)]
        assert structures[0] == structures[1]
        assert fingerprint_of(tensors[0]) == fingerprint_of(tensors[1])


def test_layout_and_contents(tmp_path: Path) -> None:
    (tmp_path / "values.sqlite").write_bytes(b"\x00values")
    copied = {"values.sqlite": tmp_path / "values.sqlite", "more/config.json": tmp_path / "values.sqlite"}
    path = save(tmp_path / "checkpoints", 500, 1.5, files=copied)
    assert path == tmp_path / "checkpoints" / "step-000500"
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    assert files == sorted([*CHECKPOINT_FILES, *copied])
    assert names(path.parent) == ["step-000500"]
    loaded = load_checkpoint(path)
    assert (loaded.step, loaded.extra, loaded.path) == (500, {"value": 1.5}, path)
    assert loaded.policy == path / "policy"
    assert loaded.optimizer_state()["lr"] == 0.1
    assert (loaded.path / "more" / "config.json").read_bytes() == b"\x00values"


def test_tensors_that_share_memory_or_are_strided_survive(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "base": base, "rows": base[1:], "transposed": base.T, "again": base, "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64), "half": torch.tensor([math.nan, -0.0], dtype=torch.bfloat16),
        "flags": torch.tensor([True, False]), "bytes": torch.arange(5, dtype=torch.uint8), "whole": torch.tensor(2**62),
    }  # fmt: skip
    write_tensors(tmp_path / "t", tensors)
    read = read_tensors(tmp_path / "t")
    assert fingerprint_of(read) == fingerprint_of(tensors)
    read["base"][1, 0] = -1
    assert read["rows"][0, 0] == read["transposed"][0, 1] == read["again"][1, 0] == base[1, 0] == 4.0


@pytest.mark.parametrize(
    "tree",
    [
        {"a": [1, 2.5, None, True, "x"], "b": {"c": {}}, "d": []},
        {0: {"exp_avg": (0.9, 0.999)}, "x": {1: 2, "1": 3, None: 4, (1, 2): 5}},
        {"$tensor": "not one", "$tuple": [1], "inf": [math.inf, -math.inf, 5e-324, 0.1]},
        {"big": 2**200, "text": "snow ☃", "empty": ((), [], {})},
    ],
)
def test_trees_survive(tree: Any) -> None:
    copy = from_json(to_json(tree, {}, "tree"), {})
    assert copy == tree
    assert repr(copy) == repr(tree)


def test_tensors_in_trees_survive() -> None:
    tensors: dict[str, Tensor] = {}
    tree = {"a.b": torch.tensor(1.0), "a": {"b": torch.tensor(2.0)}, 3: (torch.tensor(3), [math.nan])}
    copy = from_json(to_json(tree, tensors, "tree"), tensors)
    assert (copy["a.b"].item(), copy["a"]["b"].item(), copy[3][0].item()) == (1.0, 2.0, 3)
    assert math.isnan(copy[3][1][0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"extra": {"rng": torch.ones(1)}}, "extra.rng is a Tensor"),
        ({"extra": {"deep": [{"path": Path("x")}]}}, "extra.deep.0.path is a PosixPath"),
        ({"optimizer_state": {"hook": print}}, "optimizer.hook is a builtin_function_or_method"),
    ],
)
def test_types_that_a_checkpoint_cannot_hold_are_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        save(tmp_path, 1, **settings)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "", ".", "a//b", "state.json", "manifest.json", "policy/x"]
)
def test_files_cannot_leave_the_checkpoint_or_replace_its_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        save(tmp_path, 1, files={name: Path(__file__)})
    with pytest.raises(ValueError, match="step must be"):
        save(tmp_path, -1)


def test_the_latest_is_the_highest_step(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "absent") is None
    assert latest_checkpoint(tmp_path) is None
    for step in (5, 1_000_000, 999_999, 20):
        save(tmp_path, step, step)
    (tmp_path / "step-nonsense").mkdir()
    (tmp_path / ".step-2000000.tmp").mkdir()
    assert value_of(latest_checkpoint(tmp_path)) == 1_000_000


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 5, 1.0, files={"old.txt": Path(__file__)})
    assert value_of(save(tmp_path, 5, 2.0)) == 2.0
    assert names(tmp_path) == ["step-000005"]
    assert "old.txt" not in names(tmp_path / "step-000005")


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def change_a_byte(file: Path) -> None:
    contents = bytearray(file.read_bytes())
    contents[len(contents) // 2] ^= 1
    file.write_bytes(contents)


@pytest.mark.parametrize("damage", [cut, change_a_byte, Path.unlink])
@pytest.mark.parametrize("name", [*CHECKPOINT_FILES, "values.sqlite"])
def test_damage_is_named_and_passed_over(tmp_path: Path, damage: Callable[[Path], None], name: str) -> None:
    good = save(tmp_path, 1, 1.0)
    path = save(tmp_path, 2, 2.0, files={"values.sqlite": Path(__file__)})
    damage(path / name)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert name in str(caught.value) or name == "manifest.json"
    assert f"{path} is damaged" in str(caught.value)
    assert f"The newest good checkpoint before it is {good}" in str(caught.value)
    told: list[str] = []
    assert latest_checkpoint(tmp_path, tell=told.append) == good
    assert told == [f"passed over a damaged checkpoint: {str(caught.value).partition('. The newest')[0]}"]


def test_other_things_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*start the run anew"):
        load_checkpoint(tmp_path / "step-000001")
    (tmp_path / "step-000001").mkdir()
    with pytest.raises(CheckpointError, match=r"manifest.json is missing.*no good checkpoint before it"):
        load_checkpoint(tmp_path / "step-000001")
    (tmp_path / "step-000001" / "manifest.json").write_text('{"schema": 99}')
    with pytest.raises(CheckpointError, match="schema 1"):
        load_checkpoint(tmp_path / "step-000001")
    (tmp_path / "step-000001" / "manifest.json").write_text('{"schema": 1, "files": {}}')
    with pytest.raises(CheckpointError, match="does not list all files"):
        load_checkpoint(tmp_path / "step-000001")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, 1.0)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for module, name in (
        (checkpoint, "write_tensors"),
        (checkpoint, "_write_json"),
        (os, "fsync"),
        (shutil, "copyfile"),
    ):
        for step in (1, 2):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, full)
                with pytest.raises(OSError, match="No space left"):
                    save(tmp_path, step, 9.0, files={"x": Path(__file__)})
            assert names(tmp_path) == ["step-000001"]
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 2, save_policy=full, optimizer_state={}, extra={})
    assert names(tmp_path) == ["step-000001"]
    assert value_of(latest_checkpoint(tmp_path)) == 1.0


def test_prune_keeps_the_newest_complete_ones(tmp_path: Path) -> None:
    paths = [save(tmp_path, step, step) for step in range(1, 6)]
    (paths[4] / "optimizer.json").unlink()
    assert prune(tmp_path, 2) == [paths[1], paths[0]]
    assert names(tmp_path) == ["step-000003", "step-000004", "step-000005"]
    assert value_of(latest_checkpoint(tmp_path)) == 4
    assert prune(tmp_path, 9) == []
    with pytest.raises(ValueError, match="at least 1"):
        prune(tmp_path, 0)


def test_prune_keeps_the_newest_that_is_no_later_than_a_good_step(tmp_path: Path) -> None:
    paths = [save(tmp_path, step, step) for step in (0, 10, 20, 30, 40, 50, 60)]
    assert prune(tmp_path, 2, [60, 39, 30, 15]) == [paths[4], paths[2], paths[0]]
    assert names(tmp_path) == ["step-000010", "step-000030", "step-000050", "step-000060"]
    (paths[1] / "optimizer.json").unlink()
    assert prune(tmp_path, 1, [15]) == [paths[5], paths[3]]  # none that is complete is as early


def test_the_newest_no_later_than_a_step(tmp_path: Path) -> None:
    paths = [save(tmp_path, step, step) for step in (2, 4, 6)]
    found = [latest_checkpoint(tmp_path, step) for step in (1, 2, 5, 6, 9)]
    assert found == [None, paths[0], paths[1], paths[2], paths[2]]


def test_later_ones_are_removed(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        save(tmp_path, step, step)
    remove_after(tmp_path, 4)
    assert names(tmp_path) == ["step-000002", "step-000004"]


_KILLED_SAVE = """
import os, pathlib, shutil, signal, sys, torch
from safetensors.torch import save_file
from turngym.trainers.checkpoints.checkpoint import save_checkpoint
folder, step, module, name, count = sys.argv[1:]
count = int(count)
owner = {"os": os, "shutil": shutil, "Path": pathlib.Path}[module]
original = getattr(owner, name)
def deadly(*arguments, **settings):
    global count
    count -= 1
    if count < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **settings)
setattr(owner, name, deadly)
def save_policy(path):
    path.mkdir()
    save_file({"w": torch.full((64,), 2.0)}, path / "weights.safetensors")
save_checkpoint(pathlib.Path(folder), int(step), save_policy=save_policy, optimizer_state={}, extra={"value": 2.0})
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
@pytest.mark.parametrize(
    ("step", "module", "name", "calls_survived", "left"),
    [
        (2, "Path", "write_text", 1, 1.0),  # weights written, state not
        (2, "Path", "replace", 0, 1.0),  # complete, but not in place
        (1, "Path", "rename", 1, 1.0),  # the old version of the step stands aside
        (1, "shutil", "rmtree", 0, 2.0),  # the new version is in place, the old one not yet deleted
    ],
)
def test_a_kill_while_saving_leaves_the_last_good_one(
    tmp_path: Path, step: int, module: str, name: str, calls_survived: int, left: float
) -> None:
    save(tmp_path, 1, 1.0)
    command = [sys.executable, "-c", _KILLED_SAVE, str(tmp_path), str(step), module, name, str(calls_survived)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert value_of(latest_checkpoint(tmp_path)) == left
    save(tmp_path, 3, 3.0)
    save(tmp_path, 1, 4.0)
    assert names(tmp_path) == ["step-000001", "step-000003"]


def test_fingerprints_tell_weights_apart() -> None:
    base = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3, dtype=torch.int32)}
    assert len(fingerprint_of(base)) == 64
    assert fingerprint_of(base) == fingerprint_of(dict(reversed(base.items())))
    strided = torch.tensor([[1.0, 9.0], [2.0, 9.0]])[:, 0]
    assert fingerprint_of(base) == fingerprint_of({**base, "a": strided})
    others = [
        {**base, "a": torch.tensor([1.0, 2.0000002])}, {**base, "a": torch.tensor([[1.0, 2.0]])},
        {**base, "a": torch.tensor([1.0, 2.0]).to(torch.bfloat16)}, {"a": base["a"]}, {"a": base["a"], "c": base["b"]},
        {**base, "a": torch.tensor([1.0, 2.0]).view(torch.int32)}, {},
    ]  # fmt: skip
    assert len({fingerprint_of(tensors) for tensors in (base, *others)}) == len(others) + 1
