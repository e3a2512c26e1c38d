"""What runs would cost on rented cards: by hand for one of them, and as the documentation shows it for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from deploy import costs
from deploy.costs import CARDS, Lengths, cost_of, lengths_of, main, run_of, shape_of
from deploy.prices import Machine

from turngym.trainers.config import with_overrides
from turngym.trainers.launch.configure import configure

LENGTHS = Lengths(tokens=200.0, longest=300, reply=12, turns=5)


def test_a_run_costs_what_its_tokens_take() -> None:
    config = with_overrides(run_of("frozen_lake", "0.5B", 16, LENGTHS), {
        "learning": {"steps": 10, "batch_size": 64}, "evaluation": {"episodes": 100}, "run": {"rollout_slots": 32},
        "warm_start": {"enabled": False}, "values": {"instances": 50, "samples": 4, "extra_samples": 0},
        "model": {"max_reply_tokens": 12},
    })  # fmt: skip
    shape, card = shape_of("0.5B"), CARDS["A100-40GB"]
    weights = 494_032_768
    # 640 episodes are learned from, 640 + 4 x 100 + 200 are played; 4P, 2P for computing again, 2P of the reference.
    computing = weights * 200 * (640 * (4 + 2 + 2) + 2 * (640 + 400 + 200)) / (0.3 * card.flops)
    # 10 batches in 2 waves, 4 evaluations in 4, stage 1 in 7; each 5 turns of 12 tokens.
    passes = (20 + 16 + 7) * 5 * 12
    cost = cost_of(config, shape, LENGTHS, "A100-40GB")
    assert shape.parameters == weights and cost.fits
    assert cost.seconds == pytest.approx(computing + passes * 0.03, rel=1e-9), "2P bytes take less than 30 ms"
    machine = Machine(gpu="A100-40GB", cpu=2.0, memory=16)
    assert cost.dollars == pytest.approx(cost.seconds * machine.price)


def test_weights_that_learn_themselves_take_more_of_everything() -> None:
    shape = shape_of("1.5B")
    adapter, whole = (cost_of(run_of("frozen_lake", "1.5B", rank, LENGTHS), shape, LENGTHS, "H100") for rank in (16, 0))
    assert whole.seconds > adapter.seconds and whole.peak > 2 * adapter.peak


def test_what_does_not_fit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--presets", "frozen_lake", "--models", "3B", "--cards", "L4", "H200", "--lora-rank", "0"]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("| `frozen_lake`"))
    *_, small, large, _ = row.split(" | ".strip())
    assert small.strip() == "does not fit" and large.strip().endswith(tuple("0123456789"))


def test_there_is_room_for_the_words_of_the_model() -> None:
    config = run_of("webshop", "3B", 16, replace(LENGTHS, longest=3000, reply=150))
    assert config.model.context_length == 4096 and config.model.max_reply_tokens == 150
    own = configure(preset="webshop")
    assert run_of("webshop", "3B", 16, LENGTHS).model.max_reply_tokens == own.model.max_reply_tokens


def test_lengths_are_those_of_what_is_said() -> None:
    lengths = lengths_of(configure(preset="multiplication_steps"))
    assert 0 < lengths.reply < lengths.tokens <= lengths.longest and lengths.turns > 1


def test_the_documentation_shows_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    table, _, assumed = capsys.readouterr().out.partition("\n\n")
    shown = (Path(costs.__file__).parents[1] / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert table in shown, "print it anew: python -m deploy.costs"
    assert "not measured" in assumed and "30% of a card's" in assumed
