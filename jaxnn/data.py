"""Data to classify: Boolean functions, toy sets in the plane, scikit-learn's sets, CSV files; split and scaled.

Everything here runs on the host and returns NumPy arrays, rows first. What is random takes a JAX key, whose bits seed
NumPy's generator: the same key gives the same rows on every device.
"""

import csv
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from .names import nearest


class Dataset(NamedTuple):
    """Rows with their labels."""

    x: np.ndarray  # (rows, features) float32; of a CSV file float64, which `standardize` brings to float32
    y: np.ndarray  # (rows,) int32, in 0 … classes − 1
    classes: int
    name: str
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]

    def take(self, rows) -> "Dataset":
        """The dataset of the given rows only; `rows` indexes the first axis."""
        return self._replace(x=self.x[rows], y=self.y[rows])


class Split(NamedTuple):
    """Three disjoint datasets: to train on, to choose by, and to report."""

    train: Dataset
    validation: Dataset
    test: Dataset


class Source(NamedTuple):
    """Where a named dataset comes from."""

    load: Callable[[jax.Array], Dataset]  # key -> Dataset; the key matters only where the rows are drawn
    about: str
    exhaustive: bool = False  # True where the rows are all there is (a truth table), so that none can be held out


def _dataset(name, x, y, feature_names=(), class_names=("0", "1")) -> Dataset:
    feature_names = tuple(map(str, feature_names)) or tuple(f"x{i}" for i in range(1, x.shape[1] + 1))
    class_names = tuple(map(str, class_names))
    return Dataset(x.astype(np.float32), y.astype(np.int32), len(class_names), name, feature_names, class_names)


def _generator(key: jax.Array) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


# Boolean functions

# A symmetric function of n inputs depends only on k, the number of inputs that are one.
GATES: dict[str, Callable] = {
    "and": lambda k, n: k == n,
    "or": lambda k, n: k > 0,
    "nand": lambda k, n: k < n,
    "nor": lambda k, n: k == 0,
    "xor": lambda k, n: k % 2 == 1,
    "xnor": lambda k, n: k % 2 == 0,
    "parity": lambda k, n: k % 2 == 1,
    "majority": lambda k, n: 2 * k > n,
}


def truth_table(n: int) -> np.ndarray:
    """All inputs of a Boolean function: row i holds the n binary digits of i, the most significant first.

    Returns an int32 array (2ⁿ, n).

    >>> truth_table(2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    if not 1 <= n <= 20:
        raise ValueError(f"truth_table: n={n} inputs; expected 1 to 20 (the table has 2ⁿ rows)")
    return (np.arange(2**n, dtype=np.int32)[:, None] >> np.arange(n, dtype=np.int32)[::-1]) & 1


def boolean_function(number: int, n: int) -> Dataset:
    """The Boolean function of n inputs with the given number: y_i is bit i of it, i the row of `truth_table(n)`.

    Args: number in 0 … 2^(2ⁿ) − 1; n, the number of inputs. Returns a Dataset of 2ⁿ rows.

    >>> boolean_function(6, 2).y.tolist()  # XOR
    [0, 1, 1, 0]
    """
    x = truth_table(n)
    if not 0 <= number < 2 ** len(x):
        raise ValueError(f"boolean_function: number={number}; functions of {n} inputs have numbers 0 to 2^{len(x)} − 1")
    return _dataset(f"boolean-{n}-{number}", x, np.array([number >> row & 1 for row in range(len(x))]))


def gate(name: str, n: int = 2) -> Dataset:
    """A Boolean function of n inputs by name: and, or, nand, nor, xor, xnor, parity (= xor), majority.

    Each depends only on k, the number of ones: AND is k = n, OR k > 0, XOR "k is odd", majority 2k > n, and so on.

    >>> gate("majority", 3).y.tolist()
    [0, 0, 0, 1, 0, 1, 1, 1]
    """
    if name.lower() not in GATES:
        raise ValueError(f"gate: unknown name {name!r}; {nearest(name.lower(), list(GATES))}")
    x = truth_table(n)
    return _dataset(name.lower() if n == 2 else f"{name.lower()}-{n}", x, GATES[name.lower()](x.sum(1), n))


def xor() -> Dataset:
    """The exclusive or of two inputs: four rows that no line separates.

    >>> data = xor()
    >>> data.x.tolist(), data.y.tolist()
    ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    """
    return gate("xor")


# Toy sets; ε is standard normal


def _toy(name, points, y, classes, noise, rng) -> Dataset:
    if not 2 <= classes == len(set(y.tolist())) or not noise >= 0:
        raise ValueError(
            f"{name}: {len(y)} rows, {classes} classes, noise={noise}; expected classes ≥ 2, rows of each, noise ≥ 0"
        )
    x = points + noise * rng.standard_normal(points.shape)
    return _dataset(name, x, y, class_names=range(classes))


def moons(key: jax.Array, rows: int = 500, noise: float = 0.1) -> Dataset:
    """Two interleaved half circles, t from 0 to π: (cos t, sin t) and (1 − cos t, ½ − sin t), plus noise·ε.

    Without noise the points of `sklearn.datasets.make_moons`.

    >>> moons(jax.random.key(0), rows=4, noise=0).x.round(2).tolist()
    [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [2.0, 0.5]]
    """
    outer, inner = (np.linspace(0, np.pi, m) for m in (rows // 2, rows - rows // 2))
    x = np.r_[np.c_[np.cos(outer), np.sin(outer)], np.c_[1 - np.cos(inner), 0.5 - np.sin(inner)]]
    return _toy("moons", x, np.repeat([0, 1], [len(outer), len(inner)]), 2, noise, _generator(key))


def circles(key: jax.Array, rows: int = 500, noise: float = 0.1, factor: float = 0.5) -> Dataset:
    """Two concentric circles, t from 0 to 2π: (cos t, sin t) and factor·(cos t, sin t), plus noise·ε.

    Without noise the points of `sklearn.datasets.make_circles`.

    >>> circles(jax.random.key(0), rows=4, noise=0).x.round(2).tolist()
    [[1.0, 0.0], [-1.0, 0.0], [0.5, 0.0], [-0.5, 0.0]]
    """
    outer, inner = (np.linspace(0, 2 * np.pi, m, endpoint=False) for m in (rows // 2, rows - rows // 2))
    x = np.r_[np.c_[np.cos(outer), np.sin(outer)], factor * np.c_[np.cos(inner), np.sin(inner)]]
    return _toy("circles", x, np.repeat([0, 1], [len(outer), len(inner)]), 2, noise, _generator(key))


def spirals(key: jax.Array, rows: int = 500, noise: float = 0.02, arms: int = 2, turns: float = 1.5) -> Dataset:
    """Archimedean spirals, one class an arm: t·(cos θ, sin θ) + noise·ε, θ = 2π(turns·t + arm/arms), t in (0, 1].

    Neighbouring arms are 1/(turns·arms) apart.

    >>> spirals(jax.random.key(0), rows=4, noise=0, arms=4, turns=0.125).x.round(1)
    array([[ 0.7,  0.7],
           [-0.7,  0.7],
           [-0.7, -0.7],
           [ 0.7, -0.7]], dtype=float32)
    """
    row = np.arange(rows)
    arm, t = row % arms, (row // arms + 1) / math.ceil(rows / arms)
    angle = 2 * np.pi * (turns * t + arm / arms)
    x = t[:, None] * np.c_[np.cos(angle), np.sin(angle)]
    return _toy("spirals" if arms == 2 else f"spirals-{arms}", x, arm, arms, noise, _generator(key))


def blobs(key: jax.Array, rows: int = 500, noise: float = 1.0, classes: int = 3, features: int = 2) -> Dataset:
    """Gaussian blobs: c_y + noise·ε, the centres c uniform in [−10, 10]^features.

    >>> blobs(jax.random.key(0), rows=6).y.tolist()
    [0, 1, 2, 0, 1, 2]
    """
    rng = _generator(key)
    y = np.arange(rows) % classes
    return _toy("blobs", rng.uniform(-10, 10, (classes, features))[y], y, classes, noise, rng)


def noisy_xor(key: jax.Array, rows: int = 500, noise: float = 0.2) -> Dataset:
    """XOR with clouds for corners: b + noise·ε with label b₁ ⊕ b₂, b in turn each corner of the unit square.

    The best classifier compares each coordinate with ½; its accuracy is 1 − 2q(1 − q), q = Φ(−1/(2·noise)): 0.9877.

    >>> noisy_xor(jax.random.key(0), rows=4, noise=0).x.tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    corners = truth_table(2)[np.arange(rows) % 4]
    return _toy("noisy-xor", corners, corners.sum(1) % 2, 2, noise, _generator(key))


# Sets from elsewhere


def sklearn_dataset(name: str) -> Dataset:
    """A classification set that comes with scikit-learn: iris, wine, breast_cancer or digits.

    Raises ImportError without scikit-learn, which the extra `lab` brings.

    >>> sklearn_dataset("iris").class_names
    ('setosa', 'versicolor', 'virginica')
    """
    known = ("iris", "wine", "breast_cancer", "digits")
    if name not in known:
        raise ValueError(f"sklearn_dataset: unknown name {name!r}; {nearest(name, known)}")
    try:
        datasets = import_module("sklearn.datasets")
    except ImportError as error:
        raise ImportError(f"{name} comes with scikit-learn: pip install 'jaxnn[lab]'") from error
    bunch = getattr(datasets, f"load_{name}")()
    return _dataset(name.replace("_", "-"), bunch.data, bunch.target, bunch.feature_names, bunch.target_names)


def load_csv(path: str | Path, label: str) -> Dataset:
    """A table of numbers with a header line, one of whose columns is the label.

    Args: path of the file (UTF-8, comma-separated); label, the name of the label's column. Labels may be any text;
    class_names keeps them, sorted (as numbers where all are numbers). Every other column is a feature.

    Raises ValueError that names the line and column: empty file, no such label column, a repeated column, a row of
    the wrong length, a cell that is no finite number, an empty label, one class only, a column that counts the rows.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pets.csv")
    ...     _ = path.write_text("height,width,kind\\n1,2,cat\\n3,4,dog\\n")
    ...     pets = load_csv(path, label="kind")
    >>> pets.x.tolist(), pets.y.tolist(), pets.class_names
    ([[1.0, 2.0], [3.0, 4.0]], [0, 1], ('cat', 'dog'))
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8, comma-separated") from None
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; expected comma-separated cells") from None
    if len(table) < 2:
        raise ValueError(f"{path}: the file is empty or a header alone; expected a header and rows")
    (_, header), *lines = table
    target = _label_column(path, header, label)
    x = [_numbers(path, header, target, line, row) for line, row in lines]
    labels = [row[target] for _, row in lines]
    for (line, _), name in zip(lines, labels, strict=True):
        if name.lower() in ("", "nan"):
            raise ValueError(f"{path}, line {line}, column {label!r}: the label is {name!r}; fill or drop the row")
    class_names = _sorted_names(set(labels))
    if len(class_names) == 1:
        raise ValueError(f"{path}: every row has the label {label} = {labels[0]!r}; expected two classes or more")
    if len(class_names) > max(20, len(labels) / 2):
        raise ValueError(
            f"{path}: the label {label!r} has {len(class_names)} values in {len(labels)} rows; expected classes with "
            "several rows each: is it a number to predict, or an identifier?"
        )
    number = {name: i for i, name in enumerate(class_names)}
    y = np.array([number[name] for name in labels])
    x, names = np.array(x, np.float64), header[:target] + header[target + 1 :]
    for name, column in zip(names, x.T, strict=True):
        if name.lower() in _ROW_COUNTERS and len(x) > 2 and (np.diff(column) == 1).all():
            raise ValueError(
                f"{path}: the column {name!r} counts the rows, which says nothing of new ones; drop it, or name it for "
                "what it measures"
            )
    # Not in float32 yet: a large offset, as that of a time stamp, would swallow the differences between the rows.
    return _dataset(Path(path).stem, x, y, names, class_names)._replace(x=x)


# What programs call the row number that they write beside a table.
_ROW_COUNTERS = frozenset(("", "unnamed: 0", "index", "id", "row", "rownames"))


def _label_column(path, header, label) -> int:
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise ValueError(f"{path}: the header repeats {sorted(repeated)}; every column needs its own name")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise ValueError(f"{path}: one column, {header[0]!r}; the separator must be a comma")
    if label not in header:
        raise ValueError(f"{path}: no column {label!r} to take the labels from; {nearest(label, header)}")
    if len(header) == 1:
        raise ValueError(f"{path}: the label {label!r} is the only column; expected features beside it")
    return header.index(label)


def _numbers(path, header, target, line, row) -> list[float]:
    if len(row) != len(header):
        raise ValueError(f"{path}, line {line}: {len(row)} cells; the header has {len(header)} columns")
    cells = zip(header, row, strict=True)
    return [_number(path, line, name, cell) for i, (name, cell) in enumerate(cells) if i != target]


def _number(path, line, column, cell) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not abs(number) <= float(np.finfo(np.float32).max):
        raise ValueError(
            f"{path}, line {line}, column {column!r}: {cell!r} is no finite float32 number; "
            "fill or drop the row, and encode text as numbers"
        )
    return number


def _sorted_names(names) -> list[str]:
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)


DATASETS: dict[str, Source] = {
    **{name: Source(lambda key, name=name: gate(name), "truth table", True) for name in list(GATES)[:6]},
    **{f"parity-{n}": Source(lambda key, n=n: gate("parity", n), "truth table", True) for n in range(3, 9)},
    **{f"majority-{n}": Source(lambda key, n=n: gate("majority", n), "truth table", True) for n in (3, 5, 7)},
    "noisy-xor": Source(noisy_xor, "drawn by key"),
    "moons": Source(moons, "drawn by key"),
    "circles": Source(circles, "drawn by key"),
    "spirals": Source(spirals, "drawn by key"),
    "spirals-3": Source(lambda key: spirals(key, arms=3), "drawn by key"),
    "blobs": Source(blobs, "drawn by key"),
    "iris": Source(lambda key: sklearn_dataset("iris"), "scikit-learn (Fisher 1936)"),
    "wine": Source(lambda key: sklearn_dataset("wine"), "scikit-learn (Forina et al. 1988)"),
    "breast-cancer": Source(lambda key: sklearn_dataset("breast_cancer"), "scikit-learn (Street et al. 1993)"),
    "digits": Source(lambda key: sklearn_dataset("digits"), "scikit-learn (Alpaydin & Kaynak 1998)"),
}


def get_dataset(name: str) -> Source:
    """The entry of DATASETS with this name; case does not count, nor `_` for `-`.

    Raises ValueError with the nearest names.

    >>> get_dataset("Breast_Cancer").about
    'scikit-learn (Street et al. 1993)'
    """
    key = name.lower().replace("_", "-")
    if key not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; {nearest(key, list(DATASETS))}")
    return DATASETS[key]


# Split and scale


def split(key: jax.Array, dataset: Dataset, validation: float = 0.2, test: float = 0.2) -> Split:
    """A random stratified split into training, validation and test rows.

    Every part first gets one row of each class that has as many rows as there are parts. The others are cut at the
    shares in the order of their positions: the r-th of the m rows of a class, in random order, has (r + ½)/m. So the
    sizes are exact to rounding, and every part holds each class in proportion.

    Args: key; dataset; validation and test, the shares of the rows held out. Returns a Split.
    Raises ValueError for shares that leave a part empty or the training rows without one of the classes.

    >>> parts = split(jax.random.key(0), sklearn_dataset("iris"))
    >>> [np.bincount(part.y).tolist() for part in parts]
    [[30, 30, 30], [10, 10, 10], [10, 10, 10]]
    """
    rows = len(dataset.y)
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ValueError(f"split: validation={validation}, test={test}; expected shares ≥ 0 with a sum below 1")
    shares = (1 - validation - test, validation, test)
    sizes = np.diff([0, round(shares[0] * rows), round((1 - test) * rows), rows])
    for size, share in zip(sizes, shares, strict=True):
        if share > 0 and size == 0:
            raise ValueError(f"split: a share of {share:.3g} of {rows} rows is none; take more rows or a larger share")
    order = _generator(key).permutation(rows)
    y = dataset.y[order]
    same = y[:, None] == np.arange(dataset.classes)
    rank = np.take_along_axis(same.cumsum(0), y[:, None], 1)[:, 0] - 1
    held, m = np.flatnonzero(sizes), same.sum(0)
    seated = (rank < len(held)) & (m[y] >= len(held))
    if np.any(seated.sum() / len(held) > sizes[held]):
        seated[:] = False  # more classes than rows in a part: in proportion is all that can be had
    position = (rank + 0.5) / m[y]
    others = order[~seated][np.argsort(position[~seated], kind="stable")]
    seats = {part: order[seated & (rank == place)] for place, part in enumerate(held)}
    seats = [seats.get(part, order[:0]) for part in range(3)]
    cuts = np.cumsum(sizes - [len(seat) for seat in seats])[:2]
    parts = [np.concatenate(both) for both in zip(seats, np.split(others, cuts), strict=True)]
    absent = set(dataset.y.tolist()) - set(dataset.y[parts[0]].tolist())
    if absent:
        raise ValueError(
            f"split: no training rows of class {dataset.class_names[min(absent)]!r}; "
            "expected more rows of it or a larger training share"
        )
    return Split(*map(dataset.take, parts))


class Scaling(NamedTuple):
    """x ↦ (x − mean)/scale, column by column."""

    mean: np.ndarray  # (features,) float64
    scale: np.ndarray  # (features,) float64

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Scale rows x (rows, features) to float32."""
        return ((x - self.mean) / self.scale).astype(np.float32)


def fit_scaling(x: np.ndarray) -> Scaling:
    """The standard scaling of rows x (rows, features): columns of mean 0 and variance 1 (1/rows normalization).

    A constant column is only shifted, to 0; so is one whose variance is within what rounding makes of a constant:
    var ≤ n ε var + (n ε mean)², ε that of float64 (Chan, Golub & LeVeque 1983; scikit-learn has the same bound).

    >>> fit_scaling(np.array([[1.0, 5.0], [3.0, 5.0]]))(np.array([[1.0, 5.0], [2.0, 6.0]])).tolist()
    [[-1.0, 0.0], [0.0, 1.0]]
    """
    x = np.asarray(x, np.float64)
    rounding, mean, variance = len(x) * np.finfo(np.float64).eps, x.mean(0), x.var(0)
    constant = variance <= rounding * variance + (rounding * mean) ** 2
    return Scaling(np.where((x == x[0]).all(0), x[0], mean), np.where(constant, 1.0, np.sqrt(variance)))


def standardize(parts: Split) -> Split:
    """All three parts scaled by the mean and the standard deviation of the training rows.

    >>> parts = standardize(split(jax.random.key(0), sklearn_dataset("wine")))
    >>> bool(abs(parts.train.x.mean()) < 1e-6), parts.train.x.std().round(3).item()
    (True, 1.0)
    """
    scaling = fit_scaling(parts.train.x)
    return Split(*(part._replace(x=scaling(part.x)) for part in parts))


def check_data(x: np.ndarray, y: np.ndarray, classes: int) -> None:
    """Raise unless x (rows, features) is finite and y (rows,) holds integers in 0 … classes − 1.

    Raises TypeError for labels that are no integers, and ValueError that names the row and column otherwise.

    >>> check_data(np.array([[0.0, np.nan]]), np.array([0]), classes=2)
    Traceback (most recent call last):
    ValueError: x[0, 1] is nan; expected finite numbers: drop or fill row 0
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.ndim != 1 or len(x) != len(y) or x.size == 0:
        raise ValueError(
            f"x has shape {x.shape} and y {y.shape}; expected (rows, features) and (rows,) with the same rows, none of "
            "them zero: x[None] makes one row a table"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"y has dtype {y.dtype}; expected integer labels 0 to {classes - 1}: y.astype('int32')")
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, column = bad[0]
        raise ValueError(f"x[{row}, {column}] is {x[row, column]}; expected finite numbers: drop or fill row {row}")
    outside = np.flatnonzero((y < 0) | (y >= classes))
    if len(outside):
        row = outside[0]
        raise ValueError(f"y[{row}] is {y[row]}; expected 0 to {classes - 1}, as there are {classes} classes")
