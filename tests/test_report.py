"""The report is one well-formed page that loads nothing, escapes everything, and has every arm and every number."""

import base64
import copy
import hashlib
import json
import os
import re
import shlex
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import NASTY, RUNS, a_task, an_answer

from jaxnn import answers, captions, markup, report

SEEN = NASTY.replace("\x07", "�")


class Element:
    """A node of the page: name, attributes, children, and all text in it."""

    def __init__(self, name, attributes):
        self.name, self.attributes, self.children, self.own = name, dict(attributes), [], []

    def walk(self):
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name, **attributes):
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [e for e in self.walk() if e.name == name and wanted.items() <= e.attributes.items()]

    @property
    def text(self):
        return "".join(part if isinstance(part, str) else part.text for part in self.own)


class Page(HTMLParser):
    """A strict reader: every tag is closed, in order."""

    def __init__(self, page):
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(page)
        self.close()
        assert self.open == [self.root], f"not closed: {[e.name for e in self.open]}"

    def handle_starttag(self, name, attributes):
        assert len(dict(attributes)) == len(attributes), f"an attribute twice in {name}"
        element = Element(name, attributes)
        self.open[-1].children.append(element)
        self.open[-1].own.append(element)
        if name != "meta":
            self.open.append(element)

    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        self.handle_endtag(name)

    def handle_endtag(self, name):
        assert self.open.pop().name == name

    def handle_data(self, data):
        self.open[-1].own.append(data)


@cache
def made():
    return an_answer(
        a_task("xor", 7, exhaustive=True, lost=(3,)),
        a_task("moons", 8, plane=True),
        a_task("wine", 7, spread=0.5, target=None, budget=None),
    )


@cache
def page():
    return report.render(*made())


@cache
def root():
    return Page(page()).root


@cache
def large():
    return an_answer(a_task("digits", 55))


@cache
def large_page():
    return report.render(*large())


def test_page_is_well_formed_and_starts_with_the_answer():
    assert page().startswith('<!doctype html>\n<html lang="en">')
    assert [e.name for e in root().children] == ["html"]
    main = root().find("main")[0]
    assert [e.text for e in main.children[:2]] == ["Which activation?", made()[0]["answer"].replace(NASTY, SEEN)]
    assert [e.text for e in main.find("h2")] == ["xor", "moons", "wine", "All tasks together", "Activations", "Again"]
    for task in made()[0]["tasks"]:
        assert task["sentence"] in main.text


def test_nothing_from_outside_becomes_markup():
    assert "<script>alert" not in page()
    assert len(root().find("script")) == len(root().find("style")) == 1
    assert not root().find("i")
    assert not [e for e in root().find("b") if "one" in e.text]
    for element in root().walk():
        assert not [key for key in element.attributes if key.startswith("on")]


def test_the_reader_of_pages_sees_an_injection():
    """Negative control: without escaping the script would be found."""
    names = [e.name for e in Page(f"<p>{NASTY}</p>").root.walk()]
    assert "script" in names
    with pytest.raises(AssertionError):
        Page("<p><b></p></b>")


def test_nothing_is_loaded():
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\((?!#)", page())
    names = {e.name for e in root().walk()}
    assert not names & {"link", "img", "iframe", "object", "embed", "base", "form", "video", "audio"}
    links = [e.attributes[key] for e in root().walk() for key in ("href", "src") if key in e.attributes]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    policy = root().find("meta", http_equiv="Content-Security-Policy")[0].attributes["content"]
    digest = base64.b64encode(hashlib.sha256(root().find("script")[0].text.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in policy


def test_identifiers_are_unique_and_links_meet_them():
    identifiers = [e.attributes["id"] for e in root().walk() if "id" in e.attributes]
    assert len(identifiers) == len(set(identifiers))
    values = " ".join(v or "" for e in root().walk() for k, v in e.attributes.items() if k in ("href", "clip-path"))
    links = re.findall(r"(?:^|\s|\()#([\w.-]+)", values)
    links += [e.attributes["aria-labelledby"] for e in root().walk() if "aria-labelledby" in e.attributes]
    assert links
    assert set(links) <= set(identifiers)


def test_every_figure_says_in_numbers_what_it_shows():
    figures = root().find("figure")
    functions = [e for e in root().find("figcaption") if "(solid) and its derivative" in e.text]
    assert functions
    assert len(figures) == 5 + 6 + 4 + 1 + len(functions)
    for figure in figures:
        (svg,), (caption,) = figure.find("svg"), figure.find("figcaption")
        assert svg.attributes["role"] == "img"
        assert len(re.findall(r"\d", svg.attributes["aria-label"])) >= 3
        assert len(caption.text) > 30
        assert svg.find("text")


def test_alternative_text_has_the_numbers():
    for task in made()[0]["tasks"]:
        alt = captions.accuracy_intervals(task).alt
        for arm in task["arms"]:
            assert f"{arm['name']} {arm['test']['value']:.3f}" in alt
    labels = [e.attributes["aria-label"] for e in root().find("svg")]
    assert any(SEEN in label for label in labels)


@pytest.mark.parametrize("place", range(3))
def test_table_has_every_arm_in_order(place):
    task, table = made()[0]["tasks"][place], root().find("table", class_="sortable")[place]
    headers = [e.text for e in table.find("th", scope="col")]
    rows = table.find("tbody")[0].children
    assert len(rows) == len(task["arms"])
    assert [e.attributes.get("aria-sort") for e in table.find("th", scope="col")].count("ascending") == 1
    assert not table.find("button")  # it is JavaScript that makes them
    for rank, (row, arm) in enumerate(zip(rows, task["arms"], strict=True), 1):
        cells = dict(zip(headers, row.children, strict=True))
        assert cells["rank"].text == str(rank)
        assert cells["arm"].name == "th"
        assert cells["arm"].attributes["scope"] == "row"
        assert cells["arm"].text.startswith(arm["name"].replace(NASTY, SEEN))
        test = cells[answers.metric_name(task)]
        assert float(test.attributes["data-value"]) == arm["test"]["value"]
        assert test.text.replace("\xa0", " ") == captions.with_interval(arm["test"])
        assert cells["may be the best"].text.startswith("tie" if arm["in_best"] else "no")
        assert cells["diverged runs"].text == f"{arm['test']['diverged']} of {RUNS}"
        assert cells["learning rate"].text == f"{arm['learning_rate']:g}"
        assert cells["difference from relu"].text[0] in ("–" if arm["name"] == "relu" else "−0123456789")
        replay = shlex.split(cells["replay one run"].text)
        assert replay == ["jaxnn", "replay", made()[0]["folder"], str(arm["trials"][0])]
        for header, field in (
            ("median steps to the target", "median_steps"),
            ("share of runs at the target", "reached"),
        ):
            assert (header in cells) == (task["target"] is not None)
            assert task["target"] is None or (arm[field]["value"] is None) == cells[header].text.startswith("never")


def test_every_run_can_be_replayed():
    details = root().find("details")
    for task, part in zip(made()[0]["tasks"], details, strict=True):
        assert f"jaxnn replay {shlex.quote(made()[0]['folder'])} TRIAL" in part.text
        for arm in task["arms"]:
            for trial, value in zip(arm["trials"], arm["values"], strict=True):
                shown = "diverged" if value is None else captions.number(value)
                assert f"{trial}: {shown}" in part.text


def test_command_versions_machine_and_settings_are_there():
    answer, text = made()[0], root().find("section", aria_labelledby="again")[0].text
    for part in (answer["command"], *answer["versions"].values(), *map(str, answer["machine"].values())):
        assert part in text
    assert "tuning seeds10" in text
    assert "baselinerelu" in text


def test_captions_say_what_the_numbers_mean():
    text = root().text
    for words in (
        "95 % intervals", "ties, whatever their order", "tuned with other seeds than those of the verdict",
        "on validation rows with other seeds", "The initialization is matched to each activation",
        "interquartile mean over the runs; bar: the bootstrap's 95 % interval", "Wilson's 95 % interval",
        f"{RUNS} runs (seeds) for each arm", "counted as the worst value", "Kaplan-Meier",
        "no other arm is both better and faster",
    ):  # fmt: skip
        assert words in text, words
    answer = made()[0] | {"settings": made()[0]["settings"] | {"init": "common"}, "tasks": [], "across": None}
    assert "All activations start from the same initialization." in report.render(answer, {})
    answer["settings"]["tuning_seeds"] = 0
    assert "at a given learning rate." in report.render(answer, {})


def test_fifty_five_arms_fit_in_a_small_file():
    """And figures of curves show a few of them and say so."""
    assert len(large_page().encode()) < 300_000
    assert len(page().encode()) < 600_000
    text = Page(large_page()).root.text
    assert re.search(r"\d of 55 arms are shown", text)
    for arm in large()[0]["tasks"][0]["arms"]:
        assert arm["name"].replace(NASTY, SEEN) in text


def test_same_answer_same_bytes():
    small = an_answer(a_task("moons", 4, plane=True))
    assert report.render(*small) == report.render(*copy.deepcopy(small))


NULLABLE = {
    "across", "batch_size", "budget_seconds", "critical_distance", "difference", "improvement", "median_steps",
    "p_best", "p_value", "reached", "regions", "seconds_per_step_alone", "seconds_per_step_block", "seconds_to_end",
    "seconds_to_target", "target", "time_to_target", "within_budget",
}  # fmt: skip


def nothing(value):
    """An answer in which all that may be null is."""
    if isinstance(value, list):
        return [nothing(v) for v in value]
    if not isinstance(value, dict):
        return value
    null = NULLABLE | ({"value", "low", "high"} if "runs" in value else set())
    return {key: None if key in null else nothing(v) for key, v in value.items()}


def test_nulls_become_dashes():
    answer = nothing(an_answer(a_task("wine", 4))[0])
    answer["tasks"][0]["tuning"]["arms"] = {}
    answer["tasks"][0]["arms"][0] |= {"test": None, "loss": None, "trials": [], "values": []}
    bare = Page(report.render(answer, {})).root
    assert "–" in bare.find("table", class_="sortable")[0].text
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", bare.text)
    assert not any("nan" in (v or "") for e in bare.find("path") for k, v in e.attributes.items() if k == "d")


def test_one_arm_and_only_lost_arms():
    answer, curves = an_answer(a_task("moons", 4, plane=True))
    task = answer["tasks"][0]
    task |= {"arms": task["arms"][:1], "feature_names": None, "class_names": [0, 1, 2], "hidden": []}
    assert len(Page(report.render(answer, curves)).root.find("tr", class_="best")) == 1
    answer, curves = an_answer(a_task("lost", 4, lost=range(4), target=None))
    assert f"{4 * RUNS} diverged in all" in Page(report.render(answer, curves)).root.text


def test_write_leaves_a_whole_page_and_nothing_else(tmp_path, monkeypatch):
    answer, curves = an_answer(a_task("wine", 4, target=None))
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    np.savez(tmp_path / "curves.npz", **curves)
    path = report.write(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == report.render(answer, curves)
    assert sorted(os.listdir(tmp_path)) == ["answer.json", "curves.npz", "report.html"]
    monkeypatch.setattr(report, "render", lambda *_: 1 / 0)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        report.write(tmp_path)
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match=r"answer\.json does not exist"):
        report.write(tmp_path / "elsewhere")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_text_survives_escaping(text, value):
    (element,) = Page(markup.tag("p", text, title=value)).root.children
    assert element.text == text
    assert element.attributes == {"title": value}


def test_what_html_forbids_is_replaced():
    assert markup.tag("p", "\x00\ud800a\nb") == "<p>��a\nb</p>"
    assert Path(report.__file__).with_name("report.js").read_text().isascii()
