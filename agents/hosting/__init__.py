"""Where environments run: in this thread, in a thread with a limit, or in processes of their own.

A rollout hands its calls to a `Host` and gathers the results. Whatever an environment does in a call (raise, answer
nonsense, hang, end its process) is a result too, `Failed`, and costs no other call.
"""

from turngym.agents.hosting.host import Host, HostSettings, open_host, run_calls
from turngym.agents.hosting.stage import Failed, Game, Interrupted, Method, Opening, Outcome, Result

__all__ = [
    "Failed",
    "Game",
    "Host",
    "HostSettings",
    "Interrupted",
    "Method",
    "Opening",
    "Outcome",
    "Result",
    "open_host",
    "run_calls",
]
