"""A question in, an answer out: `compare`, and the answer with what can be done with it."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import reduce
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.lab import comparison, judge, report, results, wording
from jaxnn.lab.answer import SCHEMA, Question, Record
from jaxnn.lab.comparison import ACTIVATIONS, LEARNING_RATES, Comparison, Settings
from jaxnn.lab.folds import splits
from jaxnn.lab.machine import machine, versions
from jaxnn.lab.model import Model, fitted
from jaxnn.lab.plan import Group, Plan
from jaxnn.lab.progress import Progress
from jaxnn.lab.recipe import Recipe
from jaxnn.lab.spelling import frozen, read, spelled, thawed, written
from jaxnn.lab.sweeps import Table, replay
from jaxnn.lab.tasks import Task
from jaxnn.lab.tasks import tasks as tasks_of
from jaxnn.training import Run


@dataclass(frozen=True)
class Answer(Record):
    """The answer to a question; printed, it is the recommendation and the table, in a notebook a small page."""

    rows: dict[str, Task] = field(compare=False, repr=False, default_factory=dict)
    trials: Table | None = field(compare=False, repr=False, default=None)  # every network that was trained
    settings: Settings | None = field(compare=False, repr=False, default=None)  # where it was asked in this process

    def __str__(self) -> str:
        return wording.text(self)

    def _repr_html_(self) -> str:
        return report.small(self)

    def report(self) -> str:
        """The report, a page of HTML."""
        return report.page(self)

    def save(self, folder: str | Path) -> Path:
        """Write answer.json, report.html, trials.parquet and the rows into a folder; returns the page's path."""
        results.save(folder, self, self.rows, self.trials, self.report())
        return Path(folder) / "report.html"

    def train(self, task: str | None = None, activation: Any = None, *, seed: int = 0) -> Model:
        """The recommended network, trained on all rows.

        Args: task, the only one where None; activation, the recommended one where None; seed of the weights.

        Returns:
          A `Model`: `predict(x)` and `probabilities(x)` of rows as they came, not scaled.

        Raises:
          ValueError: a task or activation that was not compared, or a function that is gone.
        """
        name = self._task(task)
        found = self.tasks[name]
        label = found.recommended if activation is None else spelled(read(activation))
        if label not in (compared := [comparison.IDENTITY, *(choice.name for choice in found.choices)]):
            raise ValueError(f"{label} was not compared on {name}; expected one of {', '.join(compared)}")
        choice = found.choice(label)
        recipe = comparison.task_recipe(self._settings, splits(self.rows[name], repeats=1))
        return fitted(
            self.rows[name], self._activation(choice.name), recipe, choice.tuning.rate, epochs=choice.best_epoch,
            seed=seed,
        )  # fmt: skip

    def replay(self, trial: int) -> Run:
        """Train one network of the table again, alone: its numbers, to rounding and what training makes of it.

        Args: trial, its number in `trials`. Raises ValueError for one that is not there, or a function that is gone.
        """
        if not 0 <= trial < self.trials.size:
            raise ValueError(f"trial {trial}; expected 0 to {self.trials.size - 1}")
        name, label = (str(self.trials[column][trial]) for column in ("task", "activation"))
        settings = self._settings
        rows = splits(self.rows[name], repeats=settings.repeats, seed=settings.seed)
        columns = {one: self.trials[one][[trial]] for one in ("split", "learning_rate", "seed")}
        recipe = comparison.task_recipe(settings, rows)
        plan = Plan((Group(name, frozen(self._activation(label)), recipe, columns),))
        return replay(plan, {name: rows}, 0, seed=settings.seed)

    @property
    def _settings(self) -> Settings:
        return self.settings or _settings(self.question.options)

    def _task(self, name) -> str:
        if name is None and len(self.tasks) == 1:
            return next(iter(self.tasks))
        if name not in self.tasks:
            raise ValueError(f"task {name!r}; expected one of {', '.join(self.tasks)}")
        return name

    def _activation(self, label):
        """What a name in the table stands for."""
        if label == comparison.IDENTITY:
            return label
        for one in map(thawed, self._settings.activations):
            with suppress(ValueError):  # a function that has no place to be imported from may be gone
                if spelled(found := read(one)) == label:
                    return found
        with suppress(ValueError):
            spelled(found := read(label))
            return found
        raise ValueError(f"the function {label!r} cannot be imported from here; train it where it is defined")


def compare(
    tasks: Any,
    *,
    label: str | None = None,
    test: tuple | None = None,
    activations: Sequence = ACTIVATIONS,
    mixtures: bool = False,
    null_pair: bool = False,
    baseline: Any = None,
    references: bool = False,
    target: float | None = None,
    budget: float | str | None = None,
    metric: str = "accuracy",
    tolerance: float = 0.01,
    hidden: int | Sequence[int] | None = None,
    learning_rates: Sequence[float] = LEARNING_RATES,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: str | Callable = "adam",
    head: Any = None,
    init: str = "matched",
    architecture: Callable | str | None = None,
    repeats: int = 2,
    seeds: int | None = None,
    tuning_seeds: int | None = None,
    rate: float = 0.05,
    confidence: float = 0.95,
    timing: bool = True,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Answer:
    """Which activation should I choose? An answer about new rows, with intervals.

    Args:
      tasks: a name of `jaxnn.DATASETS`, a CSV file of numbers, (x, y), a `Task`, or a list or mapping of these.
      label: the column of CSV files that holds the classes.
      test: (x, y), rows to test on; the answer is then about those rows only.
      activations: names, functions, "module:function", mixtures such as {"relu": 0.5, "tanh": 0.5} or "relu, tanh".
      mixtures: search mixtures too, as many as there are activations.
      null_pair: run the baseline once more under other seeds, as a check.
      baseline: that differences are from; relu, else the first.
      references: compare with scikit-learn's gradient boosting and forest as well.
      target: the metric to reach on the validation rows, from 0 to 1; truth tables are to be solved.
      budget: seconds, or text such as "200ms", for one network alone.
      metric: accuracy, balanced_accuracy, macro_f1 or roc_auc; of truth tables always whether they are solved.
      tolerance: so far behind the best a recommendation may be: 0.01 is one point.
      hidden: units of each hidden layer; by the task where None.
      learning_rates: that are tried.
      epochs, batch_size: by the task where None.
      optimizer: of optax, by name or as a factory.
      head: sigmoid for two classes, softmax for more where None.
      init: matched, by each activation's gain, or a name that is the same for all.
      architecture: (activation, task) -> Network, in place of the `mlp` with `hidden` units; also "module:function".
      repeats: so often five folds.
      seeds, tuning_seeds: of the verdict and of tuning in each split; 3 and 2, for truth tables 100 and 20.
      rate: of errors, at which equals may be called different.
      confidence: of the intervals.
      timing: measure what a step costs on this machine.
      seed: of everything random.
      folder: keeps finished blocks, so that the same call goes on where it was interrupted.
      progress: tell on standard error how far it is.

    Returns:
      An `Answer`. Interrupted (Ctrl-C), it holds the tasks that are finished, where there are any.

    Raises:
      ValueError: what cannot be compared, with what was expected instead.
      ImportError: an extra is missing; told before anything is trained.

    >>> answer = compare("iris", activations=["relu", "tanh"], learning_rates=[0.01], repeats=1, progress=False)
    >>> answer.tasks["iris"].recommended in ("relu", "tanh")
    True
    """
    budget = wording.seconds(budget) if isinstance(budget, str) else budget
    asked = {name: value for name, value in locals().items() if name not in ("tasks", "test", "folder", "progress")}
    _check_extras()
    _check_numbers(asked)
    settings = comparison.checked(_settings(asked))
    named = tasks_of(tasks, label=label, test=test, seed=seed)
    told = Progress(0, "networks", sys.stderr if progress else None)
    found, first = {}, 0
    try:
        for name, task in named.items():
            rows = splits(task, repeats=repeats, seed=seed)
            found[name] = comparison.run(rows, settings, folder=folder and Path(folder), progress=told)
    except KeyboardInterrupt:
        if not found:
            kept = f"what is finished is kept in {folder}" if folder else "folder='...' would keep what is finished"
            print(f"\ninterrupted: {kept}, for the same call to go on from", file=sys.stderr)
            raise
        print(f"\ninterrupted: the answer is about {', '.join(found)}", file=sys.stderr)
    finally:
        told.close()
    judged = {}
    for name, one in found.items():
        judged[name] = judge.answer(one, first)
        first += judged[name].networks
    return Answer(
        schema=SCHEMA,
        question=Question(_task_names(tasks, named), _options(asked)),
        tasks=judged,
        rate=rate,
        confidence=confidence,
        tolerance=tolerance,
        matched=init == "matched" and architecture is None,
        versions=versions() | {"python": sys.version.split()[0]},
        machine=machine(),
        rows={name: named[name] for name in found},
        trials=reduce(Table.join, map(_trials, found.values())),
        settings=settings,
    )


def load(folder: str | Path) -> Answer:
    """The answer that a folder holds, equal to the one that was saved.

    Raises FileNotFoundError where there is none, ValueError for one that is damaged or of another version.
    """
    found = results.load(folder)
    record = {one.name: getattr(found.record, one.name) for one in fields(Record)}
    return Answer(**record, rows=found.rows, trials=found.trials)


def _check_extras() -> None:
    missing = [name for name in ("scipy", "statsmodels") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"a comparison needs {' and '.join(missing)}: pip install 'jaxnn[lab]'")


def _check_numbers(options: Mapping[str, Any]) -> None:
    for names, kind, told in (
        (("epochs", "batch_size", "repeats", "seeds", "tuning_seeds", "seed"), Integral, "a whole number"),
        (("target", "budget", "tolerance", "rate", "confidence"), Real, "a number"),
    ):
        for name in names:
            if options[name] is not None and (not isinstance(options[name], kind) or isinstance(options[name], bool)):
                raise ValueError(f"{name}={options[name]!r}; expected {told}")


_RECIPE = {one.name for one in fields(Recipe)}


def _settings(options: Mapping[str, Any]) -> Settings:
    """The settings of options as they are given, or as a question keeps them."""
    options = {name: value for name, value in options.items() if name not in ("label", "tasks")}
    recipe = {name: options.pop(name) for name in list(options) if name in _RECIPE}
    for name in ("hidden", "learning_rates", "activations"):
        place = recipe if name == "hidden" else options
        if place.get(name) is not None:
            value = place[name]
            place[name] = tuple(value) if isinstance(value, list | tuple) else (value,)
    for name in ("architecture", "optimizer", "head"):
        if isinstance(recipe.get(name), str) and ":" in recipe[name]:
            recipe[name] = read(recipe[name])
    if isinstance(recipe.get("architecture"), str):
        raise ValueError(
            f"architecture {recipe['architecture']!r}; expected a function (activation, task) -> Network, or where to "
            "import it from, as 'module:function'"
        )
    return Settings(**options, recipe=Recipe(**recipe))


def _options(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are not their default, in JSON's own types."""
    defaults = {name: p.default for name, p in inspect.signature(compare).parameters.items()}
    told = {}
    for name, value in asked.items():
        default = defaults[name]
        if name == "activations":
            value, default = [written(read(one)) for one in value], list(default)
        elif name in ("learning_rates", "hidden") and value is not None:
            value, default = list(np.ravel(value).tolist()), list(default) if default else default
        elif name == "baseline" and value is not None:
            value = written(read(value))
        elif callable(value) and not isinstance(value, str):
            value = written(value)
        elif hasattr(value, "name"):
            value = value.name
        if value != default:
            told[name] = value
    return told


def _task_names(tasks, named) -> tuple[str, ...]:
    """The tasks as they are written: names and files as they were given, others by their names."""
    given = tasks if isinstance(tasks, list) else [tasks]
    if len(given) != len(named):  # a mapping, or x and y in a list
        return tuple(named)
    return tuple(str(one) if isinstance(one, str | Path) else name for one, name in zip(given, named, strict=True))


def _trials(found: Comparison) -> Table:
    """All trials of a comparison: of tuning, of the verdict, and of the baseline once more."""
    phases = {"tuning": found.tuning, "verdict": found.verdict}
    if found.again is not None:
        phases["again"] = found.again
    numbers = [Table(_numbers(table) | {"phase": np.full(table.size, name)}) for name, table in phases.items()]
    return reduce(Table.join, numbers)


def _numbers(table: Table) -> dict[str, np.ndarray]:
    return {name: column for name, column in table.columns.items() if column.ndim == 1}
