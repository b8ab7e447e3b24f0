"""Whatever holds rows becomes a task; what cannot be learned from is refused, with the cure."""

import numpy as np
import pandas
import pytest

from jaxnn.lab import Task, task
from jaxnn.lab.tasks import tasks

X, Y = np.arange(40.0).reshape(20, 2) ** 1.5, np.arange(20) % 2


def test_names_arrays_frames_and_lists_are_the_same_rows():
    frame = pandas.DataFrame(X, columns=["length", "width"])
    found = [task((X, Y)), task((X.tolist(), Y.tolist())), task((frame, pandas.Series(Y))), task(task((X, Y)))]
    assert len({one.digest for one in found}) == 1
    assert found[2].feature_names == ("length", "width")
    assert task((X + 1, Y)).digest != found[0].digest
    assert task("iris").digest == task("iris").digest != task("wine").digest


def test_labels_of_any_kind_keep_their_names():
    for labels, names in ((["no", "yes"], ("no", "yes")), ([False, True], ("False", "True")), ([3, 7], ("3", "7"))):
        found = task((X, np.array(labels)[Y]))
        assert found.class_names == names
        np.testing.assert_array_equal(found.y, Y)
        assert found.y.dtype == np.int32


def test_a_file_and_its_label(tmp_path):
    path = tmp_path / "pets.csv"
    path.write_text("a,b,kind\n" + "\n".join(f"{x},{x * x},{'cat' if x % 2 else 'dog'}" for x in range(20)))
    found = task(path, label="kind")
    assert (found.name, found.class_names, found.feature_names, found.rows) == ("pets", ("cat", "dog"), ("a", "b"), 20)


def test_rows_that_are_no_table_and_a_fixed_test_part():
    images = np.zeros((20, 4, 4, 1), np.uint8)
    found = task((images, Y), test=(images[:3], [0, 1, 0]))
    assert found.x.dtype == np.uint8
    assert (found.features, found.test[1].tolist()) == (16, [0, 1, 0])
    tree = {"words": np.zeros((20, 5), int), "length": np.ones((20, 1))}
    assert task((tree, Y)).features == 6


def test_several_tasks_have_names_of_their_own():
    assert list(tasks(["xor", "iris"])) == ["xor", "iris"]
    assert list(tasks({"mine": (X, Y), "theirs": "iris"})) == ["mine", "theirs"]
    assert list(tasks([X.tolist(), Y.tolist()])) == ["rows"]  # x and y in a list
    assert list(tasks("xor")) == ["xor"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: task("iriss"), "unknown dataset 'iriss'; did you mean 'iris'"),
        (lambda: task("pets.csv"), "which column holds the classes\\? name it, as in label='kind' \\(--label kind\\)"),
        (lambda: task(3), "a task of type int; expected a name, a CSV file, \\(x, y\\) or a Task"),
        (lambda: task((X, Y[:5])), "x has shape"),
        (lambda: task((X, np.zeros(20, int))), "every row has the label '0'; expected two classes or more"),
        (lambda: task((X, np.zeros((20, 2)))), r"y has shape \(20, 2\); expected \(rows,\)"),
        (lambda: task((np.where(X > 100, np.nan, X), Y)), r"is nan; expected finite numbers: drop or fill row"),
        (lambda: task((X, np.where(Y, np.nan, 1.0))), r"y\[1\] is nan; expected a label: drop the row"),
        (lambda: task((np.tile(X, (3, 1)), np.arange(60) / 7)), "is it a number to predict"),
        (lambda: task(([["a"], ["b"]], [0, 1])), "x holds what is no number"),
        (lambda: task((X, Y), test=(X, Y + 1)), "the test rows have the class '2', which no other row has"),
        (lambda: task("xor", test=(X, Y)), "xor is a truth table, which has no other rows to test on"),
        (lambda: task(({"a": np.full((20, 3), np.inf)}, Y)), "expected finite numbers"),
        (lambda: tasks(["xor", "XOR"]), "two tasks have the name 'xor'; give names"),
        (lambda: tasks([]), "no task; expected at least one"),
    ],
)
def test_what_is_no_task(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_tasks_are_told_apart_by_their_rows_not_by_equality():
    one = task((X, Y))
    assert isinstance(one, Task)
    assert one == one
    assert hash(one) is not None
