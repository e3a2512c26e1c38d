"""The sections `model`, `lora` and `warm_start`: the model, what of it learns, and how it is cloned before that."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, ClassVar

from turngym.agents.models.decoding import History
from turngym.agents.models.hub import is_hub_name
from turngym.agents.models.placement import AdapterSettings, Precision
from turngym.agents.models.rotary import check_copying
from turngym.arguments import Count, Index, NonNegative, Positive, Share
from turngym.trainers.config.section import Section

MOST_WEIGHTS, MOST_LAYERS = 2**31, 1000
"""Beyond these a model on the spot would exhaust the memory, or take minutes to build."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """The model: a checkpoint folder, or a small decoder that is built for the run."""

    section: ClassVar[str] = "model"

    path: str = ""
    """A folder written by `save_pretrained`, or a name of the Hugging Face hub such as "Qwen/Qwen2.5-0.5B-Instruct";
    empty builds the small model and its tokenizer."""
    revision: str = ""
    """The branch, tag or commit of a name of the hub, kept as the commit that it meant at the first start; empty for
    the main branch."""
    dtype: Precision = "auto"
    """In which precision the weights are held: with "auto" float32, or float64 where they are stored in it; the frozen
    weights under an adapter on a CUDA card that computes in bfloat16, bfloat16. Weights that learn are never held in
    less than float32, in which most steps would be lost in rounding."""
    compute_dtype: Precision = "auto"
    """In which precision matrix products are computed: with "auto" that of the weights, but bfloat16 for those in
    float32 on a CUDA card that has it."""
    hidden_size: Count = 64
    """Width of the small model, a multiple of twice the heads. Its feed-forward layers are three times as wide."""
    layers: Count = 4
    """Depth of the small model."""
    heads: Count = 2
    """Attention heads of the small model, each as wide as the model divided by them."""
    rope_base: Positive = 1e7
    """Base of the small model's rotary positions; the higher, the farther apart tokens may stand that it compares."""
    copying: bool = True
    """Whether the small model's first weights copy what it has read; takes two layers, and heads of width 16 with a
    `rope_base` of 1e7 or wider ones with a lower one."""
    vocabulary_size: Count = 512
    """Largest vocabulary of the small model's tokenizer, of which 256 are bytes."""
    digits_per_token: Count = 1
    """Most digits in a token of the small model: 1 to compute digit by digit, 3 to know numbers as wholes."""
    context_length: Count = 1024
    """Most tokens that the model sees at once: of an episode, or of its turns in `history`. From a checkpoint as many
    as the environment needs, unless it is given."""
    max_reply_tokens: Count = 16
    """Longest reply, in tokens, the end-of-turn token included. From a checkpoint 64, or 512 with thoughts, unless it
    is given."""
    max_thought_tokens: Index = 0
    """Most tokens of a reply before its answer begins; then `<answer>` is written for the model, behind the end of the
    thought (budget forcing, Muennighoff et al., arXiv:2501.19393). What is written is not learned from. For an `env`
    with `reasoning` alone; 0 for no limit."""
    keep_thoughts: bool = False
    """Accept a chat template that removes earlier thoughts from the history; the stream keeps them as sampled."""
    history: History = "all"
    """What the model sees of earlier turns: all of them in one growing stream, as they were sampled; all as the chat
    template serves them, which often leaves earlier thoughts out, in a row of tokens for each turn (served); a window
    of the last ones; or none, each turn being a conversation of its own (turn). What an environment says once and not
    again is lost beyond the window."""
    history_turns: Count = 2
    """How many earlier turns the window holds."""
    allow_pickle: bool = False
    """Read weights of `path` and of explorers that are stored as pickles; only for folders that you trust."""
    date: str = ""
    """The date that a chat template shows, such as 2026-11-29, if it shows one and has none of its own; empty for that
    of the first start, which the run keeps."""
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    """Values of variables that the chat template of `path` reads, such as {enable_thinking = false}; kept in the
    templates of the run's checkpoints."""
    show_instructions: bool = False
    """Whether the small model's system prompt holds the environment's rules; without, it learns them by playing."""

    @property
    def on_hub(self) -> bool:
        """Whether `path` is a name of the hub: always with a revision, so that no folder takes its place later."""
        return bool(self.revision) or is_hub_name(self.path)

    @property
    def day(self) -> dt.date | None:
        """The date as such."""
        return dt.date.fromisoformat(self.date) if self.date else None

    @property
    def feedforward_size(self) -> int:
        """Width of the small model's feed-forward layers."""
        return 3 * self.hidden_size

    @property
    def num_weights(self) -> int:
        """About how many weights the small model has: attention, feed-forward and embeddings."""
        return self.layers * 13 * self.hidden_size**2 + self.vocabulary_size * self.hidden_size

    @property
    def limits_told(self) -> str:
        """The limits of play in a clause, where they are not the plain defaults; else nothing."""
        if (self.max_reply_tokens, self.context_length) == (ModelConfig.max_reply_tokens, ModelConfig.context_length):
            return ""
        return (f"replies have at most {self.max_reply_tokens:,} tokens (model.max_reply_tokens), in a context of "
                f"{self.context_length:,} (model.context_length)")  # fmt: skip

    def check(self) -> None:
        """Check that the small model can be built.

        Raises:
            ValueError: The shape does not suit its heads or the copying, the vocabulary has no room, a reply does not
                fit, or the date is none.
        """
        try:
            _ = self.day
        except ValueError:
            raise self.refuse("date", "must be a date such as 2026-11-29, or empty") from None
        if self.history != "window" and self.history_turns != ModelConfig.history_turns:
            raise self.refuse("history_turns", f"is not read with model.history {self.history!r}")
        if self.max_reply_tokens >= self.context_length:
            raise self.refuse("max_reply_tokens", f"must be less than model.context_length, {self.context_length}")
        if self.max_thought_tokens >= self.max_reply_tokens:
            raise self.refuse("max_thought_tokens", "must be less than model.max_reply_tokens, "
                                                    f"{self.max_reply_tokens}, so that an answer has room")  # fmt: skip
        if not self.path:
            self._check_small()

    def _check_small(self) -> None:
        """Check the settings of the small model."""
        for name in ("revision", "chat_template_kwargs"):
            if getattr(self, name):
                raise self.refuse(name, "is not read without model.path")
        if self.hidden_size % (2 * self.heads):
            raise self.refuse("hidden_size", f"must be a multiple of {2 * self.heads}, twice the heads")
        if self.rope_base <= 1:
            raise self.refuse("rope_base", "must be above 1")
        if self.vocabulary_size < 300:
            raise self.refuse("vocabulary_size", "must be at least 300: 256 bytes, the control tokens and some words")
        if self.num_weights > MOST_WEIGHTS:
            raise self.refuse("hidden_size", f"with {self.layers} layers makes a small model of more than "
                                             f"{MOST_WEIGHTS:,} weights: lower one of them, or set model.path to a "
                                             "checkpoint")  # fmt: skip
        if self.layers > MOST_LAYERS:
            raise self.refuse("layers", f"must be at most {MOST_LAYERS}")
        if self.copying:
            try:
                check_copying(
                    layers=self.layers, width=self.hidden_size // self.heads, rope_base=self.rope_base,
                    context_length=self.context_length,
                )  # fmt: skip
            except ValueError as error:
                raise self.refuse("copying", f"does not suit the small model: {error}, or set it to false") from None


@dataclass(frozen=True, kw_only=True)
class LoraConfig(Section):
    """A low-rank adapter that learns in place of the weights of `model.path`; needs the package peft.

    Its reference is the same network with the adapter of the start, or with none.
    """

    section: ClassVar[str] = "lora"

    rank: Index = 0
    """Rank of the adapter; 0 for none, so that all weights learn."""
    alpha: Positive | None = None
    """What the adapter's product is multiplied by, times the rank; None for twice the rank."""
    targets: list[str] = field(default_factory=list)
    """How the names of the adapted layers end, such as "q_proj"; none for all linear layers but the output head,
    whatever the architecture."""

    def check(self) -> None:
        """Check that what is set is read.

        Raises:
            ValueError: There is no adapter that it could be for.
        """
        for name in ("alpha", "targets"):
            if not self.rank and getattr(self, name):
                raise self.refuse(name, "is not read without lora.rank")

    @property
    def settings(self) -> AdapterSettings:
        """The shape of the adapter."""
        return AdapterSettings(
            rank=self.rank, alpha=2.0 * self.rank if self.alpha is None else self.alpha, targets=tuple(self.targets)
        )


@dataclass(frozen=True, kw_only=True)
class WarmStartConfig(Section):
    """Behaviour cloning on scripted play of mixed quality, until the success lies in a band."""

    section: ClassVar[str] = "warm_start"

    enabled: bool = True
    """Whether to clone before learning; switch off for a checkpoint that already plays."""
    demonstrator: str = "oracle"
    """Who is cloned: a scripted agent by its name, such as "oracle" or "shopper"."""
    demonstrator_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the demonstrator, such as {details = true} of the shopper."""
    demonstrations: str = ""
    """A file of episodes or chat messages, one JSON object a line, to clone instead of scripted play; empty for
    scripted play."""
    success_low: Share = 0.3
    """Lower end of the band in which the sampled validation success must lie after cloning."""
    success_high: Share = 0.6
    """Upper end of the band; a success that corrections leave above it is only reported."""
    mistake_rate: Share = 0.5
    """Probability of a mistake per turn in the later part of the course; corrections change it."""
    clone_mistakes: bool = True
    """Whether mistakes are cloned too; without, they lead to where the demonstrator shows what to do, and that alone is
    cloned (DART, Laskey et al., arXiv:1703.09327)."""
    flawless_share: Share = 0.7
    """Share of the course, from its start, whose demonstrations are flawless; those of the rest hold mistakes."""
    permuted_share: Share = 0.0
    """Share of the demonstrations whose words are exchanged for others, everywhere alike, so that nothing but copying
    helps to say them."""
    on_policy_share: Share = 0.0
    """Share of the demonstrations in the later part of the course that begin as the model itself plays; the
    demonstrator plays on without mistakes from a turn drawn at random, and from there on is cloned (DAgger, Ross et
    al., arXiv:1011.0686)."""
    batch_size: Count = 32
    """Demonstrations per step."""
    learning_rate: Positive = 5e-3
    """Peak learning rate of AdamW on embeddings and norms; that of Muon on the hidden matrices is four times as
    high. For the small model: a checkpoint of 50 million weights and more is cloned at 1e-5, or its adapter at 1e-4,
    unless a rate is given."""
    weight_decay: NonNegative = 0.0
    """Decay per step of all weights, in units of the learning rate. Keeps a clone from learning the instances of a
    small family by heart, of which a long course shows each several times."""
    course_steps: Count = 1500
    """Steps of the course, over which the learning rates fall to 0."""
    max_corrections: int = 4
    """How often the part with mistakes is repeated, at another rate, while the success is outside the band."""
    check_episodes: Count = 300
    """Validation episodes that measure the success after the course and after each correction."""

    def check(self) -> None:
        """Check the band, and that there is a later part of the course where it is needed.

        Raises:
            ValueError: Its lower end is above its upper end, settings do not go together, or `max_corrections` is
                negative.
        """
        if self.success_low > self.success_high:
            raise self.refuse("success_low", f"must be at most warm_start.success_high, {self.success_high:g}")
        if self.on_policy_share and not (self.mistake_rate and self.flawless_share < 1):
            raise self.refuse("on_policy_share", "is for the later part of the course: raise warm_start.mistake_rate "
                                                 "above 0 and lower warm_start.flawless_share below 1")  # fmt: skip
        if self.on_policy_share and self.demonstrations:
            raise self.refuse("on_policy_share", "asks the demonstrator, who is not read beside a file of "
                                                 "warm_start.demonstrations: leave one of them out")  # fmt: skip
        if self.max_corrections < 0:
            raise self.refuse("max_corrections", "must be at least 0")
