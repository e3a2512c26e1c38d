"""Addresses of servers that play a model, as users write them."""

from __future__ import annotations

from urllib.parse import urlsplit

from turngym._errors import InputError

KEY_VARIABLE = "TURNGYM_ROLLOUT_KEY"
"""The environment variable with the key that a server may ask for (`vllm serve --api-key`)."""


def check_address(address: str, key_variable: str = KEY_VARIABLE) -> tuple[str, int | None, bool, str]:
    """Return host, port, whether it is HTTPS, and what comes before the path of every request.

    Args:
        address: The address.
        key_variable: Where a key belongs that was written into it.

    Raises:
        InputError: It is no address of a server, or holds what does not belong into one.
    """
    try:
        parts = urlsplit(address)
        plain = not (parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme in {"http", "https"} and parts.hostname and plain:
            return parts.hostname, parts.port, parts.scheme == "https", parts.path.rstrip("/").removesuffix("/v1")
    except ValueError:  # of a port that is no number, or brackets that are no address
        pass
    shown = address.partition("?")[0].rpartition("@")[2]
    raise InputError(f"{shown!r} is no address of a server: write http://HOST:PORT, and put a key that it asks for "
                     f"into the environment variable {key_variable}")  # fmt: skip
