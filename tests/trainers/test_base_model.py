"""The model before reinforcement learning: how it is built, whom it may clone, and what is refused at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import gymnasium as gym
import pytest

from turngym._errors import InputWarning
from turngym.agents.episode import write_episodes
from turngym.agents.evaluation import instance_range
from turngym.agents.models.decoding import History
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import CheckpointError, LanguageModel
from turngym.agents.scripted import DemonstrationAgent, OracleAgent
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers import base_checks, base_model
from turngym.trainers.base_checks import CHECKED_DEMONSTRATIONS, check_context
from turngym.trainers.base_model import (
    load_or_build,
    note_history,
    note_limits,
    note_rates,
    prepare_base,
)
from turngym.trainers.config import TrainConfig
from turngym.trainers.references import save_reference
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run import train
from turngym.trainers.warm_start.fitting import Fitting


class UnknownLake(FrozenLakeEnv):
    """A lake that nobody has solved."""

    oracle_action = None  # type: ignore[assignment]
    mistaken_action = None  # type: ignore[assignment]


class SilentLake(UnknownLake):
    """A lake that does not tell its actions either."""

    sample_action = None  # type: ignore[assignment]


class Notes(SilentProgress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def note(self, text: str) -> None:
        self.noted.append(text)


UNKNOWN, SILENT = "test/UnknownLake-v0", "test/SilentLake-v0"


@pytest.fixture(autouse=True)
def _lakes() -> Iterator[None]:
    for env_id, kind in ((UNKNOWN, UnknownLake), (SILENT, SilentLake)):
        gym.register(env_id, entry_point=cast("Any", kind), max_episode_steps=10)
    yield
    for env_id in (UNKNOWN, SILENT):
        del gym.registry[env_id]


@pytest.mark.parametrize("copying", [True, False])
def test_a_model_is_built_as_it_is_configured(tiny: TrainConfig, copying: bool) -> None:
    """Only weights that copy have biases from the start."""
    shape = replace(tiny.model, hidden_size=48, heads=1, layers=3, rope_base=1e6, copying=copying)
    decoder = load_or_build(replace(tiny, model=shape)).model
    found = decoder.config
    assert (found.hidden_size, found.num_attention_heads, found.num_hidden_layers) == (48, 1, 3)
    assert found.rope_parameters["rope_theta"] == 1e6
    assert bool(decoder.get_parameter("model.layers.0.self_attn.q_proj.bias").any()) == copying


@pytest.fixture
def file(tiny: TrainConfig, tmp_path: Path) -> Path:
    """Flawless play on sixteen lakes."""
    write_episodes(tmp_path / "shown.jsonl", Rollouts.of(tiny).play(OracleAgent(), instance_range("train", 16)))
    return tmp_path / "shown.jsonl"


def on(tiny: TrainConfig, env_id: str, **warm_start: Any) -> TrainConfig:
    return replace(
        tiny, env=replace(tiny.env, id=env_id), warm_start=replace(tiny.warm_start, success_low=0.0, **warm_start)
    )


def prepared(config: TrainConfig, folder: Path) -> LanguageModel:
    return prepare_base(config, folder, Metrics(folder / "metrics.jsonl"), SilentProgress())


def test_the_built_in_model_is_a_function_of_the_configuration(tiny: TrainConfig) -> None:
    first, second, other = (load_or_build(replace(tiny, run=replace(tiny.run, seed=seed))) for seed in (0, 0, 1))
    assert fingerprint_of(first.model.state_dict()) == fingerprint_of(second.model.state_dict())
    assert fingerprint_of(first.model.state_dict()) != fingerprint_of(other.model.state_dict())
    assert first.tokenizer.get_vocab() == other.tokenizer.get_vocab()
    assert (first.context_length, first.model.config.num_hidden_layers) == (512, 2)
    assert first.model.config.intermediate_size == 3 * 32


# Whom it may clone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", [UNKNOWN, SILENT])
def test_a_game_without_an_oracle_is_refused_before_anything_is_built(
    tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env_id: str
) -> None:
    monkeypatch.setattr(base_model, "load_or_build", None)  # to call it would raise
    sentence = (f"{env_id} has no oracle_action, so there is no scripted play of 'oracle' to clone: set "
                "warm_start.demonstrations to a file, or warm_start.enabled to false")  # fmt: skip
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        train(on(tiny, env_id), tmp_path, SilentProgress())
    assert list(tmp_path.iterdir()) == []


def test_a_game_without_an_oracle_is_learned_without_a_warm_start(tiny: TrainConfig, tmp_path: Path) -> None:
    model = prepared(on(tiny, UNKNOWN, enabled=False), tmp_path)
    assert (tmp_path / "base").is_dir() and model.model.config.num_hidden_layers == 2
    assert Metrics(tmp_path / "metrics.jsonl").lines() == []


def test_there_must_be_text_for_a_tokenizer(
    tiny: TrainConfig, file: Path, tmp_path: Path, model: LanguageModel
) -> None:
    config = on(tiny, SILENT, enabled=False)
    with pytest.raises(ValueError, match=r"no sample_action, .* train a tokenizer on: .* or set model\.path"):
        prepared(config, tmp_path)
    assert load_or_build(on(tiny, SILENT, enabled=False, demonstrations=str(file))).model.config.num_hidden_layers == 2
    model.save_pretrained(tmp_path / "model")
    given = load_or_build(replace(config, model=replace(config.model, path=str(tmp_path / "model"))))
    assert fingerprint_of(given.model.state_dict()) == fingerprint_of(model.model.state_dict())


def test_the_tokenizer_knows_the_words_of_the_file(tiny: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "words.jsonl").write_text('{"prompt": "zyzzyva zyzzyva zyzzyva", "completion": "zyzzyva"}\n' * 50)
    plain, taught = (
        load_or_build(on(tiny, tiny.env.id, demonstrations=demonstrations))
        for demonstrations in ("", str(tmp_path / "words.jsonl"))
    )
    assert len(taught.chat.content("zyzzyva")) < len(plain.chat.content("zyzzyva"))


@pytest.mark.parametrize("env_id", [UNKNOWN, SILENT])
def test_a_run_may_begin_with_a_file_alone(tiny: TrainConfig, file: Path, tmp_path: Path, env_id: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    result = train(on(tiny, env_id, demonstrations=str(file), course_steps=120), folder, SilentProgress())
    (check,) = [line for line in Metrics(folder / "metrics.jsonl").lines() if line["phase"] == "warm_start"]
    assert check["success"] > 0.1 and check["loss"] < 1.0
    assert result["trained_greedy"]["episodes"] == 20
    assert ("random" in result) == (env_id == UNKNOWN)


# What does not fit ------------------------------------------------------------------------------------------------


def test_a_context_that_flawless_play_does_not_fit_into_is_refused_before_a_step(
    tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_model, "clone", None)  # to call it would raise
    short = replace(tiny, model=replace(tiny.model, context_length=24))
    with pytest.raises(ValueError, match=r"^\d+ of 64 demonstrations do not fit: raise model\.context_le") as refused:
        prepared(short, tmp_path)
    assert not (tmp_path / "base").exists()
    words = re.search(
        r"to at least (\d+) \(here 24\), or let the model see fewer turns \(model\.history\)$", str(refused.value)
    )
    assert words is not None
    enough = replace(tiny, model=replace(tiny.model, context_length=int(words[1])))
    model = load_or_build(enough)
    check_context(model, on(enough, enough.env.id, mistake_rate=0.0))
    for instance in instance_range("train", 16):  # as the demonstrator plays: no flawless episode is cut
        (episode,) = Rollouts.of(enough).play(OracleAgent(), [instance], slots=1)
        last = model.encode_episode(episode).turns[-1]
        assert last.span[0] + enough.model.max_reply_tokens <= model.context_length


def limited(model: LanguageModel, **limits: Any) -> LanguageModel:
    return LanguageModel(model.model, model.tokenizer, decoding=replace(model.decoding, **limits))


def test_replies_longer_than_allowed_are_refused_with_the_limit_that_would_do(
    tiny: TrainConfig, model: LanguageModel
) -> None:
    with pytest.raises(ValueError, match=r"^64 of 64 .* raise model\.max_reply_tokens to at least 2 \(here 1\)$"):
        check_context(limited(model, max_reply_tokens=1), tiny)
    said = r"max_reply_tokens to at least 2 \(here 1\) and model\.context_length to at least \d+ \(here 20\), or let"
    with pytest.raises(ValueError, match=said):
        check_context(limited(model, max_reply_tokens=1, context_length=20), tiny)
    check_context(limited(model, max_reply_tokens=2), tiny)


def longest_play(tiny: TrainConfig, model: LanguageModel, rate: float) -> int:
    """Return the context that the demonstrations which are checked need at a mistake rate."""
    fitting = Fitting(limited(model, context_length=20))
    played = Rollouts.of(tiny).play(DemonstrationAgent(rate), instance_range("train", CHECKED_DEMONSTRATIONS))
    fitting.keep(model.encode_episode(episode) for episode in played)
    return int(re.findall(r"context_length to at least (\d+)", str(fitting))[0])


def test_demonstrations_with_mistakes_are_checked_too(
    tiny: TrainConfig, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    flawless, mistaken = (longest_play(tiny, model, rate) for rate in (0.0, 0.5))
    assert flawless < mistaken
    short = limited(model, context_length=flawless)
    said = rf"^with warm_start.mistake_rate 0.5 \d+ of 64 demonstrations do not fit: .* at least {mistaken} \(here "
    with pytest.warns(InputWarning, match=said + r"\d+\), or let .*, or they are left out$"):
        check_context(short, tiny)
    check_context(short, on(tiny, tiny.env.id, mistake_rate=0.0))
    monkeypatch.setattr(base_checks, "MOST_LEFT_OUT", 0.1)
    with pytest.raises(ValueError, match=r"with warm_start.mistake_rate 0.5 .*, or lower the rate$"):
        check_context(short, tiny)


def test_without_a_warm_start_nothing_has_to_fit(tiny: TrainConfig, tmp_path: Path) -> None:
    config = on(replace(tiny, model=replace(tiny.model, context_length=40)), tiny.env.id, enabled=False)
    assert prepared(config, tmp_path).context_length == 40


def test_a_checkpoint_that_goes_on_by_other_limits_is_told(
    tiny: TrainConfig, model: LanguageModel, tmp_path: Path
) -> None:
    notes = Notes()
    noted = notes.noted
    kept = replace(tiny.decoding, max_reply_tokens=80, temperature=0.3)
    for decoding in (tiny.decoding, kept):
        LanguageModel(model.model, model.tokenizer, decoding=decoding).save_pretrained(tmp_path)
        note_limits(replace(tiny, model=replace(tiny.model, path=str(tmp_path))), notes)
    assert noted == ["the model was trained with max_reply_tokens 80 (here 4), temperature 0.3 (here 1.0)"]


def test_what_is_seen_of_earlier_thoughts_is_told(model: LanguageModel) -> None:
    notes = Notes()
    for history in get_args(History):
        for rewrites in (False, True):
            model.decoding = replace(model.decoding, history=history)
            model.chat.rewrites_history = rewrites
            note_history(model, notes)
    plain, rewritten = notes.noted[::2], notes.noted[1::2]
    stays = "; earlier thoughts stay, which the chat template would leave out, as model.history served shows"
    added = [told.removeprefix(form) for told, form in zip(rewritten, plain, strict=True)]
    assert added == [stays, ", which leaves earlier thoughts out", stays, ""]
    assert [told.partition(":")[0] for told in plain] == [
        "history all", "history served", "history window 2", "history turn"
    ]  # fmt: skip


@pytest.mark.parametrize("history", get_args(History))
def test_every_run_from_a_checkpoint_says_how_it_sees_the_history(
    history: History, tiny: TrainConfig, model: LanguageModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "given")
    path = str(tmp_path / "given")
    config = replace(tiny, model=replace(tiny.model, path=path, history=history))
    plain = on(replace(tiny, model=replace(tiny.model, history=history)), tiny.env.id, enabled=False)
    for begun, times in ((on(config, tiny.env.id, enabled=False), 1), (plain, 0)):
        notes = Notes()
        prepare_base(begun, tmp_path / str(times), Metrics(tmp_path / f"{times}.jsonl"), notes)
        assert notes.noted.count(config.decoding.history_form) == times


def test_rates_that_would_wreck_a_large_model_are_told(
    tiny: TrainConfig, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    noted = notes.noted
    note_rates(model, tiny, notes)
    assert not noted  # it is small
    monkeypatch.setattr(base_model, "LARGE", 1)
    low = replace(tiny, learning=replace(tiny.learning, learning_rate=1e-6))
    note_rates(model, on(low, low.env.id, enabled=False), notes)
    assert not noted
    fast = replace(tiny, learning=replace(tiny.learning, learning_rate=5e-4))
    note_rates(model, on(fast, fast.env.id, learning_rate=5e-3), notes)
    note_rates(model, on(fast, fast.env.id, enabled=False), notes)
    both, one = noted
    assert both.startswith(
        "learning.learning_rate 0.0005 and warm_start.learning_rate 0.005 are meant for the built-in"
    )
    assert one.startswith("learning.learning_rate 0.0005 is meant") and one.endswith("usual rates are at most 1e-05")


def test_a_context_without_room_for_a_reply_is_refused_at_the_start(tiny: TrainConfig, model: LanguageModel) -> None:
    config = on(tiny, tiny.env.id, enabled=False)
    model.context_length = 12
    said = r"has \d+ tokens, which with model\.max_reply_tokens 4 is more than the context of 12; raise"
    with pytest.raises(ValueError, match=said):
        check_context(model, config)
    model.context_length = 512
    check_context(model, config)


def test_the_context_of_a_checkpoint_is_its_own(tiny: TrainConfig, model: LanguageModel) -> None:
    """Whatever `model.context_length`, which builds the small model."""
    model.context_length = 24
    with pytest.raises(ValueError, match=r"context_length to at least \d+ \(here 24\)"):
        check_context(model, tiny)
    model.context_length = 512
    check_context(model, replace(tiny, model=replace(tiny.model, context_length=24)))


def test_a_base_that_changed_between_kill_and_resume_is_refused(
    tiny: TrainConfig, model: LanguageModel, tmp_path: Path
) -> None:
    save_reference(model, tmp_path / "base")
    assert prepared(tiny, tmp_path).model.config.num_hidden_layers == 2
    weights = tmp_path / "base" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    said = rf"base is damaged: model\.safetensors has changed .*restore it from a copy.*--model\.path {tmp_path}"
    with pytest.raises(CheckpointError, match=said):
        prepared(tiny, tmp_path)
