"""`doctor`: health, faults, and what to do about them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tests.envs.five_hooks import FiveHooksEnv

from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.rollout import make_env
from turngym.cli import doctor, main
from turngym.extras import install_command
from turngym.trainers.config import ConfigError


def test_a_healthy_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "All is well." in out and "BROKEN" not in out
    assert all(name in out for name in ("numpy", "gymnasium", "FrozenLake", "frozen_lake"))


def test_a_fault_is_named_and_the_others_are_still_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> None:
        raise ConfigError("preset x: there is no section 'y'")

    monkeypatch.setattr(doctor, "load_preset", broken)
    monkeypatch.setattr(doctor, "env_ids", lambda: 1 / 0)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN presets       preset x: there is no section 'y'" in out
    assert "BROKEN environments  ZeroDivisionError" in out
    assert "ok     files" in out and "Something is broken" in out


def test_a_missing_package_comes_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("turngym.cli.doctor.metadata.version", absent)
    with pytest.raises(doctor.Broken, match="numpy is missing: pip install"):
        doctor.core_versions()
    absent_ones = doctor.optional_versions()
    for name, extra in (("torch", "train"), ("flask", "webshop"), ("tensorboard", "tensorboard"), ("wandb", "wandb")):
        assert f"{name} absent (extra {extra})" in absent_ones
    assert absent_ones.endswith(install_command("train,webshop,plot,parquet,tensorboard,wandb"))
    assert doctor.tiny_model() == f"not checked: no torch and transformers ({install_command('train')})"


def test_a_model_folder_is_checked_as_every_command_checks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for slow in ("environments", "package_files", "tiny_model"):
        monkeypatch.setattr(doctor, slow, lambda: "skipped")
    tokenizer = train_tokenizer(["Play on."], vocabulary_size=300)
    decoder = build_decoder(tokenizer, hidden_size=16, layers=1, heads=2)
    LanguageModel(decoder, tokenizer).save_pretrained(tmp_path)
    assert main(["doctor", "--model", str(tmp_path), "--context-length", "600"]) == 0
    assert "can be played and trained with 600 tokens" in capsys.readouterr().out
    (tmp_path / "checksums.json").unlink()
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert main(["doctor", "--model", str(tmp_path)]) == 1
    assert "BROKEN folder" in (said := capsys.readouterr().out) and "chat template" in said
    assert main(["doctor", "--model", str(tmp_path / "absent")]) == 1
    assert "there is no folder" in capsys.readouterr().out


def test_changed_files_are_found(tmp_path: Path) -> None:
    recorded = metadata.PackagePath("module.py")
    recorded.hash = metadata.FileHash("sha256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0")  # of b"abc"
    recorded.dist = metadata.PathDistribution(tmp_path / "turngym.dist-info")
    assert not doctor._unchanged(recorded)
    (tmp_path / "module.py").write_bytes(b"abc")
    assert doctor._unchanged(recorded)
    (tmp_path / "module.py").write_bytes(b"abd")
    assert not doctor._unchanged(recorded)


def test_an_environment_without_its_package_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_shop(env_id: str, *arguments: Any) -> Any:
        if "WebShop" in env_id:
            raise ModuleNotFoundError("WebShop needs regex: pip install it")
        return make_env(env_id, *arguments)

    monkeypatch.setattr(doctor, "make_env", without_shop)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "not checked: WebShop needs regex: pip install it" in " ".join(out.split())


def test_an_environment_without_an_oracle_is_played_all_the_same(
    five_hooks_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "env_ids", lambda: [five_hooks_id])
    assert doctor.environments() == "FiveHooks"

    def broken(*arguments: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(FiveHooksEnv, "_play", broken)
    with pytest.raises(doctor.Broken, match="FiveHooks-v0: 2 of 2 episodes ended in an error"):
        doctor.environments()
