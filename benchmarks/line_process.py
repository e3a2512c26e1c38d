"""A process that a benchmark tells what to do, a line at a time, so that several can take turns."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Self


class LineProcess:
    """A process that answers lines with lines; a context that ends it.

    Args:
        command: What it runs.
        environment: Its variables, all of them.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        """Return the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def send(self, line: str) -> None:
        """Write a line to its standard input."""
        print(line, file=self._process.stdin, flush=True)

    def answer(self, called: str) -> str:
        """Return the next line of its standard output.

        Args:
            called: What to call it in a message.

        Raises:
            RuntimeError: It ended; its own error is on stderr.
        """
        answer = self._process.stdout.readline() if self._process.stdout else ""
        if not answer:
            raise RuntimeError(f"{called} ended before its answer; its error is above")
        return answer
