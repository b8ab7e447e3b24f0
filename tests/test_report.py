"""The page shows the whole answer, loads nothing, runs nothing that came with the data, and is written in no time."""

import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import answers
import pytest

from jaxnn.lab import report, wording

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Page(HTMLParser):
    """Elements with attributes, visible text; complains about tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag, name=""):
        return [found for t, found in self.elements if t == tag and name in (found.get("class") or "")]


@pytest.fixture(params=answers.CASES)
def case(request):
    found = answers.of(request.param)
    return found, Page(report.page(found))


def test_the_page_is_well_formed_and_has_a_card_and_a_section_for_each_task(case):
    found, page = case
    assert len(page.all("article", "card")) == len(found.tasks)
    assert len([s for s in page.all("section") if s.get("id", "").startswith("task-")]) == len(found.tasks)
    targets = {s["id"] for s in page.all("section") if "id" in s}
    assert {a["href"].removeprefix("#") for a in page.all("a")} == targets


def test_it_says_what_to_take_first_and_every_number_of_the_table(case):
    found, page = case
    first = next(iter(found.tasks.values()))
    assert page.text.index(wording.recommendation(first)) < 600
    for task in found.tasks.values():
        for choice in task.choices:
            assert choice.name in page.text
            for value in (choice.metric.value, choice.metric.low, choice.metric.high):
                assert f"{100 * value:.1f}" in page.text
            if choice.difference:
                assert wording.signed(choice.difference.value) in page.text
                assert f"{choice.difference.p_value:.3f}" in page.text
            assert f"{choice.trials[0]}–{choice.trials[-1]}" in page.text
        for reference in task.references:
            assert f"{100 * reference.metric.value:.1f}" in page.text
        for note in (*task.notes, task.network, task.head, task.optimizer):
            assert note in page.text
    assert wording.command(found) in page.text
    assert wording.call(found) in page.text
    assert "None" not in re.sub(r"None of the \d+ can be told", "", page.text)
    assert not re.search(r"\bnan\b", page.text)


def test_it_loads_nothing_and_runs_one_script_that_it_names(case):
    _, page = case
    assert not page.all("link") + page.all("img") + page.all("iframe") + page.all("object")
    assert not [
        a for _, attributes in page.elements for a in attributes if a.startswith("on") or a in ("src", "srcset")
    ]
    assert len(page.all("script")) == 1
    (policy,) = (m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", policy)


def test_drawings_are_told_to_those_who_do_not_see_them(case):
    _, page = case
    drawn = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert drawn
    assert all(one.get("role") == "img" and one.get("aria-label") for one in drawn)


def test_names_with_markup_stay_names():
    found = answers.of("names with markup")
    html = report.page(found)
    assert answers.MARKUP not in html
    assert "</script>" not in html.replace("</script></body></html>", "")
    assert answers.MARKUP in Page(html).text
    assert answers.MARKUP not in report.small(found)


def test_four_tasks_are_light_and_quick():
    found = answers.of("four tasks")
    report.page(found)
    begin = time.perf_counter()
    html = report.page(found)
    assert time.perf_counter() - begin < 1
    assert len(html.encode()) < 300_000


def test_the_recommended_one_is_in_its_card_however_many_there_are():
    found = answers.of("all activations")
    (task,) = found.tasks.values()
    last = replace(task, recommendation=replace(task.recommendation, name=task.choices[-1].name))
    html = report.page(replace(found, tasks={task.name: last}))
    card = html[html.index("<article") : html.index("</article>")]
    assert task.choices[-1].name in card
    assert f"and {len(task.choices) - 12} more" in card


def test_the_small_page_is_the_cards_alone(case):
    found, _ = case
    small = Page(report.small(found))
    assert len(small.all("article", "card")) == len(found.tasks)
    assert not small.all("script") + small.all("html") + small.all("table")


def test_another_number_makes_another_page():
    """Negative control: the page is made from the answer."""
    found = answers.of("one small table")
    (task,) = found.tasks.values()
    first = replace(task.choices[0], metric=replace(task.choices[0].metric, value=0.12345))
    other = replace(found, tasks={task.name: replace(task, choices=(first, *task.choices[1:]))})
    assert "12.3" not in report.page(found)
    assert "12.3" in report.page(other)
