"""A model behind a server of OpenAI's protocol plays a game, beside the script that plays at random.

    OPENAI_API_KEY=... python examples/api_model.py gpt-4o-mini
    python examples/api_model.py Qwen/Qwen2.5-1.5B-Instruct --base-url http://127.0.0.1:8000/v1

No torch is needed. Replies such as `**Up**.` are read leniently, and said to be. The same on the command line, with a
cap on dollars and a file to go on with: `turngym evaluate openai:MODEL`, see docs/api_models.md.
"""

from __future__ import annotations

import argparse

from turngym.agents import Agent, RandomAgent, Score, collect_episodes, instance_range, score_episodes
from turngym.agents.api import ApiAgent, ApiSettings
from turngym.envs import LenientReplies

GAME = "turngym/FrozenLake-v0"


def played(agent: Agent, episodes: int) -> Score:
    """Return the score of an agent on the first test instances."""
    seen = collect_episodes(agent, GAME, instance_range("test", episodes), wrap=LenientReplies)
    for turn in seen[0].turns:
        print(f"{turn.observation}\n> {turn.action}")
    return score_episodes(seen, 0.0)


def main(words: list[str] | None = None) -> None:
    """Play, and print the first episode and both scores."""
    parser = argparse.ArgumentParser(description="A model behind a server plays FrozenLake")
    parser.add_argument("model")
    parser.add_argument("--base-url", default="", help="of another server than OpenAI's")
    parser.add_argument("--episodes", type=int, default=20)
    asked = parser.parse_args(words)
    with ApiAgent(ApiSettings(model=asked.model, base_url=asked.base_url, temperature=0)) as agent:
        scores = {"random": played(RandomAgent(), asked.episodes), asked.model: played(agent, asked.episodes)}
        for name, score in scores.items():
            low, high = score.interval
            print(f"{name}: success {score.rate:.3f} [{low:.3f}, {high:.3f}]")
        print(agent.ledger.describe())


if __name__ == "__main__":
    main()
