"""The page in a real browser: it loads in silence, its tables sort, and nothing scrolls sideways on a phone."""

import json
import re
import shutil
import subprocess
from html import escape

import answers
import pytest

from jaxnn.lab import report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=3000 --dump-dom"
).split()
# Looks into the page from around it: the page itself is as it is written.
LOOK = """
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const names = () => [...page.querySelectorAll("table.forest tbody th")].map(th => th.firstChild.textContent.trim());
  const wide = [...page.querySelectorAll("body *")].filter(e =>
    e.getBoundingClientRect().right > root.clientWidth + 1 && !e.closest(".wide")).map(e => e.outerHTML.slice(0, 80));
  const before = names();
  page.querySelector("table.forest thead button").click();
  const once = names();
  page.querySelector("table.forest thead button").click();
  const found = {width: root.scrollWidth, seen: root.clientWidth, wide, before, once, twice: names()};
  document.title = JSON.stringify(found);
});
"""


def look(html, width, tmp_path):
    """What the browser finds in a page of some width, and what it says on the console."""
    around = tmp_path / "around.html"
    around.write_text(
        f'<!doctype html><meta charset="utf-8"><title></title><iframe width="{width}" height="900" style="border:0" '
        f'srcdoc="{escape(html)}"></iframe><script>{LOOK}</script>'
    )
    done = subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", around.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1]
    found = json.loads(title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return found, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("case", ["four tasks", "all activations", "names with markup", "a target with a budget"])
@pytest.mark.parametrize("width", [420, 1400])
def test_nothing_scrolls_sideways_tables_sort_and_the_console_is_silent(case, width, tmp_path):
    found, console = look(report.page(answers.of(case)), width, tmp_path)
    assert console == []
    assert found["wide"] == []
    assert found["width"] <= found["seen"]  # which is the width, but for a scroll bar
    assert sorted(found["once"]) == sorted(found["before"])
    assert found["twice"] != found["once"]


def test_the_look_sees_what_is_wrong(tmp_path):
    """Negative control: a wide element, a script that the policy forbids, a console that is not silent."""
    html = report.page(answers.of("four tasks"))
    wide = html.replace("</main>", '<div style="width:900px">wide</div></main>')
    assert look(wide, 420, tmp_path)[0]["width"] > 420
    loud = html.replace("</main>", "<script>document.title = 'run'</script></main>")
    _, console = look(loud, 420, tmp_path)
    assert len(console) == 1
    assert "Content Security Policy" in console[0]
