"""GRPO by TRL's own trainer on a game of several turns.

Needs TRL beside turngym: `pip install 'trl>=1.16,<2'`, then

    python examples/trl_grpo.py Qwen/Qwen2.5-0.5B-Instruct --steps 200

Without a model a small one is built on the spot, which knows nothing and shows that everything runs: a minute on a CPU.
Each row of the data set names an instance, so the members of a group play the same lake, and what the lake says is
masked. docs/other_trainers.md says what TRL does not see.
"""

from __future__ import annotations

import argparse
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from turngym.agents import OracleAgent, collect_episodes, instance_range
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.integrations import trl as games

GAME, GROUP = "FrozenLake", 4


def small_model() -> tuple[Any, Any]:
    """Return a small random decoder and its tokenizer, trained on what the oracle and the game say."""
    played = collect_episodes(OracleAgent(), "turngym/FrozenLake-v0", instance_range("train", 40))
    tokenizer = train_tokenizer(text for episode in played for text in episode.texts())
    return build_decoder(tokenizer), tokenizer


def main(words: list[str] | None = None) -> float:
    """Train, and return the mean return of the last step."""
    parser = argparse.ArgumentParser(description="GRPO by TRL on a game of several turns")
    parser.add_argument("model", nargs="?", help="a name of the hub or a folder; a small model if left out")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", default="grpo")
    asked = parser.parse_args(words)
    if asked.model:
        model: Any = AutoModelForCausalLM.from_pretrained(asked.model)
        tokenizer: Any = AutoTokenizer.from_pretrained(asked.model)
    else:
        model, tokenizer = small_model()
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=GRPOConfig(
            output_dir=asked.out,
            max_steps=asked.steps,
            per_device_train_batch_size=4 * GROUP,
            num_generations=GROUP,
            learning_rate=1e-6 if asked.model else 1e-3,
            bf16=False,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
        ),
        train_dataset=games.dataset(GAME, 1000),
        rollout_func=games.rollout(GAME, max_reply_tokens=16 if asked.model else 4),
        reward_funcs=games.episode_return,
    )
    trainer.train()
    returns = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    print(f"mean return of each step: {', '.join(f'{value:.2f}' for value in returns)}")
    return float(returns[-1])


if __name__ == "__main__":
    main()
