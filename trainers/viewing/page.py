"""The page: one HTML file without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

PLACE = "/*RECORDS*/null"
"""Where the records stand in the page; there it asks for them."""
POLICY_PLACE = "/*POLICY*/"
"""Where the page says what a browser may do for it."""
SCRIPT = ("<script>", "</script>")
"""What the program of the page stands between; its data stand in an element that is not run."""


def page_of(records: Sequence[Mapping[str, Any]] | None = None, episodes: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the page.

    Args:
        records: What `run_record` returned, to be part of the page; None for a page that asks its server for them,
            again and again.
        episodes: For each of these runs what `file_record` returned, by the names of the files.
    """
    # No text of an episode can end the element that it stands in.
    data = {"runs": list(records), "episodes": list(episodes)} if records is not None else None
    return _template().replace(POLICY_PLACE, policy()).replace(PLACE, json.dumps(data).replace("<", "\\u003c"))


@cache
def policy() -> str:
    """Return the content security policy of the page: it runs its own program alone, and loads nothing from elsewhere.

    That holds for what an episode says, and for the frames in which pages of a shop are shown.
    """
    template = _template()
    program = template[template.index(SCRIPT[0]) + len(SCRIPT[0]) : template.rindex(SCRIPT[1])]
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    return (f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'")  # fmt: skip


@cache
def _template() -> str:
    return files(__package__).joinpath("static/view.html").read_text(encoding="utf-8")
