"""One line says how far a job is: counts, speed, time left; nothing without a stream."""

import io

import pytest

from jaxnn.lab import progress
from jaxnn.lab.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_every_ten_seconds(clock):
    stream = io.StringIO()
    shown = Progress(1000, "networks", stream)
    for _ in range(40):
        clock[0] += 1
        shown.advance(10, work=1e6, note="relu on xor")
    shown.close()
    assert stream.getvalue().splitlines() == [
        "networks 100 of 1,000, 1.00 million steps/s, 1 min 30 s left, relu on xor",
        "networks 200 of 1,000, 1.00 million steps/s, 1 min 20 s left, relu on xor",
        "networks 300 of 1,000, 1.00 million steps/s, 1 min 10 s left, relu on xor",
        "networks 400 of 1,000, 1.00 million steps/s, 1 min 0 s left, relu on xor",
        "networks 400 of 1,000, 1.00 million steps/s, 1 min 0 s left",
    ]


def test_a_terminal_has_one_line_without_remains(clock):
    stream = Terminal()
    shown = Progress(4, "networks", stream)
    for note in ("a long note", "b"):
        clock[0] += 1
        shown.advance(2, note=note)
    shown.close()
    first, second, third = stream.getvalue().split("\r")[1:]
    assert first == "networks 2 of 4, 1 s left, a long note"
    assert second == "networks 4 of 4, 0 s left, b".ljust(len(first))
    assert third == "networks 4 of 4, 0 s left".ljust(len("networks 4 of 4, 0 s left, b")) + "\n"


def test_what_was_found_does_not_make_the_rest_look_quick(clock):
    """900 of 1,000 lay in the folder; each of the others takes a second."""
    stream = io.StringIO()
    shown = Progress(1000, "networks", stream)
    shown.advance(900, note="found in the folder", found=True)
    for _ in range(10):
        clock[0] += 1
        shown.advance(1, work=1e3)
    assert stream.getvalue() == "networks 910 of 1,000, 0.00 million steps/s, 1 min 30 s left\n"


def test_says_what_it_waits_for_before_anything_is_done(clock):
    stream = io.StringIO()
    shown = Progress(1000, "networks", stream)
    clock[0] += 10
    shown.say("compiling relu on xor")
    assert stream.getvalue() == "networks 0 of 1,000, compiling relu on xor\n"


def test_is_silent_without_a_stream(capfd):
    shown = Progress(10, "networks", every=0)
    shown.advance(10)
    shown.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (9e4, "25 h 0 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_notebook_shows_one_line_as_well(clock, monkeypatch):
    monkeypatch.setitem(progress.sys.modules, "ipykernel", progress)
    stream = io.StringIO()
    shown = Progress(10, "networks", stream)
    for _ in range(3):
        clock[0] += 1
        shown.advance(1)
    assert stream.getvalue().count("\r") == 3
    assert "\n" not in stream.getvalue()
