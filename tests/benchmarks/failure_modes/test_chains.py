from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range
from turngym.agents.scripted import DemonstrationAgent, OracleAgent
from turngym.benchmarks.algorithms_rows import RESULTS
from turngym.benchmarks.failure_modes import chains
from turngym.benchmarks.failure_modes.__main__ import main
from turngym.benchmarks.failure_modes.chains import (
    CHAINS,
    Break,
    Chain,
    ChainRow,
    config_of,
    first_break,
    page,
    steps_of,
    takes_carry,
)
from turngym.benchmarks.failure_modes.few_factors import FewFactorsEnv
from turngym.benchmarks.page import read_rows
from turngym.envs import make_env, text_env
from turngym.envs.multiplication_steps import Calculation
from turngym.trainers.rollouts import Rollouts

COMMITTED = Path(__file__).parents[3] / RESULTS


def test_carries_are_those_of_the_calculation_on_paper() -> None:
    # 23 * 7 = 161: 21 gives 1 and carries 2, 14 + 2 gives 6 and carries 1.
    assert takes_carry(Calculation(23, "*", 7)) == [False, True, True]
    assert takes_carry(Calculation(23, "*", 700)) == [False, False, False, True, True]
    assert takes_carry(Calculation(12, "*", 3)) == [False, False]
    assert takes_carry(Calculation(47, "*", 0)) == [False]
    assert takes_carry(Calculation(161, "+", 940)) == [False, False, True, True]
    for step in (Calculation(987, "*", 80), Calculation(95, "+", 907)):
        assert len(takes_carry(step)) == len(str(step.result))


def test_a_break_has_a_carry_where_its_first_wrong_digit_takes_one() -> None:
    step = Calculation(23, "*", 7)
    assert Break("first product", step, "151").carried and Break("first product", step, "1").carried
    assert not Break("first product", step, "061").carried
    assert not Break("first product", step, "1619").carried  # all digits are right, and one more is written


@pytest.mark.parametrize("name", list(CHAINS))
def test_flawless_play_ends_well_and_a_mistake_breaks_the_chain(name: str) -> None:
    chain = CHAINS[name]
    rollouts = Rollouts.of(config_of(chain, 0))
    for episode in rollouts.play(OracleAgent(), instance_range("test", 8)):
        assert episode.success and first_break(episode) is None
        assert len(steps_of(episode)) == len(episode.turns) == chain.steps
    broken = rollouts.play(DemonstrationAgent(mistake_rate=1.0), instance_range("test", 8))
    assert {first_break(episode).place for episode in broken} == {"first product"}  # type: ignore[union-attr]
    assert not any(episode.success for episode in broken)


def test_the_place_of_a_break_is_that_of_the_first_wrong_step() -> None:
    (episode,) = Rollouts.of(config_of(CHAINS["3 x 3"], 0)).play(OracleAgent(), instance_range("test", 1))

    def wrong_from(place: int) -> Episode:
        turns = [replace(turn, task_reward=0.0) if at >= place else turn for at, turn in enumerate(episode.turns)]
        return replace(episode, turns=turns)

    places = [first_break(wrong_from(place)) for place in range(5)]
    assert [found.place for found in places if found] == [
        "first product", "later product", "sum", "later product", "sum",
    ]  # fmt: skip


def test_few_factors_are_few_and_keep_to_their_split() -> None:
    chain = Chain(3, 3, firsts=5)
    met: dict[str, set[tuple[int, int]]] = {}
    with closing(make_env(chain.env.id, chain.env.kwargs)) as env:
        for split in ("train", "test"):
            for index in range(40):
                env.reset(options={"split": split, "index": index})
                game = text_env(env)
                assert isinstance(game, FewFactorsEnv)
                met.setdefault(split, set()).add(game.factors)
    firsts = [{first for first, _ in factors} for factors in met.values()]
    assert firsts[0] == firsts[1] and len(firsts[0]) == 5
    assert not {tuple(sorted(pair)) for pair in met["train"]} & {tuple(sorted(pair)) for pair in met["test"]}


def test_products_are_counted() -> None:
    assert [CHAINS[name].products for name in ("2 x 2", "3 x 3", "3 x 3, 90 first factors")] == [900, 9000, 900]
    turns = {name: config_of(chain, 0).warm_start.batch_size * chain.steps for name, chain in CHAINS.items()}
    assert all(abs(count - chains.TURNS_PER_STEP) <= 4 for count in turns.values())


def test_a_tiny_run_writes_its_page_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    for name, some in (("COURSE_STEPS", 2), ("TURNS_PER_STEP", 6), ("EPISODES", 4)):
        monkeypatch.setattr(chains, name, some)
    monkeypatch.setattr(chains, "CHAINS", {chain.name: chain for chain in (Chain(2, 2), Chain(2, 2, firsts=9))})
    for _ in range(2):
        assert main(["chains", "--seeds", "1", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "failure_modes_chains.csv", ChainRow)
    assert [(row.chain, row.seed) for row in rows] == [("2 x 2", 0), ("2 x 2, 9 first factors", 0)]
    for row in rows:
        assert row.success + row.first_product + row.later_product + row.sums == pytest.approx(1.0)
    assert [round(row.showings, 4) for row in rows] == [round(8 / 900, 4), round(8 / 90, 4)]
    assert page(rows) == (tmp_path / "failure_modes_chains.md").read_text()
    assert (tmp_path / "failure_modes_chains.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_is_what_the_committed_rows_say() -> None:
    rows = read_rows(COMMITTED / "failure_modes_chains.csv", ChainRow)
    assert page(rows) == (COMMITTED / "failure_modes_chains.md").read_text(encoding="utf-8")
