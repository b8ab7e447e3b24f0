"""Every experiment runs as its help says: quickly, without a warning, with output and figures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "MPLBACKEND": "agg"}
by_name = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def run(script, *arguments):
    command = [sys.executable, "-W", "error", script, *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=ENVIRONMENT, timeout=300)


def test_there_are_experiments():
    assert {"gates", "heads", "linear_stack", "xor"} <= {script.stem for script in SCRIPTS}


@by_name
def test_help_names_the_options_that_all_share(script):
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert script.name in done.stdout
    for option in ("--seed", "--quick", "--out"):
        assert option in done.stdout


@by_name
def test_quick_setting_prints_and_draws(script, tmp_path):
    done = run(script, "--quick", "--seed", "1", "--out", str(tmp_path / "made"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) > 10
    figures = sorted((tmp_path / "made").glob("*.png"))
    assert figures
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in figures)
    if script.stem == "gates":
        separable = {line.split()[0]: line.split()[2] for line in done.stdout.splitlines() if line[:2] in ("2 ", "3 ")}
        assert separable == {"2": "14", "3": "104"}


@by_name
@pytest.mark.parametrize("wrong", [("--seed", "one"), ("--colour",)], ids=["value", "option"])
def test_wrong_argument_is_told_without_a_traceback(script, wrong):
    done = run(script, *wrong)
    assert done.returncode != 0
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("heads", ("--tasks", "moon"), "'moons'"),
        ("heads", ("--tasks", "xor"), "truth table"),
        ("heads", ("--seeds", "1"), "at least 2"),
        ("linear_stack", ("--depths", "1"), "depth above 1"),
        ("linear_stack", ("--depths", "0", "2"), "at least 1"),
        ("linear_stack", ("--learning-rate", "nan"), "above 0"),
        ("xor", ("--activations", "rellu"), "'relu'"),
    ],
)
def test_wrong_value_is_told_with_the_cure(name, wrong, told):
    done = run(ROOT / "experiments" / f"{name}.py", *wrong)
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr
