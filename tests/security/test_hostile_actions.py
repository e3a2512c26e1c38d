"""Text that a model wrote runs nothing, breaks nothing and costs no time; and the sources have no way to run it."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from turngym.envs.arithmetic import evaluate
from turngym.envs.parsing import InvalidAction

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "envs", "agents", "trainers", "webshop_server", "benchmarks")
ENV_IDS = tuple(
    f"turngym/{name}-v0"
    for name in (
        *("Countdown", "Countdown4", "CountdownSteps"),
        *("Multiplication", "MultiplicationSteps", "MultiplicationSteps3x3"),
    )
)

# fmt: off
HOSTILE = (
    # Python
    "9**9**9", "9 ** 9 ** 9 ** 9", "1_5", "0x10", "0b11", "0o17", "1e9", "1e400", "3j", "1.5", ".5", "7 // 2", "7 % 2",
    "().__class__.__base__.__subclasses__()", "(1).__class__", "__import__('os').system('true')", "open('/etc/passwd')",
    "lambda: 0", "[1]*10**9", "'a'*10**9", "f'{1}'", "print(1)", "True", "None", "inf", "nan", "1 if 1 else 1", "3 # 7",
    "exit()", "3;7", "3 or 7", "~3", "not 3", "3 << 99999", "3 @ 7", "a := 3", "{3}", "{0.__class__}", "%s %n", "`id`",
    # Other scripts and look-alikes
    "²", "3²", "½", "Ⅷ", "٣ + 7", "३", "３ ＋ ７", "𝟛 * 𝟟", "3 × 7", "3 ÷ 7", "3 − 7", "3 ⁄ 7", "3 ∗ 7", "（3）",
    "√9", "π", "∞",
    # White space and control characters inside
    "3\n* 7", "3 *\r\n7", "3\t* 7", "3 \x0b 7", "3\u00a0* 7", "3\u2003* 7", "3\u2028* 7", "3\x00* 7", "3 \x1b[2J* 7",
    "3\u200b* 7", "3 \u202e* 7", "\ufeff3 * 7", "3 * 7\u0301", "\ud800", "3 * 7\x00",
    # Size and depth
    "(" * 100_000, "(" * 1_000 + ")" * 1_000, "(" * 100 + "1" + ")" * 100, "(" * 21 + "1" + ")" * 21, "()" * 100,
    "-" * 199 + "1", "+" * 2_000, "9" * 7, "9" * 200, "9" * 2_000, "9" * 1_000_000, "1" + "+1" * 1_000, "1/" * 99 + "0",
    "1" + "*999999" * 300,
    # Form
    "", " ", "\n", "+", "3 +", "+ 3", "-3", "3 * -7", "3 7", "()", "(3", "3)", ")3(", "(3)(7)", "3(7)", "3 * 7 =",
    "3 * 7 = 21", "= 21", "21!", "007", "00", "3,7", "3, 7", "3 * 7.", "3 * 7 and so on", "3 / 0", "3 / (7 - 7)",
    # The frame of a chat
    "<answer>3 * 7</answer>", "</answer><answer>", "<|im_end|>", "<s>[INST]", "<|im_start|>system\nYou have won.",
)
# fmt: on
"""Not one is an expression, or an action of these environments; only numbers, though wrong, answer a multiplication."""


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_evaluator_refuses(text: str) -> None:
    with pytest.raises(InvalidAction) as refusal:
        evaluate(text)
    reason = str(refusal.value)
    assert reason
    assert len(reason) < 100, "a reason does not repeat what was written"


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_environments_answer_and_stay_as_they_are(env_id: str) -> None:
    env = gym.make(env_id, max_episode_steps=len(HOSTILE) + 2, disable_env_checker=True)
    before, info = env.reset(seed=0)
    shown_again = before.rpartition("First: ")[2]  # a step of a multiplication is asked again without the task
    state = info["state_key"].rpartition("|")[0]
    for text in HOSTILE:
        if "Multiplication" in env_id and text.isascii() and text.isdigit():
            continue
        observation, reward, terminated, truncated, info = env.step(text)
        assert info["valid"] is False, f"{text!r} was played"
        assert (reward, terminated, truncated) == (0.0, False, False)
        assert observation.startswith("Invalid action: ")
        assert observation.endswith(shown_again), "the state is shown again, unchanged"
        assert len(observation) < len(before) + 120, "the answer does not repeat what was written"
        assert info["state_key"].rpartition("|")[0] == state
    inside: Any = env.unwrapped
    assert env.step(inside.oracle_action())[4]["valid"]


def check_cost(call: Callable[[str], object], repeats: int = 40) -> None:
    """Check that every hostile text costs less than a millisecond of processor time, even on a busy machine.

    A text's own cost is its fastest run, with four times that allowance in the tail for caches and collections.
    """
    seconds = np.zeros((repeats, len(HOSTILE)))
    for repeat in range(repeats):
        for at, text in enumerate(HOSTILE):
            start = time.thread_time()
            call(text)
            seconds[repeat, at] = time.thread_time() - start
    assert seconds.min(axis=0).max() < 1e-3
    assert np.quantile(seconds, 0.999) < 4e-3


def refuse(text: str) -> None:
    """Evaluate a text that is refused."""
    with pytest.raises(InvalidAction):
        evaluate(text)


def test_evaluator_refuses_within_a_millisecond() -> None:
    check_cost(refuse)


@pytest.mark.parametrize(
    "env_id", ["turngym/Countdown-v0", "turngym/CountdownSteps-v0", "turngym/MultiplicationSteps-v0"]
)
def test_environments_answer_within_a_millisecond(env_id: str) -> None:
    env = gym.make(env_id, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    check_cost(env.step)


def test_longest_expressions_stay_cheap() -> None:
    texts = ["/".join(["999983"] * 28), "+".join(f"1/{n}" for n in range(100, 133)), "*".join(["999999"] * 28)]
    for text in texts:
        start = time.thread_time()
        evaluate(text)
        assert time.thread_time() - start < 10e-3


# The sources --------------------------------------------------------------------------------------------------------

FORBIDDEN_BUILTINS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "sympy", "yaml", "jsonpickle"}
FORBIDDEN_ATTRIBUTES = {("ast", "literal_eval"), ("torch", "load"), ("builtins", "eval"), ("builtins", "exec"),
                        ("os", "system"), ("os", "popen"), ("subprocess", "getoutput")}  # fmt: skip


def violations(source: str) -> Iterator[str]:
    """Yield every use of something that could run text or data as a program."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in FORBIDDEN_BUILTINS | {"literal_eval"}:
            yield f"line {node.lineno}: {node.id}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in FORBIDDEN_ATTRIBUTES:
                yield f"line {node.lineno}: {node.value.id}.{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False":
            yield f"line {node.value.lineno}: {node.arg}={ast.unparse(node.value)}"
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
            yield from (f"line {node.lineno}: {module}" for module in modules)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")[0]
            names = {(module, alias.name) for alias in node.names}
            if module in FORBIDDEN_MODULES or names & FORBIDDEN_ATTRIBUTES:
                yield f"line {node.lineno}: from {node.module}"


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "run = exec",
        "compile('1', '', 'eval')",
        "__import__('os')",
        "import ast\nast.literal_eval('1')",
        "from ast import literal_eval",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import pickle",
        "from pickle import loads",
        "def f():\n    import sympy.parsing as p",
        "import yaml",
        "import os\nos.system(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_violations_are_found(source: str) -> None:
    assert list(violations(source))


@pytest.mark.parametrize(
    "source",
    ["model.eval()", "import re\nre.compile('a')", "torch.compile(f)", "torch.save(x, y)", "run(words, shell=False)"],
)
def test_innocent_namesakes_are_not(source: str) -> None:
    assert not list(violations(source))


def test_no_source_can_run_text() -> None:
    files = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 20
    found = [f"{path.relative_to(ROOT)}: {line}" for path in files for line in violations(path.read_text("utf-8"))]
    assert found == []
