"""New weights for a server that runs: which requests make it read a folder that was written for it.

Servers keep keys and values of prompts that they have read, which belong to the weights of then. Every way here makes
the server forget them, or play under a name that it has read nothing under.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Protocol

from turngym.agents.serving.completions import CompletionServer
from turngym.agents.serving.connection import ServerError

VLLM_DEV = "start vLLM with the environment variable VLLM_SERVER_DEV_MODE=1"
VLLM_LORA = "start vLLM with --enable-lora and the environment variable VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"


class WeightUpdate(Protocol):
    """Lets a server play the weights in a folder."""

    def __call__(self, folder: Path, step: int) -> None:
        """Return when every reply from now on comes from these weights.

        Args:
            folder: A whole model or an adapter, as `save_pretrained` writes it, at a path that the server sees too.
            step: How many optimizer steps the weights have seen.

        Raises:
            ServerError: The server does not take them.
        """


class VllmUpdate:
    """Makes vLLM read whole models: `/collective_rpc` of `reload_weights`, then `/reset_prefix_cache`."""

    def __init__(self, server: CompletionServer) -> None:
        self._server = server

    def __call__(self, folder: Path, step: int) -> None:
        """See `WeightUpdate`."""
        connection = self._server.connection
        call = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        connection.tell("/collective_rpc", call, absent=VLLM_DEV)
        connection.tell("/reset_prefix_cache", {}, absent=VLLM_DEV)


class VllmLoraUpdate:
    """Makes vLLM read adapters, each under a name of its own; the one before it is taken out."""

    def __init__(self, server: CompletionServer) -> None:
        self._server = server
        self._prefix = f"turngym-{token_hex(4)}"
        """Unlike that of another run, or of an earlier start of this one."""

    def __call__(self, folder: Path, step: int) -> None:
        """See `WeightUpdate`."""
        connection, earlier = self._server.connection, self._server.model
        name = f"{self._prefix}-{step}-{token_hex(2)}"
        # In place: a request that is repeated after its answer was lost finds the name taken.
        body = {"lora_name": name, "lora_path": str(folder), "load_inplace": True}
        connection.tell("/v1/load_lora_adapter", body, absent=VLLM_LORA)
        self._server.model = name
        if earlier == self._server.served.name:
            return
        with suppress(ServerError):  # nobody plays it any more, and vLLM drops what is used least
            connection.tell("/v1/unload_lora_adapter", {"lora_name": earlier})


class SglangUpdate:
    """Makes SGLang read whole models: `/update_weights_from_disk`, which forgets what it has read."""

    def __init__(self, server: CompletionServer) -> None:
        self._server = server

    def __call__(self, folder: Path, step: int) -> None:
        """See `WeightUpdate`."""
        connection = self._server.connection
        body = {"model_path": str(folder), "flush_cache": True}
        told = connection.ask("/update_weights_from_disk", body, absent="it is no server of SGLang")
        if told.get("success") is not True:
            raise connection.error(f"did not take the weights in {folder}: {told.get('message') or 'no reason given'}")


UPDATES: dict[str, Callable[[CompletionServer], WeightUpdate]] = {
    "vllm": VllmUpdate,
    "vllm-lora": VllmLoraUpdate,
    "sglang": SglangUpdate,
}
"""The ways of new weights, by their names in a configuration."""
