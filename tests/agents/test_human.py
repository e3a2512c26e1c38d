"""A person at the terminal, played by a list of lines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from turngym.agents.human import HumanAgent, HumanLeft


class Rules:
    """The one thing a person needs to know of an environment."""

    instructions = "Say the word."


def typing(*lines: str | type[BaseException]) -> Callable[[str], str]:
    """Return an `input` that answers with `lines`, raising those that are exceptions."""
    waiting = iter(lines)

    def ask(prompt: str) -> str:
        assert prompt
        line = next(waiting)
        if isinstance(line, str):
            return line
        raise line

    return ask


def test_the_person_sees_rules_and_observations_and_is_heard() -> None:
    shown: list[str] = []
    agent = HumanAgent(show=shown.append, ask=typing("left", " right "))
    agent.start(0, Rules(), "You stand at a fork.", seed=1)  # type: ignore[arg-type]
    assert [reply.text for reply in agent.act([0])] == ["left"]
    agent.observe(0, "A wall.")
    assert [reply.text for reply in agent.act([0])] == [" right "]
    assert "Say the word." in shown[0] and shown[1:] == ["You stand at a fork.", "A wall."]
    assert agent.finish(0) == []


@pytest.mark.parametrize("closing", [EOFError, KeyboardInterrupt])
def test_closing_the_input_ends_the_game_cleanly(closing: type[BaseException]) -> None:
    agent = HumanAgent(show=lambda text: None, ask=typing(closing))
    with pytest.raises(HumanLeft):
        agent.act([0])


def test_the_defaults_are_print_and_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: "up")
    agent = HumanAgent()
    agent.observe(0, "A lake.")
    assert agent.act([0])[0].text == "up"
    assert capsys.readouterr().out == "A lake.\n"
