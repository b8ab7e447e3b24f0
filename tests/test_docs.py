"""Every example in a docstring and every block of the README runs, and prints what it says."""

import doctest
import importlib
import pkgutil
import re
import shlex
from functools import partial
from pathlib import Path

import pytest

import jaxnn
from jaxnn import lab
from jaxnn.lab import cli

MODULES = [m.name for m in pkgutil.walk_packages(jaxnn.__path__, "jaxnn.") if not m.name.endswith("__main__")]
README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(python|py|sh)\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", README, re.DOTALL | re.MULTILINE)
QUICK = {"activations": ["relu"], "learning_rates": [0.01], "repeats": 1, "epochs": 30, "timing": False}


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_python_of_the_readme_runs_in_its_order(monkeypatch, tmp_path):
    """Comparisons smaller than they are written; what `python` blocks print is compared."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lab, "use_all_cores", lambda: None)
    monkeypatch.setattr(lab, "compare", partial(lab.compare, **QUICK))
    lines, seen = [], 0
    names = {"print": lambda *values: lines.append(" ".join(map(str, values)))}
    for language, code, printed in BLOCKS:
        if language != "sh":
            lines.clear()
            exec(code, names)
            seen += 1
            if language == "python":
                assert "\n".join(lines).strip() == printed.strip()
    assert seen >= 4
    assert (tmp_path / "runs/wine/report.html").exists()


def test_commands_of_the_readme_are_commands():
    commands = [
        line.split("#")[0].strip() for language, code, _ in BLOCKS if language == "sh" for line in code.splitlines()
    ]
    lines = [line for line in commands if re.match(r"(\S*/)?jaxnn ", line)]
    parsed = [cli._parser().parse_args(shlex.split(line)[1:]) for line in lines]
    assert len(parsed) >= 8
    with pytest.raises(SystemExit):  # it can tell
        cli._parser().parse_args(["compare", "xor", "--no-such-option"])


def test_scripts_of_the_readme_are_there():
    here = Path(__file__).parents[1]
    scripts = set(re.findall(r"`(\w+\.py)`", README)) | set(re.findall(r"experiments/(\w+\.py)", README))
    assert {path.name for path in here.glob("experiments/*.py")} <= scripts
    for name in re.findall(r"\((experiments/results/[\w.-]+)\)", README):
        assert (here / name).exists(), name
