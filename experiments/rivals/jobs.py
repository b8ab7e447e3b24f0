"""What is trained: the jobs with their rows, their order of the rows and their first weights."""

from functools import cache
from typing import NamedTuple

import numpy as np


class Job(NamedTuple):
    """Some networks to train."""

    data: str
    sizes: tuple
    activation: str
    optimizer: str
    rate: float
    batch: int | None  # rows per step; None for all of them
    networks: int
    epochs: int
    check: int  # epochs after which the losses of all systems are compared
    block: int = 512  # networks in one call of ours
    seed: int = 0

    @property
    def steps(self) -> int:
        """Of one epoch."""
        return 1 if self.batch is None else len(rows_of(self.data)[0]) // self.batch

    @property
    def flops(self) -> int:
        """Of the matrix products of one network-step: forward, weight gradients, all input gradients but the first."""
        rows = self.batch or len(rows_of(self.data)[0])
        products = [2 * rows * i * o for i, o in zip(self.sizes, self.sizes[1:], strict=False)]
        return 3 * sum(products) - products[0]


class Outcome(NamedTuple):
    """Of every network over the training rows, (networks,)."""

    loss: np.ndarray
    accuracy: np.ndarray


XOR = Job("xor", (2, 8, 2), "tanh", "adam", 0.03, None, 4096, 2000, 20, block=256)
DIGITS = Job("digits", (64, 64, 10), "relu", "adam", 0.001, 64, 64, 30, 1, block=32)
WIDE = DIGITS._replace(sizes=(64, 256, 256, 10), networks=32, epochs=4, block=4)
JOBS = {
    "xor": XOR,
    "xor-relu": XOR._replace(activation="relu"),
    "xor-sgd": XOR._replace(optimizer="sgd", rate=0.3),
    "xor-relu-sgd": XOR._replace(activation="relu", optimizer="sgd", rate=0.3),
    "digits": DIGITS,
    "wide": WIDE,
    "one-xor": XOR._replace(networks=1),
    "one-digits": DIGITS._replace(networks=1),
    "one-wide": WIDE._replace(networks=1),
}
BLOCK_ON_GPU = 125_000  # XOR networks
ON_GPU = {
    **{job: {"networks": 10**6, "block": BLOCK_ON_GPU} for job in JOBS if job.startswith("xor")},
    "digits": {"networks": 1000, "block": 1000},
    "wide": {"networks": 128, "block": 128},
}


@cache
def rows_of(data):
    """x (rows, features) float32 and y (rows,) int32: the four rows of XOR, or 1,500 digits."""
    if data == "xor":
        return np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0], np.int32)
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x[:1500] / 16).astype(np.float32), y[:1500].astype(np.int32)


@cache
def order_of(job):
    """The order of the rows that `jaxnn.fit` draws from this key, (steps, batch)."""
    if job.batch is None:
        return None
    import jax

    import jaxnn

    key = jax.random.fold_in(jax.random.key(job.seed), 1)
    return np.asarray(jaxnn.row_order(key, len(rows_of(job.data)[0]), job.epochs, job.batch))


def start_of(job):
    """Weights of variance 1 / fan_in: [W₁ (networks, fan_in, fan_out), b₁ (networks, fan_out), W₂, ...]."""
    random, start = np.random.default_rng(job.seed), []
    for i, o in zip(job.sizes, job.sizes[1:], strict=False):
        start.append(random.standard_normal((job.networks, i, o), np.float32) / np.float32(i**0.5))
        start.append(np.zeros((job.networks, o), np.float32))
    return start


def outcome_of(job, rows, result) -> Outcome:
    """Of trained weights; what is an outcome already stays as it is."""
    if isinstance(result, Outcome):
        return result
    h, y = rows
    activation = {"tanh": np.tanh, "relu": lambda h: np.maximum(h, 0)}[job.activation]
    for i in range(0, len(result), 2):
        h = (activation(h) if i else h) @ result[i] + result[i + 1][:, None]
    log_p = h - np.logaddexp.reduce(h, axis=-1, keepdims=True)
    return Outcome(-log_p[:, np.arange(len(y)), y].mean(-1), (h.argmax(-1) == y).mean(-1))
