"""The 1797 handwritten digits of fastrms/data/digits.npz (source and licence: digits.md there)."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PATH = Path(__file__).resolve().parents[1] / "data" / "digits.npz"
TEST_IMAGES = 360
_SPLIT_SEED = 1998


class Digits(NamedTuple):
    """Images as float32 rows of 64 pixels in [0, 1], labels as integers, split for training."""

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.intp]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.intp]


def load_digits() -> Digits:
    """Read the shipped digits and split them: always the same 360 images are kept for the test.

    The split is drawn over all images, so a writer may occur in both parts.
    """
    with np.load(PATH, allow_pickle=False) as archive:
        images: NDArray[Any] = archive["images"]
        labels: NDArray[Any] = archive["labels"]
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(images))
    rows = images.reshape(len(images), -1)[order].astype(np.float32) / np.float32(16)
    classes = labels[order].astype(np.intp)
    return Digits(
        rows[TEST_IMAGES:], classes[TEST_IMAGES:], rows[:TEST_IMAGES], classes[:TEST_IMAGES]
    )
