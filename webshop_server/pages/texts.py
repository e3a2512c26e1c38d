"""Pages as text, in the forms of the original's environment, which derives them from its HTML.

`plain_text` joins the parts with ` [SEP] `, `rich_text` puts each on a line and marks the buttons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from turngym.webshop_server.pages.page import Button, Choice, Link, Part

SEPARATOR = " [SEP] "
_SPACE = " \n\t\f\r"
"""What counts as space in HTML."""


def plain_text(parts: Sequence[Part]) -> str:
    """Return the `text` observation."""
    return SEPARATOR.join([text for part in parts if (text := part.text.strip()) or _shows(part.text)])


def quoted_text(parts: Sequence[Part]) -> str:
    """Return the parts below the instruction, each in quotation marks."""
    below = [part for part in visible(parts) if part.role not in {"logo", "instruction"}]
    return SEPARATOR.join(f"'{part.text.strip()}'" for part in below)


def rich_text(parts: Sequence[Part]) -> str:
    """Return the `text_rich` observation; what was chosen is marked, and named at the top, the lowest first."""
    chosen: list[str] = []
    lines: list[str] = []
    for part in visible(parts):
        match part:
            case Button(text):
                lines.append(_marked(text, clicked=False))
            case Link(text, visited):
                lines.append("\n" + _marked(text, clicked=visited))
            case Choice(text, _, _, is_chosen):
                lines.append("  " + _marked(text, clicked=is_chosen))
                if is_chosen:
                    chosen.append(f"You have clicked {text}.")
            case Part(text):
                lines.append(text)
    return "".join(f"{line}\n" for line in [*reversed(chosen), *lines])


def _marked(text: str, *, clicked: bool) -> str:
    return f"[clicked button] {text} [clicked button_]" if clicked else f"[button] {text} [button_]"


def visible(parts: Sequence[Part]) -> Iterator[Part]:
    """Yield the parts that show, as an HTML parser finds them.

    Of a text that is mere space one space is left, and nothing if it has a line break.
    """
    for part in parts:
        if part.text.strip(_SPACE):
            yield part
        elif _shows(part.text):
            yield Part(" ")


def _shows(text: str) -> bool:
    """Return whether something is left of a text: it is not mere space with a line break."""
    return "\n" not in text or bool(text.strip(_SPACE))
