"""Does a language model learn the same without ever having its logits, and what does it save?

Command:  python -m experiments language_model
Minutes:  8
Expect:   the same curve to 1e-2 (2e-7 in the first tenth), 0.8 to 1 of the speed, less memory for
          8,192 tokens a step; a fifth of the tokens that were read past the margin where a bfloat16
          softmax loses their loss, and none past that of float32.

A decoder of 3 million parameters in Flax, with a byte-pair vocabulary made of the text itself and
embeddings tied to the output, is trained twice from the same weights: with the loss of all logits
(Optax's), and with `jbce.linear.linear_softmax_cross_entropy`. The text is the reference that comes
with Python (`pydoc_data`), or any file (`--text FILE`). Memory is what the compiled step asks for
beside its arguments and results, for more tokens than are trained on. A token is past a margin if
its log-odds are: from 16.6 nats on a float32 softmax gives a loss of exactly 0, from 5.5 on a
bfloat16 one does.
"""

import collections
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jbce import plots
from jbce.linear import linear_log_odds, linear_softmax_cross_entropy

from ._benchmark import temporary_megabytes
from ._record import Record

MARGINS = {"bfloat16": 5.5, "float32": 16.6}


@dataclass(frozen=True)
class Config:
    """What to train, on what."""

    text: str = ""
    """A file of text; the reference of Python where none is named."""
    max_characters: int = 50_000
    """Of the text; the last tenth is held out."""
    vocabulary: int = 4_096
    """Tokens, 256 bytes among them."""
    width: int = 256
    """Of the hidden states."""
    num_layers: int = 3
    """Of attention and a network each."""
    num_heads: int = 4
    """Of attention."""
    context: int = 64
    """Tokens that a prediction may look at."""
    batch_size: int = 8
    """Pieces of text per step."""
    memory_batch_size: int = 128
    """Pieces of a step that is compiled, not run, to ask for its memory."""
    num_steps: int = 1_200
    """Of AdamW, on a cosine schedule."""
    learning_rate: float = 1e-3
    """At its highest."""
    seed: int = 0
    """Of the weights and of what is read when."""


def run(config: Config, record: Record) -> None:
    """Makes the vocabulary, trains twice, and compares."""
    started = time.perf_counter()
    tokens, size = _tokens(_text(config), config.vocabulary)
    record.say(
        f"{len(tokens):,} tokens of {size:,}, made in {time.perf_counter() - started:.0f} seconds."
    )
    runs = {name: _train(config, tokens, size, loss) for name, loss in LOSSES.items()}
    fused, plain = runs["without logits"], runs["all logits"]
    apart = np.abs(fused.curve - plain.curve) / plain.curve
    record.metric("largest_difference_of_the_curves", apart.max(), "1")
    record.metric("largest_difference_of_the_first_tenth", apart[: len(apart) // 10 + 1].max(), "1")
    record.metric("parameters", fused.parameters, "1")
    record.headline("largest relative distance of the curves", apart.max())
    for name, result in runs.items():
        record.headline(f"memory of a step, {name}", result.megabytes, unit="MB")
    rows = []
    tokens_of = config.memory_batch_size * config.context
    for name, result in runs.items():
        key = name.replace(" ", "_")
        record.metric(f"{key}_held_out_loss", result.held_out[-1], "nats per token")
        record.metric(f"{key}_temporaries", result.megabytes, "MB")
        record.metric(f"{key}_speed", result.tokens_per_second, "tokens/s")
        rows.append(
            (
                name,
                f"{result.curve[-1]:.4f}",
                f"{result.held_out[-1]:.4f}",
                f"{result.megabytes:.0f} MB",
                f"{result.tokens_per_second:,.0f}",
            )
        )
    record.table(
        f"A decoder of {fused.parameters:,} parameters, trained twice",
        ("loss", "last step", "held out", f"memory of {tokens_of:,} tokens", "tokens/s"),
        rows,
        note=f"In nats per token. The curves are {apart.max():.1e} apart at most, "
        f"{apart[: len(apart) // 10 + 1].max():.1e} in the first tenth.",
    )
    record.figure(
        "curves",
        plots.training_curve({name: result.curve for name, result in runs.items()}, xlabel="step"),
        "The mean training loss of each step, in nats per token.",
    )
    for dtype, shares in fused.past.items():
        record.metric(f"tokens_past_{dtype}", shares[-1], "1")
    record.table(
        "Tokens past the margin where a softmax of that dtype loses their loss",
        ("step", "loss of the text read", "held out", *MARGINS),
        [
            (
                str(step),
                f"{fused.seen[i]:.3f}",
                f"{fused.held_out[i]:.3f}",
                *(f"{100 * fused.past[dtype][i]:.1f} %" for dtype in MARGINS),
            )
            for i, step in enumerate(fused.steps)
        ],
        note="Of the text read: log-odds of the right token above 5.5 and 16.6 nats.",
    )


# ------------------------------------------------------------------------------------- the text


def _text(config: Config) -> str:
    if config.text:
        text = Path(config.text).read_text(encoding="utf-8")
    else:
        from pydoc_data.topics import topics

        text = "\n".join(topics[name] for name in sorted(topics))
    return text[: config.max_characters]


def _tokens(text: str, vocabulary: int) -> tuple[np.ndarray, int]:
    """The text in byte pairs: words of bytes, of which the commonest neighbours are merged."""
    pieces = re.findall(r" ?\w+|\s+|[^\w\s]+", text)
    counts = collections.Counter(pieces)
    words = {piece: list(piece.encode()) for piece in counts}
    pairs: collections.Counter[tuple[int, int]] = collections.Counter()
    where: dict[tuple[int, int], set[str]] = collections.defaultdict(set)
    for piece, word in words.items():
        for pair in itertools.pairwise(word):
            pairs[pair] += counts[piece]
            where[pair].add(piece)
    size = 256
    while size < vocabulary and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < 2:
            break
        for piece in where.pop(best):
            word = words[piece]
            for pair in itertools.pairwise(word):
                pairs[pair] -= counts[piece]
            words[piece] = word = _merged(word, best, size)
            for pair in itertools.pairwise(word):
                pairs[pair] += counts[piece]
                where[pair].add(piece)
        del pairs[best]
        size += 1
    return np.array([token for piece in pieces for token in words[piece]], np.int32), size


def _merged(word: list[int], pair: tuple[int, int], token: int) -> list[int]:
    merged: list[int] = []
    for this in word:
        if merged and (merged[-1], this) == pair:
            merged[-1] = token
        else:
            merged.append(this)
    return merged


# ------------------------------------------------------------------------------------ the model


class _Layer(nnx.Module):
    def __init__(self, width: int, num_heads: int, *, rngs: nnx.Rngs):
        self.heads = num_heads
        self.before_attention = nnx.RMSNorm(width, rngs=rngs)
        self.before_network = nnx.RMSNorm(width, rngs=rngs)
        self.attention = nnx.Linear(width, 3 * width, use_bias=False, rngs=rngs)
        self.attended = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.network = nnx.Linear(width, 4 * width, rngs=rngs)
        self.output = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, hidden: jax.Array) -> jax.Array:
        batch, length, width = hidden.shape
        parts = self.attention(self.before_attention(hidden))
        shape = (batch, length, self.heads, width // self.heads)
        query, key, value = (part.reshape(shape) for part in jnp.split(parts, 3, axis=-1))
        attended = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.attended(attended.reshape(hidden.shape))
        return hidden + self.output(jax.nn.gelu(self.network(self.before_network(hidden))))


class _Decoder(nnx.Module):
    """From tokens to hidden states; the embeddings are the kernel of the output too."""

    def __init__(self, config: Config, vocabulary: int, *, rngs: nnx.Rngs):
        small = nnx.initializers.normal(0.02)
        self.embeddings = nnx.Embed(vocabulary, config.width, embedding_init=small, rngs=rngs)
        self.places = nnx.Embed(config.context, config.width, embedding_init=small, rngs=rngs)
        self.layers = nnx.List(
            _Layer(config.width, config.num_heads, rngs=rngs) for _ in range(config.num_layers)
        )
        self.last = nnx.RMSNorm(config.width, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        hidden = self.embeddings(tokens) + self.places(jnp.arange(tokens.shape[1]))[None]
        for layer in self.layers:
            hidden = layer(hidden)
        return self.last(hidden)


def _of_all_logits(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(hidden @ kernel.T, labels)


def _without_logits(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    return linear_softmax_cross_entropy(hidden, kernel, labels, class_axis=0)


Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
LOSSES: dict[str, Loss] = {"all logits": _of_all_logits, "without logits": _without_logits}


# --------------------------------------------------------------------------------- the training


class _Result(NamedTuple):
    curve: np.ndarray
    steps: list[int]
    held_out: list[float]
    seen: list[float]
    past: dict[str, list[float]]
    megabytes: float
    tokens_per_second: float
    parameters: int


def _train(config: Config, tokens: np.ndarray, vocabulary: int, loss: Loss) -> _Result:
    model, weights = nnx.split(_Decoder(config, vocabulary, rngs=nnx.Rngs(config.seed)))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.num_steps // 10, config.num_steps
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))
    state = optimizer.init(weights)

    def average(weights: Any, batch: jax.Array) -> jax.Array:
        decoder = nnx.merge(model, weights)
        hidden = decoder(batch[:, :-1])
        return jnp.mean(loss(hidden, decoder.embeddings.embedding[...], batch[:, 1:]))

    def step(weights: Any, state: Any, batch: jax.Array) -> tuple[Any, Any, jax.Array]:
        value, slopes = jax.value_and_grad(average)(weights, batch)
        updates, state = optimizer.update(slopes, state, weights)
        return optax.apply_updates(weights, updates), state, value

    @jax.jit
    def judge(weights: Any, batch: jax.Array) -> jax.Array:
        decoder = nnx.merge(model, weights)
        kernel = decoder.embeddings.embedding[...]
        return linear_log_odds(decoder(batch[:, :-1]), kernel, batch[:, 1:], class_axis=0)

    cut = len(tokens) * 9 // 10
    train, test = tokens[:cut], tokens[cut:]
    pieces = max(1, min(64, (len(test) - 1) // config.context))
    held_out = _pieces(test, np.arange(pieces) * config.context, config.context)
    seen = _pieces(train, np.arange(pieces) * config.context, config.context)
    random = np.random.default_rng(config.seed)
    length = len(train) - config.context - 1
    starts = random.integers(0, length, (config.num_steps, config.batch_size))
    first = _pieces(train, starts[0], config.context)
    program: Any = jax.jit(step, donate_argnums=(0, 1)).lower(weights, state, first).compile()
    many = jnp.zeros((config.memory_batch_size, config.context + 1), jnp.int32)
    large: Any = jax.jit(step, donate_argnums=(0, 1)).lower(weights, state, many).compile()
    parameters = sum(leaf.size for leaf in jax.tree.leaves(weights))

    curve, steps, costs, seen_costs = [], [], [], []
    past: dict[str, list[float]] = {dtype: [] for dtype in MARGINS}
    seconds = []
    for number in range(config.num_steps + 1):
        if number % max(1, config.num_steps // 6) == 0 or number == config.num_steps:
            odds, of_seen = (np.asarray(judge(weights, a), "f8") for a in (held_out, seen))
            steps.append(number)
            costs.append(float(np.mean(np.logaddexp(0, -odds))))
            seen_costs.append(float(np.mean(np.logaddexp(0, -of_seen))))
            for dtype, margin in MARGINS.items():
                past[dtype].append(float(np.mean(of_seen > margin)))
        if number == config.num_steps:
            break
        batch = _pieces(train, starts[number], config.context)
        begin = time.perf_counter()
        weights, state, value = jax.block_until_ready(program(weights, state, batch))
        seconds.append(time.perf_counter() - begin)
        curve.append(float(value))
    return _Result(
        curve=np.array(curve),
        steps=steps,
        held_out=costs,
        seen=seen_costs,
        past=past,
        megabytes=temporary_megabytes(large),
        tokens_per_second=config.batch_size * config.context / float(np.median(seconds)),
        parameters=parameters,
    )


def _pieces(tokens: np.ndarray, starts: np.ndarray, context: int) -> jax.Array:
    """What stands from each start on, one token more than the context."""
    return jnp.asarray(tokens[starts[:, None] + np.arange(context + 1)])
