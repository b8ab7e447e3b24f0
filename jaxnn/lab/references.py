"""Other kinds of models on the same rows: scikit-learn's, tuned and judged in the same splits."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxnn.lab.folds import Splits
from jaxnn.metrics import Metric, row_values


class Model(NamedTuple):
    """A kind of model and the settings that are tried."""

    about: str
    make: Callable  # (seed, **settings) -> a classifier of scikit-learn
    settings: tuple[dict, ...]


def _boosting(seed, **settings):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, early_stopping=False, max_iter=100, **settings)


def _forest(seed, **settings):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(200, random_state=seed, **settings)


MODELS: dict[str, Model] = {
    "gradient boosting": Model(
        "scikit-learn's histogram gradient boosting, 100 rounds, three learning rates tried",
        _boosting,
        tuple({"learning_rate": rate} for rate in (0.03, 0.1, 0.3)),
    ),
    "forest": Model(
        "scikit-learn's random forest of 200 trees, three leaf sizes tried",
        _forest,
        tuple({"min_samples_leaf": leaf} for leaf in (1, 3, 10)),
    ),
}


def judged(splits: Splits, metric: Metric, progress=None) -> dict[str, np.ndarray]:
    """What each model does on the test rows of every split, at the setting that is best on its validation rows.

    Args: splits of a table, not of a truth table; metric; progress, told of every model of every split.

    Returns:
      By name the metric's row values, (splits, tested).
    """
    return {name: np.stack([_judged(model, splits, split, metric, progress, name) for split in range(len(splits))])
            for name, model in MODELS.items()}  # fmt: skip


def _judged(model, splits, split, metric, progress, name):
    parts = splits.parts(split)
    flat = [(np.reshape(x, (len(y), -1)), y) for x, y in parts[:3]]
    (x, y), validation, test = flat

    def probabilities(fitted, rows):
        full = np.zeros((len(rows), splits.task.classes), np.float32)
        full[:, fitted.classes_] = fitted.predict_proba(rows)
        return full

    fitted = [model.make(split, **settings).fit(x, y) for settings in model.settings]
    values = [float(metric.fn(probabilities(one, validation[0]), validation[1])) for one in fitted]
    best = fitted[int(np.argmax(np.round(values, 6)))]
    if progress is not None:
        progress.say(f"{name} on {splits.task.name}, split {split + 1} of {len(splits)}")
    return np.asarray(row_values(metric, probabilities(best, test[0]), test[1]))
