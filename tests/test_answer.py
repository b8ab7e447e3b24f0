"""What is written is read back equal; the schema is of JSON's own types, and numbered."""

import json
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from simulated import simulate, toy, truth_table

from jaxnn.lab import Recipe, Settings, answer
from jaxnn.lab.answer import Question, Record, from_json, to_json

SETTINGS = Settings(
    activations=("relu", "tanh", "0.5 relu + 0.5 tanh"), learning_rates=(0.01, 0.1), null_pair=True, budget=1.0,
    recipe=Recipe(target=0.6),
)  # fmt: skip


def draw(arm, numbers, rows):
    good = np.arange(12) < 7 + (arm == "relu")
    return {"test_rows": good} if rows.test is not None else {"test_metric": 0.7 * (arm != "identity")}


@pytest.fixture(scope="module")
def record():
    with pytest.MonkeyPatch.context() as patch:
        tasks = [simulate(patch, draw, SETTINGS, rows)[1] for rows in (toy(), truth_table(), toy(features=2))]
    names = ("toy", "xor", "plane")
    found = {name: replace(one, name=name) for name, one in zip(names, tasks, strict=True)}
    question = Question(names, {"hidden": [4], "mixtures": True, "target": 0.6})
    return Record(answer.SCHEMA, question, found, 0.05, 0.95, 0.01, True, {"jax": "0.10.2"}, {"cores": 2})


def test_what_is_written_is_read_back_equal(record):
    text = to_json(record)
    assert from_json(text) == record
    assert to_json(from_json(text)) == text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_change_of_any_number_makes_another_record(record):
    """Negative control: equality sees every leaf."""
    plain = json.loads(to_json(record))

    def leaves(node, path=()):
        if isinstance(node, dict | list):
            for key, value in node.items() if isinstance(node, dict) else enumerate(node):
                yield from leaves(value, (*path, key))
        else:
            yield path

    for path in list(leaves(plain["tasks"]["toy"]["choices"][0]))[::7]:
        changed = json.loads(to_json(record))
        node = changed["tasks"]["toy"]["choices"][0]
        for key in path[:-1]:
            node = node[key]
        old = node[path[-1]]
        node[path[-1]] = (not old) if isinstance(old, bool) else old + 1 if isinstance(old, int | float) else "changed"
        try:
            assert from_json(json.dumps(changed)) != record
        except ValueError:
            assert old is None or isinstance(old, str)


def test_records_are_frozen(record):
    def records(kind, seen):
        if is_dataclass(kind) and kind not in seen:
            seen.add(kind)
            for one in fields(kind):
                for name, other in vars(answer).items():
                    if isinstance(other, type) and is_dataclass(other) and name in str(one.type):
                        records(other, seen)
        return seen

    found = records(Record, set())
    assert len(found) >= 12
    assert all(kind.__dataclass_params__.frozen for kind in found)


def test_an_answer_of_another_version_or_none_is_refused(record):
    other = json.loads(to_json(record)) | {"schema": 99}
    with pytest.raises(ValueError, match="its schema is 99, this version reads"):
        from_json(json.dumps(other))
    other = json.loads(to_json(record))
    del other["tasks"]["toy"]["choices"][0]["metric"]
    for text in ("{}", "[]", "nonsense", json.dumps(other)):
        with pytest.raises(ValueError):
            from_json(text)


def test_a_task_finds_its_choices_by_name(record):
    toy = record.tasks["toy"]
    assert toy.choice("identity").kind == "reference"
    assert toy.choice("tanh").name == "tanh"
    assert toy.recommended in toy.best
    with pytest.raises(KeyError):
        toy.choice("gelu")
