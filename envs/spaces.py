"""The space of observations and actions: any text up to a stated length."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatten, flatten_space, unflatten
from gymnasium.vector.utils import read_from_shared_memory
from numpy.typing import NDArray

from turngym.arguments import Index, checked

PADDING = 0x110000
"""Stands after the end of a flattened text; one more than the greatest code point."""
ENCODING = "utf-32-le"


class UnicodeText(spaces.Text):
    """All strings up to `max_length` characters, whatever their script.

    `gymnasium.spaces.Text` admits only a fixed alphabet; language models write any character, so membership here is a
    matter of type and length alone. Samples are drawn from printable ASCII. A flattened text is its code points,
    which is also how asynchronous vector environments share it between processes.
    """

    def __init__(self, max_length: int, *, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(max_length, min_length=0, charset=string.printable.strip() + " ", seed=seed)

    def seed(self, seed: int | None = None) -> int:
        """Seed the samples with a whole number of at least 0, of any size.

        Raises:
            InputError: It is none.
        """
        return super().seed(checked(seed, Index | None, "seed"))

    def contains(self, x: Any) -> bool:
        """Whether `x` is a string of at most `max_length` characters."""
        return isinstance(x, str) and len(x) <= self.max_length

    def __eq__(self, other: object) -> bool:
        """Two such spaces are equal when they admit the same length."""
        return isinstance(other, UnicodeText) and other.max_length == self.max_length

    def __repr__(self) -> str:
        """Show the one parameter."""
        return f"UnicodeText({self.max_length})"


class SharedTexts(Sequence[str]):
    """The texts in a block of shared memory, decoded when they are read.

    Gymnasium's asynchronous vector environment takes its observations from shared memory once and copies them at every
    step. Arrays can be views of that memory and strings cannot; this is the view that a copy turns into strings.
    """

    def __init__(self, space: UnicodeText, codes: NDArray[np.int32]) -> None:
        self.space = space
        self.codes = codes  # [num_envs, max_length]

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        """Decode one text or several."""
        if isinstance(index, slice):
            return tuple(_unflatten(self.space, row) for row in self.codes[index])
        return _unflatten(self.space, self.codes[index])

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        """Decode them all."""
        return self[:]


@flatten_space.register(UnicodeText)
def _flatten_space(space: UnicodeText) -> spaces.Box:
    return spaces.Box(low=0, high=PADDING, shape=(space.max_length,), dtype=np.int32)


@flatten.register(UnicodeText)
def _flatten(space: UnicodeText, x: str) -> NDArray[np.int32]:  # type: ignore[misc]  # the base is generic
    codes = np.full(space.max_length, PADDING, dtype=np.int32)
    codes[: len(x)] = np.frombuffer(x.encode(ENCODING, "surrogatepass"), dtype="<i4")
    return codes


@unflatten.register(UnicodeText)
def _unflatten(space: UnicodeText, x: NDArray[np.int32]) -> str:  # type: ignore[misc]  # noqa: ARG001
    return x[x < PADDING].astype("<i4").tobytes().decode(ENCODING, "surrogatepass")


@read_from_shared_memory.register(UnicodeText)
def _read_from_shared_memory(space: UnicodeText, shared_memory: Any, n: int = 1) -> SharedTexts:
    codes = np.frombuffer(shared_memory.get_obj(), dtype=np.int32)
    return SharedTexts(space, codes.reshape(n, space.max_length))
