"""A recipe: everything about how a network for a task is built and trained, but its activation and its numbers."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxnn import heads, metrics
from jaxnn.heads import Head
from jaxnn.lab.folds import Splits
from jaxnn.lab.tasks import Task
from jaxnn.metrics import Metric
from jaxnn.networks import mlp

STEPS = 480  # about so many of gradient descent; in the plane, where boundaries may be intricate, PLANE_STEPS
PLANE_STEPS = 2000
EVALUATIONS = 20  # of a run, because they cost as much as steps


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained; None is the task's default, which `resolved` fills in."""

    hidden: tuple[int, ...] | None = None  # units of each hidden layer: 8, 32 up to four features, 64 beyond
    init: str = "matched"
    optimizer: str | Callable = "adam"  # of optax, or a factory like those
    head: str | Head | None = None  # sigmoid for two classes, softmax for more
    epochs: int | None = None
    batch_size: int | None = None  # as many as there are training rows: all of them in every step
    evaluate_every: int | None = None  # epochs
    metric: str | None = None  # of METRICS
    target: float | None = None  # for the metric on the validation rows
    architecture: Callable[[Any, Task], Any] | None = None  # (activation, task) -> Network; an `mlp` where None

    @property
    def make_optimizer(self) -> Callable:
        """The optax factory."""
        if callable(self.optimizer):
            return self.optimizer
        factory = getattr(optax, str(self.optimizer), None)
        if not inspect.isfunction(factory):
            raise ValueError(f"unknown optimizer {self.optimizer!r}; expected a factory of optax by name, as 'adam'")
        return factory

    def steps(self, rows: int) -> int:
        """Steps of gradient descent of a resolved recipe, for so many training rows."""
        return self.epochs * (rows // self.batch_size)

    def label(self, field: str) -> str:
        """A choice as it stands in a table."""
        value = getattr(self, field)
        if field == "hidden" and value is not None:
            return "" if self.architecture else "x".join(map(str, value))
        if field == "init" and self.architecture:
            return "its own"
        value = getattr(value, "func", value)  # a partial is called as its function
        return "" if value is None else getattr(value, "name", getattr(value, "__name__", str(value)))


class Built(NamedTuple):
    """A network that can be trained and judged."""

    network: Any
    head: Head
    metric: Metric

    def measure(self, scores, labels):
        """The metric of scores; what a run reports. Equal networks have equal measures."""
        return self.metric.fn(self.head.probabilities(scores), labels)


def resolved(recipe: Recipe, splits: Splits) -> Recipe:
    """The recipe with the task's defaults in place of None.

    A truth table is trained on all its rows, 2,000 steps, and solved once every row gives its true class a probability
    of 0.6. Other tasks take batches of 64 (32 below 512 training rows), about 480 steps (2,000 in the plane) and 30 to
    300 epochs.

    >>> from jaxnn.lab.folds import splits
    >>> from jaxnn.lab.tasks import task
    >>> found = resolved(Recipe(), splits(task("iris")))
    >>> found.hidden, found.batch_size, found.epochs, found.metric
    ((32,), 32, 240, 'accuracy')
    """
    task, rows = splits.task, splits.train_rows
    given = {one.name: getattr(recipe, one.name) for one in fields(recipe) if getattr(recipe, one.name) is not None}
    if task.truth_table:
        epochs = given.get("epochs", 2000)
        found = {"hidden": (8,), "epochs": epochs, "batch_size": rows, "evaluate_every": math.gcd(epochs, 10) or 1}
        return Recipe(**found | {"metric": "least_probability", "target": 0.6} | given)
    batch = given.get("batch_size", min(64 if rows >= 512 else 32, rows))
    aim = PLANE_STEPS if task.features == 2 else STEPS
    epochs = int(np.clip(math.ceil(aim / max(rows // max(batch, 1), 1)), 30, 300))
    every = math.ceil(epochs / EVALUATIONS)
    if "epochs" in given:
        every = max(d for d in range(1, max(given["epochs"] // EVALUATIONS, 1) + 1) if given["epochs"] % d == 0)
    found = {"hidden": (32,) if task.features <= 4 else (64,), "epochs": epochs // every * every, "batch_size": batch}
    return Recipe(**found | {"evaluate_every": every, "metric": "accuracy"} | given)


def own(name: str, function: Callable, *args) -> Any:
    """What a function of the user's own returns.

    Raises ValueError with its name for whatever it raises.

    >>> own("mine", abs, -1)
    1
    """
    try:
        return function(*args)
    except Exception as error:
        told, *_ = str(error).split("\n")
        raise ValueError(f"{name} raised {type(error).__name__}: {told}") from error


def build(activation: Any, recipe: Recipe, task: Task) -> Built:
    """The network of a resolved recipe with an activation, its head and its metric.

    An architecture of one's own is called with the activation and the task; its head is the sigmoid where it gives one
    score for two classes, and softmax otherwise, unless the recipe or the network names one.

    >>> from jaxnn.lab.tasks import task
    >>> build("tanh", Recipe(hidden=(8,), metric="accuracy"), task("xor")).network.sizes
    (2, 8, 1)
    """
    metric = metrics.get(recipe.metric)
    if recipe.architecture is None:
        if np.ndim(task.x) != 2:
            shapes = jax.tree.map(np.shape, task.x)
            raise ValueError(
                f"{task.name}: x has shape {shapes}; expected (rows, features), or an architecture of yours"
            )
        head = heads.get(recipe.head or ("sigmoid" if task.classes == 2 else "softmax"))
        return Built(mlp((task.features, *recipe.hidden, head.scores(task.classes)), activation, head, recipe.init),
                     head, metric)  # fmt: skip
    network = own(f"the architecture {recipe.label('architecture')}", recipe.architecture, activation, task)
    if not callable(getattr(network, "init", None)) or not callable(getattr(network, "apply", None)):
        raise ValueError(
            f"the architecture {recipe.label('architecture')} returned {type(network).__name__}; expected a Network, "
            "with init(key) -> params and apply(params, x) -> scores"
        )
    head = recipe.head or getattr(network, "head", None)
    if head is None:
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), np.float32), task.x)
        params = jax.eval_shape(network.init, jax.random.key(0))
        head = "sigmoid" if jax.eval_shape(network.apply, params, one).shape[-1] == 1 else "softmax"
    return Built(network, heads.get(head), metric)
