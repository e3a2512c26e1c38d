"""The short help of `turngym train`: one line for each setting that people turn, the rest by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from turngym.trainers.config import Section, TrainConfig, algorithm_names, sections
from turngym.trainers.config.section import choices, setting_docs, setting_types

WIDTH = 110
RARE: dict[str, tuple[str, ...]] = {
    "env": ("step_timeout", "isolate"),
    "shaping": ("invalid_penalty", "format_penalty", "step_cost"),
    "model": ("vocabulary_size", "digits_per_token", "keep_thoughts", "allow_pickle", "date", "show_instructions",
              "chat_template_kwargs", "dtype", "compute_dtype", "revision"),
    "lora": ("targets",),
    "warm_start": ("batch_size", "weight_decay", "max_corrections", "check_episodes"),
    "values": ("max_samples", "explorer_temperatures", "explorer_models", "explorer_agents", "explorer_samples",
               "explorer_processes", "prior_strength", "state_estimator", "state_potentials"),
    "objective": ("filter_share",),
    "learning": ("minibatches", "updates_per_batch", "replay_share", "reset_every", "warmup_steps", "max_grad_norm",
                 "temperature_final", "tokens_per_microbatch", "gradient_checkpointing"),
    "rollout": ("model", "weights", "parallel", "timeout", "retries", "max_drift", "importance_cap"),
    "monitors": ("rollback_learning_rate", "max_rollbacks", "retrieval_every"),
    "curriculum": ("min_share",),
    "evaluation": ("first", "validation_episodes"),
    "run": ("root", "checkpoint_every", "rollout_slots", "imports"),
}  # fmt: skip
"""Settings of which the short help gives the names alone."""


def short_help(options: type[Any], config: TrainConfig) -> str:
    """Return the help as text of about a hundred lines.

    Args:
        options: The dataclass of the command, for its own flags.
        config: What the settings are where no option names them.
    """
    lines = [
        "usage: turngym train ENV [--algorithm NAME] [--section.setting VALUE ...]",
        "",
        "Teach a language model to play an environment: warm start, stage 1 (values), stage 2, measurement.",
        "",
    ]
    docs = setting_docs(options)
    own = [("--algorithm", ""), ("--preset", ""), ("--list-presets", ""), ("--dry-run", ""), ("--resume", ""),
           ("--replay", ""), ("--base-only", "")]  # fmt: skip
    lines += [line(flag, docs[flag.removeprefix("--").replace("-", "_")], default) for flag, default in own]
    lines += ["", *wrapped("Algorithms: ", algorithm_names())]
    for name, section in sections(config).items():
        lines += ["", f"[{name}] {sentence(type(section).__doc__ or '')}", *section_lines(name, section)]
    lines += ["", "turngym train --help-all has all settings in full; add ENV and --algorithm for theirs."]
    return "\n".join(lines)


def section_lines(name: str, section: Section) -> Iterator[str]:
    """Yield a line for each setting of a section, and one with the names of the rare ones."""
    docs, types, rare = setting_docs(type(section)), setting_types(type(section)), RARE.get(name, ())
    for part in fields(section):
        if part.name in rare:
            continue
        words = choices(types[part.name])
        flag = f"--{name}.{part.name}".replace("_", "-")
        value = getattr(section, part.name)
        text = f"{' | '.join(map(str, words))}" if words else sentence(docs[part.name])
        yield line(flag, text, "off" if value is None else f"{value}" if value not in ("", [], {}) else "")
    if rare:
        yield from wrapped("  rarely: ", [f"--{name}.{setting}".replace("_", "-") for setting in rare])


def line(flag: str, text: str, default: str) -> str:
    """Return one line: the flag, what it is, and its value, cut off at the width."""
    ending = f" [{default}]" if default else ""
    room = WIDTH - 36 - len(ending)
    text = sentence(text)
    return f"  {flag:<33} {text if len(text) <= room else text[: room - 3].rstrip() + '...'}{ending}"


def sentence(text: str) -> str:
    """Return the first sentence of a text, on one line."""
    return " ".join(text.split()).split(". ")[0].split("; ")[0].rstrip(".")


def wrapped(start: str, words: list[str]) -> Iterator[str]:
    """Yield lines of words with commas between them."""
    text = start
    for number, word in enumerate(words):
        piece = word + (", " if number < len(words) - 1 else "")
        if len(text) + len(piece) > WIDTH:
            yield text.rstrip()
            text = " " * len(start)
        text += piece
    yield text.rstrip()
