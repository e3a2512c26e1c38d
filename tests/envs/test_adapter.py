"""Text environments that know Gymnasium alone, played as environments of the suite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TransformAction, TransformObservation

from turngym._errors import InputError
from turngym.agents.episode import Status
from turngym.agents.rollout import Instance, PlayError, collect_episodes
from turngym.agents.scripted import ScriptedAgent, Seat
from turngym.envs import AdaptedTextEnv, UnfitEnv, check_text_env, make_env, reward_range, text_env
from turngym.envs.splits import SPLITS

COINS = "foreign/Coins-v0"


class CoinsEnv(gym.Env[str, str]):
    """Call heads or tails; three right calls win.

    Args:
        told: Whether the information holds success.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - typed by gymnasium
    closed = 0

    def __init__(self, told: bool = True, calls: int = 5, prize: float = 1.0, quits: bool = False) -> None:
        self.told, self.calls, self.prize, self.quits = told, calls, prize, quits
        self.observation_space = spaces.Text(100)
        self.action_space = spaces.Text(5)
        self.seeds: list[int | None] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.coins = self.np_random.integers(2, size=self.calls).tolist()
        self.called, self.right = 0, 0
        return "Call", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        hit = action == ("heads", "tails")[self.coins[self.called]]
        self.called += 1
        self.right += hit
        out = self.called == self.calls
        info = {"success": self.right >= 3} if self.told else {}
        reward = self.prize * hit / self.calls
        return f"{self.right} right", reward, out and not self.quits, out and self.quits, info

    def close(self) -> None:
        CoinsEnv.closed += 1


@pytest.fixture(autouse=True)
def coins() -> Iterator[None]:
    """Register the coins as other people do, with Gymnasium's own function."""
    gym.register(COINS, cast("Any", CoinsEnv), max_episode_steps=8)
    yield
    del gym.registry[COINS]


def perfect(env: gym.Env[str, str], calls: int = 5) -> list[tuple[Any, ...]]:
    """Play an episode of right calls and return what was answered."""
    env.reset(seed=0, options={"split": "test", "index": 3})
    inside = text_env(env)
    assert isinstance(inside, AdaptedTextEnv)
    game: Any = inside.inner.unwrapped
    return [env.step(("heads", "tails")[coin]) for coin in game.coins[:calls]]


def test_success_is_what_the_information_says_at_the_end() -> None:
    answers = perfect(make_env(COINS))
    assert [answer[4]["success"] for answer in answers] == [False, False, False, False, True]
    assert [answer[2] for answer in answers] == [False] * 4 + [True]
    assert sum(answer[1] for answer in answers) == pytest.approx(1.0)
    env = make_env(COINS)
    env.reset(seed=0)
    assert not [env.step("nothing"[:5]) for _ in range(5)][-1][4]["success"]


def test_success_is_a_return_that_reaches_the_threshold() -> None:
    for threshold, solved in ((1.0, True), (1.1, False)):
        kwargs = {"told": False, "adapter_success_threshold": threshold}
        assert perfect(make_env(COINS, kwargs))[-1][4]["success"] is solved
    told = {"told": True, "adapter_success_threshold": 2.0}
    assert perfect(make_env(COINS, told))[-1][4]["success"], "what the information says comes first"


def test_the_threshold_of_gymnasiums_registry_serves() -> None:
    gym.register("foreign/Worth-v0", cast("Any", CoinsEnv), reward_threshold=0.9, kwargs={"told": False})
    try:
        assert perfect(make_env("foreign/Worth-v0"))[-1][4]["success"]
    finally:
        del gym.registry["foreign/Worth-v0"]


def test_without_either_the_error_says_what_to_give() -> None:
    with pytest.raises(UnfitEnv, match=r"CoinsEnv says nothing of success: .* adapter_success_threshold"):
        perfect(make_env(COINS, {"told": False}))
    instances = [Instance(split="train", index=index, seed=index) for index in range(20)]
    with pytest.raises(PlayError, match=r"^no episode can be played: 10 of 20 failed, .*says nothing of success"):
        collect_episodes(Caller(), COINS, instances, env_kwargs={"told": False})


ANSWERS: dict[str, tuple[dict[int, Any], str]] = {
    "a dictionary": ({0: {"seen": 1}}, "UnfitEnv: CoinsEnv observed a dict, not text"),
    "four parts": ({2: None}, "UnfitEnv: CoinsEnv.step must return (observation, reward, terminated, truncated, info)"),
    "no information": ({4: None}, "UnfitEnv: CoinsEnv.step must return (observation, reward"),
    "a text for a reward": ({1: "1"}, "TypeError: the reward must be a number, got '1'"),
    "two rewards": ({1: np.ones(2)}, "TypeError: the reward must be a number, got array([1., 1.])"),
    "a text for a truth": ({2: "False"}, "TypeError: the terminated must be true or false, got 'False'"),
    "success unknown to mathematics": ({4: {"success": math.nan}}, "TypeError: the success must be true or false"),
    "a reward out of range": ({1: 55.0}, "UnfitEnv: the return 275 of CoinsEnv is outside of its reward_range 0 to 1"),
}


@pytest.mark.parametrize("fault", ANSWERS)
def test_a_wrong_answer_costs_its_own_episode(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, reason = ANSWERS[fault]
    step = CoinsEnv.step

    def odd(self: CoinsEnv, action: str) -> Any:
        answer = list(step(self, action))
        if self.seeds[-1] in (21, 24):  # instances 7 and 8 of the training split
            for place, value in parts.items():
                answer[place] = value
            if fault == "four parts":
                del answer[2]
        return tuple(answer)

    monkeypatch.setattr(CoinsEnv, "step", odd)
    instances = [Instance(split="train", index=index, seed=index) for index in range(20)]
    episodes = collect_episodes(Caller(), COINS, instances, slots=4)
    assert [episode.index for episode in episodes if episode.status.is_error()] == [7, 8]
    assert episodes[7].error.startswith(reason)


def test_numbers_of_numpy_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    step = CoinsEnv.step

    def odd(self: CoinsEnv, action: str) -> Any:
        observation, reward, terminated, truncated, info = step(self, action)
        return observation, np.array([reward]), np.array([terminated]), np.bool_(truncated), {"success": None, **info}

    plain = perfect(make_env(COINS))
    monkeypatch.setattr(CoinsEnv, "step", odd)
    assert perfect(make_env(COINS)) == plain


class Caller(ScriptedAgent):
    """Calls heads."""

    def choose(self, seat: Seat) -> str:
        return "heads"


def test_the_turn_limit_ends_an_episode_and_judges_it() -> None:
    answers = perfect(make_env(COINS, {"max_episode_steps": 3}), calls=3)
    assert [answer[2:4] for answer in answers] == [(False, False), (False, False), (False, True)]
    assert answers[-1][4]["success"], "three are right"
    untold = perfect(make_env(COINS, {"max_episode_steps": 3, "told": False}), calls=3)
    assert not untold[-1][4]["success"], "it might have told at its own end"


def test_a_game_that_truncates_itself_is_over() -> None:
    env = make_env(COINS, {"quits": True})
    answers = perfect(env)
    assert answers[-1][2:4] == (True, False) and answers[-1][4]["success"]
    assert not env.step("heads")[4]["valid"]
    assert "the game is over" in env.step("heads")[0]


def test_refused_replies_cost_a_turn_and_do_not_reach_the_game() -> None:
    env = make_env(COINS, {"adapter_rules": "Call."})
    env.reset(seed=0)
    for reply in ("edge!", "the tails", ""):
        observation, _, _, _, info = env.step(reply)
        assert observation.startswith("Invalid action: ") and observation.endswith("\nCall") and not info["valid"]
    assert env.step("heads")[4]["state_key"].endswith("|4")
    inside: Any = env.unwrapped
    assert inside.inner.unwrapped.called == 1


def test_instances_are_seeds_of_one_split_alone() -> None:
    env = make_env(COINS)
    inside: Any = env.unwrapped
    owners: dict[int, str] = {}
    for split in SPLITS:
        for index in (0, 1, 2, 1000, 700_000_000):
            for chance in (0, 1):
                env.reset(seed=chance, options={"split": split, "index": index})
                seed = inside.inner.unwrapped.seeds[-1]
                assert 0 <= seed < 2**31 and owners.setdefault(seed, split) == split
                assert inside.instance_key == f"seed={seed}"
    assert len(owners) == 15


def test_the_rules_come_from_where_they_are_written() -> None:
    assert text_env(make_env(COINS)).instructions == (
        "Call heads or tails; three right calls win. You have 8 turns. Reply with the action alone."
    )
    assert text_env(make_env(COINS, {"adapter_rules": "Call."})).instructions.startswith("Call. You have 8 turns.")
    assert text_env(make_env(COINS, {"adapter_rules": ""})).instructions.startswith("You have 8 turns.")
    ruled = type("RuledEnv", (CoinsEnv,), {"metadata": {"render_modes": [], "rules": "By the book."}})
    assert AdaptedTextEnv(ruled()).instructions.startswith("By the book. ")
    mute = type("MuteEnv", (CoinsEnv,), {"__doc__": None})
    assert AdaptedTextEnv(mute()).instructions == "Reply with the action alone."


def test_a_return_outside_of_the_range_is_an_error_that_says_so() -> None:
    with pytest.raises(UnfitEnv, match=r"the return 3 of CoinsEnv is outside of its reward_range 0 to 1; give"):
        perfect(make_env(COINS, {"prize": 3.0}))
    kwargs = {"prize": 3.0, "adapter_reward_range": [0, 3]}
    assert sum(answer[1] for answer in perfect(make_env(COINS, kwargs))) == pytest.approx(3.0)
    assert reward_range(COINS, kwargs) == (0.0, 3.0) and reward_range(COINS) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("declared", "adopted"),
    [((-2, 5), (-2.0, 5.0)), ((float("-inf"), float("inf")), (0.0, 1.0)), ("ab", (0.0, 1.0)), ((3, 1), (0.0, 1.0))],
)
def test_a_finite_range_of_the_environment_is_adopted(declared: Any, adopted: tuple[float, float]) -> None:
    assert AdaptedTextEnv(type("RangedEnv", (CoinsEnv,), {"reward_range": declared})()).reward_range == adopted


@pytest.mark.parametrize("given", [(1, 0), (0,), "01", (0, float("inf")), 3, ("a", "b")])
def test_a_range_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(UnfitEnv, match="two finite numbers, the lower first"):
        AdaptedTextEnv(CoinsEnv(), reward_range=given)


def test_what_does_not_play_in_text_is_refused() -> None:
    with pytest.raises(
        UnfitEnv, match="CartPoleEnv is no text environment: observations and actions must be str"
    ) as no:
        make_env("CartPole-v1")
    said = "its spaces are Box of shape (4,) and Discrete; wrap it with TransformObservation and TransformAction of"
    assert said in str(no.value) and "\n" not in str(no.value) and "inf" not in str(no.value)
    deaf = type("DeafEnv", (CoinsEnv,), {"step": lambda env, action: (7, 0.0, False, False, {})})
    env = AdaptedTextEnv(deaf())
    env.reset(seed=0)
    with pytest.raises(UnfitEnv, match="DeafEnv observed a int, not text"):
        env.step("heads")


def test_an_environment_of_numbers_is_wrapped_as_the_page_says() -> None:
    def tell(seen: Any) -> str:
        return " ".join(f"{x:.1f}" for x in seen)

    def read(said: str) -> int:
        return int(said == "right")

    numbers = TransformObservation(gym.make("CartPole-v1"), tell, spaces.Text(80))
    env = AdaptedTextEnv(TransformAction(numbers, read, spaces.Text(80)), reward_range=(0, 500))
    text, _ = env.reset(seed=0)
    assert [abs(float(word)) < 0.1 for word in text.split()] == [True] * 4
    assert env.step("right")[1] == 1.0


def test_any_space_of_texts_will_do() -> None:
    class Calls(spaces.Space[str]):
        def sample(self, mask: Any = None, probability: Any = None) -> str:
            return ("heads", "tails")[int(self.np_random.integers(2))]

        def contains(self, x: Any) -> bool:
            return x in ("heads", "tails")

    game = CoinsEnv()
    game.action_space = Calls(seed=3)  # type: ignore[assignment]
    env = AdaptedTextEnv(game)
    env.reset(seed=0)
    assert not env.step("edge")[4]["valid"] and env.step("heads")[4]["valid"]


def test_arguments_of_every_text_environment_work() -> None:
    env = make_env(COINS, {"reasoning": True, "split": "test", "calls": 2, "render_mode": "ansi"})
    observation = env.reset(seed=0, options={"index": 4})[0]
    inside: Any = env.unwrapped
    assert (inside.split, inside.inner.unwrapped.calls, env.render()) == ("test", 2, observation)
    assert not env.step("heads")[4]["valid"] and env.step("So: <answer>heads</answer>")[4]["valid"]


def test_an_adapted_environment_keeps_the_contract() -> None:
    absent = check_text_env(make_env(COINS), instances=3)
    assert absent[0].startswith("no oracle: no warm start")
    check_text_env(make_env(COINS, {"reasoning": True, "quits": True}), instances=2)


def test_an_adapted_environment_is_remade_from_its_specification() -> None:
    env = make_env(COINS, {"calls": 3, "adapter_rules": "Call.", "max_episode_steps": 4})
    assert env.spec is not None
    again = gym.make(env.spec)
    inside: Any = again.unwrapped
    assert isinstance(inside, AdaptedTextEnv) and inside.turn_limit == 4 and inside.instructions.startswith("Call.")
    assert again.reset(seed=3) == env.reset(seed=3)


def test_rollouts_play_it_and_close_it() -> None:
    CoinsEnv.closed = 0
    instances = [Instance(split="train", index=index, seed=index) for index in range(12)]
    episodes = collect_episodes(Caller(), COINS, instances, slots=3)
    assert {episode.status for episode in episodes} == {Status.COMPLETED}
    assert {episode.success for episode in episodes} == {True, False}
    assert len({episode.turns[0].state_key for episode in episodes}) == 12
    assert CoinsEnv.closed == 3
    assert episodes == collect_episodes(Caller(), COINS, instances, slots=1)


def test_a_chancy_environment_says_so() -> None:
    gym.register("foreign/Wild-v0", cast("Any", CoinsEnv), nondeterministic=True)
    try:
        inside = text_env(make_env("foreign/Wild-v0"))
        assert not inside.deterministic and inside.turn_limit is None
        assert text_env(make_env(COINS)).deterministic
    finally:
        del gym.registry["foreign/Wild-v0"]


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"adapter_success_threshold": "1"}, "success_threshold must be a number, got '1'"),
        ({"adapter_success_threshold": math.nan}, "success_threshold must be finite, got nan"),
        ({"adapter_rules": 3}, "rules must be a text, got 3"),
        ({"reasoning": "no"}, "reasoning must be true or false, got 'no'"),
        ({"split": 3}, "split must be one of "),
    ],
)
def test_arguments_of_the_adapter_are_checked(kwargs: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{sentence}"):
        make_env(COINS, kwargs)
