"""Every script in experiments/ tells how to use it, finishes its quick setting, and leaves a figure."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "experiments"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if path.stem != "options")  # what the scripts share


def run(script, *arguments):
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_and_quick_setting(script, tmp_path):
    told = run(script, "--help")
    assert told.returncode == 0
    assert all(option in told.stdout for option in ("--quick", "--seed", "--out"))
    done = run(script, "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) > 5
    assert list(tmp_path.glob(f"{script.stem}*.png"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_wrong_option_is_refused_in_a_line(script):
    refused = run(script, "--no-such-option")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
