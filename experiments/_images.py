"""Sets of images that several experiments use, as arrays."""

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._data import File, at_hand, path_of

_FASHION = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"
FASHION_MNIST = {
    "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_CLASSES = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
PNEUMONIA = File(
    "medmnist",
    "pneumoniamnist.npz",
    "28209eda62fecd6e6a2d98b1501bb15f",
    "https://zenodo.org/records/10519652/files/pneumoniamnist.npz?download=1",
)
_PNEUMONIA_REBUILT = PNEUMONIA._replace(
    name="pneumoniamnist_rebuilt.npz",
    digest="90ad7936bc88b0989010ebaeaa84b620c11363446a95d08cf56f2411ed42f98a",
)
CIFAR_10 = File(
    "cifar10",
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
)
# The same images as JPEGs, the first 20,000 of those for training: used where they are at hand.
_CIFAR_10_JPEG = {
    "train": File(
        "cifar10_jpeg",
        "cifar10_train20k_jpeg.npz",
        "a44a9f271ce1507bbea21f68ef199a38393f9fe2d0eaedc9070595884745cd7c",
        CIFAR_10.url,
    ),
    "test": File(
        "cifar10_jpeg",
        "cifar10_test_jpeg.npz",
        "e2466e01eff6d3ced1d2a961c2ad82550e9146e712bc92b1398fab360ca9972d",
        CIFAR_10.url,
    ),
}


class Images(NamedTuple):
    """Images `[n, height, width, channels]` from 0 to 1, and their classes `[n]`."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def fashion_mnist() -> Images:
    """60,000 and 10,000 images of clothes, 28 × 28 × 1, of `FASHION_CLASSES`."""
    arrays = {}
    for name, digest in FASHION_MNIST.items():
        kind = f"{name}-idx{3 if name.endswith('images') else 1}-ubyte.gz"
        with gzip.open(path_of(File("fashion_mnist", kind, digest, f"{_FASHION}/{kind}"))) as file:
            header = 16 if name.endswith("images") else 8
            arrays[name] = np.frombuffer(file.read(), np.uint8, offset=header)

    def images(name: str) -> np.ndarray:
        return (arrays[name].reshape(-1, 28, 28, 1) / 255).astype(np.float32)

    return Images(
        images("train-images"),
        arrays["train-labels"].astype(np.int32),
        images("t10k-images"),
        arrays["t10k-labels"].astype(np.int32),
    )


def pneumonia() -> Images:
    """Chest X-rays of children, 28 × 28 × 1: normal (0) or pneumonia (1); train with validation."""
    with np.load(at_hand(_PNEUMONIA_REBUILT) or path_of(PNEUMONIA), allow_pickle=False) as arrays:
        images, labels = (
            {part: arrays[f"{part}_{kind}"] for part in ("train", "val", "test")}
            for kind in ("images", "labels")
        )

    def joined(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts)

    return Images(
        (joined([images["train"], images["val"]])[..., None] / 255).astype(np.float32),
        joined([labels["train"], labels["val"]]).reshape(-1).astype(np.int32),
        (images["test"][..., None] / 255).astype(np.float32),
        labels["test"].reshape(-1).astype(np.int32),
    )


def cifar10(classes: tuple[int, ...]) -> Images:
    """The images of CIFAR-10 of these classes, 32 × 32 × 3; labels are places in `classes`."""
    jpegs = {part: at_hand(file) for part, file in _CIFAR_10_JPEG.items()}
    parts = []
    for part, path in jpegs.items():
        if all(jpegs.values()):
            images, labels = _from_jpegs(path, classes)
        else:
            images, labels = _from_tar(path_of(CIFAR_10), part, classes)
        parts += [images.astype(np.float32) / 255, np.searchsorted(np.sort(classes), labels)]
    train, train_labels, test, test_labels = parts
    return Images(train, train_labels.astype(np.int32), test, test_labels.astype(np.int32))


def _from_jpegs(path: Any, classes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        data, offsets, labels = (arrays[name] for name in ("data", "offsets", "labels"))
    kept = np.flatnonzero(np.isin(labels, classes))
    images = [decoded(data[offsets[i] : offsets[i + 1]].tobytes()) for i in kept]
    return np.stack(images), labels[kept]


def _from_tar(path: Path, part: str, classes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    wanted = "data_batch_" if part == "train" else "test_batch"
    with tarfile.open(path) as tar:
        members = [tar.extractfile(m) for m in tar.getmembers() if wanted in m.name]
        rows = b"".join(member.read() for member in members if member is not None)
    records = np.frombuffer(rows, np.uint8).reshape(-1, 1 + 3072)
    records = records[np.isin(records[:, 0], classes)]
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0].astype(int)


def decoded(file: bytes) -> np.ndarray:
    """The pixels of a JPEG or PNG file."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(file)))
