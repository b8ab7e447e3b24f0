"""Figures to take away: every name and number in its place, and no colour needed."""

import sys

import answers
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ACTIVATIONS
from jaxnn.lab import figures


@pytest.mark.parametrize("case", answers.CASES)
def test_an_answer_is_drawn(case, tmp_path):
    found = answers.of(case)
    figure = figures.answer(found)
    for axes, task in zip(figure.axes, found.tasks.values(), strict=False):
        assert [text.get_text() for text in axes.get_yticklabels()] == [figures.label(c.name) for c in task.choices]
        dots = [line for line in axes.lines if line.get_marker() in ("o", "s")]
        np.testing.assert_allclose([line.get_xdata()[0] for line in dots], [100 * c.metric.value for c in task.choices])
        squares = [c.name for c, line in zip(task.choices, dots, strict=True) if line.get_marker() == "s"]
        assert squares == [task.recommended]
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


@pytest.mark.parametrize("one", [*ACTIVATIONS, jnp.sinh], ids=lambda one: getattr(one, "__name__", one))
def test_an_activation_is_drawn_with_its_derivative(one):
    figure = figures.activation(one)
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert "φ(x)" in labels
    assert "φ′(x)" in labels


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"figures need matplotlib, .* pip install 'jaxnn\[lab\]'"):
        figures.activation("relu")
