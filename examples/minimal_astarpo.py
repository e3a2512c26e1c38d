"""A*PO from end to end in one file: a small network learns lakes of 3x3, in about half a minute of a core.

The trainer of turngym does the same with language models, and much besides; start reading it at `trainers/loop.py`.
Here the policy is a network from the cells of an observation to the four moves, a turn is one draw from it, and both
stages fit on a page:

1. The untrained policy is frozen as the reference. It plays every instance of a pool several times, which gives the
   optimal value of each, V* = beta_value * log(mean(exp(R / beta_value))).
2. The policy plays, one episode of each instance, and its log-ratio to the reference is regressed on the advantage:
   (beta * log(pi / pi_ref)(episode) - (R - V*))^2. No critic, and no group of episodes to compare.

A*PO: arXiv:2505.20686. Needs turngym and torch: `python examples/minimal_astarpo.py`.

Shapes: B episodes, T turns of all of them together.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from turngym.agents import Episode, Instance, Reply, collect_episodes, instance_range, score_episodes
from turngym.envs import TextEnv

ENV, SIZE = "turngym/FrozenLake-v0", 3
MOVES = ("left", "down", "right", "up")
CELLS = "_POG"
"""What a cell of the map can be: ice, the player, a hole, the goal."""

POOL, REFERENCE_EPISODES = 512, 4
STEPS, BATCH = 50, 256
BETA_VALUE = 0.5
"""Temperature of V* in stage 1."""
BETA = 0.05
"""Temperature of the KL in stage 2."""
LEARNING_RATE = 5e-3


class Policy(nn.Module):
    """From observations to log-probabilities of the moves."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(SIZE * SIZE * len(CELLS), 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(),
                                 nn.Linear(128, len(MOVES)))  # fmt: skip

    def forward(self, observations: Sequence[str]) -> Tensor:
        """Return log pi of every move in every observation, `[T, 4]`."""
        cells_TC = torch.tensor([read_cells(observation) for observation in observations])
        one_hot = nn.functional.one_hot(cells_TC, len(CELLS)).flatten(1).float()
        logp_TA: Tensor = self.net(one_hot).log_softmax(-1)
        return logp_TA


def read_cells(observation: str) -> list[int]:
    """Return the cells of the map in an observation, row by row, as numbers."""
    rows = [line for line in observation.splitlines() if len(line) == 2 * SIZE - 1 and set(line) <= {*CELLS, " "}]
    return [CELLS.index(cell) for row in rows for cell in row.split()]


class PolicyAgent:
    """Plays by a policy, in any number of slots; implements `turngym.agents.Agent`."""

    policy_version = 0

    def __init__(self, policy: Policy, *, greedy: bool = False) -> None:
        self.policy, self.greedy = policy, greedy
        self.seen: dict[int, str] = {}
        self.chance: dict[int, torch.Generator] = {}

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        """Enter an episode, whose seed decides every draw."""
        self.seen[slot], self.chance[slot] = observation, torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Draw a move for each slot."""
        logp_TA = self.policy([self.seen[slot] for slot in slots])
        if self.greedy:
            moves = logp_TA.argmax(1).tolist()
        else:
            pairs = zip(logp_TA.exp(), slots, strict=True)
            moves = [int(torch.multinomial(p_A, 1, generator=self.chance[slot])) for p_A, slot in pairs]
        return [Reply(text=MOVES[move]) for move in moves]

    def observe(self, slot: int, observation: str) -> None:
        """Read the answer to the last move."""
        self.seen[slot] = observation

    def finish(self, slot: int) -> list[int]:
        """Leave the slot; there are no tokens."""
        return []


def play(policy: Policy, instances: Sequence[Instance], *, greedy: bool = False) -> list[Episode]:
    """Play an episode of every instance."""
    return collect_episodes(PolicyAgent(policy, greedy=greedy), ENV, instances, env_kwargs={"size": SIZE})


def success(policy: Policy, *, greedy: bool = False) -> float:
    """Return the success on 256 test instances, none of which is in the pool."""
    return score_episodes(play(policy, list(instance_range("test", 256)), greedy=greedy), seconds=0.0).rate


def episode_logps(policy: Policy, episodes: Sequence[Episode]) -> Tensor:
    """Return log pi of each episode, summed over its turns, `[B]`."""
    turns = [(row, turn) for row, episode in enumerate(episodes) for turn in episode.turns]
    move_T = torch.tensor([MOVES.index(turn.action) for _, turn in turns])
    logp_T = policy([turn.observation for _, turn in turns]).gather(1, move_T[:, None])[:, 0]
    return torch.zeros(len(episodes)).index_add(0, torch.tensor([row for row, _ in turns]), logp_T)


def optimal_values(reference: Policy) -> dict[int, float]:
    """Stage 1: return V* of every instance of the pool, from episodes of the reference."""
    instances = [Instance(split="train", index=i, seed=1 + i + POOL * k)
                 for k in range(REFERENCE_EPISODES) for i in range(POOL)]  # fmt: skip
    returns: dict[int, list[float]] = defaultdict(list)
    for episode in play(reference, instances):
        returns[episode.index].append(episode.total_reward)
    return {index: BETA_VALUE * math.log(sum(math.exp(r / BETA_VALUE) for r in rs) / len(rs))
            for index, rs in returns.items()}  # fmt: skip


def main() -> None:
    """Run both stages, and print what the policy can do before and after."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    policy = Policy()
    reference = copy.deepcopy(policy).requires_grad_(False)
    before = success(policy)
    print(f"success before learning: {before:.3f}")
    value = optimal_values(reference)
    print(f"stage 1: mean V* of {POOL} instances is {sum(value.values()) / POOL:.3f}")
    optimizer = torch.optim.Adam(policy.parameters(), lr=LEARNING_RATE)
    for step in range(1, STEPS + 1):
        pool = torch.randperm(POOL)[:BATCH].tolist()
        episodes = play(policy, [Instance(split="train", index=i, seed=10**6 * step + i) for i in pool])
        advantage_B = torch.tensor([episode.total_reward - value[episode.index] for episode in episodes])
        with torch.no_grad():
            ref_logp_B = episode_logps(reference, episodes)
        log_ratio_B = episode_logps(policy, episodes) - ref_logp_B
        loss = ((BETA * log_ratio_B - advantage_B) ** 2 / (2 * BETA)).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if step % 10 == 0:
            solved = sum(episode.success for episode in episodes) / len(episodes)
            print(f"step {step:3d}: loss {loss.item():6.3f}, success {solved:.3f}, KL {log_ratio_B.mean().item():.2f}")
    after = success(policy)
    print(f"success after learning: {after:.3f} sampled, {success(policy, greedy=True):.3f} greedy")
    print(f"success went up by {after - before:.3f}")


if __name__ == "__main__":
    main()
