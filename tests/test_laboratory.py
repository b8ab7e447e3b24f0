"""A question in, an answer out: from Python, kept in a folder, the same from the command line; rows to predictions."""

import inspect
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest

from jaxnn import Network, lab
from jaxnn.lab import cli, comparison, judge, laboratory, results, wording
from jaxnn.lab.answer import SCHEMA, from_json, to_json
from jaxnn.lab.tasks import rows_like

QUICK = {
    "activations": ["relu", "tanh"], "hidden": [4], "epochs": 30, "learning_rates": [0.03, 0.1], "repeats": 1,
    "seeds": 2, "tuning_seeds": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "iris"


@pytest.fixture(scope="module")
def answer(folder):
    found = lab.compare("iris", **QUICK, folder=folder, progress=False)
    assert found.save(folder) == folder / "report.html"
    return found


class TestAnswer:
    def test_says_what_to_take_and_what_to_expect(self, answer):
        iris = answer.tasks["iris"]
        assert iris.recommended in ("relu", "tanh")
        assert 0.7 < iris.choice("tanh").metric.low < iris.choice("tanh").metric.high <= 1
        assert str(answer).startswith(f"iris: Take {iris.recommended}: expect ")
        assert wording.recommendation(iris) in answer._repr_html_()
        assert wording.recommendation(iris) in answer.report()

    def test_is_saved_and_loaded_equal(self, answer, folder):
        loaded = lab.load(folder)
        assert loaded == answer
        assert str(loaded) == str(answer)
        assert loaded.rows["iris"].digest == answer.rows["iris"].digest
        for name, column in answer.trials.columns.items():
            np.testing.assert_array_equal(loaded.trials[name], column, name)
        assert from_json(to_json(answer)) == from_json((folder / "answer.json").read_text())

    def test_counts_every_trial(self, answer):
        trials = answer.trials
        assert trials.size == 3 * 5 * (2 * 1 + 2) == answer.tasks["iris"].networks
        assert f"{trials.size} networks" in answer.report()
        for choice in answer.tasks["iris"].choices:
            rows = trials.take(list(choice.trials))
            assert set(rows["activation"]) == {choice.name}
            assert set(rows["phase"]) == {"verdict"}
            np.testing.assert_allclose(rows["test_metric"].mean(), choice.metric.value, rtol=1e-5)

    @pytest.mark.parametrize("trial", [0, 17, 55])
    def test_any_trial_is_replayed_from_the_folder_alone(self, answer, folder, trial):
        loaded = lab.load(folder)
        run = loaded.replay(trial)
        np.testing.assert_allclose(run.history.loss[-1], loaded.trials["loss"][trial], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(run.best_metric, loaded.trials["best_validation_metric"][trial], atol=0.04)

    def test_trains_the_recommended_network_on_all_rows(self, answer, folder):
        rows = answer.rows["iris"]
        for found in (answer, lab.load(folder)):
            model = found.train()
            assert np.mean(model.predict(rows.x) == np.array(rows.class_names)[rows.y]) > 0.85
            probabilities = model.probabilities(rows.x)
            np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
        np.testing.assert_array_equal(
            answer.train(seed=3).probabilities(rows.x), found.train(seed=3).probabilities(rows.x)
        )
        assert not np.array_equal(answer.train("iris", "tanh").params[0].weight, answer.train().params[0].weight + 1)
        with pytest.raises(ValueError, match="task 'wine'; expected one of iris"):
            answer.train("wine")

    def test_the_command_line_gives_an_equal_record(self, answer, folder, monkeypatch, capsys):
        """By the command that the record itself names, on the folder that holds what was timed."""
        monkeypatch.setattr(lab, "use_all_cores", lambda: None)
        command = wording.command(answer).split()
        assert command[:3] == ["jaxnn", "compare", "iris"]
        assert cli.main([*command[1:], "--out", str(folder), "--json"]) == 0
        assert from_json(capsys.readouterr().out) == from_json(to_json(answer))

    def test_the_call_that_the_record_names_asks_the_same(self, answer, folder):
        again = eval(wording.call(answer).replace(")", f", folder={str(folder)!r}, progress=False)"), {"lab": lab})
        assert again == answer


def test_every_option_of_the_command_is_a_keyword():
    told = cli._parser()
    commands = next(action for action in told._actions if action.choices)
    options = {action.dest for action in commands.choices["compare"]._actions} - {"help", "out", "json"}
    keywords = set(inspect.signature(lab.compare).parameters)
    assert options <= keywords
    assert keywords - options == {"test", "folder", "progress"}


def swish2(x):
    return x * jax.nn.sigmoid(2 * x)


def thirds(activation, task):
    """A network of one's own: three times the features."""

    def init(key):
        one, two = jax.random.split(key)
        width = 3 * task.features
        return {"w": jax.random.normal(one, (task.features, width)), "v": jax.random.normal(two, (width, task.classes))}

    def apply(params, x):
        act = activation if callable(activation) else {"tanh": jnp.tanh, "identity": lambda x: x}[activation]
        return act(x @ params["w"]) @ params["v"]

    return Network(init, apply)


def test_anybodys_function_and_network(tmp_path):
    """Asked in Python, kept, and replayed from the folder because both can be imported."""
    rng = np.random.default_rng(0)
    y = np.array(["no", "yes"])[np.arange(60) % 2]
    x = rng.normal(size=(60, 2)) + 1.5 * (y == "yes")[:, None]
    quick = QUICK | {"activations": ["tanh", swish2], "hidden": None, "architecture": thirds, "timing": False}
    answer = lab.compare((x, y), **quick, progress=False)
    answer.save(tmp_path)
    loaded = lab.load(tmp_path)
    assert loaded == answer
    task = loaded.tasks["rows"]
    assert {choice.name: choice.kind for choice in task.choices} == {"tanh": "activation", "swish2": "custom"}
    assert (task.network, task.init) == ("thirds", "its own")
    assert loaded.question.options["architecture"] == f"{__name__}:thirds"
    trial = task.choice("swish2").trials[1]
    np.testing.assert_allclose(loaded.replay(trial).history.loss[-1], loaded.trials["loss"][trial], rtol=1e-3)
    assert set(loaded.train(activation=swish2).predict(x)) == {"no", "yes"}
    assert all(choice.step_seconds is None for choice in task.choices)


def boom(x):
    raise RuntimeError("hey")


TABLE = np.random.default_rng(0).normal(size=(60, 3))
CHEAP = QUICK | {"hidden": None, "epochs": 4, "learning_rates": [0.03], "timing": False, "progress": False}


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (TABLE, {"activations": [lambda x: x.sum()]}, r"the activation <lambda> makes \(\) of an array of shape"),
        (TABLE, {"activations": ["relu", {"tanh": 0.5, boom: 0.5}]}, "the activation boom raised RuntimeError: hey"),
        (TABLE, {"architecture": boom}, "the architecture boom raised TypeError"),
        (TABLE, {"architecture": lambda activation, task: None}, "<lambda> returned NoneType; expected a Network"),
        (TABLE[:, 0], {}, r"rows: x has shape \(60,\); expected \(rows, features\), or an architecture of yours"),
        ({"a": TABLE}, {}, r"rows: x has shape {'a': \(60, 3\)}; expected \(rows, features\)"),
        (TABLE, {"epochs": 2.5}, "epochs=2.5; expected a whole number"),
        (TABLE, {"target": "0.9"}, "target='0.9'; expected a number"),
        (TABLE, {"budget": "soon"}, "'soon' is no time; write 5s, 200ms or 2min"),
        (TABLE, {"confidence": 95}, "confidence=95; expected a probability between 0 and 1, as 0.95"),
        (TABLE, {"tolerance": 1}, "tolerance=1; expected a share from 0 to below 1: 0.01 is one point"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_trained(x, options, message, monkeypatch):
    monkeypatch.setattr(jax.stages.Lowered, "compile", None)
    with pytest.raises(ValueError, match=message):
        lab.compare((x, np.arange(60) % 2), **CHEAP | options)


@pytest.fixture(scope="module")
def always():
    """Noise of which nine tenths have the label 7."""
    return lab.compare((TABLE, np.where(np.arange(60) % 10, 7, 3)), **CHEAP | {"activations": ["relu"]})


@pytest.fixture(scope="module")
def model(always):
    return always.train()


class TestModel:
    def test_predicts_what_the_labels_were(self, model, always, tmp_path):
        predicted = model.predict(TABLE)
        assert predicted.dtype == int
        assert set(predicted) <= {3, 7}
        always.save(tmp_path)
        np.testing.assert_array_equal(lab.load(tmp_path).train().predict(TABLE), predicted)

    def test_says_that_one_label_alone_would_do_as_well(self, always):
        assert "Always '7' would be right in 90.0 %: none of these networks is known to do better." in str(always)

    def test_takes_columns_by_their_names(self):
        frame = pandas.DataFrame(TABLE, columns=["a", "b", "c"])
        named = lab.task((frame, np.arange(60) % 2))
        np.testing.assert_array_equal(rows_like(named, frame[["c", "a", "b"]].assign(d=1)), TABLE)
        with pytest.raises(ValueError, match="x has no column 'b'; expected a, b, c"):
            rows_like(named, frame[["a", "c"]])

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (TABLE[:, :2], r"x has rows of shape \(2,\); expected \(3,\), as in rows"),
            (TABLE[0], r"x has rows of shape \(\); expected \(3,\)"),
            ([[1, np.nan, 2]], "x holds NaN or infinite values; expected finite numbers"),
        ],
    )
    def test_refuses_rows_of_another_kind(self, model, x, message):
        with pytest.raises(ValueError, match=message):
            model.predict(x)

    def test_one_that_was_not_compared(self, always):
        with pytest.raises(ValueError, match="sin was not compared on rows; expected one of identity, relu"):
            always.train(activation="sin")


def test_an_architecture_that_is_no_function_is_named():
    with pytest.raises(ValueError, match="architecture 'thirds'; expected a function"):
        lab.compare("iris", architecture="thirds", progress=False)


def test_a_function_that_is_gone_does_not_take_the_others_along(tmp_path):
    answer = lab.compare("iris", **QUICK | {"activations": ["relu", lambda x: jnp.sin(3 * x)], "timing": False},
                         progress=False)  # fmt: skip
    answer.save(tmp_path)
    loaded = lab.load(tmp_path)
    told = loaded.question.options | {"activations": ["nowhere:gone", "relu"]}
    moved = replace(loaded, question=replace(loaded.question, options=told))
    assert moved.train(activation="relu").predict(answer.rows["iris"].x).shape == (150,)
    with pytest.raises(ValueError, match="the function '<lambda>' cannot be imported from here; train it where it is"):
        loaded.replay(loaded.tasks["iris"].choice("<lambda>").trials[0])


def test_several_tasks_in_one_question(folder):
    answer = lab.compare(["xor", "iris"], **QUICK, timing=False, progress=False)
    assert list(answer.tasks) == ["xor", "iris"]
    assert answer.tasks["xor"].truth_table
    first = answer.tasks["iris"].choices[0].trials[0]
    assert answer.trials["task"][first] == "iris"
    assert answer.question.tasks == ("xor", "iris")
    with pytest.raises(ValueError, match="task None; expected one of xor, iris"):
        answer.train()


def test_an_interruption_leaves_the_tasks_that_are_finished(monkeypatch, capsys):
    run, called = comparison.run, []

    def interrupted(*args, **kwargs):
        called.append(1)
        if len(called) == 2:
            raise KeyboardInterrupt
        return run(*args, **kwargs)

    monkeypatch.setattr(comparison, "run", interrupted)
    quick = QUICK | {"timing": False, "progress": False}
    answer = lab.compare(["xor", "iris"], **quick)
    assert list(answer.tasks) == ["xor"]
    assert "interrupted: the answer is about xor" in capsys.readouterr().err
    called[:] = [1]
    with pytest.raises(KeyboardInterrupt):
        lab.compare("iris", **quick)


def test_a_missing_extra_is_told_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(laboratory.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(comparison, "run", None)
    with pytest.raises(ImportError, match=r"a comparison needs scipy and statsmodels: pip install 'jaxnn\[lab\]'"):
        lab.compare("xor")


def test_progress_is_told_where_it_is_wanted(capsys, monkeypatch):
    monkeypatch.setattr(comparison, "run", lambda splits, settings, folder, progress: progress.say() or 1 / 0)
    for wanted in (True, False):
        with pytest.raises(ZeroDivisionError):
            lab.compare("xor", progress=wanted)


class TestFolder:
    def test_a_folder_without_an_answer(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"answer\.json does not exist; expected a folder that"):
            lab.load(tmp_path)

    def test_an_answer_of_another_version(self, folder, answer, tmp_path):
        (tmp_path / "answer.json").write_text(json.dumps(json.loads(to_json(answer)) | {"schema": 0}))
        with pytest.raises(ValueError, match=rf"its schema is 0, this version reads {SCHEMA}; run its question again"):
            lab.load(tmp_path)

    @pytest.mark.parametrize(
        "x", [np.zeros((20, 3)), {"a": np.ones((20, 2), int)}, (np.zeros((20, 2, 2)), np.ones((20, 1)))]
    )
    def test_rows_of_any_kind_are_kept(self, x, tmp_path):
        y = np.arange(20) % 2
        test = (jax.tree.map(lambda leaf: leaf[:4], x), [0, 1, 0, 1])
        one = lab.task((x, y), test=test, name="päth/../x")
        results._write_rows(tmp_path / results._file_name(one.name), one)
        (path,) = tmp_path.iterdir()
        back = results._read_rows(path)
        assert back.digest == one.digest
        assert (back.name, back.class_names) == (one.name, one.class_names)
        assert jax.tree.structure(back.x) == jax.tree.structure(one.x)


def test_judging_is_quick(answer, folder):
    """What is judged is what was run: the same comparison, judged again, is the same answer."""
    settings = comparison.checked(laboratory._settings(answer.question.options))
    found = comparison.run(lab.splits(lab.task("iris"), repeats=1), settings, folder=folder)
    assert judge.answer(found) == answer.tasks["iris"]
