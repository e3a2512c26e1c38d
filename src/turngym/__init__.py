"""Text games as Gymnasium environments, language models that play them, and A*PO that teaches them.

    >>> import gymnasium, turngym
    >>> env = gymnasium.make("turngym/FrozenLake-v0")
    >>> result = turngym.train("FrozenLake", learning={"steps": 60})
    >>> agent = turngym.load_agent(result.folder)

What is public stands in `__all__` here and in `turngym.envs`, `turngym.agents` and `turngym.trainers`. Importing this
package registers the environments and loads neither torch nor transformers; `train`, `load_agent` and `TrainingResult`
load them when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from turngym._version import __version__
from turngym.envs import register_all

if TYPE_CHECKING:
    from turngym.trainers.launch.training import TrainingResult, load_agent, train

register_all()

__all__ = ["TrainingResult", "__version__", "load_agent", "train"]


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first asked for."""
    if name in ("TrainingResult", "load_agent", "train"):
        return getattr(import_module("turngym.trainers.launch.training"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
