"""Sentences say what the numbers say, in few words, each claim with its interval."""

import re
from dataclasses import replace

import answers
import pytest

from jaxnn.lab import wording
from jaxnn.lab.answer import Interval


@pytest.fixture(params=answers.CASES)
def found(request):
    return answers.of(request.param)


def only(case):
    (task,) = answers.of(case).tasks.values()
    return task


def test_a_recommendation_has_at_most_twenty_words(found):
    for task in found.tasks.values():
        told = wording.recommendation(task)
        assert len(told.replace(task.name, "name").split()) <= 20, told
        if "Nothing to take" not in told:
            assert told.startswith(f"Take {task.recommended}: ")
            assert re.search(r"\d+(\.\d)? to \d+", told)


def test_everything_is_told_in_sentences_once(found):
    for task in found.tasks.values():
        told = [wording.reason(task, found.tolerance), wording.sure(task, found)]
        told += [words(task) for words in (wording.standing, wording.target, wording.settled)]
        told += [wording.compared(task, reference) for reference in task.references]
        told = [one for one in told if one]
        assert all(one.endswith((".", "?")) and "None" not in one.replace("None of", "") for one in told)
        assert len(set(told)) == len(told)


def test_the_text_has_a_line_for_each_activation_with_its_number(found):
    text = wording.text(found)
    for task in found.tasks.values():
        for choice in task.choices:
            (line,) = [one for one in wording.table(task, found).splitlines() if one[3:].startswith(f"{choice.name} ")]
            assert f"{100 * choice.metric.value:.1f}" in line
            assert (line[0] == ">") == (choice.name == task.recommended)
            assert (line[0] == "*") == (choice.in_best and choice.name != task.recommended)
        assert wording.recommendation(task) in text


def test_kinds_of_answers_have_their_words():
    assert "every run diverged" in wording.recommendation(only("everything diverges"))
    assert "on these rows" in wording.recommendation(only("brought test rows"))
    assert "these test rows only" in wording.sure(only("brought test rows"), answers.of("brought test rows"))
    assert ": solves xor in" in wording.recommendation(only("one truth table"))
    assert "behind" not in wording.recommendation(only("one activation, not timed"))
    assert "within 100 µs" in wording.target(only("a target with a budget"))
    assert wording.target(only("one small table")) == ""


def test_a_linear_classifier_that_does_as_well_is_named():
    task = only("one small table")
    (reference,) = task.references
    for low, high, words in (
        (0.01, 0.05, "is ahead by 3.0 (1.0 to 5.0)"),
        (-0.03, 0.04, "does as well, as far as can be told"),
        (-0.04, 0.02, "is behind by 1.0 (−2.0 to 4.0)"),
        (-0.05, -0.01, "does better"),
    ):
        ahead = replace(reference.ahead, value=(low + high) / 2, low=low, high=high)
        told = wording.compared(task, replace(reference, ahead=ahead))
        assert words in told
        assert ("does" in told) == (low < 0)


def test_ties_in_time_are_named():
    task = only("one small table")
    near = tuple(choice.name for choice in task.choices[:3])
    rule = replace(task.recommendation, name=near[0], within_tolerance=near, ties=near[:2])
    told = wording.reason(replace(task, recommendation=rule), 0.01)
    assert f"{near[1]} cannot be told from it in time" in told
    assert "at most 1 point behind (3)" in told
    alone = replace(task.recommendation, name=near[0], within_tolerance=near[:1], ties=near[:1])
    assert "It alone" in wording.reason(replace(task, recommendation=alone), 0.01)
    nobody = replace(task.recommendation, name=near[0], within_tolerance=(), ties=())
    assert "Nobody can be promised to be within 1 point" in wording.reason(replace(task, recommendation=nobody), 0.01)


def test_the_question_is_a_command_and_a_call():
    given = answers.of("a mixture")
    assert wording.command(given) == ""  # rows have no name that a command understands
    assert wording.call(given) == "lab.compare((x, y), mixtures=True, hidden=[8, 8])"
    found = replace(given, tasks={"toy": replace(given.tasks["toy"], source="toy.csv")})
    assert wording.command(found) == "jaxnn compare toy --mixtures --hidden 8 8"
    assert wording.call(found) == "lab.compare('toy', mixtures=True, hidden=[8, 8])"
    question = replace(found.question, tasks=("a b.csv",), options={"timing": False, "learning_rates": [0.1, 1e-05]})
    told = replace(found, question=question)
    assert wording.command(told) == "jaxnn compare 'a b.csv' --no-timing --learning-rates 0.1 1e-05"


def test_intervals_of_shares_are_rounded_to_what_they_have():
    assert wording.share(Interval(0.87, 0.79, 0.922)) == "87 % (79 to 92)"
