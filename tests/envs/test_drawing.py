"""Pictures of games: well formed, escaped, and of what happened."""

from __future__ import annotations

import re
from fractions import Fraction
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from turngym.envs import Drawn, InvalidAction, Sampling, env_ids, make_env, text_env
from turngym.envs.arithmetic import evaluate
from turngym.envs.countdown import CountdownEnv
from turngym.envs.countdown_drawing import Attempt, draw_attempts, is_right, short, spelled, trees_of
from turngym.envs.countdown_solver import Step, multiset
from turngym.envs.countdown_steps import CountdownStepsEnv
from turngym.envs.drawing import element, svg_drawing
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.envs.frozen_lake_drawing import lake_drawing
from turngym.envs.multiplication import MultiplicationEnv
from turngym.envs.multiplication_drawing import Row, draw_multiplication
from turngym.envs.multiplication_steps import MultiplicationStepsEnv

SVG = "{http://www.w3.org/2000/svg}"


def parsed(source: str) -> ET.Element:
    """Return the root of a picture."""
    return ET.fromstring(source)  # noqa: S314 - a picture that was just made


def texts(source: str) -> list[str]:
    """Return the texts of a picture, the title left out."""
    return [one.text or "" for one in parsed(source).iter(f"{SVG}text")]


@pytest.mark.parametrize("env_id", env_ids())
def test_every_picture_of_the_suite_is_whole_at_every_turn(env_id: str) -> None:
    env, rng = make_env(env_id), np.random.default_rng(0)
    inside = text_env(env)
    assert isinstance(inside, Drawn) and isinstance(inside, Sampling)
    env.reset(seed=1)
    for number in range(5):
        _, _, terminated, truncated, _ = env.step(inside.sample_action(rng) if number else "nothing of use <b>&")
        drawing = inside.drawing()
        assert drawing == inside.drawing() and drawing.words and "http://" not in drawing.source.replace(SVG[1:-1], "")
        if drawing.kind == "svg":
            assert parsed(drawing.source).tag == f"{SVG}svg"
        else:
            assert drawing.source.startswith("<!DOCTYPE html>") and "<script" not in drawing.source
            assert " inert>" in drawing.source and 'href="/static' not in drawing.source
        if terminated or truncated:
            break


def test_text_in_a_picture_is_text() -> None:
    drawing = svg_drawing(10, 20, [element("text", "<b>&'\"", x=1.25, class_='a"b')], words="</title><script>")
    root = parsed(drawing.source)
    assert [(one.text, dict(one.attrib)) for one in root.iter(f"{SVG}text")] == [
        ("<b>&'\"", {"x": "1.2", "class": 'a"b'})
    ]
    assert root[0].text == "</title><script>" == drawing.words and len(root) == 3


# The lake -----------------------------------------------------------------------------------------------------------


def test_a_lake_has_its_cells_and_the_way() -> None:
    drawing = lake_drawing(("SFH", "FFG"), [0, 3, 3, 4, 5])
    root = parsed(drawing.source)
    kinds = [one.get("class") for one in root.iter(f"{SVG}rect")]
    assert kinds == ["ice", "ice", "hole", "ice", "ice", "goal"]
    (way,) = root.iter(f"{SVG}polyline")
    assert way.get("points") == "20,20 20,57 57,57 94,57"
    assert [(one.get("class"), one.get("cx"), one.get("cy")) for one in root.iter(f"{SVG}circle")] == [
        ("start", "20", "20"), ("walker", "94", "57")]  # fmt: skip
    assert drawing.words == (
        "A lake of 2 rows and 3 columns: you on the goal at row 2 column 3, goal at row 2 column 3, "
        "holes at row 1 column 3, 4 moves."
    )


def test_the_lake_draws_where_the_moves_led() -> None:
    env = FrozenLakeEnv(actions_per_turn=4)
    env.reset(seed=3, options={"index": 5})
    env.step("no move")
    assert env.drawing().words.endswith("no moves yet.")
    while not env._success:
        env.step(env.oracle_action())
    assert "you on the goal at" in env.drawing().words and "in the hole" not in env.drawing().words


# Countdown ----------------------------------------------------------------------------------------------------------


def test_an_expression_becomes_a_tree() -> None:
    tree = evaluate("(3 + 7) * 9 / 2").tree
    assert spelled(tree) == "((3 + 7) * 9) / 2 = 45" and tree.operator == "/" and tree.operands[0].operator == "*"
    with pytest.raises(InvalidAction, match="division by zero"):
        evaluate("1 / (2 - 2)")


def test_steps_become_trees_of_what_is_left() -> None:
    numbers = multiset((2, 3, 3, 4))
    steps = [Step(Fraction(3), "*", Fraction(3)), Step(Fraction(9), "-", Fraction(4))]
    assert [spelled(tree) for tree in trees_of(numbers, steps)] == ["(3 * 3) - 4 = 5", "2"]
    # A number that was made is taken before an equal one that was given.
    again = [Step(Fraction(2), "*", Fraction(2)), Step(Fraction(4), "-", Fraction(3))]
    assert [spelled(tree) for tree in trees_of(multiset((2, 2, 3, 4)), again)] == ["(2 * 2) - 3 = 1", "4"]


def test_attempts_are_judged_by_value_and_numbers() -> None:
    numbers = multiset((3, 7, 9))
    right, short_of, without = (
        Attempt(trees=(evaluate(text).tree,), over=True, told="") for text in ("(3 + 7) * 9", "3 + 7 + 9", "90")
    )
    judged = [is_right(one, numbers, Fraction(90)) for one in (right, short_of, without)]
    assert judged == [True, False, False]
    drawing = draw_attempts(Fraction(90), numbers, [short_of, right])
    classes = [one.get("class") for one in parsed(drawing.source).iter(f"{SVG}g")]
    assert classes == ["wrong", "right"]
    assert drawing.words.startswith("Target 90, from 3 7 9. 1. (3 + 7) + 9 = 19.")


def test_steps_are_drawn_attempt_by_attempt() -> None:
    env = CountdownStepsEnv()
    env.reset(seed=0, options={"index": 0})
    assert texts(env.drawing().source)[1:] == [str(number) for number in env.puzzle.numbers]
    first = str(env.numbers[0])
    for _ in range(len(env.numbers) - 1):  # an attempt that fails: all numbers added up
        env.step(f"{env.numbers[0]} + {env.numbers[1]}")
    assert env.attempts_left == 2 and "1. That makes" in "".join(texts(env.drawing().source))
    while not env._success:
        env.step(env.oracle_action())
    drawing = env.drawing()
    assert drawing.words.endswith("Solved.") and first in texts(drawing.source)
    assert 'class="wrong"' in drawing.source and 'class="right"' in drawing.source


def test_expressions_are_drawn_attempt_by_attempt() -> None:
    env = CountdownEnv()
    env.reset(seed=0, options={"index": 0})
    env.step("1 + <script>")
    env.step("1 + 2")
    env.step(env.oracle_action())
    found = [one for one in texts(env.drawing().source) if re.match(r"\d\. ", one)]
    assert len(found) == 2 and found[0].startswith("1. That does not use") and found[1].endswith("the target.")
    assert "script" not in env.drawing().source


def test_huge_numbers_stay_short() -> None:
    assert short(Fraction(123456789)) == "123456789" and short(Fraction(-7, 2)) == "-7/2"
    assert short(Fraction(1, 3**30)) == "\N{ALMOST EQUAL TO}4.857e-15"
    tree = evaluate("*".join(["999999"] * 28)).tree
    assert float(short(tree.value)[1:]) == pytest.approx(1e168, rel=1e-3)
    assert short(Fraction(10**400)) == "100\N{HORIZONTAL ELLIPSIS} (401 digits)"
    assert (
        len(draw_attempts(Fraction(1), multiset((1, 1, 1)), [Attempt(trees=(tree,), over=True, told="x")]).source)
        < 20_000
    )


# Multiplication -----------------------------------------------------------------------------------------------------


def lines_of(source: str) -> list[str]:
    """Return the digits of a picture by rows, each place in a column of its own."""
    digits = [one for one in parsed(source).iter(f"{SVG}text") if one.get("class") == "digit"]
    places = sorted({float(one.get("x", "")) for one in digits})
    rows: dict[float, list[str]] = {}
    for one in digits:
        row = rows.setdefault(float(one.get("y", "")), [" "] * len(places))
        row[places.index(float(one.get("x", "")))] = one.text or ""
    return ["".join(rows[height]) for height in sorted(rows)]


def marks(source: str) -> list[str]:
    """Return how each row below the factors is marked."""
    return [one.get("class") or "" for one in parsed(source).iter(f"{SVG}g")]


def test_units_stand_below_units() -> None:
    rows = [Row(number="161", told="23 x 7"), Row(number="?", ruled=True)]
    drawing = draw_multiplication(("23", "47"), rows, words="so far")
    assert lines_of(drawing.source) == ["  23", "\N{MULTIPLICATION SIGN} 47", " 161", "   ?"]
    assert len(list(parsed(drawing.source).iter(f"{SVG}line"))) == 2 and texts(drawing.source)[-2:] == ["23 x 7", "?"]
    reversed_ = draw_multiplication(("32", "74"), [Row(number="161")], words="so far", units_last=False)
    assert lines_of(reversed_.source) == [" 32 ", "\N{MULTIPLICATION SIGN}74 ", " 161"]


def test_attempts_at_a_product_are_written_below_each_other() -> None:
    env = MultiplicationEnv()
    env.reset(seed=0)
    env.factors, env.product = (23, 47), 1081
    assert lines_of(env.drawing().source)[2:] == ["  ?"] and env.drawing().words == "23 \N{MULTIPLICATION SIGN} 47 = ?"
    for action in ("1001", "1e9", "2000", "1081"):
        env.step(action)
    drawing = env.drawing()
    assert lines_of(drawing.source)[2:] == [" 1001", " 2000", " 1081"] and marks(drawing.source) == [
        "wrong", "wrong", "right"]  # fmt: skip
    assert drawing.words.endswith("= ? 1001 is too low. 2000 is too high. 1081 is right.")
    assert [text for text in texts(drawing.source) if " " in text] == ["too low", "too high"]


def test_steps_of_a_product_are_written_as_on_paper() -> None:
    env = MultiplicationStepsEnv()
    env.reset(seed=0)
    first, second = env.factors
    assert marks(env.drawing().source) == [""] and lines_of(env.drawing().source)[-1].strip() == "?"
    env.step("1")
    assert marks(env.drawing().source) == ["wrong"] and "= 1 is wrong." in env.drawing().words
    while not env._success:
        env.step(env.oracle_action())
    drawing = env.drawing()
    written = [line.strip() for line in lines_of(drawing.source)[2:]]
    assert written == [str(number) for number in (first * (second % 10), first * (second // 10) * 10, first * second)]
    assert marks(drawing.source) == ["", "", "right"] and drawing.words.endswith(f"= {first * second}.")
    assert env.drawing() == drawing


def test_reversed_digits_are_drawn_reversed() -> None:
    env = MultiplicationStepsEnv(digit_order="least_first")
    env.reset(seed=0)
    action = env.oracle_action()
    env.step(action)
    lines = lines_of(env.drawing().source)
    assert lines[0].strip() == str(env.factors[0])[::-1] and lines[2][1:].startswith(action)
    assert lines[3].strip() == "?" and lines[3][1] == "?"
