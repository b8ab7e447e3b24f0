"""How far a long job is: networks done, speed, time left; one line that is overwritten, or plain lines in a file."""

import sys
import time


class Progress:
    """Prints to a stream, where there is one: on a terminal in place, elsewhere a line every ten seconds.

    >>> import sys
    >>> progress = Progress(100, "networks", stream=sys.stdout, every=0)
    >>> progress.advance(50, work=5e6, note="relu")  # doctest: +ELLIPSIS
    networks 50 of 100, ... million steps/s, 0 s left, relu
    """

    def __init__(self, total: int, noun: str, stream=None, every: float | None = None):
        self.total, self.noun, self.stream = total, noun, stream
        self.in_place = stream is not None and (stream.isatty() or "ipykernel" in sys.modules)  # as in a notebook
        self.every = (0.1 if self.in_place else 10.0) if every is None else every
        self.done, self.found, self.work, self.width, self.start = 0, 0, 0.0, 0, time.monotonic()
        self.shown = self.start

    def advance(self, count: int, work: float = 0.0, note: str = "", found: bool = False) -> None:
        """Count networks as done, with the network-steps they took; `found` ones took no time."""
        self.done, self.found, self.work = self.done + count, self.found + found * count, self.work + work
        self.say(note)

    def say(self, note: str = "") -> None:
        """Show where things stand, unless that was done a moment ago."""
        now = time.monotonic()
        if self.stream is None or now - self.shown < self.every:
            return
        self.shown, passed = now, now - self.start
        speed = f", {self.work / passed / 1e6:.2f} million steps/s" if self.work else ""
        made = self.done - self.found
        left = f", {duration(passed * (self.total - self.done) / made)} left" if made else ""
        line = f"{self.noun} {self.done:,} of {self.total:,}{speed}{left}{note and ', ' + note}"
        self.stream.write(f"\r{line:<{self.width}}" if self.in_place else line + "\n")
        self.stream.flush()
        self.width = len(line)

    def close(self) -> None:
        """Show where things stand at the end, if anywhere, and end the line."""
        self.shown = -self.every
        if self.done:
            self.say()
        if self.in_place and self.width:
            self.stream.write("\n")


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(5), duration(200), duration(8000)
    ('5 s', '3 min 20 s', '2 h 13 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    return (
        f"{seconds // 60} min {seconds % 60} s" if seconds < 3600 else f"{seconds // 3600} h {seconds % 3600 // 60} min"
    )
