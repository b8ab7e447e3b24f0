"""Every example in a docstring and in the README runs and prints what it says."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import jaxnn

MODULES = [m.name for m in pkgutil.walk_packages(jaxnn.__path__, "jaxnn.") if not m.name.endswith("__main__")]
README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_readme_example():
    code, printed = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", README.read_text(), re.DOTALL).groups()
    assert len(code.strip().splitlines()) < 15
    lines = []
    exec(code, {"print": lambda *values: lines.append(" ".join(map(str, values)))})
    assert "\n".join(lines).strip() == printed.strip()
