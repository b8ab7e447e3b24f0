"""A name that nobody has: which one was meant?"""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str:
    """The end of an error's line: the known names that are like this one, or all of them where none is.

    >>> nearest("rellu", ["relu", "tanh"]), nearest("qqq", ["relu", "tanh"])
    ("did you mean 'relu'?", "known: 'relu', 'tanh'")
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.3)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(map(repr, known))}"
