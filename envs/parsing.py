"""The one action grammar: what part of a reply is the action.

The action is the whole reply, or, when a reasoning style is on, the content of its single final `<answer>` block.
Anything ambiguous is refused: two blocks, text after the block, an unclosed tag. Every scan is linear in the reply.

`lenient_action` is a second reading, for replies as models write them that were never trained on a game. It is used
where it is asked for (`turngym.envs.lenient`), and only on replies that the game refuses as they stand.
"""

from __future__ import annotations

import re

OPEN, CLOSE = "<answer>", "</answer>"
THOUGHT_OPEN, THOUGHT_CLOSE = "<think>", "</think>"
"""How models that reason mark their thoughts."""
MARKS = "*_`\"'\u201c\u201d\u2018\u2019"
"""What a lenient reading takes off both ends: emphasis and code of Markdown, and quotation marks."""

_LABEL = re.compile(r"(?:final answer|answer|action|move)[\s*_`]*:", re.IGNORECASE)


class InvalidAction(ValueError):
    """The reply cannot be played; the message says why, in words the agent can use."""


def extract_action(reply: str, *, reasoning: bool = False) -> str:
    """Return the action in a reply, without surrounding white space.

    Args:
        reply: What the agent wrote.
        reasoning: Whether the agent may think first and must put its action in `<answer>...</answer>`.

    Raises:
        InvalidAction: There is no action, or more than one reading of the reply.
    """
    if not reasoning:
        action = reply.strip()
    else:
        if reply.count(OPEN) != 1 or reply.count(CLOSE) != 1:
            raise InvalidAction(f"write exactly one {OPEN}...{CLOSE} block")
        before, _, rest = reply.partition(OPEN)
        action, _, after = rest.partition(CLOSE)
        if after.strip() or CLOSE in before:
            raise InvalidAction(f"end the reply with one {OPEN}...{CLOSE} block")
        action = action.strip()
    if not action:
        raise InvalidAction("the reply is empty")
    return action


def without_thoughts(reply: str) -> str:
    """Return what a reply says beside its thoughts.

    That is what follows the last `</think>`, up to a `<think>` that is left open, without white space around it. A
    reply without these marks is returned as it is.
    """
    if THOUGHT_OPEN not in reply and THOUGHT_CLOSE not in reply:
        return reply
    return reply.rpartition(THOUGHT_CLOSE)[2].partition(THOUGHT_OPEN)[0].strip()


def lenient_action(reply: str) -> str:
    r"""Return the action in a reply that is not of the strict form, in time linear in its length.

    The rule, step by step: thoughts are left out (`without_thoughts`); of what is left the last `<answer>` block
    counts, or without one all of it; of that the last line that is not empty; of that line what remains without
    Markdown's emphasis, backticks and quotation marks around it, without a label before it (`Action:`, `Answer:`,
    `Final answer:` or `Move:`, in any case), and without full stops and exclamation marks behind it.

    Example:
        >>> lenient_action("<think>The goal is above.</think>I go up.\n**Action:** `Up`.")
        'Up'

    Raises:
        InvalidAction: Nothing is left.
    """
    said = without_thoughts(reply)
    head, closed, _ = said.rpartition(CLOSE)
    _, opened, block = head.rpartition(OPEN)
    line = (block if closed and opened else said).strip().rpartition("\n")[2]
    line = line.strip(MARKS + " \t\r")
    label = _LABEL.match(line)
    action = (line[label.end() :] if label else line).rstrip(f".!{MARKS} \t\r").lstrip(f"{MARKS} \t\r")
    if not action:
        raise InvalidAction("the reply is empty")
    return action
