"""What stands in a run folder: weights, the configuration of this version and of others, and branches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turngym._errors import InputError, InputWarning
from turngym._version import __version__
from turngym.plugins import requested
from turngym.trainers.config import EnvConfig, LearningConfig, ModelConfig, RunConfig, TrainConfig, write_toml
from turngym.trainers.launch.policies import policy_folder
from turngym.trainers.launch.run_folder import (
    agent_config,
    begin_branch,
    known_config,
    run_config,
    save_config,
    used_config,
)

CONFIG = TrainConfig(env=EnvConfig(id="turngym/FrozenLakeWindy-v0", kwargs={"size": 5}),
                     model=ModelConfig(max_reply_tokens=3), learning=LearningConfig(steps=7))  # fmt: skip


def with_weights(folder: Path) -> Path:
    """Return a folder that looks as if it held a model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_the_policy_of_a_run_is_that_of_its_last_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(write_toml(CONFIG))
    with pytest.raises(InputError, match=f"has no checkpoint yet; continue it with: turngym train --resume {tmp_path}"):
        policy_folder(tmp_path)
    base = with_weights(tmp_path / "base")
    with pytest.warns(InputWarning, match="has learned nothing yet: its base plays"):
        assert policy_folder(tmp_path) == base
    for step in (9, 25, 100):
        with_weights(tmp_path / "checkpoints" / f"step-{step:06d}" / "policy")
    (tmp_path / "checkpoints" / "step-000125").mkdir()  # without a policy
    last = tmp_path / "checkpoints" / "step-000100"
    assert policy_folder(tmp_path) == policy_folder(last) == policy_folder(last / "policy") == last / "policy"


def test_a_folder_must_exist_and_hold_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*absent"):
        policy_folder(tmp_path / "absent")
    with pytest.raises(InputError, match=r"is neither a run nor a checkpoint: it has no config\.toml"):
        policy_folder(tmp_path)


def test_weights_know_the_run_around_them(tmp_path: Path) -> None:
    weights = with_weights(tmp_path / "run" / "checkpoints" / "step-000009" / "policy")
    assert agent_config(weights) is None
    (tmp_path / "run" / "config.toml").write_text(write_toml(CONFIG))
    assert agent_config(weights) == CONFIG
    for place in ("base", "references/round-2"):
        assert agent_config(with_weights(tmp_path / "run" / place)) == CONFIG
    (tmp_path / "latest").symlink_to(weights.parent)
    assert agent_config(tmp_path / "latest" / "policy") == CONFIG


def test_a_configuration_above_other_weights_is_none_of_theirs(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("title = 'a site'\n[env]\nid = 3\n")
    for place in ("model", "models/mine", "models/mine/policy", "checkpoint"):
        assert agent_config(with_weights(tmp_path / place) if place != "models/mine" else tmp_path / place) is None


@pytest.mark.parametrize(("line", "writer"), [('version = "9.1"\n', "turngym 9.1"), ("", "an earlier version")])
def test_another_version_is_played_but_not_continued(line: str, writer: str, tmp_path: Path) -> None:
    text = write_toml(CONFIG).replace(f'version = "{__version__}"\n', line)
    text = text.replace("[env]", "[env]\nunheard_of = 3")
    (tmp_path / "config.toml").write_text(text + "[astarpo]\nobjective = 'x'\n")
    with pytest.raises(InputError, match=f"was written by {writer}, and this is {__version__}.*--model.path"):
        run_config(tmp_path)
    with pytest.warns(InputWarning, match=f"by {writer}, has settings that turngym {__version__} cannot use: "
                                          r"env\.unheard_of, astarpo; they are passed over"):  # fmt: skip
        assert agent_config(tmp_path / "base") == CONFIG


def test_a_run_of_this_version_is_continued_with_what_it_imports(own_code: Path) -> None:
    (own_code / "my_tools.py").write_text("")
    config = TrainConfig(run=RunConfig(imports=["my_tools"]))
    (own_code / "config.toml").write_text(write_toml(config))
    assert run_config(own_code) == config and requested() == ["my_tools"]
    (own_code / "config.toml").write_text(write_toml(TrainConfig(run=RunConfig(imports=["no_tools"]))))
    with pytest.raises(InputError, match=r"there is no module 'no_tools'"):
        run_config(own_code)


def test_what_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no run folder .*absent"):
        run_config(tmp_path / "absent")
    with pytest.raises(InputError, match=r"the configuration .*config\.toml cannot be read: No such file"):
        run_config(tmp_path)
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read: it is not UTF-8 text"):
        run_config(tmp_path)


@pytest.mark.parametrize("text", ["", f"version = '{__version__}'\n", "env = 3", "[env]\nstep_timeout = 3.0"])
def test_a_configuration_that_lost_its_environment_is_damaged(text: str, tmp_path: Path) -> None:
    with_weights(tmp_path / "base")
    save_config(tmp_path, CONFIG)
    (tmp_path / "config.used.toml").write_text(text)
    with pytest.raises(InputError, match=r"config\.used\.toml is damaged: .*no environment.*; delete it to go on"):
        used_config(tmp_path)
    (tmp_path / "config.toml").write_text(text)
    for read, place in ((run_config, tmp_path), (known_config, tmp_path), (agent_config, tmp_path / "base")):
        with pytest.raises(InputError, match=r"config\.toml is damaged: it names no environment"):
            read(place)


def test_a_branch_is_noted_and_the_result_put_aside(tmp_path: Path) -> None:
    metrics, result = tmp_path / "metrics.jsonl", tmp_path / "result.json"
    metrics.write_text('{"phase": "learning", "step": 2}\n{"phase": "learn')  # a crash cut the last line off
    begin_branch(tmp_path, ["learning.steps 2 -> 3"])
    assert [json.loads(line) for line in metrics.read_text().splitlines()] == [
        {"phase": "learning", "step": 2},
        {"phase": "branch", "changed": ["learning.steps 2 -> 3"], "version": __version__},
    ]
    for number in (1, 2):
        result.write_text(str(number))
        begin_branch(tmp_path, ["learning.steps 3 -> 4"])
        assert not result.exists() and (tmp_path / f"result-before-branch-{number}.json").read_text() == str(number)


def test_a_module_of_the_folder_where_a_run_began_is_found_from_elsewhere(
    own_code: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_code / "their_tools.py").write_text("FOUND = 1")
    config = TrainConfig(run=RunConfig(imports=["their_tools"], import_folder=str(own_code)))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    save_config(own_code, config)
    assert run_config(own_code) == config and requested() == ["their_tools"]
    save_config(own_code, TrainConfig(run=RunConfig(imports=["no_tools"], import_folder=str(own_code))))
    with pytest.raises(InputError, match=rf"neither installed nor in {Path.cwd()} or {own_code}$"):
        run_config(own_code)
