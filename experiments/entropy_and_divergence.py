"""What part of a log loss is in the data, and cannot be learned?

Command:  python -m experiments entropy_and_divergence
Minutes:  0.5
Expect:   our three terms are within 3.7 ulp of the truth and add up to 4 ulp; written as usual, the
          divergence of nearly equal distributions is off by 5e7 ulp. People's answers to images
          cost 0.22 bits at least; a wide residual network pays 1.12, and after calibration 0.67,
          of which a third cannot be learned.

Cross-entropy is entropy plus Kullback-Leibler divergence: the doubt that is in the labels, and what
a model adds to it. The first is the least loss that there is, the second is what is left to learn.

First the equation itself, in float32: each of the three computed by itself, from the logits of both
sides, beside rigorous bounds of the true numbers (ball arithmetic). An error of 1 ulp is one in the
last place of a float32. Taken as it is usually written, as a sum of p·(log p − log q), the
divergence of two distributions that are nearly equal has lost its digits.

Then what it is for. CIFAR-10H has about 50 people's answers for each of 10,000 images (Peterson et
al., ICCV 2019): their entropy is what no model can be better than. In bits it is the shortest code
for an answer; whoever codes with a model's probabilities instead pays the divergence on top. (From
so few answers the entropy comes out too small, by about (different answers − 1)/(2·50) nats: Miller
1955; the correction is shown.) Without these data the answers are simulated.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jbce
from jbce import calibration, metrics, numerics, verify

from ._categorical import SMALLEST, ulps
from ._data import at_hand
from ._drawing import COLOURS, INK, label, legend, new_axes
from ._record import Record
from .calibration import NETWORKS, published
from .soft_labels import HUMAN, LENET, WRN, cross_entropy_of_people

BITS = 1 / np.log(2)
TERMS = ("entropy", "divergence", "cross-entropy")
ANSWERS = 50


@dataclass(frozen=True)
class Config:
    """How much to check."""

    num_rows: int = 200
    """Pairs of distributions of each kind."""
    num_classes: int = 10
    """Of each distribution."""
    num_simulated: int = 2000
    """Images, where there are no data of people."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of what is random."""


def run(config: Config, record: Record) -> None:
    """The equation, then what it says of networks and people."""
    equation(config, record)
    people, models = answers(config)
    learnable(config, people, models, record)


def ours(logits: jax.Array, target_logits: jax.Array) -> list[jax.Array]:
    """Entropy, divergence and cross-entropy, from logits on both sides."""
    return [
        numerics.entropy(target_logits),
        jbce.softmax_kl_divergence(logits, target_logits),
        jbce.softmax_cross_entropy_with_target_logits(logits, target_logits),
    ]


def usual(logits: jax.Array, target_logits: jax.Array) -> list[jax.Array]:
    """The same with Optax and jax.nn, from probabilities."""
    probs = jax.nn.softmax(target_logits)
    return [
        -jnp.sum(probs * jax.nn.log_softmax(target_logits), axis=-1),
        optax.losses.kl_divergence(jax.nn.log_softmax(logits), probs),
        optax.losses.softmax_cross_entropy(logits, probs),
    ]


def equation(config: Config, record: Record) -> None:
    """Errors of the three terms, and of their sum, in ulps."""
    random = np.random.default_rng(config.seed)
    shape = (config.num_rows, config.num_classes)
    target, other = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
    pairs = {
        "random": (2 * other, 2 * target),
        "nearly equal": (target + np.float32(1e-3) * other, target),
        "sure": (20 * other, 20 * target),
    }
    libraries = {"jbce": jax.jit(ours), "Optax": jax.jit(usual)}
    rows = []
    for kind, pair in pairs.items():
        # What is enclosed is the function as it is defined, to any number of digits.
        bounds = verify.enclose(usual, *pair)
        exact = [np.asarray((bound.lower + bound.upper) / 2) for bound in bounds]
        for name, library in libraries.items():
            found = [np.asarray(term, np.float64) for term in library(*pair)]
            worst = [
                float(ulps(term, truth)[truth >= SMALLEST].max())
                for term, truth in zip(found, exact, strict=True)
            ]
            entropy, divergence, cross = found
            apart = float(ulps(entropy + divergence, cross)[cross >= SMALLEST].max())
            for term, value in zip((*TERMS, "equation"), (*worst, apart), strict=True):
                record.metric(f"{kind.replace(' ', '_')}.{name}.{term}", value, "ulp")
            rows.append((f"{kind}, {name}", *(f"{value:,.2f}" for value in (*worst, apart))))
            if name == "jbce":
                record.headline(f"largest error of the divergence, {kind}", worst[1], unit="ulp")
    record.table(
        "The largest errors in ulps of float32",
        ("", *TERMS, "equation"),
        rows,
        note=f"{config.num_rows} pairs of distributions over {config.num_classes} classes of each "
        "kind. Equation: cross-entropy beside the sum of the two others.",
    )


def answers(config: Config) -> tuple[np.ndarray, dict[str, jax.Array]]:
    """What people say of images, and what models do; simulated, where there are no data."""
    path = at_hand(HUMAN)
    if path is not None:
        people = np.load(path, allow_pickle=False).astype(np.float32)
        found = {name: published(NETWORKS[name]) for name in (LENET, WRN)}
        models = {name.partition(",")[0]: each.logits for name, each in found.items()}
        labels = found[WRN].labels
    else:
        random = np.random.default_rng(config.seed)
        truth = 4 * random.standard_normal((config.num_simulated, 10))
        probs = np.asarray(jax.nn.softmax(jnp.asarray(truth, jnp.float32)), np.float64)
        counts = random.multinomial(ANSWERS, probs / probs.sum(axis=-1, keepdims=True))
        people = (counts / ANSWERS).astype(np.float32)
        noisy = {"poor": 3.0, "good": 1.0}
        models = {
            name: jnp.asarray(truth + spread * random.standard_normal(truth.shape), jnp.float32)
            for name, spread in noisy.items()
        }
        labels = jnp.asarray([random.choice(10, p=row) for row in counts / ANSWERS])
    last = [*models][-1]
    crossed = jax.jit(
        partial(
            calibration.cross_fit,
            calibration.fit_temperature,
            num_folds=2,
            key=jax.random.key(config.seed),
        )
    )
    return people, models | {f"{last}, calibrated": crossed(models[last], labels)}


def divergence_from_people(
    people: jax.Array,
    logits: jax.Array,
    labels: jax.Array,
    *,
    weights: Any = 1.0,
    where: Any = True,
) -> jax.Array:
    """The mean Kullback-Leibler divergence of people's answers; a metric like any other."""
    losses = jbce.kl_divergence(jax.nn.log_softmax(logits), people)
    return jbce.mean(losses, weights=weights, where=where)


def learnable(
    config: Config, people: np.ndarray, models: Mapping[str, jax.Array], record: Record
) -> None:
    """Cross-entropy with people as code lengths, and the part of it that is theirs."""
    entropies = np.asarray(numerics.entropy(jnp.log(people)), np.float64)
    doubt = float(entropies.mean())
    correction = float((np.sum(people > 0, axis=-1) - 1).mean() / (2 * ANSWERS))
    common = people.mean(axis=0)
    huffman = float(np.mean([huffman_length(row) for row in people]))
    codes = {
        "one length for all": np.log2(people.shape[1]),
        "how common the classes are": float(-(common * np.log2(common)).sum()),
        "Huffman code of the image's answers": huffman,
        "entropy of the answers": doubt * BITS,
        "entropy, corrected": (doubt + correction) * BITS,
    }
    for name, bits in codes.items():
        record.metric(f"bits.{name.replace(' ', '_')}", bits, "bit")
    record.table(
        f"Bits for one answer, {len(people):,} images",
        ("code", "bits"),
        [(name, f"{bits:.4f}") for name, bits in codes.items()],
        note="A Huffman code spends whole bits on each answer; a code for many answers at once "
        "comes as near to the entropy as one likes.",
    )
    held, nothing = jnp.asarray(people), jnp.zeros(len(people), jnp.int32)
    judges: dict[str, Callable[..., jax.Array]] = {
        "cross-entropy": partial(cross_entropy_of_people, held),
        "divergence": partial(divergence_from_people, held),
    }
    rows, parts = [], []
    for name, logits in models.items():
        cross, beyond = (
            metrics.confidence_interval(judge, logits, nothing, confidence=config.confidence)
            for judge in judges.values()
        )
        key = name.lower().replace(", ", "_").replace("-", "_")
        share = doubt / float(cross.estimate)
        for title, interval in (("cross_entropy", cross), ("divergence", beyond)):
            record.metric(f"{key}.{title}", interval.estimate * BITS, "bit")
            record.metric(f"{key}.{title}.low", interval.low * BITS, "bit")
            record.metric(f"{key}.{title}.high", interval.high * BITS, "bit")
        record.metric(f"{key}.share_of_entropy", share, "1")
        rows.append(
            (
                name,
                *(
                    f"{i.estimate * BITS:.4f} ± {(i.high - i.low) / 2 * BITS:.4f}"
                    for i in (cross, beyond)
                ),
                f"{share:.1%}",
            )
        )
        parts.append((name, float(beyond.estimate) * BITS))
    record.headline(
        f"bits above people's entropy, {[*models][-1]}",
        *(float(end) * BITS for end in (beyond.estimate, beyond.low, beyond.high)),
        unit="bit",
    )
    record.table(
        "Networks beside people's answers, in bits",
        ("", "cross-entropy", "divergence", "entropy"),
        rows,
        note=f"With {config.confidence:.0%} intervals over the images. The divergence can be "
        "learned; the last column is the part that cannot.",
    )
    figure, (axes, *_) = new_axes(height=0.5 * len(parts) + 1.4)
    names = [name for name, _ in parts]
    axes.barh(names, doubt * BITS, color=COLOURS[-1], label="entropy of the answers")
    axes.barh(
        names,
        [bits for _, bits in parts],
        left=doubt * BITS,
        color=COLOURS[0],
        label="divergence of the model",
    )
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    label(axes, "bits for an answer", "")
    legend(axes, loc="lower right")
    record.figure("parts", figure, "What is in the answers, and what the models add to it.")


def huffman_length(probs: np.ndarray) -> float:
    """The mean length in bits of the best code that spends whole bits on each outcome."""
    heap = [float(p) for p in probs if p > 0]
    heapq.heapify(heap)
    length = 0.0
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        length += both
        heapq.heappush(heap, both)
    return length
