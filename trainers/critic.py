"""The critic of PPO: a linear layer on the policy's last hidden states, kept beside the policy's weights."""

from __future__ import annotations

from pathlib import Path

import torch

from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.checkpoints.tensor_tree import read_tensors, write_tensors

CRITIC_FILE = "critic.safetensors"


def make_critic(policy: LanguageModel) -> torch.nn.Linear:
    """Return a critic with weights of 0, from `[..., H]` to `[..., 1]`, on the policy's device, in at least float32."""
    width = int(policy.model.config.get_text_config().hidden_size)
    dtype = torch.promote_types(policy.model.dtype, torch.float32)
    critic = torch.nn.Linear(width, 1, device=policy.device, dtype=dtype)
    torch.nn.init.zeros_(critic.weight)
    torch.nn.init.zeros_(critic.bias)
    return critic


def save_critic(critic: torch.nn.Linear, folder: Path) -> None:
    """Write the critic into the folder that holds the policy, together with the other ranks."""
    write_tensors(folder / CRITIC_FILE, critic.state_dict())


def load_critic(critic: torch.nn.Linear, folder: Path) -> None:
    """Load the weights that `save_critic` wrote into a critic."""
    critic.load_state_dict(read_tensors(folder / CRITIC_FILE))
