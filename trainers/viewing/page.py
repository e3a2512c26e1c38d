"""The page: one HTML file without anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

PLACE = "/*RECORDS*/null"
"""Where the records stand in the page; there it asks for them."""


def page_of(records: Sequence[Mapping[str, Any]] | None = None) -> str:
    """Return the page.

    Args:
        records: What `run_record` returned, to be part of the page; None for a page that asks its server for them,
            again and again.
    """
    page = files(__package__).joinpath("static/view.html").read_text(encoding="utf-8")
    # No text of an episode can end the script that it stands in.
    data = "null" if records is None else json.dumps({"runs": list(records)}).replace("<", "\\u003c")
    return page.replace(PLACE, data)
