"""The code of whole bits, beside what is known of it."""

import numpy as np
import pytest

from experiments.entropy_and_divergence import huffman_length


@pytest.mark.parametrize(
    ("probs", "length"),
    [
        ([1.0, 0.0], 0.0),
        ([0.5, 0.5], 1.0),
        ([0.9, 0.1], 1.0),
        ([0.5, 0.25, 0.125, 0.125], 1.75),
        ([0.4, 0.3, 0.2, 0.1], 1.9),
    ],
)
def test_length_of_known_codes(probs, length):
    assert huffman_length(np.array(probs)) == pytest.approx(length)


def test_at_least_the_entropy_and_less_than_a_bit_more():
    random = np.random.default_rng(0)
    for probs in random.dirichlet(np.full(7, 0.4), 50):
        entropy = float(-np.sum(probs * np.log2(probs)))
        assert entropy <= huffman_length(probs) < entropy + 1
