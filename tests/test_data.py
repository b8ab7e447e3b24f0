"""The data against scikit-learn, closed forms and counting; every complaint about bad data names the place."""

import operator
from functools import reduce

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

from jaxnn import data

KEY = jax.random.key(0)

TRUTH = {
    "and": all,
    "or": any,
    "nand": lambda bits: not all(bits),
    "nor": lambda bits: not any(bits),
    "xor": lambda bits: reduce(operator.xor, bits),
    "xnor": lambda bits: not reduce(operator.xor, bits),
    "parity": lambda bits: sum(bits) % 2,
    "majority": lambda bits: sorted(bits)[(len(bits) - 1) // 2],
}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", data.GATES)
def test_gates_by_name(name, n):
    gate = data.gate(name.upper(), n)
    assert gate.y.tolist() == [int(TRUTH[name](bits)) for bits in gate.x.astype(int).tolist()]
    data.check_data(gate.x, gate.y, gate.classes)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_numbers_run_through_all_functions(n):
    table = data.truth_table(n)
    assert [int("".join(map(str, row)), 2) for row in table.tolist()] == list(range(2**n))
    functions = [data.boolean_function(number, n).y for number in range(2**2**n)]
    assert len({tuple(y.tolist()) for y in functions}) == 2**2**n
    assert [sum(bit << row for row, bit in enumerate(y.tolist())) for y in functions] == list(range(len(functions)))


@pytest.mark.parametrize("rows", [7, 100])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (data.moons, datasets.make_moons),
        (data.circles, lambda rows, **options: datasets.make_circles(rows, factor=0.5, **options)),
    ],
)
def test_toy_sets_without_noise_are_those_of_scikit_learn(ours, theirs, rows):
    x, y = theirs(rows, shuffle=False)
    found = ours(KEY, rows, noise=0)
    np.testing.assert_allclose(found.x, x, atol=1e-6)
    np.testing.assert_array_equal(found.y, y)


@pytest.mark.parametrize("draw", [data.moons, data.circles, data.spirals, data.noisy_xor])
def test_noise_has_its_standard_deviation(draw):
    noise = draw(KEY, 20_000, noise=0.3).x - draw(KEY, 20_000, noise=0).x
    np.testing.assert_allclose(noise.std(0), 0.3, rtol=0.03)
    np.testing.assert_allclose(noise.mean(0), 0, atol=0.01)


@pytest.mark.parametrize("arms", [2, 3, 7])
def test_spirals_turn_into_each_other(arms):
    """The next arm is this one turned by 1/arms of a circle, and radius and angle grow together."""
    spirals = data.spirals(KEY, 60 * arms, noise=0, arms=arms, turns=1)
    z = spirals.x.astype(np.float64) @ [1, 1j]
    for arm in range(1, arms):
        turned = z[spirals.y == 0] * np.exp(2j * np.pi * arm / arms)
        np.testing.assert_allclose(z[spirals.y == arm], turned, atol=1e-6)
    first = z[spirals.y == 0]
    np.testing.assert_allclose(np.unwrap(np.angle(first[:-1])), 2 * np.pi * abs(first[:-1]), atol=1e-5)


def test_blobs_are_gaussian_around_their_centres():
    blobs = data.blobs(KEY, 30_000, noise=2.0, classes=3, features=4)
    for c in range(3):
        points = blobs.x[blobs.y == c]
        np.testing.assert_allclose(np.cov(points.T), 4 * np.eye(4), atol=0.2)
        assert (abs(points.mean(0)) < 10.1).all()


def test_the_best_accuracy_on_noisy_xor():
    cloud = data.noisy_xor(KEY, 200_000)
    guess = (cloud.x > 0.5).sum(1) % 2
    q = norm.cdf(-1 / 0.4)
    best = 1 - 2 * q * (1 - q)
    assert round(best, 4) == 0.9877
    np.testing.assert_allclose((guess == cloud.y).mean(), best, atol=0.001)


@pytest.mark.parametrize("name", data.DATASETS)
def test_every_task_loads_is_valid_and_follows_its_key(name):
    task = data.get_dataset(name)
    first, again, other = (task.load(jax.random.key(seed)) for seed in (0, 0, 1))
    data.check_data(first.x, first.y, first.classes)
    assert (first.x.dtype, first.y.dtype) == (np.float32, np.int32)
    assert first.name == name
    assert (len(first.feature_names), len(first.class_names)) == (first.x.shape[1], first.classes)
    assert set(first.y.tolist()) == set(range(first.classes))
    np.testing.assert_array_equal(first.x, again.x)
    assert np.array_equal(first.x, other.x) is (task.about != "drawn by key")
    assert task.exhaustive is (task.about == "truth table")


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_sets_of_scikit_learn(name):
    bunch = getattr(datasets, f"load_{name}")()
    ours = data.sklearn_dataset(name)
    np.testing.assert_array_equal(ours.x, bunch.data.astype(np.float32))
    np.testing.assert_array_equal(ours.y, bunch.target)
    assert ours.class_names == tuple(map(str, bunch.target_names))


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(data, "import_module", absent)
    with pytest.raises(ImportError, match=r"pip install 'jaxnn\[lab\]'"):
        data.sklearn_dataset("iris")


labels = st.lists(st.integers(0, 3), min_size=12, max_size=60).filter(lambda y: min(np.bincount(y, minlength=4)) > 1)


@settings(max_examples=50, deadline=None)
@given(labels, st.integers(0, 100), st.sampled_from([(0.2, 0.2), (0.25, 0.0), (0.1, 0.3)]))
def test_split_is_a_stratified_partition(y, seed, shares):
    rows = len(y)
    whole = data.Dataset(np.arange(rows)[:, None], np.array(y), 4, "rows", ("row",), tuple("abcd"))
    parts = data.split(jax.random.key(seed), whole, *shares)
    assert sorted(np.concatenate([part.x[:, 0] for part in parts]).tolist()) == list(range(rows))
    cuts = np.round(np.cumsum([1 - sum(shares), *shares]) * rows)
    assert np.cumsum([len(part.y) for part in parts]).tolist() == cuts.tolist()
    for part in parts:
        np.testing.assert_array_equal(part.y, np.array(y)[part.x[:, 0]])
        expected = len(part.y) / rows * np.bincount(y, minlength=4)
        assert (abs(np.bincount(part.y, minlength=4) - expected) <= 4).all()
    if min(len(part.y) for part in parts if len(part.y)) >= 4:
        many = np.bincount(y, minlength=4) >= 3
        assert all((np.bincount(part.y, minlength=4) > 0)[many].all() for part in parts if len(part.y))


@pytest.mark.parametrize("rare", [3, 4, 5])
def test_three_rows_of_a_class_reach_every_part(rare):
    """Whatever the key: by positions alone a part of a fifth would miss three rows as often as not."""
    y = (np.arange(120) < rare).astype(np.int32)
    rows = data.Dataset(np.zeros((120, 1), np.float32), y, 2, "rare", ("x",), ("no", "yes"))
    for seed in range(20):
        assert all(part.y.any() for part in data.split(jax.random.key(seed), rows))


def test_split_follows_its_key_and_balances_digits():
    digits = data.sklearn_dataset("digits")
    first, again, other = (data.split(jax.random.key(seed), digits) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.train.x, again.train.x)
    assert not np.array_equal(first.train.x, other.train.x)
    shares = np.array([np.bincount(part.y) / len(part.y) for part in first])
    assert abs(shares - shares.mean(0)).max() < 0.005


def test_scaling_against_scikit_learn_and_fitted_on_training_rows_only():
    parts = data.split(KEY, data.sklearn_dataset("digits"))
    scaler = StandardScaler().fit(parts.train.x.astype(np.float64))
    scaled = data.standardize(parts)
    for part, raw in zip(scaled, parts, strict=True):
        np.testing.assert_allclose(part.x, scaler.transform(raw.x), rtol=1e-5, atol=1e-5)
    spoiled = parts._replace(test=parts.test._replace(x=parts.test.x + 1e6))
    np.testing.assert_array_equal(data.standardize(spoiled).train.x, scaled.train.x)


def test_constant_columns_become_zero():
    x = np.full((1000, 1), 0.1, np.float32)
    assert not data.fit_scaling(x)(x).any()


# CSV


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "table.csv"

    def write(text):
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_csv_keeps_names_and_order(csv):
    pets = data.load_csv(csv('\ufeffheight, "width, cm" ,kind,age\n1,2.5,dog,3\n\n-4e1,5,"cat",6\n7,8,dog,9\n'), "kind")
    np.testing.assert_array_equal(pets.x, np.float32([[1, 2.5, 3], [-40, 5, 6], [7, 8, 9]]))
    assert pets.y.tolist() == [1, 0, 1]
    assert pets[2:] == (2, "table", ("height", "width, cm", "age"), ("cat", "dog"))
    assert (pets.x.dtype, pets.y.dtype) == (np.float64, np.int32)


def test_csv_sorts_numeric_labels_as_numbers(csv):
    table = data.load_csv(csv("x,y\n1,10\n2,9\n3,-1\n"), "y")
    assert (table.class_names, table.y.tolist()) == (("-1", "9", "10"), [2, 1, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("a,kind\n", "a header alone"),
        ("a,kinds\n1,2\n", "no column 'kind'.*did you mean 'kinds'"),
        ("a;b\n1;2\n", "one column, 'a;b'; the separator must be a comma"),
        ("a,kind\n" + "".join(f"1,{i}.5\n" for i in range(60)), "60 values in 60 rows"),
        ("a,a,kind\n1,2,3\n", r"the header repeats \['a'\]"),
        ("kind\n1\n", "'kind' is the only column"),
        ("a,kind\n1,x\n2\n", "line 3: 1 cells; the header has 2 columns"),
        ("a,b,kind\n1,2,x\n\n3,red,y\n", "line 4, column 'b': 'red' is no finite"),
        ("a,kind\n1,x\nnan,y\n", "line 3, column 'a': 'nan'"),
        ("a,kind\n1,x\n,y\n", "line 3, column 'a': ''"),
        ("a,kind\n1,x\n1e39,y\n", "line 3, column 'a': '1e39'"),
        ("a,kind\n1,x\n2,\n", "line 3, column 'kind': the label is ''"),
        ("a,kind\n1,x\n2,NaN\n", "line 3, column 'kind': the label is 'NaN'"),
        (",a,kind\n0,5,x\n1,6,y\n2,5,x\n", "the column '' counts the rows"),
        ("a,Id,kind\n5,7,x\n6,8,y\n5,9,x\n", "the column 'Id' counts the rows"),
        ("a,kind\n1," + "x" * 200_000 + "\n", r"line 2: field larger than field limit \(131072\)"),
        ("a,kind\n1,x\n2,x\n", "every row has the label kind = 'x'; expected two classes"),
    ],
)
def test_csv_complaints_name_the_place(csv, text, message):
    path = csv(text)
    with pytest.raises(ValueError, match=f"table.csv.*{message}"):
        data.load_csv(path, "kind")


def test_a_column_that_counts_something_else_stays(csv):
    for header, numbers in (("year", (1, 2, 3)), ("id", (1, 3, 2)), ("", (4, 4, 5))):
        rows = "".join(f"{number},{'xyx'[i]}\n" for i, number in enumerate(numbers))
        assert data.load_csv(csv(f"{header},kind\n{rows}"), "kind").x.ravel().tolist() == list(numbers)


def test_a_large_offset_does_not_swallow_the_differences(csv):
    """As that of a time stamp: float32 near 1e9 has a spacing of 64."""
    rows = "".join(f"{1_000_000_000 + i % 2},{'ab'[i % 2]}\n" for i in range(20))
    parts = data.standardize(data.split(jax.random.key(0), data.load_csv(csv(f"time,kind\n{rows}"), "kind")))
    assert all(np.array_equal(part.x[:, 0] > 0, part.y == 1) for part in parts)
    assert {part.x.dtype for part in parts} == {np.dtype(np.float32)}


def test_csv_in_another_encoding(tmp_path):
    (tmp_path / "table.csv").write_bytes("höhe,kind\n1,a\n2,b\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"table\.csv: not UTF-8 at byte 1"):
        data.load_csv(tmp_path / "table.csv", "kind")


def test_csv_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        data.load_csv(tmp_path / "absent.csv", "kind")


# Complaints

X, Y = np.zeros((4, 2)), np.array([0, 1, 1, 0])
SPOILED = X.copy()
SPOILED[2, 1] = -np.inf


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (SPOILED, Y, ValueError, r"x\[2, 1\] is -inf; expected finite numbers: drop or fill row 2"),
        (X, Y + 1, ValueError, r"y\[1\] is 2; expected 0 to 1, as there are 2 classes"),
        (X, -Y, ValueError, r"y\[1\] is -1; expected 0 to 1"),
        (X, Y / 1, TypeError, r"y has dtype float64; .* y.astype\('int32'\)"),
        (X[:3], Y, ValueError, r"x has shape \(3, 2\) and y \(4,\)"),
        (X[0], Y, ValueError, r"x has shape \(2,\)"),
        (X, Y[:, None], ValueError, r"y \(4, 1\)"),
        (X[:0], Y[:0], ValueError, r"none of them zero"),
    ],
)
def test_check_data(x, y, error, message):
    data.check_data(X, Y, 2)
    with pytest.raises(error, match=message):
        data.check_data(x, y, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.truth_table(0), "n=0 inputs; expected 1 to 20"),
        (lambda: data.boolean_function(16, 2), "number=16; functions of 2 inputs have numbers 0 to 2"),
        (lambda: data.gate("nandy"), "unknown name 'nandy'; did you mean 'nand'"),
        (lambda: data.sklearn_dataset("irisch"), "did you mean 'iris'"),
        (lambda: data.get_dataset("digit"), "unknown dataset 'digit'; did you mean 'digits'"),
        (lambda: data.get_dataset("qqq"), "known: 'and', 'or'"),
        (lambda: data.moons(KEY, rows=1), "1 rows, 2 classes"),
        (lambda: data.blobs(KEY, classes=1), "1 classes, noise=1.0; expected classes ≥ 2"),
        (lambda: data.blobs(KEY, rows=2), "2 rows, 3 classes"),
        (lambda: data.circles(KEY, noise=-1), "noise=-1; expected"),
        (lambda: data.circles(KEY, noise=np.nan), "noise=nan; expected"),
        (lambda: data.split(KEY, data.xor(), 0.5, 0.5), "expected shares ≥ 0 with a sum below 1"),
        (lambda: data.split(KEY, data.xor(), -0.1, 0.5), "expected shares ≥ 0"),
        (lambda: data.split(KEY, data.xor(), 0.1, 0.1), "a share of 0.1 of 4 rows is none"),
        (lambda: data.split(KEY, data.gate("and"), 0.25, 0.5), "no training rows of class"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


HOSTILE = {
    "a tenth": np.full(30, 0.1),
    "a sum that rounds": np.where(np.arange(30) % 3, 0.3, 0.1 + 0.2),
    "a time stamp": 1.7e18 + np.arange(30) % 2,
    "small": 1e-200 * np.arange(30),
    "large and small": np.r_[1e8, np.zeros(29)],
    "ordinary": np.random.default_rng(0).normal(3, 2, 30),
    "barely varied": 1 + 1e-9 * np.arange(30),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_columns_that_are_constant_but_for_rounding_are_constant(name):
    column = HOSTILE[name][:, None]
    scaled = data.fit_scaling(column)(column)
    np.testing.assert_allclose(scaled, StandardScaler().fit_transform(column), atol=1e-6)
    if name in ("a tenth", "a sum that rounds"):
        assert np.abs(scaled).max() < 1e-6
        naive = (column - column.mean()) / (column.std() or 1)
        assert name == "a tenth" or np.abs(naive).max() > 0.5
