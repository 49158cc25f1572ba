"""Which pixels are membrane: learn from cross-entropy, from Dice, or from both?

Command:  python -m experiments segmentation
Minutes:  6
Expect:   after 90 steps cross-entropy has the lower log loss: 0.333 ± 0.034 nats over 6 images and
          3 seeds, from soft Dice 0.118 ± 0.081 more. Whether Dice's own measure is better from
          cross-entropy (0.702 ± 0.044) than from soft Dice (by 0.031 ± 0.063) or the sum (by
          0.011 ± 0.027) so few seeds do not say, nor what is left of any difference once the
          logits are calibrated.

The data are 30 images of an electron microscope, 512 × 512, with membranes drawn by hand (ISBI
2012; Cardona et al., PLoS Biology 2010; Arganda-Carreras et al., Frontiers in Neuroanatomy 2015). A
pixel is membrane (1) or not (0); 22 % are. Squares of 2 × 2 pixels are made one first. Images 0 to
19 train, 20 to 23 validate, 24 to 29 test.

A small U-Net learns from random crops, turned and mirrored at random, with three losses: binary
cross-entropy, the mean over a crop's pixels (`--pos-weight` weighs membranes); soft Dice; and their
sum. Settings are the same for all and tuned for none. What the validation images decide are a line
through the logits (Platt) and the threshold of the best Dice coefficient, for each loss.

400,000 pixels are not as many examples: neighbours agree, and what is unusual about an image is so
everywhere in it. Every number is therefore computed for each of the six test images and each seed,
and differences are paired by both, with 95 % intervals that know both (Student's quantiles). Six
images, which are slices of one block, give wide ones, and say nothing of other tissue. Nor do they
say anything of longer training, after which soft Dice may come nearer.
"""

import base64
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jbce
from jbce import calibration, metrics, plots, training

from ._convolutions import Convolution, largest_of_four
from ._data import File, path_of
from ._drawing import pictures
from ._fitting import predicted
from ._held_out import identifier
from ._images import decoded
from ._over_seeds import mean_over_seeds
from ._record import Record

CROSS_ENTROPY, DICE, BOTH = "cross-entropy", "Dice", "sum"
TRAIN, VALIDATION, TEST = range(20), range(20, 24), range(24, 30)
_BASE = "https://raw.githubusercontent.com/zhixuhao/unet/HEAD/data/membrane/train"
# SHA-256 in base64, of image/N.png and label/N.png.
_DIGESTS = """
EsDtb0L8CfUSq/azVPIXyVDkyCI7V6AxVEm2KhRVZSM E7Z+3XYHofKEwJFwyWon04QisP+viAJOpbaJrLXhtLA
LPx+5jWm+F1fr1yCpx06N79a9HhLVUlk4+Bxk+PuIWY z/YKAN4pAeZxZckddwjXhOTFvMnRyMZ3kiyQXWO7w9E
/mDY1PkxAmZqI6GNcYtLWfq45haYfRHFBy9Kh/rHMB8 pXivmYwBf1Z2O4GUHE3GEt3lcxgJss6g6OvDeuy4Tbs
Y20Wy7Avmd2kyfttuY37oGYUKvqYH/3Pr1RFOYLoJQw yK47hD/tAuCUEaJMEIUBYJIsMxBBsXwmdAJfBambiDQ
mR+zqOSrxz2h1hWcoo+kOX8Kg1HzCoujZpyGQU0s4jk ovGcAbXZgql5I6DSnmQSegXj9JZzFICsnZ0wK1Qn9/8
fp2ft4dmQzbW8s1osjmG8EUn5/j0lEEJg7TXDG3h3js LdV3kRj29Nh/iOwRLxzqIGY7UKy4x0iw2x8j7agrURg
fAqHkz/8cvT/AvWZbZw/af6aC1J3UHQVdDrYr7Xl0wg KwmE6fMftB1MX0p1Sj4IADa3MhoMvZWRpiAQ0gpXTOc
GfLCVxYQfUEAjIO6ioFK5HoJDgDep2bd443OHwCJknA LryMg1mZWJv9fYDYH4PSTlxBE4NisPqv7w8AnhzoIUQ
qJeeSr0aEK+cp15hTZeHVlmtvY7jpo66SDv1Vs/jAj0 25eQEMpPvbOMizLUVa7Q2pDVmBU/KgBGtj0Cpu+jK54
cw6/Q1qw9uYl00JVKtA3Nnmf1mDQxq90RnTGGkaqCCo jubHmtu3QFlcTWF3bgZecWTADVLH3XVitSeQQefzVns
fDcXvNSMS35ch41/C4Cbhoek5vrEcfOGPeMgqC7nK4o sBVsyBhrDuUhknrJVkW0BqQtJ1ZGB6b+o6WcNK3Xj3w
3XhXslyhQX+HwoJ1DiLFCUf3XoH6Ay1ODJa5Asncl1c 5Hs6oM+zEGR2rxZm5jHUW9Ftvyr/iCYO5l0W5BNDMts
n47/kjm7dk1RUkqZg4enurz/n2IWGARlGwMLgaq9Wrg haeomcC3K4FjOtEiiHulFh1lA4XXd1pbMHTrABMbNiA
N35c281/Csczb0gvx+rXRGiHhj8mdps4Qf6Yqtynfa0 iFScIv1kcxLWs34X0z6QgA00fWDMsRVqjd5eZzlPnz0
9Q0td6zS31ZMXw9AsbJM2Sn1lERgqkzZDEIstc7zOlk vNd1AX60/b3+etbMZCCy8Wqp0FdolNCDcO3PVktGaAo
PhP96gmszBT0b7Lz/6Hogs3ZxTsopoQsTBAilpLH0aQ WahUiHtQT/AKW0uTsimbvAvwy+VN6ljSsxlpIpsos2k
/8lRwSRQ+UEpWCwW/Q1LFlxKMUabDELZZvB8GD0xMuI s064jNwzE6b0GQ9XU0Zd9/adjzwkOlwlQnsbmez+JJk
D09+jgYZ5MfVF6xo03iaO2JIJTdHcX6sQYu30yvvTeM T6B2y+t0SAPZh9xGzzCNwwJkCOelGIg44w4l/j6mfb4
G7Ht1QWVhhdD0U4ZVd+l08k5X7h1Y+ym3IFDO/nfSd4 vQCd2lfyBIBHMvWS7R1BuhiWHYPEkkE/5xVI76SiiNk
mZtVYz+NcIKt1yCCZW6VMsXD2XIDs3brMX8Juoilpbc vzhAfFW2AzwWdyMCKOyxAKESlKp0p7kuXt/cSrrc/vk
kVPRS/0VlV+rV26iMoHE8jEEtF3O7W4D4LJUYH9QobI evcpby6JKGZmnU5PnA1BeJh+bsbn0HUewjjRu+LanFU
mtB89PZ5hPF6CKpj5tktOVzlX1Ey5v9PptldaJDqf5c dyxyKssurAF2m1P6UDej1idF5TECOYv5siAt9gXK3aQ
Ynhgm0xCp8tDIS3g4uLO3tdYuv4IVvtWIUzmWKYWaOQ sZ9VM+wkB3ojlaCF/lOvdd01DvA3mMT/QLqevssu4K0
nvTp+8g4uXka+Do2kY1ymg6i6Q68ccSjxFVAWfk3l1Y LY8d9cnug+WestcJ6xU7BXDxLnJmkPWGFUsBsKiLtUA
8PkXucPpyW0W6ih6/5sF7PTeiLxh1Hjkrvy2STL7pww arAtkitck37P4qR5voel0+XvlQ3EjaCdMfN7R9iZypw
4BVHN+djkui/lPssDfpd2tS1Ou7JQqCozdi6Y0Q+YHI xepZrKd4ndUHrDHEqCu9TBcvnjVE+OBARCwg0d+p4W0
0P8R4JsO4MgXM0lG50ajirYhFh1fnEavlcaLhR+Nmho sFb66fNYERtsniSUvbpkXyBr5YGVm403Y+l9YqZd2WE
7tjovuHbj+evObW0Ps8UKCxcM+yglZcm7qBvZiAn6sw W+OCOlfIK2Ms6tbrCfQ4xgEKJE3Al18qPkZvRdLAaEA
l030tR6JBb2qvmHoBJbL8zH1yaqd3Cy5QRP1jCt9KDc wLDioreq1GkZ0a/JgPfV45EB+weUjOZdnKyALYtHaC4
2a6GhQnGEKaay/PWnN5PNqjjRMu8RE+TyRe/e58+eE8 Hog5qXF4kUFx3v1qlxWPBvysH8Pw1F8qzf+cSas/ztk
""".split()


@dataclass(frozen=True)
class Config:
    """How to train."""

    losses: tuple[Literal["cross-entropy", "Dice", "sum"], ...] = (CROSS_ENTROPY, DICE, BOTH)
    """To learn from; the others are compared with the first."""
    pos_weight: float = 1.0
    """How much a pixel of membrane counts in the cross-entropy that is learnt from."""
    shrink: int = 2
    """Pixels of a row that become one."""
    num_crops: int = 480
    """Crops of the training images."""
    crop_size: int = 64
    """Height and width of a crop."""
    num_epochs: int = 3
    """Passes through the crops."""
    batch_size: int = 16
    """Crops per step."""
    widths: tuple[int, ...] = (8, 16, 32)
    """Channels at every resolution, the finest first."""
    learning_rate: float = 5e-3
    """Of Adam, at the start; it decays to 0 as a cosine."""
    num_seeds: int = 3
    """Networks of each loss, paired by their crops and first weights; at least 2."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the first crops, of their order, and of the first weights."""


class Block(nnx.Module):
    """Convolutions, each with batch normalisation and a ReLU."""

    def __init__(self, *sizes: int, rngs: nnx.Rngs):
        pairs = list(itertools.pairwise(sizes))
        self.layers = nnx.List([Convolution(*pair, rngs=rngs) for pair in pairs])
        self.norms = nnx.List([nnx.BatchNorm(size, rngs=rngs) for size in sizes[1:]])

    def __call__(self, images: jax.Array) -> jax.Array:
        """Images of as many pixels, with other channels."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            images = nnx.relu(norm(layer(images)))
        return images


class UNet(nnx.Module):
    """Images to one logit per pixel: down to coarser images and up again, with what was there."""

    def __init__(self, widths: tuple[int, ...], *, rngs: nnx.Rngs):
        before = (1, *widths[:-1])
        self.down = nnx.List(
            [Block(a, b, b, rngs=rngs) for a, b in zip(before, widths, strict=True)]
        )
        fine, coarse = widths[-2::-1], widths[:0:-1]
        self.up = nnx.List([Block(a + b, b, rngs=rngs) for a, b in zip(coarse, fine, strict=True)])
        self.output = nnx.Linear(widths[0], 1, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """`[n, height, width]` to logits of the same shape."""
        hidden, kept = images[..., None], []
        for index, block in enumerate(self.down):
            hidden = block(largest_of_four(hidden) if index else hidden)
            kept.append(hidden)
        for block, finer in zip(self.up, kept[-2::-1], strict=True):
            doubled = jnp.repeat(jnp.repeat(hidden, 2, axis=1), 2, axis=2)
            hidden = block(jnp.concatenate([doubled, finer], axis=-1))
        return self.output(hidden)[..., 0]


def soft_dice_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """1 − (2·Σ p·y + 1) / (Σ p + Σ y + 1) over the pixels of each image, p = σ(logit).

    1 minus the Dice coefficient (F1) with probabilities in place of decisions; the 1s make images
    without membranes learnable. It is not proper: the p that minimise its mean are no probabilities
    of membrane.

    Args:
        logits: `[n, height, width]`.
        labels: the same shape, 0 and 1.

    Returns:
        `[n]`, from 0 to 1.
    """
    probs, truth = jax.nn.sigmoid(logits), labels.astype(logits.dtype)
    overlap = jnp.sum(probs * truth, axis=(1, 2))
    return 1 - (2 * overlap + 1) / (jnp.sum(probs, axis=(1, 2)) + jnp.sum(truth, axis=(1, 2)) + 1)


def losses(pos_weight: float) -> dict[str, Callable[[jax.Array, jax.Array], jax.Array]]:
    """One loss per image, by name."""

    def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
        of_pixels = jbce.sigmoid_binary_cross_entropy(logits, labels, pos_weight=pos_weight)
        return jnp.mean(of_pixels, axis=(1, 2))

    return {
        CROSS_ENTROPY: cross_entropy,
        DICE: soft_dice_loss,
        BOTH: lambda logits, labels: cross_entropy(logits, labels) + soft_dice_loss(logits, labels),
    }


def run(config: Config, record: Record) -> None:
    """Networks for each loss, and what validation images make of them."""
    images, truth = membranes(config.shrink)
    mean, deviation = images[TRAIN].mean(), images[TRAIN].std()
    scaled = (images - mean) / deviation
    num_steps = config.num_epochs * -(-config.num_crops // config.batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, num_steps))
    by_name = losses(config.pos_weight)  # once: `fit` compiles for each loss that is not the same
    logits: dict[str, list[np.ndarray]] = {name: [] for name in config.losses}
    for seed in range(config.seed, config.seed + config.num_seeds):
        crops = random_crops(config, scaled[TRAIN], truth[TRAIN], seed)
        for name in config.losses:
            fitted = training.fit(
                UNet(config.widths, rngs=nnx.Rngs(seed)),
                crops,
                loss=by_name[name],
                optimizer=optimizer,
                epochs=config.num_epochs,
                batch_size=config.batch_size,
                key=jax.random.key(seed),
                progress=False,
            )
            logits[name].append(np.asarray(predicted(fitted.model, scaled[VALIDATION.start :])))
    decided = {
        name: [decide(array, truth[VALIDATION.start :]) for array in arrays]
        for name, arrays in logits.items()
    }
    compare(config, decided, truth[TEST], record)
    shown = TEST.start - VALIDATION.start
    record.figure(
        "predictions",
        pictures(
            [
                images[TEST.start],
                truth[TEST.start].astype(float),
                *(1 / (1 + np.exp(-arrays[0][shown])) for arrays in logits.values()),
            ],
            ["image", "truth", *(f"from {name}" for name in logits)],
            num_columns=3,
            size=2,
        ),
        f"Test image {TEST.start}, the membranes drawn by hand (white), and the probability of "
        "membrane from each loss, of the first seed.",
    )
    labels = jnp.asarray(truth[TEST].ravel())
    record.figure(
        "reliability",
        plots.reliability_diagram(
            {
                name: metrics.reliability(jnp.asarray(arrays[0][shown:].ravel()), labels)
                for name, arrays in logits.items()
            }
        ),
        "Of the pixels decided with a given confidence, how many were right, over all test images, "
        "with the first seed. Pixels are not independent: what is said of single points here is "
        "too sure.",
    )


def membranes(shrink: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `[30, height, width]` from 0 to 1, and where there is membrane."""
    arrays = {"image": [], "label": []}
    for place, digest in enumerate(_DIGESTS):
        kind, name = ("image", "label")[place % 2], f"{place // 2}.png"
        sha256 = base64.b64decode(digest + "=").hex()
        file = File(f"membrane/{kind}", name, sha256, f"{_BASE}/{kind}/{name}")
        pixels = decoded(path_of(file).read_bytes()).astype(np.float32) / 255
        size = len(pixels) // shrink
        arrays[kind].append(pixels.reshape(size, shrink, size, shrink).mean(axis=(1, 3)))
    return np.stack(arrays["image"]), np.stack(arrays["label"]) <= 0.5


def random_crops(
    config: Config, images: np.ndarray, truth: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Squares at random places of random images, turned and mirrored at random."""
    random, size = np.random.default_rng(seed), config.crop_size
    pairs = []
    for _ in range(config.num_crops):
        image = random.integers(len(images))
        top, left = random.integers(images.shape[1] - size + 1, size=2)
        turns, mirrored = int(random.integers(4)), int(random.integers(2))
        squares = (
            np.rot90(a[image, top : top + size, left : left + size], turns) for a in (images, truth)
        )
        pairs.append([square[:, ::-1] if mirrored else square for square in squares])
    features, labels = zip(*pairs, strict=True)
    return np.stack(features), np.stack(labels)


def decide(logits: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """What the validation images choose, and the logits of the test images."""
    kept = len(VALIDATION)
    platt = calibration.fit_platt(
        jnp.asarray(logits[:kept].ravel()), jnp.asarray(truth[:kept].ravel())
    )
    thresholds = np.linspace(-4, 4, 33)
    found = [dice(logits[:kept], truth[:kept], threshold).mean() for threshold in thresholds]
    return {
        "logits": logits[kept:],
        "calibrated": np.asarray(platt(jnp.asarray(logits[kept:]))),
        "slope": float(platt.slope),
        "threshold": float(thresholds[int(np.argmax(found))]),
    }


def dice(logits: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """2·|A and B| / (|A| + |B|) of each image, of pixels whose logit is above the threshold."""
    decided = logits > threshold
    both = (decided & truth).sum(axis=(1, 2))
    return 2 * both / (decided.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)))


def of_each_image(model: dict[str, Any], truth: np.ndarray) -> dict[str, np.ndarray]:
    """Every measure, `[images]`."""
    logits, calibrated, labels = (
        jnp.asarray(array).reshape(len(truth), -1)
        for array in (model["logits"], model["calibrated"], truth)
    )
    return {
        "log loss": np.asarray(jax.vmap(metrics.log_loss)(logits, labels)),
        "log loss, Platt": np.asarray(jax.vmap(metrics.log_loss)(calibrated, labels)),
        "ECE": np.asarray(_calibration_error(logits, labels)),
        "ECE, Platt": np.asarray(_calibration_error(calibrated, labels)),
        "accuracy": np.asarray(jax.vmap(metrics.accuracy)(logits, labels)),
        "Dice at 1/2": dice(model["logits"], truth, 0.0),
        "Dice at threshold": dice(model["logits"], truth, model["threshold"]),
    }


_calibration_error = jax.jit(jax.vmap(metrics.expected_calibration_error))


def compare(
    config: Config, decided: dict[str, list[dict[str, Any]]], truth: np.ndarray, record: Record
) -> None:
    """Means over images and seeds, and differences from the first loss paired by both."""
    found = {
        name: [of_each_image(model, truth) for model in models] for name, models in decided.items()
    }
    first, *others = found
    rows, differences = [], []
    for title in found[first][0]:
        unit = "nat" if title.startswith("log") else "1"
        arrays = np.array([[of[title] for of in measures] for measures in found.values()])
        values = arrays.mean(axis=2)
        influences = (arrays - values[..., None]).mean(axis=1) / len(truth)
        means, halves = mean_over_seeds(values, influences, config.confidence)
        rows.append((title, *(f"{m:.4f} ± {h:.4f}" for m, h in zip(means, halves, strict=True))))
        for name, mean, half in zip(found, means, halves, strict=True):
            key = f"{identifier(title)}.{identifier(name)}"
            record.metric(key, mean, unit)
            record.metric(f"{key}.half_width", half, unit)
        if title in ("log loss", "Dice at 1/2"):
            mean, half = means[0], halves[0]
            what = f"{title}, membranes, from {first}"
            record.headline(what, mean, mean - half, mean + half, unit=unit)
        changes, halves = mean_over_seeds(
            values[1:] - values[0], influences[1:] - influences[0], config.confidence
        )
        apart = [title]
        for name, change, half in zip(others, changes, halves, strict=True):
            key = f"{identifier(title)}.{identifier(name)}.difference"
            record.metric(key, change, unit)
            record.metric(f"{key}.half_width", half, unit)
            apart.append(f"{change:+.4f} ± {half:.4f}{'*' if abs(change) > half else ''}")
        differences.append(tuple(apart))
    note = (
        f"± half of the {config.confidence:.0%} interval over {len(truth)} images and "
        f"{config.num_seeds} seeds. Platt: calibrated by the validation images, whose threshold "
        "it is too."
    )
    record.table("Test images, by the loss that was learnt from", ("", *found), rows, note=note)
    if others:
        record.table(
            f"Differences from {first}, paired by image and seed",
            ("", *others),
            differences,
            note="An asterisk: the interval, each for itself, leaves out 0.",
        )
    chosen = []
    for name, models in decided.items():
        slope, threshold = (
            float(np.mean([of[what] for of in models])) for what in ("slope", "threshold")
        )
        record.metric(f"slope.{identifier(name)}", slope, "1")
        record.metric(f"threshold.{identifier(name)}", threshold, "1")
        chosen.append(
            f"{name} a slope of {slope:.2f} and the threshold {1 / (1 + np.exp(-threshold)):.2f}"
        )
    record.say(
        f"The validation images give, as means over the seeds, {'; '.join(chosen)}. A slope below "
        "1: too confident."
    )
