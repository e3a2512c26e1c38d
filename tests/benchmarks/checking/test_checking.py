"""Tables under a mark: how they are read, what comes out figure by figure, and what is put right."""

from __future__ import annotations

from pathlib import Path

import pytest

from turngym._errors import InputError
from turngym.benchmarks.checking import Measured, State, Verdict, check_table, corrected, marked_tables
from turngym.benchmarks.checking.figures import is_figure, written_like
from turngym.benchmarks.checking.measured import AgentRow, Values
from turngym.benchmarks.games import Optimum

PAGE = r"""# Results

```
<!-- turngym bench games, as an example -->
```

<!-- turngym bench games --scripted random
before A\*PO: base, sampled
after A\*PO: trained, sampled -->

| `turngym/...` | turns | reward | random | optimum | before A\*PO | after A\*PO |
|---|---|---|---|---|---|---|
| `Lake-v0` | 10 | 1 at the goal | .219 | .507 | .534 | not run |
| `Sums-v0`, `Sums4-v0` | 5 | 1/3 for each | .168, .029 | 1.000 | not run | |
| `Shop-v0` | 15 | 10 for all of it | .003 | .971 at least | .8 | .82 |

Text.

<!-- turngym bench webshop --protocols fixed -->
| agent | success | 95% over goals | score | seconds | goals |
|:--|--:|---|---|---|---|
| random | 0.03 | [.000, .015] | .082 | 12.5 | 385 |
| clone, sampled | .8 | | | | |
"""


def of_agent(place: str, agent: str, success: float, **values: Values) -> AgentRow:
    return AgentRow(place=place, env_id=place.partition(",")[0], agent=agent, values={"success": (success,)} | values)


GAMES = Measured(
    rows=[
        of_agent("a/Lake-v0", "random", 0.21875), of_agent("a/Sums-v0", "random", 0.168),
        of_agent("a/Sums4-v0", "random", 0.0291), of_agent("a/Shop-v0", "random", 0.0026),
    ],
    limits={"a/Lake-v0": 10, "a/Sums-v0": 5, "a/Sums4-v0": 5, "a/Shop-v0": 15},
    optima={"a/Lake-v0": Optimum(rate=0.50712), "a/Sums-v0": Optimum(rate=1.0), "a/Sums4-v0": Optimum(rate=1.0),
            "a/Shop-v0": Optimum(at_least=0.9714)},
)  # fmt: skip
SHOP = Measured(
    rows=[of_agent("generated, fixed", "random", 0.0312, **{"95% over goals": (0.0, 0.0149), "score": (0.0824,),
                                                            "goals": (385,)})],
    limits={}, optima={},
)  # fmt: skip


def verdicts(path: Path, text: str = PAGE, games: Measured = GAMES, within: float = 0.0) -> list[Verdict]:
    """Return what becomes of the figures of a page's tables of games."""
    path.write_text(text, encoding="utf-8")
    found = [table for table in marked_tables(path) if table.words[0] == "games"]
    return [verdict for table in found for verdict in check_table(table, games, within)]


def wrong(found: list[Verdict]) -> list[str]:
    return [str(one).partition(".md:")[2] for one in found if one.state is State.DIFFERS]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


def test_marked_tables_are_read(page: Path) -> None:
    page.write_text(PAGE)
    games, shop = marked_tables(page)
    assert (games.line, games.words, games.heads[5]) == (7, ("games", "--scripted", "random"), "before A*PO")
    assert games.agents == {"before A*PO": "base, sampled", "after A*PO": "trained, sampled"}
    assert [row.line for row in games.rows] == [13, 14, 15] and games.rows[1].cells[-1] == ""
    assert shop.command == "turngym bench webshop --protocols fixed" and len(shop.rows) == 2


def test_what_comes_out_and_what_needs_the_runs(page: Path) -> None:
    found = verdicts(page)
    assert wrong(found) == []
    assert [(one.name, one.written, one.reason) for one in found if one.state is State.NOT_CHECKED] == [
        ("Lake-v0", ".534", "needs the runs"), ("Shop-v0", ".8", "needs the runs"),
        ("Shop-v0", ".82", "needs the runs")]  # fmt: skip
    assert sum(one.state is State.COMES_OUT for one in found) == 4 * 3, "two environments share a row"


@pytest.mark.parametrize(
    ("right", "planted", "said"),
    [
        (".219", ".220", "13: Lake-v0, random: .220 is written, .219 comes out"),
        (".168, .029", ".168, .030", "14: Sums4-v0, random: .030 is written, .029 comes out"),
        (".971 at least", ".971", "15: Shop-v0, optimum: .971 is written, .971 at least comes out"),
        (".507", ".507 at least", "13: Lake-v0, optimum: .507 at least is written, .507 comes out"),
        (" | 15 |", " | 14 |", "15: Shop-v0, turns: 14 is written, 15 comes out"),
        ("Lake-v0", "Pond-v0", "13: Pond-v0, turns: 10 is written, and no such row comes out"),
    ],
)
def test_a_planted_figure_is_found_and_put_right(page: Path, right: str, planted: str, said: str) -> None:
    found = verdicts(page, PAGE.replace(right, planted, 1))
    assert wrong(found)[0] == said
    again = corrected(page.read_text(encoding="utf-8"), found)
    assert again == (PAGE if "Pond" not in planted else page.read_text(encoding="utf-8"))


def test_a_figure_may_have_fewer_digits(page: Path) -> None:
    assert wrong(verdicts(page, PAGE.replace(".507", "0.51"))) == []
    assert wrong(verdicts(page, PAGE.replace(".507", "0.50"))) == [
        "13: Lake-v0, optimum: 0.50 is written, 0.51 comes out"]  # fmt: skip


def test_runs_that_are_given_are_checked_whatever_they_are_called(page: Path) -> None:
    runs = [of_agent("a/Lake-v0, size = 3", "lake, base, sampled", 0.534),
            of_agent("a/Shop-v0", "shop, trained, sampled", 0.83)]  # fmt: skip
    given = Measured(rows=[*GAMES.rows, *runs], limits=GAMES.limits, optima=GAMES.optima)
    found = verdicts(page, games=given)
    assert wrong(found) == ["15: Shop-v0, after A*PO: .82 is written, .83 comes out"]
    assert wrong(verdicts(page, games=given, within=0.02)) == []
    two = Measured(rows=[*given.rows, of_agent("a/Shop-v0", "other, trained, sampled", 0.1)], limits=GAMES.limits,
                   optima=GAMES.optima)  # fmt: skip
    assert "could be of other, trained, sampled or shop, trained, sampled" in [one.reason for one in verdicts(
        page, games=two)]  # fmt: skip


def test_rows_of_agents_are_checked_by_the_heads_of_the_command(page: Path) -> None:
    page.write_text(PAGE)
    _, shop = marked_tables(page)
    found = list(check_table(shop, SHOP))
    assert [(one.written, one.state, one.reason) for one in found] == [
        ("0.03", State.COMES_OUT, ""), ("[.000, .015]", State.COMES_OUT, ""), (".082", State.COMES_OUT, ""),
        ("12.5", State.NOT_CHECKED, "is of the machine"), ("385", State.COMES_OUT, ""),
        (".8", State.NOT_CHECKED, "needs the runs"),
    ]  # fmt: skip
    page.write_text(PAGE.replace("[.000, .015]", "[.000, .016]"))
    found = list(check_table(list(marked_tables(page))[1], SHOP))
    assert wrong(found) == ["22: random, 95% over goals: [.000, .016] is written, [.000, .015] comes out"]
    two = Measured(rows=[*SHOP.rows, of_agent("generated, gigpo", "random", 0.0)], limits={}, optima={})
    assert all(one.reason.startswith("is of one of several") for one in check_table(shop, two))


def test_a_column_of_which_nothing_is_known_is_told(page: Path) -> None:
    page.write_text("<!-- turngym bench games -->\n\n| env | guess | rule |\n|---|---|---|\n| `Lake-v0` | .5 | .1 |\n")
    guess, rule = check_table(next(marked_tables(page)), GAMES)
    assert (guess.state, guess.reason) == (State.NOT_CHECKED, "is no column that the command makes")
    assert rule.state is State.DIFFERS and str(rule).endswith(".1 is written, and no such row comes out")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n<!-- turngym bench games -->\n\nText.\n", "page.md:2: no table follows the mark"),
        ("<!-- turngym bench games -->\n| a |\n| b |\n", "page.md:1: no table follows the mark"),
        ("<!-- turngym bench games 'x -->\n| a |\n|---|\n", "page.md:1: the command of the mark cannot be read"),
    ],
)
def test_marks_that_cannot_be_used(page: Path, text: str, sentence: str) -> None:
    page.write_text(text)
    with pytest.raises(InputError, match=sentence):
        list(marked_tables(page))


def test_a_page_that_is_not_there(page: Path) -> None:
    with pytest.raises(InputError, match=r"page.md cannot be read"):
        list(marked_tables(page))


@pytest.mark.parametrize("text", [".219", "1.000", "[.1, .2]", "± .016", "12", "48 (96 episodes)", ".9 at least", "5%"])
def test_figures(text: str) -> None:
    assert is_figure(text)


@pytest.mark.parametrize("text", ["", "not run", "1 at the goal", "1/3 for each", "unknown", "`x`"])
def test_texts(text: str) -> None:
    assert not is_figure(text)


@pytest.mark.parametrize(
    ("text", "values", "came"),
    [
        (".219", (0.5,), ".500"), ("0.22", (0.5,), "0.50"), ("1.000", (0.97,), "0.970"), (".9", (1.0,), "1.0"),
        ("[.1, .2]", (0.31, 0.42), "[.3, .4]"), ("1,024", (2048,), "2,048"), ("-.5", (-0.25,), "-.2"),
        ("48", (48, 96), "48, 96"), (".5", (None,), ""),
    ],
)  # fmt: skip
def test_numbers_are_written_as_they_were(text: str, values: Values, came: str) -> None:
    assert written_like(text, values) == came
