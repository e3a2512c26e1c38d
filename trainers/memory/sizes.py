"""The sizes of what a run holds at some time or other: weights, optimizers, caches, and what autograd keeps.

Letters: H hidden size, I width of the feed-forward part, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from turngym.agents.models.limits import ALIGNMENT, MAX_PASS_TOKENS
from turngym.trainers.config import TrainConfig
from turngym.trainers.memory.number_bytes import NumberBytes
from turngym.trainers.memory.shape import Matrix, ModelShape

ANSWER_TOKENS = 24
"""Tokens of a turn that the agent does not sample: a short answer of the environment, and the frame of both messages.
An assumption, by which `r / (r + 24)` of the tokens are sampled where replies have up to r: 0.14 for 4, 0.8 for 96. In
the games here untrained models, whose replies are long, sample 0.07 and 0.84 of them."""

Part = tuple[str, dict[str, int]]
"""A phase by its name, and bytes by what they are for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSizes:
    """The sizes of a run in bytes, from which its phases are put together.

    The formulas of learning count what autograd keeps for the backward pass, tensor by tensor; those for a token are
    for all layers. What the adapter changes: frozen weights keep nothing of what they read, the adapter beside them
    does, and layers whose weight is frozen keep of a product only the other factor.
    """

    config: TrainConfig
    shape: ModelShape
    device: str
    """Its type."""
    share: float
    """The share of sampled tokens."""
    size: NumberBytes
    adapter_weights: int
    """Of one adapter; 0 where all weights learn."""
    processes: int
    """How many processes share out the network, and all that learns but an adapter; sizes are those of one of them."""

    # What stays ----------------------------------------------------------------------------------------------------

    @property
    def rank(self) -> int:
        """Of the adapter, 0 for none."""
        return self.config.lora.rank

    @property
    def weights(self) -> int:
        """A network, or the part of it that a process holds."""
        return self.part(self.shape.parameters * self.size.held)

    @property
    def learned(self) -> int:
        """What learns, an adapter or a network; its gradients take as much."""
        if self.rank:
            return self.adapter_weights * self.size.learned
        return self.part(self.shape.parameters * self.size.learned)

    @property
    def adamw(self) -> int:
        """The optimizer of stage 2: two means of each weight."""
        return 2 * self.learned

    @property
    def muon(self) -> int:
        """The optimizers of the warm start: one mean of each weight of a hidden matrix, two of the others."""
        if self.rank:
            return self.adamw
        hidden = sum(rows * columns * count for (rows, columns), count in self.shape.hidden_matrices.items())
        return 2 * self.learned - self.part(hidden * self.size.learned)

    @property
    def recomputes(self) -> bool:
        """Whether layers are computed again in a backward pass."""
        return self.config.learning.recomputes(self.shape.parameters)

    @property
    def context(self) -> int:
        """Most tokens of a conversation."""
        return min(self.config.model.context_length, self.shape.context_length)

    def cache(self, slots: int) -> int:
        """Return the keys and values of that many conversations, in as many columns as `RaggedCache` takes."""
        columns = (self.context // ALIGNMENT + 1) * ALIGNMENT
        features = self.shape.layers * self.shape.kv_heads * self.shape.head_dim
        return slots * columns * features * (self.key_bytes + self.size.computed)

    @property
    def key_bytes(self) -> int:
        """A number of a key. Under autocast, positions that turn it have the precision of the stream, and give it."""
        return self.size.held if self.shape.rotary else self.size.computed

    # Several processes ---------------------------------------------------------------------------------------------

    def part(self, size: int) -> int:
        """Return what a process holds of something that is shared out."""
        return math.ceil(size / self.processes)

    @property
    def gathered(self) -> int:
        """The whole network, put together beside its parts; nothing where it is not shared out."""
        return self.outside + self.shape.layer_weights * self.travelling if self.processes > 1 else 0

    @property
    def travelling(self) -> int:
        """A number of a layer that is put together: in the precision of products, as `sharding.gathered_dtype` says."""
        as_held = self.shape.expert_weights or self.shape.fused_norms.count
        return self.size.held if as_held else self.size.computed

    @property
    def outside(self) -> int:
        """What is in no layer, which is put together for a whole pass; nothing where it is not shared out."""
        return (self.shape.parameters - self.shape.layer_weights) * self.size.held if self.processes > 1 else 0

    @property
    def layer(self) -> int:
        """A layer that is put together; nothing where it is not shared out."""
        return self.shape.layer_weights // self.shape.layers * self.travelling if self.processes > 1 else 0

    def learning_together(self, parts: Iterator[Part], tokens: int) -> Iterator[Part]:
        """Yield the parts of learning with what is put together of weights and gradients that are shared out.

        Weights arrive in one piece and are copied into the tensors of a layer, while the next layer arrives. Gradients
        of a layer are copied into one piece, when its weights are gone, and that is added up. What is in no layer is
        taken apart after the forward pass, comes back for the gradient of the output head, and is added up at the end.
        Gradients of a layer are in the precision in which its weights travel, and added up in that in which they learn.
        """
        learned = 0 if self.rank else self.size.learned
        layer = learned * (self.shape.layer_weights // self.shape.layers)
        arriving = layer * self.travelling // self.size.held
        outside = learned * (self.shape.parameters - self.shape.layer_weights)
        waiting = 0 if self.shape.tied else learned * self.shape.vocabulary * self.shape.hidden_size
        for name, of_phase in parts:
            weights, gradients = self.outside, 0
            match name.rpartition(": ")[2]:
                case "forward":
                    weights += 2 * self.layer
                case "logits":
                    each = self.logits_of(tokens)
                    most = max(self.head_gradient(tokens) + self.outside, each + 2 * self.outside)
                    weights = max(0, most - self.logits(tokens))
                case "layers":
                    weights += 2 * self.layer
                    adding = arriving + layer + self.part(layer) - self.layer
                    gradients = waiting + max(arriving, adding) * bool(learned)
                case "embedding":
                    gradients = max(0, 2 * outside + self.part(outside) - of_phase["working space"])
            yield name, {**of_phase, "gathered weights": weights, "gathered gradients": gradients}

    # Play ----------------------------------------------------------------------------------------------------------

    def play(self, name: str, slots: int) -> Iterator[Part]:
        """Yield what play takes: in the forward passes, and while a token of every conversation is sampled.

        Before that, weights that are shared out are put together.
        """
        stays = {"cache": self.cache(slots), "cast weights": self.cast_at_once, "gathered weights": self.gathered}
        if self.gathered:  # one after the other, each in one piece first
            yield f"{name}: gathering", {**stays, "gathered weights": max(2 * self.outside, self.gathered + self.layer)}
        yield f"{name}: reading", {**stays, "working space": self.reading(slots)}
        yield f"{name}: sampling", {**stays, "logits in play": self.sampling(slots)}

    def sampling(self, slots: int) -> int:
        """Return what `LanguageModelAgent._sample` takes at its most, while it adds probabilities up.

        There are the logits of the network, in at least float32 (the same tensor where they were), their
        log-probabilities, and the probabilities and their sums in float64.
        """
        computed, precise = self.size.computed, max(4, self.size.computed)
        return slots * self.shape.vocabulary * ((computed if computed < precise else 0) + 2 * precise + 16)

    def reading(self, slots: int) -> int:
        """Return what the larger forward passes take: those of first observations, or of answers.

        A pass of first observations, here of half a context each, has up to `MAX_PASS_TOKENS`; where they are read with
        a mask, that is one of numbers made from two of truth values. In a pass of answers, heads that share keys and
        values get copies of them.
        """
        size, shape = self.size, self.shape
        opening = max(1, self.context // 2)
        masked = shape.windowed or shape.stepwise_attention
        mask = opening * (size.held + 2) if masked else 0
        openings = min(MAX_PASS_TOKENS, slots * opening) * (self.layer_forward + mask)
        copied = shape.heads * (self.key_bytes + size.computed) if shape.heads > shape.kv_heads else 0
        cast = size.computed * (shape.heads if copied else shape.kv_heads) if size.mixed else 0
        answers = slots * (self.context * shape.head_dim * (copied + cast) + ANSWER_TOKENS * self.layer_forward)
        return max(openings, answers)

    @property
    def layer_forward(self) -> int:
        """What a layer takes for a token when nothing is kept.

        In a gated feed-forward part there are the activation, the other factor and their product; beside an adapter,
        before that, the activation, the other factor, and what the adapter adds to it, as it is and scaled. Attention
        turns queries by three tensors. Around either stand the stream and the normed stream.
        """
        size, shape = self.size, self.shape
        added = size.computed if size.mixed else size.learned
        inner = 2 * size.computed + (2 * added if self.rank else size.computed)
        turning = shape.heads * shape.head_dim * (2 * size.computed + 3 * size.held)
        return max(inner * shape.intermediate_size, turning) + 3 * shape.hidden_size * size.held

    @property
    def cast_at_once(self) -> int:
        """Copies of weights that autocast has at one time: all that learn, but of frozen ones the largest."""
        if not self.size.mixed:
            return 0
        sizes = [matrix.size for matrix in self._cast]
        return self.size.computed * (max(sizes) if self.rank else sum(sizes))

    @property
    def _cast(self) -> list[Matrix]:
        """The matrices that autocast casts: all, or the output head where the others arrive in that precision."""
        arrive = self.processes > 1 and self.travelling == self.size.computed
        return self._head if arrive else self.shape.adapted(()) + self._head

    @property
    def _head(self) -> list[Matrix]:
        """The output head, which is a table of its own or the embedding."""
        shape = self.shape
        return [Matrix(name="", inputs=shape.hidden_size, outputs=shape.vocabulary, table=True, source="",
                       after_attention=False)]  # fmt: skip

    # What autograd keeps of a token --------------------------------------------------------------------------------

    @property
    def kept_of_token(self) -> int:
        """What is kept of a token in all layers, but for what the output head needs."""
        return self.kept_by_norms + self.kept_by_products + self.kept_by_attention + self.kept_by_feedforward

    @property
    def kept_by_norms(self) -> int:
        """What norms keep.

        `weight * (x * rsqrt(mean(x ** 2))).to(...)` keeps x in float32, which is the residual stream itself if that is
        in float32, and the root; and what the weight multiplies, if the weight learns. `layer_norm` keeps x, its mean
        and its root. In the first norm of a network that does not learn, x needs no gradient.
        """
        size, shape = self.size, self.shape
        kept = 4 * (shape.norms.width + shape.head_norms.width + shape.norms.count + shape.head_norms.count)
        kept += size.held * shape.fused_norms.width + 8 * shape.fused_norms.count
        if self.rank:
            return kept - (4 if shape.norms.count else size.held) * shape.hidden_size
        return kept + size.held * shape.norms.width + size.computed * shape.head_norms.width

    @property
    def kept_by_products(self) -> int:
        """What matrix products keep of what they read.

        Weights that learn keep it: one tensor where several layers read one, but under autocast a copy for each. Of an
        adapter, the first matrix keeps it, as peft has cast it to float32 if it was not in that, or as autocast has
        cast it back: then it is a copy for each layer. The second matrix keeps as many numbers as the rank.
        """
        size = self.size
        adapted = self.shape.adapted(self.config.lora.targets if self.rank else ())
        copied = size.mixed or (self.rank > 0 and size.copied)
        inputs = {matrix.name if copied else matrix.source: matrix.inputs
                  for matrix in adapted if not self._kept_already(matrix)}  # fmt: skip
        return (sum(inputs.values()) + self.rank * len(adapted)) * (size.computed if size.mixed else size.learned)

    def _kept_already(self, matrix: Matrix) -> bool:
        """Return whether what a layer reads is the very tensor that attention keeps."""
        return matrix.after_attention and not (self.rank and self.size.copied)

    @property
    def kept_by_attention(self) -> int:
        """What attention keeps: queries, keys, values and result, and a number in float32 for each head.

        Made of several operations, it keeps up to two rows of scores as well, and keys and values for each head.
        """
        size, shape = self.size, self.shape
        if shape.stepwise_attention:
            return shape.layers * shape.heads * size.computed * (4 * shape.head_dim + 2 * self.context)
        features = 2 * (shape.heads + shape.kv_heads) * shape.head_dim
        return shape.layers * (size.computed * features + 4 * shape.heads)

    @property
    def kept_by_feedforward(self) -> int:
        """What feed-forward parts keep: what the activation reads, and with a gate both factors of the product.

        Experts are computed by a product of their own, which autocast leaves in the precision of the weights.
        """
        dense = self.shape.kept_inside * self.shape.feedforward
        return self.size.computed * dense + self.size.held * self.shape.expert_features

    # Learning ------------------------------------------------------------------------------------------------------

    def learning(self, name: str, tokens: int, *, again: bool) -> Iterator[Part]:
        """Yield what a micro-batch takes, in the order in which that comes and goes, as `learning_alone` says."""
        parts = self.learning_alone(name, tokens, again=again)
        return parts if self.processes == 1 else self.learning_together(parts, tokens)

    def learning_alone(self, name: str, tokens: int, *, again: bool) -> Iterator[Part]:
        """Yield what a micro-batch takes where the weights are not shared out.

        First the logits, with everything that is kept; then they are gone, and the last layer gives back what it kept;
        at the end, when nothing else is left, the embedding gets its gradient, a table; where it is one weight with the
        output head, whose gradient has waited for this, both and their sum are there. If layers are computed again,
        only what each reads is kept, and what is inside of one comes to the second.

        Args:
            name: What it is called.
            tokens: Padded tokens.
            again: Whether the inside of layers is computed again.
        """
        size, shape = self.size, self.shape
        table = shape.vocabulary * shape.hidden_size
        inside = tokens * self.kept_of_token + self.cast_for_gradients + self.adapted_experts
        kept = 16 * tokens  # ids, and what was sampled of them
        if not self.rank:
            kept += int(tokens * self.share) * shape.hidden_size * size.computed  # what the output head reads
        layer = self.layer_backward(tokens)
        if again:
            kept += tokens * (shape.layers + 2) * shape.hidden_size * size.held
            kept += size.computed * table if size.mixed else 0
            layer += inside // shape.layers
            forward = {"cast weights": self.cast_at_once, "working space": tokens * self.layer_forward}
            yield f"{name}: forward", {"activations": kept, **forward}
        else:
            kept += inside
        waiting = 0 if self.rank else table * size.learned
        yield f"{name}: logits", {"activations": kept, "logits in learning": self.logits(tokens)}
        yield f"{name}: layers", {"activations": kept, "working space": layer + waiting * shape.tied}
        yield f"{name}: embedding", {"working space": waiting * (3 if shape.tied else 1)}

    def logits(self, tokens: int) -> int:
        """Return what the logits of the sampled tokens take at their most.

        In the forward pass they are there as such, divided by the temperature, and as log-probabilities; in the
        backward pass there are the log-probabilities, their gradient and that of the logits. Or one gradient of them,
        and that of the weight of the output head, under autocast in both precisions.
        """
        return max(3 * self.logits_of(tokens), self.head_gradient(tokens))

    def logits_of(self, tokens: int) -> int:
        """Return what a number for each word of the vocabulary takes at each sampled token."""
        return int(tokens * self.share) * self.shape.vocabulary * self.size.learned

    def head_gradient(self, tokens: int) -> int:
        """Return the gradients of the logits and of the weight of the output head."""
        size, table = self.size, self.shape.vocabulary * self.shape.hidden_size
        of_head = 0 if self.rank else table * (size.learned + (size.computed if size.mixed else 0))
        return self.logits_of(tokens) + of_head

    def layer_backward(self, tokens: int) -> int:
        """Return what the backward pass of the last layer has beside all that is kept, at its most.

        In a feed-forward part that is the gradients of activation, of the other factor and of the product, which
        itself is gone; beside an adapter, that of its input twice, by the adapter and by the layer, and their sum in
        place of the product. In a norm it is four tensors, or five, as wide as the stream, in float32.
        """
        size, shape = self.size, self.shape
        inner = 2 * size.computed
        if self.rank:
            inner = 3 * size.computed if size.mixed else size.learned if size.copied else 2 * size.learned
        stream = 4 * (5 if self.rank else 4)
        return tokens * max(inner * shape.intermediate_size, stream * shape.hidden_size)

    @property
    def cast_for_gradients(self) -> int:
        """Copies of weights that autocast makes and autograd keeps."""
        if not self.size.mixed:
            return 0
        return self.size.computed * (sum(matrix.size for matrix in self._cast) + self.adapter_weights)

    @property
    def adapted_experts(self) -> int:
        """Weights of experts to which peft has added what an adapter says of them, where it is for them too."""
        layers = self.rank * sum(matrix.inputs + matrix.outputs for matrix in self.shape.adapted(()))
        return self.shape.expert_weights * self.size.held if self.adapter_weights > layers else 0

    # Optimizers ----------------------------------------------------------------------------------------------------

    @property
    def adamw_step(self) -> int:
        """What AdamW takes for a step: nothing on a card, where one kernel takes it, else two of one tensor."""
        if self.device == "cuda":
            return 0
        widest = max((max(matrix.inputs, matrix.outputs) for matrix in self.shape.matrices), default=0)
        return 2 * (self.rank * widest if self.rank else self.part(self.shape.largest)) * self.size.learned

    @property
    def muon_step(self) -> int:
        """What a step of Muon takes, for all matrices of one shape at once, see `warm_start.muon`.

        Those are the directions, the same in one tensor, the iterate, two terms of the next and their sum, and the
        product of each matrix with itself. Matrices that are shared out are put together for that.
        """
        if self.rank:
            return self.adamw_step
        sizes = [count * min(shape) * (6 * max(shape) + min(shape))
                 for shape, count in self.shape.hidden_matrices.items()]  # fmt: skip
        return max([*sizes, 0]) * self.size.learned
