"""Where Python waits for a device: what would make a card idle is noted, although the tensors lie on the processor."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READS = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__", "__contains__"}
"""Methods of tensors that return what a device has computed."""
SIZED = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero"}
"""Operations that read a number, or return as many as a device has found."""


class DeviceWaits(TorchFunctionMode):
    """Notes what waits for the device while it is entered.

    Attributes:
        waits: The names of the methods and operations that did.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self._reading = False
        self._operations = _Operations(self)

    def __enter__(self) -> Any:
        self._operations.__enter__()
        return super().__enter__()

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self._operations.__exit__(*args)

    def note(self, name: str) -> None:
        """Note a wait that is not a part of another."""
        if not self._reading:
            self.waits.append(name)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name in READS:
            self.note(name)
            self._reading = True
            try:
                return func(*args, **kwargs)
            finally:
                self._reading = False
        moves = any(isinstance(value, torch.device) for value in (*args, *kwargs.values()))
        # What the library moves to a device lies there.
        moves &= not sys._getframe(1).f_globals["__name__"].startswith("transformers.")
        if name in ("to", "tensor", "as_tensor") and moves and not kwargs.get("non_blocking"):
            self.note(name)
        if name == "__getitem__" and any(isinstance(part, list) for part in _parts(args[1])):
            self.note("a list as index")
        return func(*args, **kwargs)


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations that wait, wherever they are called from."""

    def __init__(self, waits: DeviceWaits) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition(".")[0]
        masked = name in ("aten::index", "aten::index_put", "aten::index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in SIZED or masked:
            self._waits.note(name)
        return func(*args, **(kwargs or {}))
