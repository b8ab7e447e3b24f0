"""Run a comparison: in every split tune each activation's learning rate, confirm it on fresh seeds, time a step.

Tuning trains every activation at every learning rate on the tuning seeds, and keeps for each split the rate with the
best mean metric on its validation rows. The verdict trains every activation at that rate on seeds that tuning never
saw; what counts is what it does on the test rows. Within a split all activations share rows, order of rows and, seed by
seed, raw weights: the comparison is paired.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import metrics
from jaxnn.activations import Activation
from jaxnn.activations import get as get_activation
from jaxnn.lab import references, store, timing
from jaxnn.lab.folds import Splits
from jaxnn.lab.machine import machine, versions
from jaxnn.lab.plan import Group, Plan, distinct
from jaxnn.lab.progress import Progress
from jaxnn.lab.recipe import Recipe, build, own, resolved
from jaxnn.lab.spelling import frozen, is_shares, read, spelled, thawed
from jaxnn.lab.sweeps import Table, row_order_of, sweep

ACTIVATIONS = tuple("relu leaky_relu prelu elu selu gelu silu mish tanh sigmoid soft_sign sin".split())
LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
IDENTITY = "identity"


@dataclass(frozen=True)
class Settings:
    """What is compared, and how surely; None is the default of the task."""

    activations: tuple = ACTIVATIONS  # as for `mlp`, or text that `spelling.read` understands
    learning_rates: tuple[float, ...] = LEARNING_RATES
    repeats: int = 2  # of the five folds
    seeds: int | None = None  # of the verdict, in each split: 3, for a truth table 100
    tuning_seeds: int | None = None  # in each split: 2, for a truth table 20
    baseline: str | None = None  # that differences are from: relu, else the first
    recipe: Recipe = field(default_factory=Recipe)
    budget: float | None = None  # seconds, for one network alone
    rate: float = 0.05  # at which equals may be called different
    tolerance: float = 0.01  # so far behind a recommendation may be
    confidence: float = 0.95
    mixtures: bool = False  # search mixtures too, as many as there are activations
    null_pair: bool = False  # run the baseline once more under other seeds
    references: bool = False  # scikit-learn's gradient boosting and forest
    timing: bool = True
    seed: int = 0  # of everything random


class Arm(NamedTuple):
    """An activation with the recipe of its task."""

    activation: Any  # lists and mappings as tuples
    kind: str  # activation, mixture, custom or reference
    recipe: Recipe  # resolved


class Comparison(NamedTuple):
    """What was run on one task, and what it left; `judge` makes an answer of it."""

    splits: Splits
    settings: Settings  # checked
    arms: dict[str, Arm]  # identity among them
    tuning: Table
    verdict: Table
    chosen: dict[str, np.ndarray]  # (splits,) learning rates of each arm
    again: Table | None  # trials of the verdict in which the baseline ran once more
    step_seconds: dict[str, np.ndarray] | None  # (rounds,) of each arm, ascending
    references: dict[str, np.ndarray]  # (splits, tested) row values
    candidates: int  # mixtures that were tried


def checked(settings: Settings) -> Settings:
    """The settings with activations read and named once; identity is a reference, in every comparison.

    Raises ValueError for what cannot be compared.

    >>> checked(Settings(activations=("relu", "0.5 relu + 0.5 tanh"))).baseline
    'relu'
    """
    activations = tuple(frozen(read(one)) for one in settings.activations)
    names = distinct(map(thawed, activations))
    _try_functions(activations)
    if not names:
        raise ValueError("no activation; expected at least one, as in activations=['relu', 'tanh']")
    for name, least in {"seeds": 1, "tuning_seeds": 1, "repeats": 1}.items():
        value = getattr(settings, name)
        if value is not None and value < least:
            raise ValueError(f"{name}={value}; expected at least {least}")
    if not settings.learning_rates:
        raise ValueError("no learning rate; expected at least one, as in learning_rates=[0.01]")
    recipe = settings.recipe
    if recipe.target is not None and not 0 <= recipe.target <= 1:
        raise ValueError(f"target={recipe.target}; expected a share between 0 and 1, as 0.97")
    if settings.budget is not None and not settings.budget > 0:
        raise ValueError(f"budget={settings.budget}; expected seconds above 0")
    if settings.budget is not None and not settings.timing:
        raise ValueError("a budget needs the time of a step; leave timing on")
    for name in ("rate", "confidence"):
        if not 0 < getattr(settings, name) < 1:
            usual = getattr(Settings, name)
            raise ValueError(f"{name}={getattr(settings, name)}; expected a probability between 0 and 1, as {usual}")
    if not 0 <= settings.tolerance < 1:
        raise ValueError(f"tolerance={settings.tolerance}; expected a share from 0 to below 1: 0.01 is one point")
    metric = metrics.get(recipe.metric or "accuracy")
    if metric.name not in JUDGED:
        raise ValueError(f"the metric {metric.name!r} does not judge; expected {', '.join(JUDGED)}")
    baseline = settings.baseline and spelled(read(settings.baseline))
    if baseline is not None and baseline not in names:
        raise ValueError(f"the baseline {baseline!r} is not among the activations {', '.join(names)}")
    return replace(settings, activations=activations, baseline=baseline or ("relu" if "relu" in names else names[0]))


def _try_functions(activations) -> None:
    """Functions of the user's own, alone or in mixtures and sequences, before anything is trained."""
    for one in activations:
        if is_shares(one):
            _try_functions([part for part, _ in one])
        elif isinstance(one, tuple):
            _try_functions(one)
        elif not isinstance(one, str | Activation):
            x = jax.ShapeDtypeStruct((2, 3), np.float32)
            found = own(f"the activation {spelled(one)}", jax.eval_shape, one, x)
            if getattr(found, "shape", None) != x.shape:
                raise ValueError(
                    f"the activation {spelled(one)} makes {getattr(found, 'shape', type(found).__name__)} of an array "
                    f"of shape {x.shape}; expected the same shape, as of jax.numpy.tanh"
                )


# Best at 1, worst at 0, and moved smoothly by the weight of each row.
JUDGED = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc")


def run(
    splits: Splits,
    settings: Settings,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    programs: dict | None = None,
) -> Comparison:
    """Run the three phases of a comparison on one task.

    Args:
      splits: the rows of the task.
      settings: from `checked`.
      folder: keeps finished blocks, so that the same call goes on where it was interrupted.
      progress: tells how far it is.
      programs: as in `sweep`, for comparisons of other deals of the same rows.

    Returns:
      A `Comparison`.

    Raises:
      ValueError: a class that some parts lack for a metric that needs it; what cannot be trained.
    """
    _check_classes(splits, settings)
    progress = progress or Progress(0, "networks")
    seeds = _Seeds(splits, settings)
    arms = _arms(splits, settings)
    expected = len(arms) * seeds.tuning * len(settings.learning_rates) + len(arms) * seeds.verdict
    progress.total += expected * len(splits)
    # Both phases cut their trials alike, so that one program serves both.
    per_split = max(seeds.tuning * len(settings.learning_rates), seeds.verdict)
    train = partial(
        sweep, tasks={splits.task.name: splits}, seed=settings.seed, folder=folder, progress=progress,
        programs={} if programs is None else programs, block=per_split * len(splits),
    )  # fmt: skip

    def tune(arms):
        return Plan(tuple(_group(splits, arm, seeds.of_tuning(settings.learning_rates)) for arm in arms.values()))

    tuning, mixed = train(tune(arms)), {}
    if settings.mixtures:
        mixed = _mixtures(tuning, splits, arms, settings)
        if mixed:
            progress.total += tune(mixed).size
            tuning = tuning.join(train(tune(mixed)))
            best = _ranked(tuning, splits, mixed, settings)[0]
            arms |= {best: mixed[best]}
            progress.total += seeds.verdict * len(splits)
    chosen = {name: choose(tuning.where(activation=name), splits, settings) for name in arms}
    groups = [_group(splits, arm, seeds.of_verdict(chosen[name])) for name, arm in arms.items()]
    if settings.null_pair:
        baseline = settings.baseline
        groups.append(_group(splits, arms[baseline], seeds.of_verdict(chosen[baseline], again=True)))
        progress.total += groups[-1].size
    verdict = train(Plan(tuple(groups)))
    real = sum(group.size for group in groups[: len(arms)])
    return Comparison(
        splits, settings, arms, tuning, verdict.take(np.arange(real)), chosen,
        verdict.take(np.arange(real, verdict.size)) if settings.null_pair else None,
        _step_seconds(splits, arms, chosen, settings, folder, progress) if settings.timing else None,
        _references(splits, settings, folder, progress), len(mixed),
    )  # fmt: skip


class _Seeds:
    """Which seeds train what: none twice, so that seeds differ from split to split as well."""

    def __init__(self, splits, settings):
        truth_table = splits.task.truth_table
        self.splits = len(splits)
        self.tuning = settings.tuning_seeds or (20 if truth_table else 2)
        self.verdict = settings.seeds or (100 if truth_table else 3)

    def of_tuning(self, rates):
        split, rate, seed = np.meshgrid(np.arange(self.splits), rates, np.arange(self.tuning), indexing="ij")
        return {"split": split.ravel(), "learning_rate": rate.ravel(), "seed": (split * self.tuning + seed).ravel()}

    def of_verdict(self, chosen, again=False):
        split, seed = np.meshgrid(np.arange(self.splits), np.arange(self.verdict), indexing="ij")
        first = self.splits * (self.tuning + again * self.verdict)
        return {
            "split": split.ravel(),
            "learning_rate": np.repeat(chosen, self.verdict),
            "seed": (first + split * self.verdict + seed).ravel(),
        }


def _group(splits, arm, columns) -> Group:
    return Group(splits.task.name, arm.activation, arm.recipe, columns)


def task_recipe(settings: Settings, splits: Splits) -> Recipe:
    """The recipe for a task; a truth table is judged by whether it is solved, whatever else is asked of others."""
    recipe = settings.recipe
    if splits.task.truth_table:
        recipe = replace(recipe, metric=None, target=None)
    return resolved(recipe, splits)


def _arms(splits, settings) -> dict[str, Arm]:
    recipe = task_recipe(settings, splits)
    arms = {spelled(thawed(one)): Arm(one, _kind(one), recipe) for one in settings.activations}
    return {IDENTITY: Arm(IDENTITY, "reference", recipe)} | arms


def _kind(activation) -> str:
    if isinstance(activation, tuple):
        return "mixture"
    return "activation" if get_activation(activation).formula else "custom"


def _check_classes(splits, settings) -> None:
    task = splits.task
    metric = settings.recipe.metric or "accuracy"
    if task.truth_table or metric == "accuracy":
        return
    y = [task.y[rows] for rows in (*splits.train, *splits.validation)]
    y += [(task.test[1] if task.test else task.y)[rows] for rows in splits.test]
    lacking = [label for label in range(task.classes) if any(label not in part for part in y)]
    if lacking:
        rows = int(np.sum(task.y == lacking[0]))
        raise ValueError(
            f"{metric} needs rows of every class in every part of every split, and class "
            f"{task.class_names[lacking[0]]!r} has {rows} of {task.rows}; expected 5 or more of each: "
            "take more rows of it, leave it out, or take the metric accuracy"
        )


def tuning_means(tuning: Table, splits: Splits, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """What tuning goes by, in every split and at every learning rate: the mean best metric on the validation rows.

    NaN where a run diverged, so that such a rate is not chosen. Of a truth table it is the share of solved runs.

    Args: tuning, the trials of one activation.

    Returns:
      Means (splits, rates), and what decides between equals, less is better: the mean loss on the validation rows, of a
      truth table the mean step at which it was solved.
    """
    shape = (len(splits), len(settings.learning_rates), -1)
    table = splits.task.truth_table
    values = tuning["reached"] if table else tuning["best_validation_metric"]
    others = tuning["target_step"] if table else tuning["validation_loss"]
    values = np.where(tuning["diverged"], np.nan, values)
    return tuple(column.reshape(shape).mean(2, dtype=np.float64) for column in (values, others))


def choose(tuning: Table, splits: Splits, settings: Settings) -> np.ndarray:
    """The learning rate with the best mean, of `tuning_means`, in every split."""
    means, others = tuning_means(tuning, splits, settings)
    return np.array([settings.learning_rates[first_best(m, o)] for m, o in zip(means, others, strict=True)])


def first_best(means: np.ndarray, others: np.ndarray) -> int:
    """The place of the largest mean, of equal ones that with the least of `others`; NaN is worst.

    Means of float32 numbers are compared to 6 digits, which is what they have: equals up to rounding are equal.

    >>> first_best(np.array([0.8, 0.8 + 1e-9, np.nan]), np.array([2.0, 3.0, 0.0]))
    0
    """
    means = np.nan_to_num(np.round(means, 6), nan=-np.inf)
    return int(np.lexsort((np.nan_to_num(np.round(others, 6), nan=np.inf), -means))[0])


def _ranked(tuning, splits, arms, settings) -> list[str]:
    """The arms' names, the one that tuned best first."""

    def best(name):
        means, _ = tuning_means(tuning.where(activation=name), splits, settings)
        return np.nan_to_num(means, nan=-np.inf).max(1).mean()

    return sorted(arms, key=best, reverse=True)


def _mixtures(tuning, splits, arms, settings) -> dict[str, Arm]:
    """As many mixtures as activations: pairs of those that tuned best, half and half in a layer or one layer each."""
    plain = {name: arm for name, arm in arms.items() if arm.kind in ("activation", "custom")}
    ranked = [plain[name] for name in _ranked(tuning, splits, plain, settings)]
    found = {}
    for i, j in sorted(itertools.combinations(range(len(ranked)), 2), key=sum):
        pair, layers = (ranked[i].activation, ranked[j].activation), len(ranked[i].recipe.hidden)
        mixed = [tuple((activation, 0.5) for activation in pair)]
        if layers > 1:
            mixed += [tuple(order[layer % 2] for layer in range(layers)) for order in (pair, pair[::-1])]
        found |= {spelled(thawed(one)): Arm(one, "mixture", ranked[i].recipe) for one in mixed}
    new = [(name, arm) for name, arm in found.items() if name not in arms and _fits(arm, splits)]
    return dict(new[: len(plain)])


def _fits(arm, splits) -> bool:
    """Do the shares of the layers divide?"""
    try:
        build(thawed(arm.activation), arm.recipe, splits.task)
    except ValueError:
        return False
    return True


def _step_seconds(splits, arms, chosen, settings, folder, progress) -> dict[str, np.ndarray]:
    """Seconds for one step of every arm; found again in the folder if they were timed on this machine."""

    def path():
        place = (tuple(arms.items()), splits.digest, settings.seed, versions(), machine())
        return Path(folder) / "alone" / f"{store.digest(*place)}.npz"

    found = None if folder is None else store.load(path(), versions())
    if found is None:
        progress.say(f"timing a step on {splits.task.name}")
        networks = {
            name: (build(thawed(arm.activation), arm.recipe, splits.task), arm.recipe, float(np.median(chosen[name])))
            for name, arm in arms.items()
        }
        root = jax.random.key(settings.seed)
        order = row_order_of(root, splits.train_rows, next(iter(arms.values())).recipe)
        found = timing.step_seconds(networks, splits.parts(0), order, root)
        if folder is not None:
            store.save(path(), found, versions())
    return {name: found[name] for name in arms}


def _references(splits, settings, folder, progress) -> Mapping[str, np.ndarray]:
    if not settings.references or splits.task.truth_table:
        return {}
    from sklearn import __version__

    metric = metrics.get(settings.recipe.metric or "accuracy")
    path = folder and Path(folder) / "references" / f"{store.digest(splits.digest, metric.name, __version__)}.npz"
    found = store.load(path, versions()) if path else None
    if found is None:
        found = references.judged(splits, metric, progress)
        if path:
            store.save(path, found, versions())
    return found
