"""What passes `--dry-run` starts: the same words, without it, reach stage 2."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.cli.tiny_run import TINY

from turngym.cli import main
from turngym.trainers.run import TrainingRun

OWN_POTENTIAL = """
from turngym.envs.potentials import register_potential


@register_potential("half")
def half(env):
    return 0.5
"""


class StageTwo(Exception):
    """Stage 2 has begun."""


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--algorithm ppo --objective.gae-level bilevel --learning.minibatches 2 --monitors.on-alarm rollback",
        "--algorithm dapo --learning.updates-per-batch 2 --evaluation.validate-every 1",
        "--algorithm astarpo_lambda --learning.reset-every 1 --values.explorer-temperatures 2.0",
        "--algorithm raft --learning.max-tokens 5000 --learning.temperature-final 0.5",
        '--curriculum.levels [{"frozen_probability":0.9}] --shaping.potential-weight 1 --shaping.automatic-weight 0.5',
        "--shaping.potential half --shaping.potential-weight 1 --import own_potential",
        "--warm-start.enabled true --warm-start.demonstrations some.jsonl --warm-start.course-steps 2",
        "--model.digits-per-token 3 --model.show-instructions true --monitors.retrieval-every 1",
    ],
)
def test_what_passes_a_dry_run_reaches_stage_two(
    words: str, own_code: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reached(run: TrainingRun) -> None:
        raise StageTwo

    (own_code / "own_potential.py").write_text(OWN_POTENTIAL)
    (own_code / "some.jsonl").write_text(json.dumps({"prompt": "Go.", "completion": "up"}) + "\n")
    (own_code / "tiny.toml").write_text(TINY)
    given = ["train", "--preset", "tiny.toml", *words.split()]
    before = {path.name for path in own_code.iterdir()}
    assert main([*given, "--dry-run"]) == 0
    planned = re.findall(r"Would train in (\S+):", capsys.readouterr().out)
    assert {path.name for path in own_code.iterdir()} - {"__pycache__"} == before
    monkeypatch.setattr(TrainingRun, "learn", reached)
    with pytest.raises(StageTwo):
        main(given)
    assert [str(path.parent) for path in Path("runs").glob("*/base")] == planned


def test_a_dry_run_tells_how_much_memory_the_run_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = {}
    for width in (64, 512):
        words = ["--model.hidden-size", str(width), "--model.copying", "false", "--run.device", "cpu"]
        assert main(["train", "FrozenLake", "--dry-run", *words]) == 0
        said = capsys.readouterr().out.partition("# Memory, computed from the configuration, GB:\n")[2]
        rows = [line.removeprefix("#").split(maxsplit=1) for line in said.splitlines()]
        names = [name for _, name in rows]
        assert {"weights", "reference", "gradients", "optimizer", "cache", "stage 1"} <= {*names}
        (needed[width],) = (float(size) for size, name in rows if name.endswith("(peak)"))
    assert 0 < needed[64] < needed[512] < 20
