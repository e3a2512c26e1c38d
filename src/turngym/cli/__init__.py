"""The command line. Each command is a module of this package; none is loaded before it is called for."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import TextIO

from turngym._collection import end_without_collection, paused_collection
from turngym._errors import InputError, InputWarning, WorkError, file_error
from turngym._exits import exits_raise
from turngym._version import __version__
from turngym.cli.errors import Failure, UsageError
from turngym.cli.printable import accept_any_text, tell
from turngym.cli.watching import watched
from turngym.envs import MissingCapability
from turngym.names import nearest
from turngym.plugins import describe, load_plugins
from turngym.trainers.interrupt import exit_code, stoppable

COMMANDS = {
    "train": "teach a language model to play an environment",
    "sweep": "train algorithms x seeds, all algorithms of a seed from one base",
    "compare": "runs in one table: means over seeds, differences with intervals, learning curves",
    "evaluate": "measure an agent beside the random floor and the optimum",
    "rollout": "write episodes of any agent to a JSONL file",
    "play": "play at the terminal, or watch an agent",
    "bench": "environments x agents in one table, the shop, which figures of pages still come out, exploiters",
    "values": "what stage 1 of a run knows, and how much of it was luck",
    "view": "runs as a page: curves of all that is logged, and episodes turn by turn",
    "export": "the policy of a run as a plain checkpoint with a model card",
    "serve": "a game behind an OpenEnv server, for trainers and clients of others",
    "webshop": "the shop as a site, and its catalogues: serve, index, generate, inspect, check",
    "doctor": "check that this installation works",
}

IMPORTING = (
    "train",
    "sweep",
    "compare",
    "evaluate",
    "rollout",
    "play",
    "bench",
    "values",
    "view",
    "export",
    "serve",
    "doctor",
)
"""Commands that work with other people's code as well."""
PLAYING = ("train", "evaluate", "rollout", "play", "bench")
"""Commands whose process other people's code may end."""
IMPORT_HELP = (
    "--import MODULE imports code of your own first, which registers environments, agents,\n"
    "objectives, potentials or presets; it may be given several times."
)

HELP = ("-h", "--help", "--help-all")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The words after the program's name; those of this process if None.

    Returns:
        0 on success, 1 when a command found a failure, 2 for input it cannot use, 130 after
        Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    accept_any_text()
    if argv is None:
        end_without_collection()
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"turngym {__version__}")
        return 0
    # Called from a program, it leaves that program's end to others.
    watching = watched() if argv is None and words[0] in PLAYING else nullcontext()
    try:
        with watching, stoppable(), _sentences(), exits_raise():
            return _dispatch(words[0], words[1:])
    except UsageError as error:
        tell(error)
        return error.exit_code
    except (InputError, MissingCapability) as error:
        tell(error)
        return UsageError.exit_code
    except WorkError as error:
        tell(error)
        return Failure.exit_code
    except KeyboardInterrupt as stop:
        print("Stopped.", file=sys.stderr)
        return exit_code(stop)
    except BrokenPipeError:
        return _unread()
    except Exception as error:
        refused = file_error(error)  # a folder that cannot be read or written, a name that is too long, a full disk
        if refused is None:
            raise
        tell(refused)
        return Failure.exit_code if isinstance(refused, WorkError) else UsageError.exit_code
    except SystemExit as done:
        return _ended(done, words)


def _ended(done: SystemExit, words: Sequence[str]) -> int:
    """Return the exit code after something below ended the program: the option parser after its help, or other code."""
    if not done.code and {*words} & {*HELP}:
        if words[0] in IMPORTING:
            try:
                print(IMPORT_HELP, flush=True)
            except BrokenPipeError:
                return _unread()
        return 0
    if not isinstance(done.__context__, BrokenPipeError):  # of which the console has taken care
        tell(f"the work was ended by other code, {describe(done)}")
    return Failure.exit_code


def _unread() -> int:
    """Return the exit code where the reader of our output (`| head`) has left.

    What is still buffered must not fail again at interpreter exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Failure.exit_code


@contextmanager
def _sentences() -> Iterator[None]:
    """Print warnings as sentences, without the line of source that Python shows; each of our own is printed once."""

    def show(  # noqa: PLR0917 - as Python calls it
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        place = "" if issubclass(category, InputWarning) else f" ({category.__name__}, {filename} line {lineno})"
        tell(f"warning: {message}{place}")

    with warnings.catch_warnings():
        warnings.filterwarnings("default", category=InputWarning)
        warnings.showwarning = show
        yield


def _dispatch(command: str, words: list[str]) -> int:
    if command.partition("=")[0] == "--import":
        raise UsageError("--import stands after the command, as in: turngym play my/Game-v0 --import my_games")
    if command not in COMMANDS:
        if command.strip("-").lower() in ("version", "v"):
            raise UsageError(f"there is no command {command!r}: it is turngym --version")
        meant = nearest(command, [*COMMANDS, "--version", "--help"]) or "; see turngym --help"
        raise UsageError(f"there is no command {command!r}{meant}")
    if command in IMPORTING:
        modules, words = split_imports(words)
        _load(modules)
    with paused_collection():
        run = import_module(f"turngym.cli.{command}").run
    return int(run(words))


def split_imports(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the modules that `--import` names and the words without them.

    Raises:
        UsageError: An `--import` has no value.
    """
    modules: list[str] = []
    others: list[str] = []
    waiting = iter(words)
    for word in waiting:
        flag, equals, value = word.partition("=")
        if flag != "--import":
            others.append(word)
            continue
        modules.append(value if equals else next(waiting, ""))
        if not modules[-1] or modules[-1].startswith("-"):
            raise UsageError("--import needs a value: the name of a module, such as my_games")
    return modules, others


def _load(modules: Sequence[str]) -> None:
    """Import other people's code; announced modules that are broken are told and left out."""
    for problem in load_plugins(modules):
        tell(f"warning: {problem}")


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: turngym COMMAND [ARGUMENTS]",
            "",
            "Text games, language models that play them over several turns, and A*PO that teaches them.",
            "",
            *lines,
            "",
            "turngym COMMAND --help lists a command's arguments; turngym --version prints the version.",
            f"In all commands but {', '.join(COMMANDS.keys() - {*IMPORTING})}, {IMPORT_HELP}",
        ]
    )
