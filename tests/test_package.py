"""The package as a whole: imports point one way and stay light, and public names are documented."""

import ast
import importlib
import inspect
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import jaxnn

PACKAGE = Path(jaxnn.__file__).parent
LIBRARY = [
    {"names", "dtypes"},
    {"labels", "data", "perceptron", "training", "ensembles", "initializers", "sigmoids"},
    {"heads", "metrics", "elementary", "rectifiers"},
    {"gated", "losses"},
    {"activations"},
    {"families", "propagation"},
    {"networks"},
]
LABORATORY = [
    {"store", "devices", "progress", "stats", "spelling", "facts", "answer"},
    {"tasks", "machine", "programs", "inference", "wording"},
    {"folds", "charts", "figures", "cache"},
    {"recipe", "report"},
    {"plan", "timing"},
    {"sweeps"},
    {"references", "model", "results"},
    {"comparison"},
    {"judge"},
    {"laboratory"},
    {"cli"},
]
LEVELS = [*LIBRARY, *({f"lab.{name}" for name in names} for names in LABORATORY), {"__main__"}]


def imports(source: str) -> set[str]:
    """The jaxnn modules that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if node.level or node.module == "jaxnn":
                found |= {node.module} if node.module not in (None, "jaxnn") else {a.name for a in node.names}
            elif node.module == "jaxnn.lab":
                found |= {f"lab.{a.name}" for a in node.names}
            elif (node.module or "").startswith("jaxnn."):
                found.add(node.module.removeprefix("jaxnn."))
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


GRAPH = {name_of(path): imports(path.read_text()) for path in PACKAGE.rglob("*.py") if path.stem != "__init__"}


def test_every_module_has_a_level_and_imports_only_point_down():
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    assert set(GRAPH) == set(level)
    upward = {(a, b) for a, below in GRAPH.items() for b in below if level.get(b, 0) >= level[a]}
    assert not upward


def test_the_library_never_imports_the_laboratory():
    library = {name: below for name, below in GRAPH.items() if name != "__main__" and not name.startswith("lab.")}
    upstairs = {(a, b) for a, below in library.items() for b in below if b == "lab" or b.startswith("lab.")}
    assert not upstairs


def test_public_names_of_both_storeys_do_not_hide_modules():
    """`import jaxnn.x as x` is the module x, whatever else has that name."""
    for name in GRAPH:
        if name != "__main__":
            assert inspect.ismodule(importlib.import_module(f"jaxnn.{name}"))
            place, _, last = f"jaxnn.{name}".rpartition(".")
            assert inspect.ismodule(getattr(importlib.import_module(place), last)), name


def test_no_cycle():
    list(TopologicalSorter(GRAPH).static_order())


def test_the_reader_of_imports_sees_them():
    source = "from jaxnn import mlp\ndef f():\n    from jaxnn.heads import get\nfrom .data import xor"
    assert imports(source) == {"mlp", "heads", "data"}


def test_import_is_light():
    """Loads none of the extras, and leaves JAX's configuration and devices alone."""
    code = (
        "import jax, sys; before = dict(jax.config.values); import optax; loaded = set(sys.modules); import jaxnn; "
        "assert dict(jax.config.values) == before; print(*set(sys.modules) - loaded)"
    )
    imported = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "jaxnn.networks" in imported
    assert not {"matplotlib", "sklearn", "scipy.stats", "chex", "pandas", "pyarrow", "statsmodels"} & set(imported)


def test_public_functions_are_documented_with_an_example():
    """Every public function and class has a docstring; functions of the flat namespace have an example."""
    bare = [
        name
        for name, value in vars(jaxnn).items()
        if inspect.isfunction(value) and not name.startswith("_") and ">>>" not in (value.__doc__ or "")
    ]
    assert not bare
