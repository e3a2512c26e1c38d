"""Text games as Gymnasium environments, language models that play them, and A*PO that teaches them."""

from turngym._version import __version__
from turngym.envs import register_all

register_all()

__all__ = ["__version__"]
