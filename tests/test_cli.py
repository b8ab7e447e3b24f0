"""The command, from arguments to files; errors are one line and a status, and what was interrupted goes on."""

import errno
import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import jax
import numpy as np
import pandas
import pytest
from simulated import simulated_sweep, step_seconds

from jaxnn import ACTIVATIONS, DATASETS, __version__, lab
from jaxnn.lab import comparison, devices, wording
from jaxnn.lab.answer import from_json
from jaxnn.lab.cli import main

COMPARE = (
    "compare xor --activations relu tanh --hidden 4 --epochs 100 --learning-rates 0.03 0.3 --seeds 6 --tuning-seeds 3 "
    "--budget 200ms --null-pair"
).split()


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    """The tests have two devices already."""
    monkeypatch.setattr(lab, "use_all_cores", lambda: None)
    monkeypatch.setattr(sys, "path", list(sys.path))


def call(*arguments):
    """Status, standard output and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(list(map(str, arguments)))
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A small comparison, in earnest: its folder, what it printed, what it told on the way."""
    folder = tmp_path_factory.mktemp("runs") / "new" / "xor"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab, "use_all_cores", lambda: None)
        status, out, err = call(*COMPARE, "--out", folder)
    assert status == 0
    return folder, out, err


class TestCompare:
    def test_prints_the_answer_and_where_the_report_is(self, compared):
        folder, out, err = compared
        assert out.strip().startswith("xor: Take ")
        assert "xor: 4 rows, all there are; 2-4-1, 100 steps" in out
        assert str(lab.load(folder)) in out
        assert f"report: {folder}/report.html" in out
        assert err.splitlines()[-1].startswith("networks 42 of 42")

    def test_trials_open_in_pandas_one_row_each(self, compared):
        trials = pandas.read_parquet(compared[0] / "trials.parquet")
        assert trials["trial"].tolist() == list(range(42))
        assert trials["phase"].value_counts().to_dict() == {"tuning": 18, "verdict": 18, "again": 6}
        assert not set(trials["seed"][trials["phase"] == "tuning"]) & set(trials["seed"][trials["phase"] != "tuning"])
        assert set(trials["head"]) == {"sigmoid"}
        for choice in lab.load(compared[0]).tasks["xor"].choices:
            rows = trials.iloc[list(choice.trials)]
            assert set(rows["activation"]) == {choice.name}
            assert set(rows["phase"]) == {"verdict"}
            assert (rows["test_metric"] >= 0.6).mean() == choice.metric.value

    def test_the_answer_says_what_was_asked_where_and_with_what(self, compared):
        found = lab.load(compared[0])
        assert wording.command(found).split() == ["jaxnn", *COMPARE[:2], *wording.command(found).split()[3:]]
        assert found.question.options["learning_rates"] == [0.03, 0.3]
        assert found.question.options["budget"] == 0.2
        assert found.versions["jaxnn"] == __version__
        assert found.versions["jax"] == jax.__version__
        assert found.machine["devices"].startswith("2 x ")
        assert 0 < found.tasks["xor"].null_pair <= 1

    def test_goes_on_where_it_was_interrupted(self, compared, monkeypatch):
        """A block is missing; the disk is full; Ctrl-C; then to the end, with one block computed."""
        folder, command = compared[0], (*COMPARE, "--out", compared[0])
        before = pandas.read_parquet(folder / "trials.parquet")
        first, *others = sorted(folder.glob("blocks/*"))
        stamps = [path.stat().st_mtime_ns for path in others]
        first.unlink()
        kept = "jaxnn: interrupted; finished blocks are kept, the same command goes on from there"
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for interruption, status, told in (
            (full, 1, rf"jaxnn: {first}: no space left on device; finished blocks are kept, .*"),
            (KeyboardInterrupt(), 130, kept),
        ):
            with monkeypatch.context() as patch:

                def interrupted(file, interruption=interruption):
                    raise interruption

                patch.setattr(os, "fsync", interrupted)
                found = call(*command)
            assert found[0] == status
            assert re.fullmatch(told, found[2].splitlines()[-1])
            assert sorted(folder.glob("blocks/*")) == others
        status, out, _ = call(*command, "--json")
        assert status == 0
        assert from_json(out) == from_json((folder / "answer.json").read_text())
        assert [path.stat().st_mtime_ns for path in others] == stamps
        assert first.exists()
        after = pandas.read_parquet(folder / "trials.parquet")
        pandas.testing.assert_frame_equal(before.drop(columns="seconds"), after.drop(columns="seconds"))

    def test_replay_gives_the_numbers_of_the_sweep(self, compared):
        status, out, _ = call("replay", compared[0], 23)
        assert status == 0
        lines = [line.split() for line in out.splitlines()]
        assert re.match(r"trial 23: \w+ on xor, split 0, seed \d+, learning rate", out)
        assert float(lines[-1][-1]) < 1e-4
        told = {line[0]: (float(line[1]), float(line[2])) for line in lines[2:-1]}
        assert told["last_step"] == (100, 100)
        assert told["reached"][0] == told["reached"][1]

    def test_another_question_says_what_it_replaces(self, compared, drawn):
        folder = compared[0].parent / "copy"
        shutil.copytree(compared[0], folder)
        status, _, err = call("compare", "xor", "--activations", "relu", "tanh", "--out", folder)
        assert status == 0
        assert "held the answer to 'jaxnn compare xor --activations relu tanh --null-pair" in err
        assert "which is replaced" in err

    def test_the_report_is_written_again(self, compared):
        page = compared[0] / "report.html"
        whole = page.read_text()
        page.unlink()
        assert call("report", compared[0]) == (0, f"report: {page}\n", "")
        assert page.read_text() == whole

    def test_a_damaged_answer_is_told_in_a_line(self, compared, tmp_path):
        folder = tmp_path / "copy"
        shutil.copytree(compared[0], folder)
        whole = (folder / "answer.json").read_text()
        for damaged in (whole[: len(whole) // 2], "", "[]"):
            (folder / "answer.json").write_text(damaged)
            status, _, err = call("report", folder)
            assert (status, err.count("\n")) == (2, 1)
            assert "run its question again" in err

    @pytest.mark.parametrize("name", ["rows/xor.npz", "trials.parquet"])
    def test_damaged_files_beside_it_are_told_in_a_line(self, compared, tmp_path, name):
        folder = tmp_path / "copy"
        shutil.copytree(compared[0], folder)
        whole = (folder / name).read_bytes()
        for damaged in (whole[: len(whole) // 2], b"", whole[:30]):
            (folder / name).write_bytes(damaged)
            status, _, err = call("report", folder)
            assert (status, err.count("\n")) == (2, 1), err
            assert err.startswith("jaxnn: ")


@pytest.fixture
def table(tmp_path):
    """A CSV file whose classes are nearly separable."""
    rng = np.random.default_rng(0)
    lines = [f"{k + rng.normal():.3f},{rng.normal():.3f},{rng.normal():.3f},{'ab'[k]}" for k in np.arange(60) % 2]
    path = tmp_path / "pets.csv"
    path.write_text("\n".join(["length,width,height,kind", *lines]))
    return path


@pytest.fixture
def drawn(monkeypatch):
    """Draw runs instead of training them; counts the sweeps."""
    sweeps, draw = [], simulated_sweep(lambda arm, numbers, rows: {"test_metric": 0.5 + 0.4 * (arm == "relu")})

    def sweep(*args, **kwargs):
        sweeps.append(args)
        return draw(*args, **kwargs)

    monkeypatch.setattr(comparison, "sweep", sweep)
    monkeypatch.setattr(comparison, "_step_seconds", step_seconds)
    return sweeps


def test_a_table_of_ones_own(table, tmp_path, drawn, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = call("compare", "pets.csv", "iris", "--label", "kind", "--target", "0.8", "--metric", "macro_f1",
                          "--activations", "relu", "tanh", "0.5 relu + 0.5 sin")  # fmt: skip
    assert status == 0
    assert "pets: 60 rows, of which 36 train, 12 validate, 12 test in each of 10 splits; 3-32-1" in out
    found = lab.load(tmp_path / "runs" / "pets-iris")
    pets, iris = found.tasks.values()
    assert (pets.name, pets.features, pets.class_names) == ("pets", 3, ("a", "b"))
    assert (iris.name, iris.metric, iris.target) == ("iris", "macro_f1", 0.8)
    assert pets.best == ("relu",)
    assert {choice.name for choice in pets.choices} == {"relu", "tanh", "0.5 relu + 0.5 sin"}
    assert found.question.tasks == ("pets.csv", "iris")


def test_a_function_of_ones_own_by_its_place(table, tmp_path, drawn, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def swish2(x):\n    return x / (1 + 2.7 ** (-2 * x))\n")
    status, out, err = call("compare", "iris", "--activations", "relu", "mine:swish2", "--no-timing")
    assert (status, err) == (0, err)
    assert "swish2" in out
    assert lab.load(tmp_path / "runs" / "iris").question.options["activations"] == ["relu", "mine:swish2"]


def test_all_activations_that_can_be_trained(tmp_path, drawn):
    status, _, _ = call("compare", "xor", "--activations", "all", "--seeds", 2, "--baseline", "ReLU", "--out", tmp_path)
    assert status == 0
    found = lab.load(tmp_path).tasks["xor"]
    trainable = {name for name, record in ACTIVATIONS.items() if not record.untrainable}
    assert {choice.name for choice in found.choices} == trainable
    assert found.baseline == "relu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("xro", "unknown dataset 'xro'; did you mean 'xor'"),
        ("FOLDER", "unknown dataset"),
        ("FOLDER/no.csv --label kind", "no.csv: no such file or directory"),
        ("FOLDER/pets.csv", "which column holds the classes? name it, as in label='kind' (--label kind)"),
        ("FOLDER/pets.csv --label kin", "no column 'kin' to take the labels from; did you mean 'kind'?"),
        ("FOLDER/empty.csv --label kind", "the file is empty or a header alone"),
        ("FOLDER/nan.csv --label kind", "line 3, column 'width': 'nan' is no finite float32 number"),
        ("FOLDER/one.csv --label kind", "every row has the label kind = 'a'; expected two classes or more"),
        ("FOLDER/pets.csv xor FOLDER/pets.csv --label kind", "two tasks have the name 'pets'"),
        ("FOLDER/pets.csv --label kind --target 1.1", "target=1.1; expected a share between 0 and 1"),
        ("FOLDER/pets.csv --label kind --epochs 0", "epochs=0; expected a whole number of at least 1"),
        ("FOLDER/pets.csv --label kind --batch-size 0", "batch_size=0; expected a whole number of at least 1"),
        ("FOLDER/pets.csv --label kind --batch-size 99", "batch_size=99, but there are 36 training rows"),
        ("FOLDER/pets.csv --label kind --metric brier", "the metric 'brier' does not judge; expected accuracy"),
        ("FOLDER/pets.csv --label kind --metric acuracy", "unknown metric 'acuracy'; did you mean 'accuracy'"),
        ("xor --epochs -10", "epochs=-10; expected a whole number of at least 1"),
        ("xor --learning-rates 0.1 -0.1", "learning_rate=[-0.1, 0.1]; expected finite numbers of at least 0"),
        ("xor --activations rellu", "unknown activation 'rellu'; did you mean 'relu'"),
        ("xor --activations relu ReLU", "two activations have the name 'relu'; expected each name once"),
        ("xor --activations relu,tanh", "2 activations for 1 hidden layers"),
        ("xor --activations step", "step cannot be trained by gradient descent"),
        ("xor --baseline maxout", "the baseline 'maxout' is not among the activations"),
        ("xor --optimizer adamm", "unknown optimizer 'adamm'; expected a factory of optax by name, as 'adam'"),
        ("xor --head sofmax", "unknown head 'sofmax'; did you mean 'softmax'"),
        ("xor --init he", "unknown initializer 'he'; did you mean"),
        ("xor --hidden 0", "each at least 1"),
        ("xor --seeds 0", "seeds=0; expected at least 1"),
        ("xor --repeats 0", "repeats=0; expected at least 1"),
        ("xor --activations nowhere:f", "activation 'nowhere:f': No module named 'nowhere'; expected module:function"),
        ("xor --rate 2", "rate=2.0; expected a probability between 0 and 1"),
        ("xor --budget soon", "'soon' is no time; write 5s, 200ms or 2min"),
        ("xor --out FOLDER/pets.csv", "pets.csv: file exists"),
        ("xor --out FOLDER/pets.csv/runs", "not a directory"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments, message, table, tmp_path, monkeypatch):
    table.with_name("empty.csv").write_text("")
    table.with_name("nan.csv").write_text("length,width,kind\n1,2,a\n1,nan,b\n")
    table.with_name("one.csv").write_text("length,width,kind\n1,2,a\n1,3,a\n")
    monkeypatch.chdir(tmp_path)
    status, out, err = call("compare", *(a.replace("FOLDER", str(tmp_path)) for a in arguments.split()))
    assert (status, out) == (2 if "--out" not in arguments and "no.csv" not in arguments else 1, "")
    assert err.startswith("jaxnn: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("compare", "the following arguments are required: TASK"),
        ("compare xor --epochs many", "invalid int value: 'many'"),
        ("replay runs", "the following arguments are required: TRIAL"),
    ],
)
def test_wrong_usage_ends_with_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("replay", "nowhere", "1"), ("report", "nowhere")])
def test_a_folder_without_a_result(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == (
        1, "", "jaxnn: nowhere/answer.json does not exist; expected a folder that `jaxnn compare` or `save` wrote\n",
    )  # fmt: skip


def test_a_trial_that_is_not_there(compared):
    status, _, err = call("replay", compared[0], 42)
    assert (status, err) == (2, "jaxnn: trial 42; expected 0 to 41\n")


class TestLists:
    def test_activations(self):
        status, out, _ = call("activations")
        assert status == 0
        assert [line.split()[0] for line in out.splitlines()] == list(ACTIVATIONS)

    @pytest.mark.parametrize("name", ["gelu", "LeakyReLU", "step", "prelu", "glu", "rrelu"])
    def test_one_activation(self, name):
        status, out, _ = call("activations", name)
        facts = {line[2:24].strip(): line[25:] for line in out.splitlines()[1:]}
        record = ACTIVATIONS[out.splitlines()[0]]
        assert status == 0
        assert facts["formula"] == record.formula
        assert facts["source"] == record.source
        assert ("cannot be trained" in facts) == bool(record.untrainable)

    @pytest.mark.parametrize("kind", ["png", "svg"])
    def test_its_figure(self, kind, tmp_path):
        status, out, _ = call("activations", "gelu", "--plot", tmp_path / f"gelu.{kind}")
        assert status == 0
        assert out.splitlines()[-1].split() == ["figure", str(tmp_path / f"gelu.{kind}")]
        assert (tmp_path / f"gelu.{kind}").read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")

    def test_an_unknown_activation(self):
        status, out, err = call("activations", "gelo")
        assert (status, out) == (2, "")
        assert re.fullmatch(r"jaxnn: unknown activation 'gelo'; did you mean 'gelu' .*\?\n", err)

    def test_tasks(self):
        status, out, _ = call("tasks")
        assert status == 0
        assert [line.split()[0] for line in out.splitlines()] == list(DATASETS)


def test_help_is_quick_and_names_every_command():
    """In a process of its own, as a module; it loads neither JAX's backends nor an extra."""
    code = (
        "import runpy, sys; sys.argv = ['jaxnn', '--help']\n"
        "try: runpy.run_module('jaxnn', run_name='__main__')\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'matplotlib', 'sklearn', 'pyarrow', 'pandas'} & set(sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for command in ("compare", "activations", "tasks", "replay", "report"):
        assert f"\n    {command}" in out


def test_help_of_compare_has_examples_and_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    told = capsys.readouterr().out
    for fact in ("default: 0.05", "two tasks, a dozen activations", "goes on where it was interrupted"):
        assert fact in told


def test_all_cores_are_devices_and_flags_of_the_user_stay(monkeypatch):
    monkeypatch.undo()
    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false --xla_cpu_prefer_vector_width=128")
    devices.use_all_cores()
    assert updates == {"jax_num_cpu_devices": devices.cores()}
    flags = os.environ["XLA_FLAGS"]
    assert flags.startswith(
        "--xla_cpu_enable_fast_math=false --xla_cpu_prefer_vector_width=128 --xla_backend_extra_options="
    )
    assert flags.count("--xla_cpu_prefer_vector_width") == 1
    devices.use_all_cores()
    assert os.environ["XLA_FLAGS"] == flags
