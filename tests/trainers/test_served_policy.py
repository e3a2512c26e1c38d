"""Learning from what a server plays: its weights before every step, its drift, and what is made of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.agents.serving.model_server import COMPLETIONS, NAME, Answer, ModelServer, always, serving, with_choice
from tests.trainers.harness import copied, make_loop, metric_lines, run, run_both_stages, with_learning

import turngym
from turngym._errors import InputError
from turngym.agents.episode import Episode
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.placement import AdapterSettings
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.serving import ServerError, connection
from turngym.trainers.batches import make_batch
from turngym.trainers.config import RolloutConfig, TrainConfig
from turngym.trainers.loop import Loop
from turngym.trainers.objectives import OBJECTIVES, find_objective
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.run import TrainingRun
from turngym.trainers.schedules import Moment
from turngym.trainers.served_policy import DriftError, ServedPolicy

Serve = Callable[..., ModelServer]
POLICY_GRADIENTS = {"reinforce", "rloo", "grpo", "dr_grpo", "dapo", "starpo_s", "gigpo", "ppo"}


@pytest.fixture
def folder(model: LanguageModel, tmp_path: Path) -> Path:
    """The folder of the model as it is before learning."""
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server of that model, which is asked again at once."""
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)
    with ExitStack() as stack:

        def start(**options: Any) -> ModelServer:
            return stack.enter_context(serving(folder, **options))

        yield start


def served_loop(model: LanguageModel, config: TrainConfig, server: ModelServer, place: Path, **settings: Any) -> Loop:
    """Return a loop whose policy a server plays."""
    rollout = RolloutConfig(**{"server": server.url, "parallel": 2, "timeout": 30.0, "retries": 1, **settings})
    loop = make_loop(model, config)
    loop.served = ServedPolicy(rollout, place / "served")
    return loop


def shift(model: LanguageModel, factor: float = 1.05) -> LanguageModel:
    """Return a model that plays otherwise."""
    other = copied(model)
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.mul_(factor)
    return other


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("update", "form"), [("vllm", "vllm"), ("sglang", "sglang")])
def test_the_server_plays_the_policy_of_every_step(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve, update: str, form: str
) -> None:
    server = serve(form=form)
    loop = served_loop(model, tiny, server, tmp_path, update=update)
    before = fingerprint_of(model.model.state_dict())
    numbers, played = run(loop, tmp_path)
    assert [path.name for path in server.read] == [f"step-00000{step}" for step in range(6)]
    assert [path.name for path in (tmp_path / "served").iterdir()] == ["step-000005"]
    assert fingerprint_of(loop.learner.policy.model.state_dict()) != before
    for number, (step, episodes) in enumerate(zip(numbers, played, strict=True)):
        assert step["logprob_drift"] < 1e-4 and step["logprob_drift_p99"] <= step["logprob_drift"]
        assert {turn.policy_version for episode in episodes for turn in episode.turns} == {number}
        assert len(episodes) == tiny.learning.batch_size and step["errors"] == 0
    turns = sum(len(episode.turns) for episodes in played for episode in episodes)
    assert server.count(COMPLETIONS) == turns


def test_the_server_plays_an_adapter(tiny: TrainConfig, tmp_path: Path, serve: Serve, folder: Path) -> None:
    pytest.importorskip("peft")
    settings = AdapterSettings(rank=2, alpha=4.0, targets=())
    adapted = LanguageModel.from_pretrained(folder).with_adapter(settings, seed=0, folder=folder)
    server = serve()
    loop = served_loop(adapted, with_learning(tiny, steps=3), server, tmp_path, update="vllm-lora")
    numbers, _ = run(loop, tmp_path)
    assert all(step["logprob_drift"] < 1e-4 for step in numbers) and numbers[-1]["kl"] != 0.0
    asked = [body["model"] for path, body in server.requests if path == COMPLETIONS]
    assert len(set(asked)) == 3 and NAME not in asked and [*server.models] == [NAME, asked[-1]]


def test_the_server_plays_on_after_a_reset_of_the_reference(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve
) -> None:
    server = serve()
    config = with_learning(tiny, steps=3, reset_every=2)
    config = replace(config, rollout=RolloutConfig(server=server.url, parallel=2))
    loop = run_both_stages(model, config, tmp_path, SilentProgress())
    steps = metric_lines(tmp_path, "learning")
    assert loop.references.number == 2 and [step["step"] for step in steps] == [1, 2, 3]
    assert all(step["logprob_drift"] < 1e-4 for step in steps)
    assert [path.name for path in server.read] == ["step-000000", "step-000001", "step-000002"]


def test_a_rollback_sends_the_earlier_weights_again(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve
) -> None:
    server = serve()
    config = with_learning(tiny, steps=3)
    config = replace(config, rollout=RolloutConfig(server=server.url, parallel=2),
                     monitors=replace(config.monitors, on_alarm="rollback"))  # fmt: skip
    metrics = Metrics(tmp_path / "metrics.jsonl")
    training = TrainingRun(copied(model), config, tmp_path, metrics, SilentProgress())
    training.learn()
    training.roll_back(tmp_path / "checkpoints" / "step-000002")
    training.learn()
    names = [path.name for path in server.read]
    assert names == ["step-000000", "step-000001", "step-000002", "step-000002"]
    last = metric_lines(tmp_path, "learning")[-1]
    assert (last["step"], last["rollbacks"]) == (3, 1) and last["logprob_drift"] < 1e-4


def test_the_same_seeds_learn_the_same(model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve) -> None:
    ends = []
    for number, parallel in enumerate((1, 8)):
        loop = served_loop(
            copied(model), with_learning(tiny, steps=2), serve(), tmp_path / str(number), parallel=parallel
        )
        numbers, played = run(loop, tmp_path)
        ends.append((fingerprint_of(loop.learner.policy.model.state_dict()), played, numbers[-1]["loss"]))
    assert ends[0] == ends[1]


def test_what_an_earlier_process_left_is_replaced(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve
) -> None:
    """Its last folder, which this one may write anew, and half a folder of a process that was killed."""
    for name in ("step-000000", ".step-000000.1f2e3d4c.tmp", "step-000007"):
        (tmp_path / "served" / name).mkdir(parents=True)
        (tmp_path / "served" / name / "config.json").write_text("{}")
    loop = served_loop(model, with_learning(tiny, steps=1), serve(), tmp_path)
    run(loop, tmp_path)
    assert [path.name for path in (tmp_path / "served").iterdir()] == ["step-000000"]
    LanguageModel.from_pretrained(tmp_path / "served" / "step-000000")


def test_weights_go_where_the_configuration_says(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve
) -> None:
    server = serve()
    loop = served_loop(model, with_learning(tiny, steps=1), server, tmp_path, weights=str(tmp_path / "shared"))
    run(loop, tmp_path)
    assert server.read == [tmp_path / "shared" / "step-000000"] and not (tmp_path / "served").exists()


# Drift ----------------------------------------------------------------------------------------------------------------


def test_a_server_that_stays_behind_drifts_until_the_run_ends(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve
) -> None:
    server = serve()
    config = with_learning(tiny, steps=30, learning_rate=5e-5, final_learning_rate=5e-5, warmup_steps=0)
    loop = served_loop(model, config, server, tmp_path, update="none", max_drift=0.3)
    drifts: list[float] = []

    def on_step(numbers: dict[str, Any], episodes: Sequence[Episode]) -> None:
        drifts.append(numbers["logprob_drift_p99"])
        assert {turn.policy_version for episode in episodes for turn in episode.turns} == {0}

    with pytest.raises(
        DriftError, match=r"differ by more than [0-9.]+ nats, and rollout.max_drift is 0.3; with rollou"
    ):
        loop.run_round(on_step, tmp_path / "failed.jsonl")
    assert drifts[0] < 1e-4 < drifts[1] < drifts[-1] <= 0.3 and len(drifts) < 30
    assert not server.read and loop.schedule.step == len(drifts), "nothing was learned from the last batch"


@pytest.mark.parametrize("name", sorted(POLICY_GRADIENTS))
def test_a_policy_gradient_corrects_what_a_server_behind_has_played(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve, name: str
) -> None:
    config = with_learning(tiny, name, steps=4, learning_rate=3e-4, warmup_steps=0)
    numbers, _ = run(served_loop(model, config, serve(), tmp_path, update="none", max_drift=9.0), tmp_path)
    assert numbers[0]["logprob_drift"] < 1e-4 < numbers[-1]["logprob_drift"]
    for step in numbers:
        assert step["importance_mean"] == pytest.approx(1.0, abs=0.2) and 0 <= step["importance_capped"] < 0.2


def test_objectives_are_served_by_their_kind() -> None:
    assert {name for name, objective in OBJECTIVES.items() if objective.policy_gradient} == POLICY_GRADIENTS
    assert all(objective.advantages is not None for objective in OBJECTIVES.values() if objective.policy_gradient)


def test_a_server_of_other_weights_is_refused(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve
) -> None:
    loop = served_loop(shift(model, 1.5), tiny, serve(), tmp_path, update="none")
    with pytest.raises(
        DriftError, match=r"^the server at http://127.0.0.1:\d+ plays another policy than the one that le"
    ):
        run(loop, tmp_path)
    assert loop.schedule.step == 0


def test_log_probabilities_without_the_temperature_are_refused(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, serve: Serve
) -> None:
    config = with_learning(tiny, temperature=0.5)
    with pytest.raises(DriftError, match=r"at the sampling temperature \(vLLM: --logprobs-mode processed_logprobs\)"):
        run(served_loop(model, config, serve(temperature_in_logprobs=False), tmp_path), tmp_path)
    numbers, _ = run(served_loop(copied(model), with_learning(config, steps=1), serve(), tmp_path), tmp_path)
    assert numbers[0]["logprob_drift"] < 1e-4


# Weights of tokens ----------------------------------------------------------------------------------------------------


def played(model: LanguageModel, config: TrainConfig) -> list[Episode]:
    """Return episodes of a model, two of each of four instances."""
    loop = make_loop(copied(model), config)
    instances = [
        turngym.agents.Instance(split="train", index=index, seed=seed) for index in range(4) for seed in (1, 2)
    ]
    return loop.rollouts.play(loop.rollouts.agent(model), instances)


def corrected(
    policy: LanguageModel, episodes: Sequence[Episode], name: str, *, cap: float = 2.0, temperature: float = 1.0
) -> tuple[Any, dict[str, Any]]:
    """Return the batch of episodes after correction, and its numbers."""
    config = RolloutConfig(server="http://127.0.0.1:1", update="none", max_drift=50.0, importance_cap=cap)
    return ServedPolicy(config, Path("nowhere")).correct(
        make_batch(episodes, policy), episodes, policy, find_objective(name), temperature=temperature,
        tokens_per_microbatch=300,
    )  # fmt: skip


def expected_logp(policy: LanguageModel, episodes: Sequence[Episode], temperature: float = 1.0) -> torch.Tensor:
    """Return the trainer's log-probabilities, an episode at a time."""
    parts = [next(token_batches([episode], 10**6, torch.device("cpu"))) for episode in episodes]
    return torch.cat([sampled_logprobs(policy, part, temperature).detach() for part in parts])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_weights_are_ratios_of_probabilities_up_to_the_cap(
    model: LanguageModel, tiny: TrainConfig, temperature: float
) -> None:
    episodes, policy = played(model, tiny), shift(model)
    batch, numbers = corrected(policy, episodes, "reinforce", cap=1.25, temperature=temperature)
    server_N = torch.tensor([logprob for episode in episodes for turn in episode.turns for logprob in turn.logprobs])
    trainer_N = expected_logp(policy, episodes, temperature)
    ratio_N = (trainer_N - server_N).exp()
    torch.testing.assert_close(batch.importance_N, ratio_N.clamp(max=1.25), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(batch.old_logp_N, trainer_N, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(batch.logp_N, batch.old_logp_N)
    gap_N = (trainer_N - server_N).abs().double().numpy()
    assert numbers == pytest.approx({
        "logprob_drift": gap_N.max(), "logprob_drift_p50": np.percentile(gap_N, 50),
        "logprob_drift_p99": np.percentile(gap_N, 99), "importance_mean": float(ratio_N.mean()),
        "importance_capped": float((ratio_N > 1.25).double().mean()),
    }, rel=1e-3, abs=1e-5)  # fmt: skip
    assert 0 < numbers["importance_capped"] < 1


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - POLICY_GRADIENTS))
def test_regressions_and_imitation_keep_what_the_server_recorded(
    model: LanguageModel, tiny: TrainConfig, name: str
) -> None:
    episodes, policy = played(model, tiny), shift(model)
    batch, numbers = corrected(policy, episodes, name)
    assert torch.equal(batch.old_logp_N, make_batch(episodes, policy).old_logp_N) and not batch.importance_N.numel()
    assert set(numbers) == {"logprob_drift", "logprob_drift_p50", "logprob_drift_p99"}
    assert numbers["logprob_drift_p99"] > 1e-3


def test_the_loss_of_a_policy_gradient_is_weighted_token_by_token(model: LanguageModel, tiny: TrainConfig) -> None:
    """-sum w A log pi, and the gradient of that, by hand; min(ratio, clip) of PPO begins at 1 whatever the drift."""
    episodes, policy = played(model, tiny), shift(model)
    config = with_learning(tiny, "rloo", group_size=2)
    batch, _ = corrected(policy, episodes, "rloo", cap=1.25)
    loop = make_loop(policy, config)
    step = turngym.trainers.StepParams(config=config.objective, beta=0.05)
    moment = Moment(step=0, beta=0.05, temperature=1.0, learning_rate=1e-3)
    learned = loop.learner.train_step(batch, episodes, loop.references.current, step, moment)
    assert learned.batch is not None
    soft_B = batch.per_turn(batch.old_logp_N - learned.batch.ref_logp_N)
    return_B = (batch.reward_BK - 0.05 * soft_B).sum(1)
    other_B = return_B.view(-1, 2).flip(1).reshape(-1)
    by_hand = -(batch.importance_N * (return_B - other_B)[batch.episode_N] * batch.old_logp_N).sum() / len(episodes)
    assert learned.numbers["loss"] == pytest.approx(float(by_hand), rel=1e-4, abs=1e-6)
    ratio_N = learned.logp_N - learned.batch.old_logp_N
    assert float(ratio_N.abs().max()) < 1e-4


def test_without_a_server_nothing_is_weighted(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    numbers, _ = run(make_loop(model, with_learning(tiny, "reinforce", steps=1)), tmp_path)
    assert "importance_mean" not in numbers[0]


# A whole run ----------------------------------------------------------------------------------------------------------

RUN: dict[str, Any] = {
    "env": {"kwargs": {"size": 3}},
    "warm_start": {"enabled": False},
    "values": {"instances": 8, "samples": 2, "extra_samples": 2},
    "learning": {"steps": 4, "batch_size": 8, "learning_rate": 1e-3},
    "evaluation": {"episodes": 4},
}


def train(folder: Path, root: Path, server: ModelServer, *, resume: bool = False, **rollout: Any) -> Any:
    if resume:
        config = (root / "mine" / "config.toml").read_text()
        old = next(line for line in config.splitlines() if line.startswith("server = "))
        (root / "mine" / "config.toml").write_text(config.replace(old, f'server = "{server.url}"'))
        return turngym.train("FrozenLake", run={"name": "mine", "root": str(root)}, resume=True)
    settings = {"server": server.url, "parallel": 2, "retries": 1, "timeout": 30.0, **rollout}
    model = {"path": str(folder), "context_length": 512, "max_reply_tokens": 4}
    run = {"name": "mine", "root": str(root), "checkpoint_every": 1}
    return turngym.train("FrozenLake", model=model, rollout=settings, run=run, **RUN)


def test_a_run_whose_server_is_lost_goes_on_with_another_as_if_nothing_had_been(
    folder: Path, tmp_path: Path, serve: Serve
) -> None:
    undisturbed = train(folder, tmp_path / "one", serve())
    server, first = serve(), serve()
    lost = {"asked": 0}

    def fail(path: str, body: dict[str, Any], answer: Answer) -> Answer:
        lost["asked"] += path == "/collective_rpc"
        return Answer(lost=True) if path == COMPLETIONS and lost["asked"] > 2 else answer

    first.spoil = fail
    with pytest.raises(
        ServerError, match=r"does not answer: .* \(after 2 tries\); start it anew .* goes on with --resume"
    ):
        train(folder, tmp_path / "two", first)
    resumed = train(folder, tmp_path / "two", server, resume=True)
    policies = [result.folder / "checkpoints" / "step-000004" / "policy" for result in (undisturbed, resumed)]
    weights = [(policy / "model.safetensors").read_bytes() for policy in policies]
    assert weights[0] == weights[1]
    steps = [metric_lines(result.folder, "learning") for result in (undisturbed, resumed)]
    assert steps[0] == steps[1] and all(step["logprob_drift"] < 1e-4 for step in steps[0])
    assert [path.name for path in server.read] == ["step-000002", "step-000003"]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (always(lambda answer: with_choice(answer, logprobs=None)), "gives no log-probability for every sampled token"),
        (lambda path, body, answer: Answer(status=500), "answers /v1/models with status 500"),
    ],
)
def test_a_server_that_cannot_be_used_is_found_before_the_run(
    folder: Path, tmp_path: Path, serve: Serve, spoil: Any, sentence: str
) -> None:
    server = serve()
    server.spoil = spoil
    with pytest.raises(ServerError, match=sentence):
        train(folder, tmp_path / "runs", server)
    assert not (tmp_path / "runs").exists()


def test_a_model_that_the_server_lacks_is_found_before_the_run(folder: Path, tmp_path: Path, serve: Serve) -> None:
    with pytest.raises(ServerError, match="has no model 'huge', but tiny"):
        train(folder, tmp_path / "runs", serve(), model="huge")
    with pytest.raises(InputError, match=r"rollout.update is for adapters: set lora.rank, or take 'vllm'"):
        train(folder, tmp_path / "runs", serve(), update="vllm-lora")
    assert not (tmp_path / "runs").exists()


def test_the_test_and_stage_one_are_played_without_the_server(folder: Path, tmp_path: Path, serve: Serve) -> None:
    server = serve()
    result = train(folder, tmp_path / "runs", server)
    turns = [body for path, body in server.requests if path == COMPLETIONS and body["max_tokens"] == 4]
    lines = metric_lines(result.folder, "learning")
    assert len(turns) == round(sum(line["turns"] * 8 for line in lines))
    assert result.scores["trained_sampled"].episodes == 4
