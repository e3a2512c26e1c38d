"""What is checked before a run in which instances are proposed; it needs no torch."""

from __future__ import annotations

from turngym._errors import InputError
from turngym.envs import MissingCapability
from turngym.envs.proposing import Verifier
from turngym.trainers.config import TrainConfig


def check_proposals(config: TrainConfig) -> None:
    """Check that instances of the environment can be proposed, where a run asks for it.

    Raises:
        InputError: They are not written, or there are too many to be numbered.
    """
    if config.selfplay.enabled:
        try:
            verifier = Verifier(config.env.id, config.env.kwargs, trivial=config.selfplay.trivial)
            verifier.judge(verifier.write(0))
        except (InputError, MissingCapability) as error:
            raise InputError(f"selfplay.proposer {config.selfplay.proposer!r}: {error}") from error
        verifier.close()
