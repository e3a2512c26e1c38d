"""The one action grammar: what part of a reply is the action.

The action is the whole reply, or, when a reasoning style is on, the content of its single final `<answer>` block.
Anything ambiguous is refused: two blocks, text after the block, an unclosed tag. Every scan is linear in the reply.
"""

from __future__ import annotations

OPEN, CLOSE = "<answer>", "</answer>"


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
