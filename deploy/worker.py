"""The process that trains on a rented machine: it begins or continues a run, and looks at the clock before every step.

    python -m deploy.worker CONFIG FOLDER END

END is a reading of the monotonic clock of this machine. The process lives as long as its standard input stays open.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from turngym._errors import InputError, WorkError, file_error
from turngym.cli import main as turngym_main
from turngym.cli.printable import tell
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.trainers.config import TrainConfig, parse_toml
from turngym.trainers.interrupt import exit_code, stoppable
from turngym.trainers.reporting.progress import Progress
from turngym.trainers.run_files import CONFIG_FILE, LOCK_FILE, USED_CONFIG_FILE

DONE, FAILED, REFUSED, BROKEN, OUT_OF_TIME = 0, 1, 2, 70, 75
"""Exit codes: trained; failed for a reason that will be the same the next time; cannot be used; an error that may be
gone the next time; the clock ran out, and the run is saved."""


class CappedProgress:
    """Passes reports on, and asks the process to save and stop when there is no time for one more unit of work.

    A unit is what is reported at once: a step of stage 2 or of the warm start, an episode elsewhere. It is taken to
    last as long as the longest of its phase so far. Stage 2 reports before its first step and after each, so the clock
    is looked at before every optimizer step; the very step is saved.

    Args:
        progress: Gets all reports.
        end: Reading of the clock at which no work may be going on.
        clock: Returns seconds.
    """

    def __init__(self, progress: Progress, end: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress, self._end, self._clock = progress, end, clock
        self._last, self._longest = clock(), 0.0
        self.stopped = False
        """Whether it has asked the process to stop."""

    def phase(self, name: str, total: int | None) -> None:
        """Begin a phase."""
        self._last, self._longest = self._clock(), 0.0
        self._progress.phase(name, total)

    def advance(self, n: int = 1, **numbers: float) -> None:
        """Report work, and stop if the next one would end too late.

        Raises:
            Stopped: There is no time, and nothing that the process is in the middle of has to be saved first.
        """
        now = self._clock()
        self._last, self._longest = now, max(self._longest, now - self._last)
        self._progress.advance(n, **numbers)
        if now + self._longest >= self._end and not self.stopped:
            self.stopped = True
            self._progress.note("The time that is paid for ends: saving the run.")
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would break off the saving

    def note(self, text: str) -> None:
        """Report a line."""
        self._progress.note(text)


def train(config: TrainConfig, folder: Path, progress: CappedProgress) -> int:
    """Begin the run, or continue it if the folder holds one, and return the exit code.

    Raises:
        InputError: The run cannot be begun or continued.
    """
    import turngym  # loads torch with its function `train`

    config = replace(config, run=replace(config.run, root=str(folder.parent), name=folder.name))
    begun = (folder / CONFIG_FILE).is_file()
    if not begun:
        _clear(folder)
    try:
        turngym.train(config, progress=progress, resume=begun)
    except SystemExit as stop:
        return OUT_OF_TIME if progress.stopped else int(stop.code or DONE)
    return DONE


def _clear(folder: Path) -> None:
    """Delete what a start leaves that was killed before its configuration was written."""
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.name not in (LOCK_FILE, USED_CONFIG_FILE) and not path.name.startswith("."):
            raise InputError(f"{folder} holds {path.name} and no {CONFIG_FILE}, so it is no run that can be continued")
        path.unlink()


def run(config: TrainConfig, folder: Path, end: float) -> int:
    """Train under the eyes of the user, and return the exit code."""
    try:
        with stoppable(), TerminalProgress(make_console()) as shown:
            code = train(config, folder, CappedProgress(shown, end))
        # A run that is complete is shown by this, with its report.
        return code or turngym_main(["train", "--resume", str(folder)])
    except InputError as error:
        tell(error)
        return REFUSED
    except KeyboardInterrupt as stop:
        return exit_code(stop)
    except Exception as error:  # noqa: BLE001 - what is not explained is printed in full
        if isinstance(error, (WorkError, *explained())):
            tell(error)
            return FAILED
        tell(file_error(error) or error)
        traceback.print_exc()
        return BROKEN


def explained() -> tuple[type[Exception], ...]:
    """Return the errors of training that say why the run cannot go on as it is."""
    from turngym.agents.models.language_model import CheckpointError, NonFiniteError
    from turngym.agents.rollout import PlayError
    from turngym.trainers.checkpoints.checkpoint import CheckpointError as DamagedCheckpoint
    from turngym.trainers.monitoring.alarms import AlarmError
    from turngym.trainers.objectives.registry import ObjectiveError
    from turngym.trainers.warm_start.course import WarmStartError

    return (AlarmError, CheckpointError, DamagedCheckpoint, NonFiniteError, ObjectiveError, PlayError,
            WarmStartError)  # fmt: skip


def _end_with_parent(grace: float) -> None:
    """Save and stop when the parent is gone, whose end closes the standard input; nobody would count the time."""

    def watch() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock would be held at the end of the process
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(BROKEN)

    threading.Thread(target=watch, daemon=True).start()


def main(words: Sequence[str]) -> int:
    """Run the process and return its exit code."""
    config, folder, end = words
    _end_with_parent(grace=60.0)
    return run(parse_toml(Path(config).read_text(encoding="utf-8"), source=config), Path(folder), float(end))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
