"""A network of 64 inputs, one hidden layer of 64 and 10 classes, in plain NumPy float32."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Weights = dict[str, Array]


def initial_weights(seed: int) -> Weights:
    """Draw the four float32 arrays: Glorot-uniform kernels and zero biases."""
    generator = np.random.default_rng(seed)
    weights: Weights = {}
    for layer, inputs, outputs in (("hidden", 64, 64), ("output", 64, 10)):
        limit = np.sqrt(6 / (inputs + outputs))
        kernel = generator.uniform(-limit, limit, (inputs, outputs))
        weights[f"{layer}/kernel"] = kernel.astype(np.float32)
        weights[f"{layer}/bias"] = np.zeros(outputs, np.float32)
    return weights


def _forward(weights: Weights, images: Array) -> tuple[Array, Array]:
    """Return the hidden activations (ReLU) and the ten scores of each image."""
    hidden = np.maximum(images @ weights["hidden/kernel"] + weights["hidden/bias"], 0)
    return hidden, hidden @ weights["output/kernel"] + weights["output/bias"]


def loss_and_gradients(
    weights: Weights, images: Array, labels: NDArray[np.intp]
) -> tuple[float, Weights]:
    """Return the mean cross-entropy of a batch and its gradient for every array of `weights`."""
    hidden, scores = _forward(weights, images)
    rows = np.arange(len(labels), like=labels)  # of CuPy's kind where the labels are
    scores -= scores.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(scores).sum(axis=1, keepdims=True))
    log_probabilities = scores - log_sums
    loss = -log_probabilities[rows, labels].mean()

    d_scores = np.exp(log_probabilities)
    d_scores[rows, labels] -= 1
    d_scores /= np.float32(len(labels))
    d_hidden = (d_scores @ weights["output/kernel"].T) * (hidden > 0)
    return float(loss), {
        "hidden/kernel": images.T @ d_hidden,
        "hidden/bias": d_hidden.sum(axis=0),
        "output/kernel": hidden.T @ d_scores,
        "output/bias": d_scores.sum(axis=0),
    }


def accuracy(weights: Weights, images: Array, labels: NDArray[np.intp]) -> float:
    """Return the share of images whose highest score is their label."""
    _, scores = _forward(weights, images)
    return float((scores.argmax(axis=1) == labels).mean())
