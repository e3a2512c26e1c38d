"""Names that people write: the nearest of them, and what a registry takes."""

from __future__ import annotations

from types import FunctionType

import pytest

from turngym.names import accepts, enter, find, nearest


def function() -> None:
    pass


@pytest.mark.parametrize(
    ("word", "choices", "ending"),
    [
        ("frozenlak", ["FrozenLake", "Countdown"], "; did you mean 'FrozenLake'?"),
        ("zzz", ["a", "b"], "; choose from a, b"),
        ("zzz", [str(i) + "aaaa" for i in range(20)], ""),
        ("zzz", [], ""),
    ],
)
def test_the_nearest_choice(word: str, choices: list[str], ending: str) -> None:
    assert nearest(word, choices) == ending


def test_an_entry_is_found_by_its_name_alone() -> None:
    registry = {"one": 1}
    enter(registry, "number", "two", 2)
    enter(registry, "number", "two", 2)
    assert (find(registry, "number", "two"), registry) == (2, {"one": 1, "two": 2})
    with pytest.raises(ValueError, match="there is a number 'two' already; register yours under another name"):
        enter(registry, "number", "two", 3)
    with pytest.raises(ValueError, match="there is no number 'six'; choose from one, two"):
        find(registry, "number", "six")
    assert registry["two"] == 2


def test_code_that_has_the_same_place_is_the_same() -> None:
    registry: dict[str, object] = {"f": function}
    again = FunctionType(function.__code__, {"__name__": __name__})
    again.__qualname__ = function.__qualname__
    again.__module__ = function.__module__
    enter(registry, "function", "f", again)
    assert registry["f"] is again is not function
    again.__module__ = "elsewhere"
    with pytest.raises(ValueError, match=r"a function 'f' already, elsewhere\.function"):
        enter(registry, "function", "f", function)


def test_what_can_be_called_with_what() -> None:
    assert accepts(function) and accepts(lambda x: x, 1) and accepts(print, 1, 2)
    assert not accepts(function, 1) and not accepts(3) and not accepts(lambda x: x)
