"""Training from Python: from an environment's name to a run folder, and from a run folder to an agent.

>>> import turngym
>>> result = turngym.train("FrozenLake", learning={"steps": 60}, run={"name": "mine"})
>>> print(result)
>>> agent = turngym.load_agent(result.folder)
"""

from __future__ import annotations

import json
import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turngym._errors import InputError, InputWarning, input_errors
from turngym.agents.evaluation import Score
from turngym.agents.models.decoding import History
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.models.placement import Placement
from turngym.plugins import require_plugins
from turngym.trainers import ranks
from turngym.trainers.config import (
    TrainConfig,
    imported_by,
    parse_toml,
    with_algorithm,
    with_overrides,
    write_toml,
)
from turngym.trainers.interrupt import Stopped, stoppable
from turngym.trainers.launch.checking import check_run, with_usual_settings
from turngym.trainers.launch.configure import check_game, configure, named, with_commit, with_date, with_folders
from turngym.trainers.launch.policies import decoding_of, load_policy
from turngym.trainers.launch.resuming import begin_resume, plan_resume
from turngym.trainers.launch.run_folder import claimed
from turngym.trainers.reporting.progress import Progress, SilentProgress
from turngym.trainers.reporting.tables import result_rows, text_table
from turngym.trainers.reporting.trackers import Tracker, tracking
from turngym.trainers.run import train as train_in_folder
from turngym.trainers.run_files import RESULT_FILE
from turngym.trainers.run_lock import run_lock
from turngym.trainers.torchrun import is_first


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a run; printed, it is a table of the scores."""

    folder: Path
    """The run folder."""
    config: TrainConfig
    """The resolved configuration."""
    record: Mapping[str, Any]
    """The content of `result.json`."""

    @property
    def scores(self) -> dict[str, Score]:
        """The scores of "random", "base_sampled", "base_greedy", "trained_sampled" and "trained_greedy"."""
        return {name: Score.from_dict(row) for name, row in self.record.items() if isinstance(row, dict)
                and "interval" in row}  # fmt: skip

    @property
    def optimum(self) -> float | None:
        """The success of the best possible agent, None where it is unknown."""
        value = self.record.get("optimum")
        return None if value is None else float(value)

    def __str__(self) -> str:
        """Return the table of the scores."""
        return text_table(result_rows(self.record))


def train(
    env: str | TrainConfig,
    /,  # so that `env` may name a section too
    *,
    preset: str | None = None,
    algorithm: str | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    **overrides: Mapping[str, Any],
) -> TrainingResult:
    """Train a language model to play an environment, in a new run folder, and evaluate it.

    Args:
        env: The environment, such as "FrozenLake" or "my_games:me/Guess-v0", which begins from its preset if it has
            one; or a whole configuration.
        preset: Another preset, or a configuration file.
        algorithm: One of `turngym.trainers.algorithm_names()`; that of the preset if left out.
        progress: Told about phases and steps.
        resume: Continue the run in the folder `run={"name": ...}`, as its `config.toml` says.
        **overrides: Settings by section, such as `learning={"steps": 60}` or `run={"name": "mine", "seed": 1}`.

    Raises:
        InputError: A name or a setting cannot be used, the folder exists, or another process writes to it.
        KeyboardInterrupt: After Ctrl-C; the run is saved, and `resume` continues it.
        SystemExit: After a signal of a scheduler (SIGTERM) or a closing terminal (SIGHUP); the run is saved as well.
    """
    if not is_first() and (followed := follow()) is not None:
        return followed
    with ranks.joined():
        return _lead(env, preset=preset, algorithm=algorithm, progress=progress, resume=resume, overrides=overrides)


def _lead(
    env: str | TrainConfig,
    *,
    preset: str | None,
    algorithm: str | None,
    progress: Progress | None,
    resume: bool,
    overrides: dict[str, Mapping[str, Any]],
) -> TrainingResult:
    """Train as `train` says, in the first process or the only one."""
    if isinstance(env, TrainConfig):
        require_plugins(env.run.imports, env.run.import_folder)
        with input_errors():
            config = with_overrides(env if algorithm is None else with_algorithm(env, algorithm), overrides)
            check_game(config)
            config = named(with_date(with_folders(config)))
        given: frozenset[str] | None = None
    else:
        config = configure(env, preset=preset, algorithm=algorithm, overrides=overrides)
        given = frozenset(f"{section}.{name}" for section, values in overrides.items() for name in values)
    folder = Path(config.run.root) / config.run.name
    progress = progress or SilentProgress()
    if not resume:
        config = with_commit(config)
        config = config if given is None else with_usual_settings(config, preset, given)
        check_run(config)
        with claimed(folder, config):
            return _run(config, folder, progress)
    config, branched = plan_resume(folder, lambda saved: saved)
    with run_lock(folder):
        begin_resume(folder, config, branched)
        return _run(config, folder, progress, resume=True)


def _run(config: TrainConfig, folder: Path, progress: Progress, *, resume: bool = False) -> TrainingResult:
    """Train in a folder whose lock is held.

    Raises:
        SystemExit: A scheduler or a closing terminal ended the process; the run is saved as after Ctrl-C.
    """
    try:
        with stoppable(), tracking(config.run.trackers, folder, asdict(config)) as trackers:
            record = train_together(config, folder, progress, resume=resume, trackers=trackers)
    except Stopped as stop:
        if stop.number == signal.SIGINT:
            raise
        raise SystemExit(stop.exit_code) from stop
    return TrainingResult(folder=folder, config=config, record=record)


def train_together(
    config: TrainConfig, folder: Path, progress: Progress, *, resume: bool = False, trackers: Sequence[Tracker] = ()
) -> dict[str, Any]:
    """Run or finish a run, as `run.train`, with all processes that `torchrun` has started.

    Raises:
        LostRankError: Another process has ended.
    """
    with ranks.leading((write_toml(config), folder.absolute(), resume)):
        return train_in_folder(config, folder, progress, resume=resume, trackers=trackers)


def follow(told: Callable[[Path], object] | None = None) -> TrainingResult | None:
    """Help the first process, as one of the others that `torchrun` has started, until there is nothing more to do.

    Args:
        told: If given, called with the folder of each training before it begins.

    Returns:
        The result of the last training; None if there was none.
    """

    def do(job: tuple[str, Path, bool]) -> TrainingResult:
        text, folder, resume = job
        if told:
            told(folder)
        require_plugins(*imported_by(text, source=str(folder)))
        config = parse_toml(text, source=str(folder))
        record = train_in_folder(config, folder, SilentProgress(), resume=resume)
        return TrainingResult(folder=folder, config=config, record=record)

    with ranks.joined(), stoppable(), warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # the first process has said it
        return ranks.following(do)


def read_result(folder: Path) -> dict[str, Any]:
    """Read the result of a complete run.

    Raises:
        InputError: The file is absent or damaged.
    """
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RESULT_FILE} cannot be read: {error}") from error
    if not isinstance(result, dict):
        raise InputError(f"{folder / RESULT_FILE} holds no result")
    return result


def load_agent(
    folder: str | Path, *, greedy: bool = False, slots: int = 128, temperature: float | None = None,
    context_length: int | None = None, max_reply_tokens: int | None = None, max_thought_tokens: int | None = None,
    keep_thoughts: bool | None = None, history: History | None = None, history_turns: int | None = None,
    allow_pickle: bool = False, device: str = "auto", chat_template_kwargs: Mapping[str, Any] | None = None,
) -> LanguageModelAgent:  # fmt: skip
    """Return the agent of a run or checkpoint folder, for `turngym.agents.collect_episodes`.

    What is None is as the model was trained: kept beside its weights, or else in the run around them.

    Args:
        folder: A run, whose last checkpoint is loaded, a checkpoint, or any folder that `save_pretrained` wrote.
        greedy: Take the likeliest token instead of sampling.
        slots: Episodes played at once.
        temperature: Sampling temperature, above 0; that of a run is the one of its last step.
        context_length: Most tokens that it sees at once; the model's own limit stays the most.
        max_reply_tokens: Longest reply, in tokens.
        max_thought_tokens: Most tokens of a reply before its answer is begun for it.
        keep_thoughts: Accept a chat template that removes earlier thoughts; the stream keeps them.
        history: What it sees of earlier turns: "all", all as "served", a "window" of `history_turns`, or none ("turn").
        history_turns: How many the window holds.
        allow_pickle: Read weights that are stored as pickles; only for folders that you trust.
        chat_template_kwargs: Values of variables that the chat template reads, such as {"enable_thinking": False}.
        device: A device of torch, or "auto" for cuda, mps or cpu, the first that there is.

    Raises:
        InputError: There are no weights, or a setting cannot be used.
        CheckpointError: The model cannot be loaded.
    """
    require_plugins()

    def load(weights: Path) -> LanguageModel:
        with input_errors():
            decoding = decoding_of(weights).changed(
                context_length=context_length, max_reply_tokens=max_reply_tokens, temperature=temperature,
                max_thought_tokens=max_thought_tokens, keep_thoughts=keep_thoughts, history=history,
                history_turns=history_turns,
            )  # fmt: skip
            if history_turns is not None and decoding.history != "window":
                raise InputError(f"history_turns is not read with history {decoding.history!r}: set that to 'window'")
        return LanguageModel.from_pretrained(
            weights,
            decoding=decoding,
            allow_pickle=allow_pickle,
            template_kwargs=chat_template_kwargs,
            placement=Placement(device=device),
        )

    return LanguageModelAgent(load_policy(Path(folder), load), greedy=greedy, slots=slots)
