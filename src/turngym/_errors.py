"""The error about what a user gave: one sentence that says what to do next."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used; the command line prints the message and ends with exit code 2."""
