"""A call that may take only so long."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

CLOSING_TIME = 5.0
"""How long environments that are not needed any more may take to close before nobody waits for them, seconds."""


def call_within(
    seconds: float, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Return what a function returns, or raise what it raises, if it does so in time.

    Raises:
        TimeoutError: It did not; it goes on in a thread that does not keep the program from ending.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is raised again where it was called
            errors.append(error)

    thread = Thread(target=work, name="turngym-deadline", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    return results[0]
