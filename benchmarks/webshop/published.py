"""Success on WebShop as others have printed it, and what is known of how it was measured."""

from __future__ import annotations

from dataclasses import dataclass

from turngym.benchmarks.page import table

SMALL = "small catalogue (1,000 products), synthetic goals, 15 turns"
FULL = "full catalogue (1.18 million products), goals that people wrote, 100 turns"
SHUFFLED = (
    "code of GiGPO or a fork of it: every worker shuffles the goals by a seed of its own before the first 500 are "
    "kept for tests, so that training sees test goals"
)
FORK = "a protocol of the same family; its split was not looked into here"
RAGEN = "RAGEN's task, of 9 turns; goals permuted once, the first 500 are for tests"
OWN_SPLIT = "goals shuffled once; the first 500 are for tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A figure of others; nothing of it was checked here."""

    model: str
    """Its name."""
    size: str
    """Its number of parameters, as printed."""
    method: str
    """How it was trained or asked."""
    success: str
    """Share of episodes with a reward of 1, with the spread where one is printed."""
    setting: str
    """Catalogue, goals and turns."""
    source: str
    """Who printed it."""
    known: str
    """What is known about the split."""


GIGPO = "GiGPO, arXiv 2505.10978"
ORIGINAL = "Yao et al., arXiv 2207.01206"


_SMALL = (
    ("GPT-4o", "not told", "prompted", ".237", GIGPO, "not trained; a user of the same prompts reports .073"),
    ("Gemini 2.5 Pro", "not told", "prompted", ".359", GIGPO, "not trained"),
    ("Qwen2.5", "1.5B", "prompted", ".052", GIGPO, "not trained"),
    ("Qwen2.5", "1.5B", "PPO", ".515", GIGPO, SHUFFLED),
    ("Qwen2.5", "1.5B", "RLOO", ".521", GIGPO, SHUFFLED),
    ("Qwen2.5", "1.5B", "GRPO", ".568", GIGPO, SHUFFLED),
    ("Qwen2.5", "1.5B", "GiGPO", ".674", GIGPO, SHUFFLED),
    ("Qwen2.5", "1.5B", "HiPER", ".714", "HiPER", FORK),
    ("Qwen2.5", "1.5B", "HGPO", ".715", "HGPO", FORK),
    ("Qwen2.5", "1.5B", "VETTA", ".738 ± .011", "VETTA", FORK),
    ("Qwen3", "1.7B", "TASPO", ".671", "TASPO", FORK),
    ("Qwen2.5", "3B", "PPO, without and with ActFocus", ".297, .398", "ActFocus", RAGEN),
    ("Qwen", "3B", "TASPO", ".781", "TASPO", FORK),
    ("Qwen3", "4B", "GRPO", ".686 ± .041", "T2PO", FORK),
    ("Qwen3", "4B", "GiGPO", ".738", "T2PO", FORK),
    ("Qwen2.5", "7B", "prompted", ".078", GIGPO, "not trained"),
    ("Qwen2.5", "7B", "GRPO", ".661", GIGPO, SHUFFLED),
    ("Qwen2.5", "7B", "PPO", ".687", GIGPO, SHUFFLED),
    ("Qwen2.5", "7B", "GiGPO", ".752", GIGPO, SHUFFLED),
    ("Qwen2.5", "7B", "VETTA", ".760 ± .006", "VETTA", FORK),
    ("Qwen2.5", "7B", "HGPO", ".785", "HGPO", FORK),
    ("Qwen2.5", "7B", "HiPER", ".833", "HiPER", FORK),
    ("Qwen2.5", "7B", "DEPPO", ".843", "DEPPO", FORK),
    ("not stated", "7B by its baseline", "SALT with VICT", ".852", "VICT, arXiv 2608.28128", FORK),
    ("not stated", "not stated", "Skill-V", ".859", "Skill-V", FORK),
)

PUBLISHED: tuple[Published, ...] = (
    *(Published(model=model, size=size, method=method, success=success, setting=SMALL, source=source, known=known)
      for model, size, method, success, source, known in _SMALL),
    Published(model="none", size="", method="search, buy the first result", success=".096", setting=FULL,
              source=ORIGINAL, known=OWN_SPLIT),
    Published(model="BERT and BART", size="", method="imitation, then reinforcement learning", success=".29",
              setting=FULL, source=ORIGINAL, known=OWN_SPLIT),
    Published(model="people", size="", method="experts", success=".59", setting=FULL, source=ORIGINAL,
              known=OWN_SPLIT),
)  # fmt: skip
"""From small models to large ones, the full catalogue last."""

ABOUT = """Success as its authors printed it, or as later papers print it of them. Nothing of it was measured or
checked here, and the protocols differ from those above and from each other: in prompts, sampling, turns, the order of
the goals, and prices that every process draws anew. In the code of GiGPO each of the 16 workers that train shuffles
all goals by a seed of its own and sets aside the first 500 of its own order: between them they train on nearly every
goal that the worker for tests plays. Public threads of several projects report re-runs that differ by tens of points,
up and down; one group's own notes have .355 once, and .035 and .025 on other seeds. None of these tables shows a
script beside its models.
"""


def published_table() -> str:
    """Return the block of published figures in Markdown."""
    columns = ["model", "size", "method", "success", "setting", "whose", "known of the split"]
    rows = [[row.model, row.size, row.method, row.success, row.setting, row.source, row.known] for row in PUBLISHED]
    return f"{ABOUT}\n{table(columns, rows)}\n"
