"""A trained network with what its rows went through: new rows in, classes out."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.lab.folds import Parts, scaling
from jaxnn.lab.recipe import Built, Recipe, build
from jaxnn.lab.sweeps import row_order_of, train
from jaxnn.lab.tasks import Task, rows_like


@dataclass(frozen=True)
class Model:
    """A network that was trained on all rows of a task."""

    task: Task  # that it was trained on
    built: Built = field(repr=False)
    params: Any = field(repr=False)
    scale: Callable = field(repr=False)  # rows as they came -> rows as the network takes them

    def probabilities(self, x) -> np.ndarray:
        """Of every class: x (rows, features), not scaled, -> (rows, classes).

        Columns that have names are taken by them. Raises ValueError for rows that are unlike those of the task.
        """
        rows = self.scale(rows_like(self.task, x))
        return np.asarray(self.built.head.probabilities(self.built.network.apply(self.params, rows)))

    def predict(self, x) -> np.ndarray:
        """The most probable classes, as they stood in the task: x (rows, features), not scaled, -> (rows,)."""
        labels = self.task.class_names if self.task.labels is None else self.task.labels
        return np.array(labels)[self.probabilities(x).argmax(-1)]


def fitted(task: Task, activation, recipe: Recipe, learning_rate: float, *, epochs: int, seed: int = 0) -> Model:
    """A network trained on all rows of a task.

    Args:
      task: its rows; activation, as for `mlp`; recipe, resolved; learning_rate.
      epochs: how long. In a comparison what counts are the parameters of the best epoch; here no row is left to find
        it by, so it is the median of those that were found.
      seed: of weights and order of the rows.

    Returns:
      A `Model`.

    Raises:
      ValueError: the run diverged.
    """
    built = build(activation, recipe, task)
    scale = (lambda rows: rows) if task.truth_table else scaling(task.x)
    all_rows = recipe.batch_size >= len(task.y) or task.truth_table
    recipe = replace(
        recipe, epochs=epochs, evaluate_every=math.gcd(epochs, recipe.evaluate_every),
        batch_size=len(task.y) if all_rows else recipe.batch_size,
    )  # fmt: skip
    root = jax.random.key(seed)
    key = jax.random.fold_in(root, 0)
    parts = Parts((scale(task.x), task.y), None, None)
    params = built.network.init(jax.random.fold_in(key, 0))
    scalars = {"learning_rate": jnp.float32(learning_rate)}
    run = train(built, recipe, task.classes, params, key, scalars, row_order_of(root, len(task.y), recipe), parts)
    if run.diverged:
        raise ValueError(
            f"{task.name}: the network diverged at a learning rate of {learning_rate:g}; take another seed"
        )
    return Model(task, built, run.best_params if task.truth_table else run.params, scale)
