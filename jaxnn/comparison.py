"""Which activation should I choose? Learning rates tuned on some seeds and rows, the verdict on others, time measured.

Three phases on every task. Tuning trains every activation at every learning rate on the tuning seeds, and keeps the
rate with the best mean metric on the validation rows. The verdict trains every activation at its rate on seeds that
tuning never saw; what counts is the metric on the test rows, which nothing has seen. Then one network of each trains
alone, by the same function that replays a trial: that is its measured time. All trials of a task share rows, order of
rows and, seed by seed, raw weights: the comparison is paired.
"""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import data, metrics, store
from jaxnn.data import Dataset, Split
from jaxnn.devices import compile_ahead, machine, versions
from jaxnn.plan import Choices, Group, Plan, Problem, activation_label, frozen
from jaxnn.progress import Progress
from jaxnn.sweep import SweepResult, run_trial, sweep, trial_arguments

ACTIVATIONS = "relu leaky_relu prelu elu selu gelu silu mish tanh sigmoid soft_sign sin".split()
LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
ROUNDS = 7  # of timing


class Settings(NamedTuple):
    """How to compare."""

    activations: tuple = tuple(ACTIVATIONS)  # as for `mlp`: names, callables, mixtures
    learning_rates: tuple[float, ...] = LEARNING_RATES
    tuning_seeds: int | None = None  # 10 where None, 20 for a truth table
    seeds: int | None = None  # of the verdict; 25 where None, 100 for a truth table
    hidden: tuple[int, ...] | None = None  # by the task where None
    init: str = "matched"
    optimizer: Any = "adam"
    head: Any = None
    baseline: str = "relu"
    target: float | None = None
    budget: float | None = None  # seconds, for one network alone
    rate: float = 0.05  # at which equal arms may be called different
    mixtures: bool = False  # search mixtures too, with as many candidates as activations
    null_pair: bool = False  # run the baseline once more under other seeds
    seed: int = 0  # of the root key


class Measured(NamedTuple):
    """What the three phases leave; `verdict` turns it into an answer."""

    tuning: SweepResult
    verdict: SweepResult
    plan: Plan  # of tuning and verdict, in this order; it numbers the trials
    arms: dict[str, dict[str, Choices]]  # task -> arm -> its static choices
    chosen: dict[str, dict[str, float]]  # task -> arm -> learning rate
    alone: dict[tuple[str, str], "Alone"]  # (task, arm) -> one network trained alone


class Alone(NamedTuple):
    """One network of an arm trained alone, here."""

    seconds: np.ndarray  # (ROUNDS,) for one step, ascending; the arms of a task take turns
    region: np.ndarray | None  # classes over the `plane`, of tasks in the plane


def problem(
    dataset: Dataset, exhaustive: bool = False, seed: int = 0, target: float | None = None, **changes
) -> Problem:
    """A task as a comparison takes it: split and scaled, with a number of epochs that fits the number of rows.

    A truth table is trained on all its rows, 2,000 steps, and solved once every row gives its true class a probability
    of 0.6. Other rows are split 60 : 20 : 20 into training, validation and test rows, in batches of 64 (32 below 512
    rows), for about 480 steps (2,000 in the plane, where boundaries may be intricate) and 30 to 300 epochs.

    Args:
      dataset: rows and labels.
      exhaustive: are the rows all there is?
      seed: of the split.
      target: for the metric on the validation rows.
      **changes: other fields of `Problem`.

    >>> problem(data.xor(), exhaustive=True).steps, problem(data.sklearn_dataset("iris")).batch_size
    (2000, 32)
    """
    data.check_data(dataset.x, dataset.y, dataset.classes)
    if exhaustive:
        every = math.gcd(changes.get("epochs", 2000), 10)
        found = {"epochs": 2000, "evaluate_every": every, "metric": "least_probability", "target": 0.6}
        return Problem(Split(dataset, dataset, dataset), **found | changes)
    parts = data.standardize(data.split(jax.random.fold_in(jax.random.key(seed), 2), dataset))
    rows = len(parts.train.y)
    batch = changes.get("batch_size", min(64 if rows >= 512 else 32, rows))
    steps = 2000 if dataset.x.shape[1] == 2 else 480
    epochs = int(np.clip(math.ceil(steps / max(rows // (batch or rows), 1)), 30, 300))
    every = math.ceil(epochs / 20)  # evaluations cost as much as steps: 20 points of a curve
    found = {"epochs": epochs // every * every, "evaluate_every": every, "batch_size": batch, "target": target}
    if "epochs" in changes:
        found["evaluate_every"] = 1
    return Problem(parts, **found | changes)


def default_hidden(task: Problem) -> tuple[int, ...]:
    """Hidden widths for a task: 8 for a truth table, 32 for up to four features, 64 beyond."""
    if task.exhaustive:
        return (8,)
    return (32,) if task.data.train.x.shape[1] <= 4 else (64,)


def measure(
    problems: Mapping[str, Problem],
    settings: Settings,
    *,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Run the three phases of a comparison.

    Args:
      problems: by task name, from `problem`.
      settings: how to compare.
      folder: keeps finished blocks, so that the same call goes on where it was interrupted.
      progress: tells how far it is.

    Returns:
      `Measured`.

    Raises:
      ValueError: no task, no activation, an unknown name, too few seeds, a target outside the metric's range.
    """
    _check(problems, settings)
    progress = progress or Progress(0, "networks")
    progress.total += sum(_expected(settings, problem) for problem in problems.values())
    # One task after the other: the programs of all tasks together may be more than the system can hold.
    found = [_measure(task, problem, settings, folder, progress) for task, problem in problems.items()]
    tuning, verdict, plans, verdict_plans, arms, chosen, alone = zip(*found, strict=True)
    return Measured(
        tuning=reduce(SweepResult.join, tuning),
        verdict=reduce(SweepResult.join, verdict),
        plan=sum((*plans, *verdict_plans), start=Plan(())),
        arms=dict(zip(problems, arms, strict=True)),
        chosen=dict(zip(problems, chosen, strict=True)),
        alone={(task, name): one for task, ones in zip(problems, alone, strict=True) for name, one in ones.items()},
    )


def _measure(task, problem, settings, folder, progress):
    """The three phases on one task."""
    tuning_seeds, verdict_seeds, other_seeds = trial_seeds(settings, problem)
    rates = settings.learning_rates
    # Both phases cut their trials alike, so that one program serves both.
    block = max(len(rates) * len(tuning_seeds), len(verdict_seeds))
    run = partial(
        sweep, problems={task: problem}, seed=settings.seed, folder=folder, block=block, programs={}, progress=progress
    )

    def tune(arms):
        return Plan(tuple(Group(choices, _columns(rates, tuning_seeds)) for choices in arms.values()))

    arms = _arms(settings, task, problem)
    first = tune(arms)
    tuning = run(first)
    if settings.mixtures:
        mixed = _mixtures(tuning, problem, arms, settings)
        if mixed:
            first, tuning = first + tune(mixed), tuning.join(run(tune(mixed)))
        arms |= {name: mixed[name] for name in _ranked(tuning, problem, mixed, settings)[:1]}
    chosen = {name: choose(tuning, problem, choices, rates) for name, choices in arms.items()}
    groups = [Group(choices, _columns([chosen[name]], verdict_seeds)) for name, choices in arms.items()]
    if settings.null_pair:
        groups.append(Group(arms[settings.baseline], _columns([chosen[settings.baseline]], other_seeds)))
    second = Plan(tuple(groups))
    progress.total += first.size + second.size - _expected(settings, problem)
    verdict = run(second)
    alone = _alone(task, problem, arms, chosen, settings, folder, progress)
    return tuning, verdict, first, second, arms, chosen, alone


def _expected(settings, problem) -> int:
    """The trials of a task, before it is known how many mixtures there are."""
    tuning, verdict, _ = map(len, trial_seeds(settings, problem))
    return len(settings.activations) * (len(settings.learning_rates) * tuning * (1 + settings.mixtures) + verdict)


def trial_seeds(settings: Settings, problem: Problem) -> tuple[range, range, range]:
    """Seeds of the tuning, of the verdict, and of the verdict on the second arm of a null pair.

    >>> trial_seeds(Settings(seeds=5), problem(data.sklearn_dataset("iris")))
    (range(0, 10), range(10, 15), range(15, 20))
    """
    tuning = settings.tuning_seeds or (20 if problem.exhaustive else 10)
    seeds = settings.seeds or (100 if problem.exhaustive else 25)
    return range(tuning), range(tuning, tuning + seeds), range(tuning + seeds, tuning + 2 * seeds)


def tuning_means(tuning: SweepResult, problem: Problem, choices: Choices, learning_rates: Sequence[float]):
    """What tuning goes by, at every learning rate: the mean best metric on the validation rows.

    NaN where a run diverged, so that such a rate is not chosen. Of a truth table it is the share of solved runs.

    Args: tuning, the sweep; problem and choices, the task and the arm; learning_rates, (rates,).

    Returns:
      Means (rates,), and what decides between equals, less is better: the mean loss on the validation rows, of a truth
      table the mean step at which it was solved.
    """
    table = tuning.where(task=choices.task, activation=choices.label("activation")).table
    values = table["reached"] if problem.exhaustive else table["best_validation_metric"]
    values = np.where(table["diverged"], np.nan, values)
    others = table["target_step"] if problem.exhaustive else table["validation_loss"]
    rates = [table["learning_rate"] == rate for rate in learning_rates]
    return tuple(np.array([column[rows].mean(dtype=np.float64) for rows in rates]) for column in (values, others))


def choose(tuning: SweepResult, problem: Problem, choices: Choices, learning_rates: Sequence[float]) -> float:
    """The learning rate with the best mean, of `tuning_means`."""
    means, others = tuning_means(tuning, problem, choices, learning_rates)
    return learning_rates[np.lexsort((rounded(others), -np.nan_to_num(rounded(means), nan=-np.inf)))[0]]


def rounded(means: np.ndarray) -> np.ndarray:
    """Means of float32 numbers to 6 digits, which is what they have: equals up to rounding become equal.

    >>> a, b = np.float32([0.7, 0.9]).mean(dtype=float), np.float32([0.8, 0.8]).mean(dtype=float)
    >>> bool(a == b), bool(rounded(a) == rounded(b))
    (False, True)
    """
    return np.round(means, 6)


def _columns(learning_rates, seeds) -> dict[str, np.ndarray]:
    rates, seeds = np.meshgrid(np.asarray(learning_rates, float), np.asarray(seeds), indexing="ij")
    return {"learning_rate": rates.ravel(), "seed": seeds.ravel()}


def _arms(settings, task, problem) -> dict[str, Choices]:
    fields = {"init": settings.init, "optimizer": settings.optimizer, "head": settings.head}
    hidden = settings.hidden or default_hidden(problem)
    return {
        activation_label(a): Choices(task=task, activation=frozen(a), hidden=hidden, **fields)
        for a in settings.activations
    }


def _mixtures(tuning, problem, arms, settings) -> dict[str, Choices]:
    """As many mixtures as activations: pairs of those that tuned best, half and half in a layer or one layer each."""
    plain = {name: choices for name, choices in arms.items() if not isinstance(choices.activation, tuple)}
    ranked = [plain[name] for name in _ranked(tuning, problem, plain, settings)]
    pairs = sorted(itertools.combinations(range(len(ranked)), 2), key=sum)
    found = {}
    for i, j in pairs:
        pair, layers = (ranked[i].activation, ranked[j].activation), len(ranked[i].hidden)
        mixed = [tuple((activation, 0.5) for activation in pair)]
        if layers > 1:
            mixed += [tuple(order[layer % 2] for layer in range(layers)) for order in (pair, pair[::-1])]
        found |= {activation_label(a): ranked[i]._replace(activation=a) for a in mixed}
    new = [(name, choices) for name, choices in found.items() if name not in arms and _fits(choices, problem)]
    return dict(new[: len(arms)])


def _ranked(tuning, problem, arms, settings) -> list[str]:
    """The arms' names, the one that tuned best first."""

    def best(name):
        means, _ = tuning_means(tuning, problem, arms[name], settings.learning_rates)
        return np.nan_to_num(means, nan=-np.inf).max()

    return sorted(arms, key=best, reverse=True)


def _fits(choices, problem) -> bool:
    """Do the shares of the layers divide?"""
    try:
        choices.build(problem)
    except ValueError:
        return False
    return True


def _alone(task, problem, arms, chosen, settings, folder, progress) -> dict[str, Alone]:
    """One network of every arm trained alone, in turns; found again in the folder if it was timed on this machine."""
    root, seed = jax.random.key(settings.seed), trial_seeds(settings, problem)[1][0]

    def arguments(name):
        return trial_arguments(arms[name], problem, {"learning_rate": chosen[name], "seed": seed}, root)

    def path(name):
        rows = [(part.x, part.y) for part in problem.data]
        place = (arms[name], chosen[name], seed, settings.seed, rows, problem[1:], tuple(arms), versions(), machine())
        return Path(folder) / "alone" / f"{store.digest(*place)}.npz"

    found = {name: None if folder is None else store.load(path(name), versions()) for name in arms}
    if None in found.values():  # all take turns, or none does
        progress.say(f"compiling what is timed alone on {task}")
        compiled = compile_ahead(
            arms, lambda name: jax.jit(partial(run_trial, arms[name], problem)).lower(*arguments(name)).compile()
        )
        with closing(compiled):
            programs = {name: partial(program, *arguments(name)) for name, program in compiled}
        rounds = [[_timed(program) for program in programs.values()] for _ in range(ROUNDS + 1)]
        seconds = np.sort(np.array(rounds[1:]), axis=0) / problem.steps  # the first is for warming up
        for name, times in zip(programs, seconds.T, strict=True):
            found[name] = {"seconds": times}
            if problem.data.train.x.shape[1] == 2:
                found[name]["region"] = _region(arms[name], problem, programs[name]().best_params)
            if folder is not None:
                store.save(path(name), found[name], versions())
    return {name: Alone(arrays["seconds"], arrays.get("region")) for name, arrays in found.items()}


def _timed(program) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(program())
    return time.perf_counter() - begin


def plane(problem: Problem, points: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """The axes of a grid over all rows of a task in the plane, a tenth wider than they are."""
    x = np.concatenate([part.x for part in problem.data])
    low, high = x.min(0), x.max(0)
    edge = 0.1 * (high - low)
    return tuple(np.linspace(a, b, points, dtype=np.float32) for a, b in zip(low - edge, high + edge, strict=True))


def _region(choices, problem, params) -> np.ndarray:
    """The predicted class of every point of the plane, (rows, columns)."""
    network, head = choices.build(problem)
    grid = np.stack(np.meshgrid(*plane(problem)), axis=-1)
    return np.asarray(jnp.argmax(head.probabilities(network.apply(params, grid)), axis=-1), np.int8)


def _check(problems, settings):
    if not problems or not settings.activations:
        raise ValueError("nothing to compare: expected at least one task and one activation")
    for name, least in {"seeds": 2, "tuning_seeds": 1}.items():
        value = getattr(settings, name)
        if value is not None and value < least:
            raise ValueError(f"{name}={value}; expected at least {least}")
    if settings.target is not None and not 0 <= settings.target <= 1:
        raise ValueError(f"target={settings.target}; expected a share between 0 and 1, as 0.97")
    if settings.budget is not None and not settings.budget > 0:
        raise ValueError(f"budget={settings.budget}; expected seconds above 0")
    if not 0 < settings.rate < 1:
        raise ValueError(f"rate={settings.rate}; expected an error rate between 0 and 1, as 0.05")
    for task in problems.values():
        metric = metrics.get(task.metric)
        if not metric.greater_is_better or metric.range != (0, 1):
            fit = [m.name for m in metrics.METRICS.values() if m.greater_is_better and m.range == (0, 1)]
            raise ValueError(f"the metric {metric.name} is not best at 1 and worst at 0; expected {', '.join(fit)}")
    labels = [activation_label(a) for a in settings.activations]
    if len(set(labels)) < len(labels):
        raise ValueError(f"activations {labels}; expected each name once")
    if settings.baseline not in labels:
        raise ValueError(f"the baseline {settings.baseline!r} is not among the activations {', '.join(labels)}")
