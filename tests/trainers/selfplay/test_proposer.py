"""Self-play: what is accepted, what a proposal is paid, what is kept, and runs whose policy or generator proposes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.trainers.harness import ESTIMATES, STAGE_ONE, alone_and_halted, make_loop, metric_lines, run, with_learning

from turngym.agents.base import Reply
from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel
from turngym.envs.registry import PROPOSAL
from turngym.envs.written import WRITTEN_INSTANCES
from turngym.trainers.base_checks import example_episodes
from turngym.trainers.base_model import load_or_build
from turngym.trainers.config import EnvConfig, SelfplayConfig, TrainConfig, ValueConfig
from turngym.trainers.instances import PROPOSER, PROPOSING, TARGET, level_of
from turngym.trainers.monitoring.alarms import PROPOSALS, Alarms, Thresholds
from turngym.trainers.prompts.sampler import PromptSampler
from turngym.trainers.prompts.successes import SuccessTracker
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.selfplay.checks import check_proposals
from turngym.trainers.selfplay.proposer import Proposer, value_proposals
from turngym.trainers.stage_one.sampling import StageOneSetup
from turngym.trainers.warm_start.cloning import clone

GOOD = ("P G _ _ _ _ _ O O", "P _ G _ _ _ _ O O", "P _ _ G _ _ _ O O")
"""Lakes of 3x3 in the training split, which random play seldom solves."""


class Writer:
    """Stands in for the policy, and writes what it is told to."""

    policy_version, temperature, reads_weights, slots = 0, 1.0, True, 16

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)

    def start(self, slot: int, env: Any, observation: str, seed: int) -> None:
        """Begin."""

    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Write the next texts."""
        return [Reply(text=self.texts.pop(0)) for _ in slots]

    def observe(self, slot: int, observation: str) -> None:
        """Read."""

    def finish(self, slot: int) -> list[int]:
        """End."""
        return []


@pytest.fixture
def playful(tiny: TrainConfig) -> TrainConfig:
    """The tiny run, whose policy proposes two lakes in a step, each played twice."""
    selfplay = SelfplayConfig(proposer="model", proposals=2, plays=2, kept=3, trivial=1.0, demonstration_share=0.5)
    return replace(tiny, selfplay=selfplay, model=replace(tiny.model, max_reply_tokens=12))


def ruled(config: TrainConfig, **settings: Any) -> TrainConfig:
    return replace(config, selfplay=replace(config.selfplay, proposer="rule", **settings))


def proposer(config: TrainConfig, **settings: Any) -> Proposer:
    made = Proposer(config)
    made.config = replace(made.config, **settings)
    return made


def written(proposer: Proposer, *texts: str, step: int = 0) -> Any:
    proposer.config = replace(proposer.config, proposals=len(texts))
    first, second = (proposer.propose(cast("Any", Writer(texts)), step, 0) for _ in range(2))
    assert first.numbers == second.numbers  # nothing is remembered before it was learned from
    return second


# What is accepted -----------------------------------------------------------------------------------------------


def test_levels_of_what_is_proposed() -> None:
    assert (level_of(PROPOSING), level_of(WRITTEN_INSTANCES), level_of(2**63 - 1)) == (PROPOSER, TARGET, TARGET)


def test_what_can_be_played_is_accepted_once(playful: TrainConfig) -> None:
    proposals = written(one := proposer(playful), GOOD[0], "P _ _", "P O G O O _ _ _ _", GOOD[0], GOOD[1])
    first, last = proposals.accepted[0], proposals.accepted[4]
    assert proposals.accepted == [first, None, None, None, last]
    assert first != last and min(first, last) >= WRITTEN_INSTANCES
    assert proposals.new == [first, last]
    assert proposals.numbers == pytest.approx({
        "proposals_valid": 0.8, "proposals_solvable": 0.6, "proposals_fit": 0.6, "proposals_accepted": 0.4,
        "proposals_repeated": 1 / 3,
    })  # fmt: skip
    one.keep(proposals.new)
    again = written(one, GOOD[0], step=1)
    assert (again.new, again.numbers["proposals_repeated"]) == ([], 1.0)


def test_the_generator_proposes_training_instances_that_differ_from_step_to_step(playful: TrainConfig) -> None:
    one = proposer(ruled(playful), proposals=6)
    nobody: Any = None
    steps = [one.propose(nobody, step, rollbacks) for step, rollbacks in ((0, 0), (1, 0), (1, 1))]
    assert all(found.numbers["proposals_solvable"] == 1.0 for found in steps)
    assert all(not found.num_sampled for found in steps)
    indices = [index for found in steps for index in found.new]
    assert len(set(indices)) == len(indices) >= 12
    other = proposer(ruled(playful), proposals=6)
    assert other.propose(nobody, 0, 0).new == steps[0].new


def test_what_an_environment_cannot_write_is_refused_before_a_run(tiny: TrainConfig) -> None:
    config = replace(tiny, selfplay=SelfplayConfig(proposer="rule", proposals=2, plays=2),
                     env=EnvConfig(id="turngym/FrozenLake8x8-v0"))  # fmt: skip
    with pytest.raises(ValueError, match=r"selfplay\.proposer 'rule': instances of this family cannot be written"):
        check_proposals(config)
    with pytest.raises(ValueError, match="ProposalEnv defines no read_instance, which self-play needs"):
        check_proposals(replace(config, env=EnvConfig(id=PROPOSAL, kwargs={"game": "turngym/Countdown-v0"})))
    check_proposals(replace(config, env=tiny.env))


# What it is paid ------------------------------------------------------------------------------------------------


def outcomes(index: int, *successes: bool) -> list[Episode]:
    return [Episode(env_id="any", split="train", index=index, seed=0, success=success) for success in successes]


def test_a_proposal_is_paid_by_what_it_teaches(playful: TrainConfig) -> None:
    one, successes = proposer(playful), SuccessTracker(STAGE_ONE)
    proposals = written(one, *GOOD, "no lake")
    easy, hard, even = proposals.new
    before = successes.state_dict()
    played = [*outcomes(easy, True, True), *outcomes(hard, False, False), *outcomes(even, True, False)]
    one.pay(proposals, played, successes, span=2.0)
    assert successes.state_dict() == before
    paid = [episode.turns[0].reward for episode in proposals.episodes]
    pool = successes.success(easy)
    known = [(1.9 + pool) / 2.9, pool / 2.9, (0.9 + pool) / 2.9]  # of two episodes the first counts for 0.9
    expected = [4.0 * math.sqrt(p * (1 - p)) for p in known]
    assert paid == pytest.approx([*expected, 0.0])
    assert paid[2] > max(paid[:2]) > 0
    assert proposals.numbers["learnability"] == pytest.approx(sum(expected) / 2 / 3)


def test_what_chance_decides_is_worth_less(playful: TrainConfig) -> None:
    one = proposer(playful)
    assert one.learnability(0.5) == 1.0
    one.environment_share = 0.75
    assert one.learnability(0.5) == pytest.approx(0.5)
    assert one.learnability(1.0) == 0.0


def test_an_instance_of_its_own_is_followed_until_it_is_let_go() -> None:
    successes = SuccessTracker(STAGE_ONE)
    index = WRITTEN_INSTANCES + 7
    before = successes.success(index)
    successes.track(index)
    assert successes.success(index) == before
    successes.update(outcomes(index, True, True, True))
    assert successes.success(index) > before + 0.2
    again = SuccessTracker(STAGE_ONE)
    again.load_state_dict(json.loads(json.dumps(successes.state_dict())))
    assert again.success(index) == successes.success(index)
    later = SuccessTracker(STAGE_ONE)
    later.follow_on(successes)
    assert later.success(index) > later.success(index + 1)
    successes.forget(index)
    assert successes.success(index) == successes.success(index + 1)


def test_the_newest_are_kept(playful: TrainConfig) -> None:
    one = proposer(playful)
    assert (one.keep([1, 2]), one.keep([3, 4]), one.kept) == ([], [1], [2, 3, 4])
    other = proposer(playful)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert other.kept == [2, 3, 4]
    assert proposer(playful, kept=0).keep([1, 2]) == [1, 2]


def test_proposals_have_their_share_of_the_prompts(playful: TrainConfig) -> None:
    prompts, successes = PromptSampler.of(playful, STAGE_ONE.pool), SuccessTracker(STAGE_ONE)
    new, kept = [WRITTEN_INSTANCES], [WRITTEN_INSTANCES + n for n in range(1, 9)]
    drawn = [instance.index for instance in prompts.draw(0, 0, successes, new=new, kept=kept)]
    assert len(drawn) == 8
    assert drawn[:2] == new * 2
    assert len({*drawn[2:4]} & {*kept}) == 2
    assert max(drawn[4:]) < WRITTEN_INSTANCES
    alone = [instance.index for instance in prompts.draw(0, 0, successes)]
    assert max(alone) < WRITTEN_INSTANCES


def test_values_of_proposals_are_those_of_stage_one(playful: TrainConfig, model: LanguageModel) -> None:
    found = proposer(ruled(playful), proposals=3)
    nobody: Any = None
    indices = found.propose(nobody, 0, 0).new
    values, tokens = value_proposals(model, indices, 4, StageOneSetup.of(playful), ESTIMATES)
    assert set(values) == set(indices)
    assert all(count == 4 and 0.0 <= value <= 1.0 for value, count in values.values())
    assert tokens > 0
    assert values == value_proposals(model, indices, 4, StageOneSetup.of(playful), ESTIMATES)[0]


# Collapse -------------------------------------------------------------------------------------------------------


def test_a_proposer_that_repeats_itself_rings_an_alarm(playful: TrainConfig) -> None:
    one, alarms = proposer(playful), Alarms()
    rung = []
    for step in range(1, 9):
        found = written(one, *[GOOD[0]] * 8, step=step)
        numbers = {"step": step, "grad_norm": 0.0, "kept": 1.0, **found.numbers}
        rung += alarms.judge(numbers, Thresholds())
        one.keep(found.new)
    assert [(alarm.alarm, alarm.step) for alarm in rung] == [(PROPOSALS, 5)]
    assert "the same instances again and again" in str(rung[0])


def test_a_proposer_that_writes_new_instances_rings_none(playful: TrainConfig) -> None:
    one, alarms = proposer(ruled(playful), proposals=8), Alarms()
    nobody: Any = None
    for step in range(1, 9):
        numbers = one.propose(nobody, step, 0).numbers
        assert not alarms.judge({"step": step, "grad_norm": 0.0, "kept": 1.0, **numbers}, Thresholds())


# Whole steps and runs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _writes(tiny: TrainConfig) -> LanguageModel:
    selfplay = SelfplayConfig(proposer="model", proposals=2, plays=2, trivial=1.0, demonstration_share=0.5)
    config = replace(tiny, selfplay=selfplay, model=replace(tiny.model, max_reply_tokens=12))
    model = load_or_build(config)
    how = Rollouts.of_proposals(config), 0.5
    course = replace(config.warm_start, success_low=0.0, success_high=1.0)
    assert list(clone(model, Rollouts.of(config), course, SilentProgress(), seed=0, proposals=how))
    return model


@pytest.fixture
def writer(_writes: LanguageModel) -> LanguageModel:
    """A model that was shown how lakes are written, and how they are crossed."""
    return _writes.copy()


@pytest.mark.parametrize("algorithm", ["astarpo", "grpo", "ppo"])
def test_both_roles_are_learned_from(
    playful: TrainConfig, writer: LanguageModel, tmp_path: Path, algorithm: str
) -> None:
    with_plays = replace(playful, selfplay=replace(playful.selfplay, plays=4, proposals=1))
    config = with_learning(with_plays, algorithm, steps=2)
    loop = make_loop(writer, config)
    loop.proposer = Proposer(config)
    numbers, played = run(loop, tmp_path)
    for step, episodes in zip(numbers, played, strict=True):
        roles = [episode.env_id == PROPOSAL for episode in episodes]
        assert sum(roles) == config.selfplay.proposals
        assert len(episodes) == config.learning.batch_size + config.selfplay.proposals
        assert step["sampled_tokens"] == sum(episode.num_sampled for episode in episodes)
        player = [episode for episode in episodes if episode.env_id != PROPOSAL]
        assert step["success"] == sum(episode.success for episode in player) / len(player)


@pytest.mark.parametrize(("proposes", "algorithm"), [("model", "astarpo_lambda"), ("rule", "astarpo")])
def test_a_run_that_proposes_resumes_with_the_same_bits(
    playful: TrainConfig, writer: LanguageModel, tmp_path: Path, proposes: str, algorithm: str
) -> None:
    config = playful if proposes == "model" else ruled(playful, value_samples=2)
    alone, halted = alone_and_halted(writer, with_learning(config, algorithm, steps=6), tmp_path)
    assert alone.files == halted.files
    assert alone.lines == halted.lines
    learned = metric_lines(alone.folder, "learning")
    assert len(learned) == 6
    assert all("proposals_accepted" in line for line in learned)


def test_proposals_are_shown_to_the_warm_start(playful: TrainConfig) -> None:
    texts = {turn.action for episode in example_episodes(playful) for turn in episode.turns}
    assert any(text.count("\n") == 2 and "P" in text for text in texts)


# Settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"proposals": 4}, r"selfplay\.proposals is not read without selfplay\.proposer"),
        ({"proposer": "model", "proposals": 3, "plays": 2}, r"selfplay\.proposals must be at most 2"),
        ({"proposer": "nobody"}, r"selfplay\.proposer must be"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tiny: TrainConfig, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(tiny, selfplay=SelfplayConfig(**settings))


def test_groups_are_played_whole(tiny: TrainConfig) -> None:
    grouped = with_learning(tiny, "grpo", group_size=4, batch_size=16)
    with pytest.raises(ValueError, match=r"selfplay\.plays must be a multiple of objective\.group_size, 4"):
        replace(grouped, selfplay=SelfplayConfig(proposer="rule", proposals=1, plays=6))


def test_values_that_nobody_reads_and_values_that_never_move_are_refused(tiny: TrainConfig) -> None:
    asked = SelfplayConfig(proposer="model", proposals=1, plays=1, value_samples=2)
    with pytest.raises(ValueError, match=r"selfplay\.value_samples is for V\* of instances"):
        replace(with_learning(replace(tiny, values=ValueConfig()), "reinforce", baseline="batch"), selfplay=asked)
    with pytest.raises(ValueError, match=r"selfplay\.value_samples is for V\* of instances"):
        replace(with_learning(tiny, "astarpo_lambda"), selfplay=asked)
    still = with_learning(tiny, "astarpo_turn", baseline="state_vstar")
    with pytest.raises(ValueError, match="which plays no proposer"):
        replace(still, selfplay=replace(asked, value_samples=0))
    assert replace(still, selfplay=replace(asked, value_samples=0, proposer="rule")).selfplay.enabled
