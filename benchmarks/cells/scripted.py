"""The scripted players of tables."""

from __future__ import annotations

from typing import Any

ORACLE = "oracle"
SCRIPTED: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "rule": ("rule", {}),
    "shopper": ("shopper", {}),
    "shopper-details": ("shopper", {"details": True}),
    ORACLE: ("oracle", {}),
}
"""Scripted players by the name of their row: the agent and its arguments."""
