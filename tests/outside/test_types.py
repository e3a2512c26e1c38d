"""What a type checker says of code that uses turngym from outside, as strictly as it can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.outside.programs import PACKAGE

import turngym

CONFIG = """
[mypy]
strict = True
# Torch takes mypy half a minute to read, and its tensors are not what is looked at.
[mypy-torch.*,transformers.*]
follow_imports = skip
"""
SCRIPT = """
import turngym
from turngym.agents import collect_episodes, instance_range
from turngym.envs import check_text_env, make_env
from word_games.losses import MyLossConfig, my_loss

env = make_env("me/Guess-v0")
absent: list[str] = check_text_env(env)
result = turngym.train("me/Guess-v0", algorithm="my_loss", objective={"bound": 0.5}, learning={"steps": 2})
success: float = result.scores["trained_greedy"].rate
agent = turngym.load_agent(result.folder, greedy=True)
episodes = collect_episodes(agent, result.config.env.id, instance_range("test", 8))
returns: list[float] = [episode.task_return for episode in episodes]
bound: float = MyLossConfig(bound=0.5).bound
"""


def check(folder: Path, *paths: Path) -> list[str]:
    """Return what mypy says of files that find the package and the turngym that is tested."""
    (folder / "mypy.ini").write_text(CONFIG, encoding="utf-8")
    search = os.pathsep.join([str(Path(turngym.__file__).parents[1]), str(PACKAGE)])
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", str(folder.parent / "mypy")]
    done = subprocess.run(
        [*command, *map(str, paths)], cwd=folder, env=os.environ | {"MYPYPATH": search}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_package_and_a_script_have_no_fault(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    modules = sorted((PACKAGE / "word_games").glob("*.py"))
    assert check(tmp_path, script, *modules) == [f"Success: no issues found in {len(modules) + 1} source files"]


FAULTS = {
    "turngym.train(3)": 'Argument 1 to "train" has incompatible type "int"',
    "turngym.train('FrozenLake', learning=3)": 'Argument "learning" to "train" has incompatible type "int"',
    "turngym.load_agent(1)": 'Argument 1 to "load_agent" has incompatible type "int"',
    "register_agent('a')(int)": 'Value of type variable "Factory" of function cannot be "type[int]"',
    "register_potential('a')(len)": 'Value of type variable "Function" of function cannot be',
    "objective('a', source='b', config=int)": 'Argument "config" to "objective" has incompatible type "type[int]"',
    "objective('a', source='b')(lambda batch: batch)": 'expected "Callable[[TrainingBatch, StepParams[Any]], Any]"',
    "StepParams(config=MyLossConfig()).config.bond": '"MyLossConfig" has no attribute "bond"; maybe "bound"?',
    "TrainingBatch.row_N": '"type[TrainingBatch]" has no attribute "row_N"',
    "register('a/B-v0', 'a:B')": 'Missing named argument "max_turns" for "register"',
    "register_preset('a', 3)": 'Argument 2 to "register_preset" has incompatible type "int"',
}
HEAD = """
import turngym
from turngym.agents import register_agent
from turngym.envs import register, register_potential
from turngym.trainers import StepParams, TrainingBatch, objective, register_preset
from word_games.losses import MyLossConfig
"""


def test_faults_are_seen(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(HEAD + "\n".join(FAULTS) + "\n", encoding="utf-8")
    said = [line for line in check(tmp_path, script) if ": error: " in line]
    by_line = {int(line.split(":")[1]) - len(HEAD.splitlines()): line for line in said}
    assert by_line.keys() == {*range(1, len(FAULTS) + 1)}, said
    for number, message in enumerate(FAULTS.values(), start=1):
        assert message in by_line[number]
