"""Answers: what `jaxnn compare` leaves in a folder, read back, and the readings that figures and words share.

An answer is plain data (`answer.json`), its curves are arrays (`curves.npz`). Null (None) is what is not known or never
happens; here it becomes NaN. A `task` is an entry of the answer's "tasks"; its arms are in order, best first.
"""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from .stats import wilson


def read(folder) -> tuple[dict, dict[str, np.ndarray]]:
    """The answer and its curves (none where the file is missing).

    Raises:
      FileNotFoundError: the folder holds no answer.json.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "answer.json").write_text('{"tasks": []}')
    ...     read(folder)
    ({'tasks': []}, {})
    """
    path = Path(folder) / "answer.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a folder that `jaxnn compare` wrote")
    answer = json.loads(path.read_text(encoding="utf-8"))
    arrays = path.with_name("curves.npz")
    if not arrays.exists():
        return answer, {}
    try:
        with open(arrays, "rb") as file, np.load(file, allow_pickle=False) as curves:
            return answer, dict(curves)
    except (BadZipFile, ValueError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{arrays} is damaged ({error}); run the command of {path} again, which makes it anew"
        ) from None


def numbers(values: Sequence) -> np.ndarray:
    """Numbers of JSON as an array; NaN for null.

    >>> numbers([0.5, None]).tolist()
    [0.5, nan]
    """
    return np.array(values, dtype=float)


def intervals(estimates: Sequence[Mapping | None]) -> np.ndarray:
    """Value, low and high of each estimate, (3, estimates); NaN where an estimate or a part of it is null.

    >>> intervals([{"value": 0.5, "low": 0.4, "high": None}, None]).tolist()
    [[0.5, nan], [0.4, nan], [nan, nan]]
    """
    return numbers([[(e or {}).get(field) for e in estimates] for field in ("value", "low", "high")])


def metric_name(task: Mapping, rows: str = "test") -> str:
    """What the metric of a task is, with its unit.

    >>> metric_name({"metric": "accuracy"}), metric_name({"metric": "solved", "exhaustive": True})
    ('accuracy (share of test rows)', 'solved (share of runs)')
    """
    if task.get("exhaustive"):
        return f"{task['metric']} (share of runs)"
    accuracy = task["metric"] == "accuracy"
    return f"accuracy (share of {rows} rows)" if accuracy else f"{task['metric']} on {rows} rows"


def time_field(task: Mapping) -> str:
    """Which time a task is judged by: to the target where it has one, else to the end of training.

    >>> time_field({"target": 0.97}), time_field({"target": None})
    ('seconds_to_target', 'seconds_to_end')
    """
    return "seconds_to_end" if task.get("target") is None else "seconds_to_target"


def shown(task: Mapping, most: int = 4) -> list[int]:
    """Places of the arms that curves are shown of: all if few, else the first of the best, the baseline and the worst.

    Args:
      task: a task of an answer.
      most: so many of the best set.

    >>> shown({"baseline": "c", "arms": [{"name": name, "in_best": name in "ab"} for name in "abcdefgh"]})
    [0, 1, 2, 7]
    """
    arms = task["arms"]
    if len(arms) <= most + 2:
        return list(range(len(arms)))
    best = [i for i, arm in enumerate(arms) if arm["in_best"]][:most]
    baseline = [i for i, arm in enumerate(arms) if arm["name"] == task["baseline"]]
    return sorted({0, *best, *baseline, len(arms) - 1})


def median_band(runs, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median over the runs and its interval by order statistics; NaN where they are infinite.

    The k-th lowest and the k-th highest run hold the true median between them with probability 1 − 2 P(B < k), B the
    number of heads in as many throws as there are runs. With fewer than six runs they are the extremes.

    Args:
      runs: (runs, times), infinite for a diverged run.

    >>> [part.tolist() for part in median_band([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [float("inf")]])]
    [[4.0], [1.0], [nan]]

    Source: Thompson 1936.
    """
    ordered = np.sort(np.asarray(runs, dtype=float), axis=0)
    n = len(ordered)
    below = np.cumsum([math.comb(n, k) * 0.5**n for k in range(n)])  # P(B <= k)
    k = int(np.sum(below <= (1 - confidence) / 2))
    low, high = ordered[max(k - 1, 0)], ordered[min(n - k, n - 1)]
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return tuple(np.where(np.isinf(part), np.nan, part) for part in (middle, low, high))


def curve(task: Mapping, curves: Mapping, place: int, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One learning curve of the arm at a place with its 95 % band: the median run, or the share of runs that solve it.

    A diverged run has the worst value there is from then on, and solves nothing.

    Args:
      curves: "TASK/PLACE/KIND" (runs, evaluations), NaN after a run diverged.
      kind: "loss", "metric", "validation_loss" or "validation_metric".

    Returns:
      Value, low and high, each (evaluations,); NaN where half of the runs have diverged.

    >>> curves = {"t/0/loss": [[2.0, 1.0], [3.0, 1.0], [4.0, float("nan")]]}
    >>> curve({"task": "t"}, curves, 0, "loss")[0].tolist()
    [3.0, 1.0]
    """
    runs = np.asarray(curves[f"{task['task']}/{place}/{kind}"], dtype=float)
    if kind.endswith("metric") and task.get("exhaustive"):
        return wilson(np.sum(runs >= 1, axis=0), len(runs))[:3]
    if kind.endswith("loss"):
        return median_band(np.where(np.isnan(runs), np.inf, runs))
    value, low, high = median_band(np.where(np.isnan(runs), np.inf, -runs))
    return -value, -high, -low
