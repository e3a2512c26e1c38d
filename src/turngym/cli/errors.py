"""What goes wrong between a user and the command line, in one sentence that says what to do next."""

from __future__ import annotations


class UsageError(Exception):
    """Input that cannot be used; the message is one sentence and is all that the user sees."""

    exit_code = 2


class Failure(UsageError):
    """The input was fine and the work failed, in a way that the message explains."""

    exit_code = 1
