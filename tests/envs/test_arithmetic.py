"""The evaluator computes what arithmetic says, and refuses everything else with a reason."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.envs.arithmetic import MAX_CHARS, MAX_DEPTH, evaluate, tokenize
from turngym.envs.parsing import InvalidAction


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", Fraction(0)),
        ("999999", Fraction(999_999)),
        ("3+7*9", Fraction(66)),
        ("(3 + 7) * 9", Fraction(90)),
        ("20 - 3 - 4", Fraction(13)),
        ("20 - (3 - 4)", Fraction(21)),
        ("48 / 4 / 3", Fraction(4)),
        ("48 / (4 / 3)", Fraction(36)),
        ("2 - 3 * 4 + 5", Fraction(-5)),
        ("7 / 2", Fraction(7, 2)),
        ("8 / (3 - 8 / 3)", Fraction(24)),
        ("1 / 3 + 1 / 3 + 1 / 3", Fraction(1)),
        ("((((5))))", Fraction(5)),
        ("  4  *  5  ", Fraction(20)),
    ],
)
def test_values_are_exact(text: str, value: Fraction) -> None:
    assert evaluate(text).value == value


def test_numbers_and_operators_are_reported() -> None:
    result = evaluate("(20 - 3) * 3 / 10")
    assert result.numbers == (20, 3, 3, 10)
    assert result.num_operators == 3
    assert evaluate("42").num_operators == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must stand at the end"),
        ("   ", "must stand at the end"),
        ("3 +", "must stand at the end"),
        ("* 3", r"must stand where \* is"),
        ("-3 + 7", "must stand where - is"),
        ("3 * -7", "must stand where - is"),
        ("9**9**9", r"must stand where \* is"),
        ("7 // 2", "must stand where / is"),
        ("()", r"must stand where \) is"),
        ("3 7", "operator is missing before 7"),
        ("3 (7)", r"operator is missing before \("),
        ("(3)(7)", r"operator is missing before \("),
        ("3 + 7)", r"operator is missing before \)"),
        ("(3 + 7", r"a \) is missing"),
        ("((3 + 7) 2", r"a \) is missing"),
        ("3 / 0", "division by zero"),
        ("3 / (7 - 7)", "division by zero"),
        ("007", "leading zeros"),
        ("00", "leading zeros"),
        ("1000000", "at most 999999"),
        ("1_5", "holds only"),
        ("0x10", "holds only"),
        ("1e3", "holds only"),
        ("1.5", "holds only"),
        ("3²", "holds only"),
        ("٣ + 7", "holds only"),
        ("３ + 7", "holds only"),
        ("3 \u00d7 7", "holds only"),
        ("3\n+ 7", "holds only"),
        ("3 + 7\n", "holds only"),
        ("3\t+ 7", "holds only"),
        ("3\u00a0+ 7", "holds only"),
        ("3 + 7 = 10", "holds only"),
        ("x", "holds only"),
        ("(1).real", "holds only"),
    ],
)
def test_refusals_say_why(text: str, reason: str) -> None:
    with pytest.raises(InvalidAction, match=reason):
        evaluate(text)


def test_bounds_are_exact() -> None:
    longest = "1+" * (MAX_CHARS // 2 - 1) + "10"
    assert len(longest) == MAX_CHARS
    assert evaluate(longest).value == MAX_CHARS // 2 + 9
    with pytest.raises(InvalidAction, match=f"at most {MAX_CHARS} characters"):
        evaluate(longest + "0")
    assert evaluate("(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH).value == 1
    with pytest.raises(InvalidAction, match=f"at most {MAX_DEPTH} deep"):
        evaluate("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1))


def test_depth_counts_nesting_not_parentheses() -> None:
    assert evaluate("+".join(["(1)"] * (MAX_DEPTH + 10))).value == MAX_DEPTH + 10


def test_tokens_drop_spaces() -> None:
    assert tokenize(" (12+ 3)*4") == ["(", "12", "+", "3", ")", "*", "4"]


Tree = tuple[str, Fraction, tuple[int, ...]]
"""An expression as text with its value and numbers, computed while it was built."""


def leaf(number: int) -> Tree:
    return str(number), Fraction(number), (number,)


def join(left: Tree, right: Tree, operator: str, space: str) -> Tree:
    """Combine two expressions in parentheses; a division by zero becomes a sum."""
    if operator == "/" and not right[1]:
        operator = "+"
    results = {"+": left[1] + right[1], "-": left[1] - right[1], "*": left[1] * right[1]}
    value = left[1] / right[1] if operator == "/" else results[operator]
    return f"({left[0]}{space}{operator}{space}{right[0]})", value, left[2] + right[2]


trees = st.recursive(
    st.integers(0, 999).map(leaf),
    lambda inner: st.builds(join, inner, inner, st.sampled_from("+-*/"), st.sampled_from(["", " ", "  "])),
    max_leaves=8,
)


@given(trees)
def test_any_expression_has_the_value_of_its_tree(tree: Tree) -> None:
    text, value, numbers = tree
    result = evaluate(text)
    assert result.value == value
    assert result.numbers == numbers


@given(st.one_of(st.text(), st.text(alphabet="0123456789+-*/() ", max_size=40), st.text(alphabet="()1*", max_size=250)))
def test_any_text_is_evaluated_or_refused(text: str) -> None:
    try:
        result = evaluate(text)
    except InvalidAction:
        return
    assert len(text) <= MAX_CHARS
    assert set(text) <= set("0123456789+-*/() ")
    assert result.numbers
