"""The command line. Each command is a module of this package; none is loaded before it is called for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from turngym._version import __version__
from turngym.cli.errors import UsageError, nearest
from turngym.envs import MissingCapability, UnfitEnv

COMMANDS = {
    "train": "teach a language model to play an environment",
    "evaluate": "measure a player beside the random floor and the optimum",
    "rollout": "write episodes of any player to a JSONL file",
    "play": "play at the terminal, or watch a player",
    "values": "what stage 1 of a run knows, and how much of it was luck",
    "webshop": "the shop as a site, and its catalogues: serve, index, generate, inspect, check",
    "doctor": "check that this installation works",
}

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The words after the program's name; those of this process if None.

    Returns:
        0 on success, 1 when a command found a failure, 2 for input it cannot use, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"turngym {__version__}")
        return 0
    try:
        return _dispatch(words[0], words[1:])
    except UsageError as error:
        print(f"turngym: {error}", file=sys.stderr)
        return error.exit_code
    except (UnfitEnv, MissingCapability) as error:  # an environment of the user's own
        print(f"turngym: {error}", file=sys.stderr)
        return UsageError.exit_code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`| head`) has left. What is still buffered must not fail again at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as done:  # how the option parser ends after --help
        return int(done.code or 0)


def _dispatch(command: str, words: list[str]) -> int:
    if command not in COMMANDS:
        raise UsageError(f"there is no command {command!r}{nearest(command, COMMANDS)}")
    run = import_module(f"turngym.cli.{command}").run
    return int(run(words))


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
        ]
    )
