"""Compiled programs of earlier commands: found, checked, bounded, and never in the way."""

import os
import subprocess
import sys

import pytest

from jaxnn.lab import cache, cli

COMMAND = "compare xor --activations relu --learning-rates 0.1 --seeds 4 --tuning-seeds 2 --epochs 40 --no-timing"
COUNTED = """
import sys
import jax
from jaxnn.lab import cache, cli

cache.SHORTEST = 0
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
status = cli.main(sys.argv[1:])
print(*(sum(event == "/jax/compilation_cache/" + name for event in events) for name in ("cache_hits", "cache_misses")))
sys.exit(status)
"""


def compare(kept, out):
    """What a command in a process of its own says, how many programs it found kept, how many it kept itself."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *COMMAND.split(), "--out", str(out)],
        capture_output=True, text=True, env=os.environ | {cache.SWITCH: str(kept)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    *told, _, counts = done.stdout.splitlines()  # but for the last line, which tells the seconds
    return told, *map(int, counts.split())


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return folder / "kept", *compare(folder / "kept", folder / "out")


def test_a_second_command_compiles_nothing_again_and_believes_nothing_that_was_damaged(first, tmp_path):
    kept, told, hits, misses = first
    assert hits == 0
    assert misses > 2
    assert len(cache.programs(kept)) == misses
    assert compare(kept, tmp_path / "again") == (told, misses, 0)
    cut, noise, unsealed, *_ = sorted(cache.programs(kept), key=lambda path: -path.stat().st_size)
    cut.write_bytes(cut.read_bytes()[:-100])
    middle = bytearray(noise.read_bytes())
    middle[len(middle) // 2 : len(middle) // 2 + 64] = bytes(range(64))
    noise.write_bytes(middle)
    unsealed.with_suffix(".sha256").unlink()
    assert compare(kept, tmp_path / "damaged") == (told, misses - 3, 3)


@pytest.mark.parametrize("hindered", ["off", "a file is there", "others may write"])
def test_without_it_the_answer_is_the_same(first, hindered, tmp_path):
    _, told, *_ = first
    kept = tmp_path / "kept"
    if hindered == "a file is there":
        kept.write_text("")
    if hindered == "others may write":
        kept.mkdir()
        kept.chmod(0o777)
    assert compare("off" if hindered == "off" else kept, tmp_path / "out") == (told, 0, 0)
    assert not list(tmp_path.rglob("*-cache"))


def test_the_command_tells_its_place_and_size_and_empties_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(cache.SWITCH, str(tmp_path / "kept"))
    (tmp_path / "kept" / "one").mkdir(parents=True)
    (tmp_path / "kept" / "one" / "jit_f-123-cache").write_bytes(bytes(3 * 2**20))
    (tmp_path / "kept" / "thesis.txt").write_text("not ours")
    for arguments, told in ([], "1 programs, 3.0 of at most 256 MiB"), (["--clear"], "0 programs, 0.0 of"):
        assert cli.main(["cache", *arguments]) == 0
        assert f"{tmp_path / 'kept'}: {told}" in capsys.readouterr().out
    assert (tmp_path / "kept" / "thesis.txt").exists()
    monkeypatch.setenv(cache.SWITCH, "off")
    assert cli.main(["cache"]) == 0
    assert "no programs are kept: JAXNN_CACHE is off" in capsys.readouterr().out


def test_the_oldest_go_when_there_is_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 2500)
    for age in range(5):
        program = tmp_path / "folder" / f"jit_f-{age}-cache"
        program.parent.mkdir(exist_ok=True)
        program.write_bytes(bytes(900))
        os.utime(program, (1e9 - age, 1e9 - age))
    cache._keep(tmp_path / "folder")
    assert [path.name for path in cache.programs(tmp_path)] == ["jit_f-1-cache", "jit_f-0-cache"]
    assert sum(cache.programs(tmp_path).values()) == 1800


def test_it_lies_where_the_system_keeps_such_things(monkeypatch):
    monkeypatch.delenv(cache.SWITCH)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache.root()) == "/somewhere/jaxnn"
