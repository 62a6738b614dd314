"""Whatever a recipe or an option holds, it is read or refused in words, never with a traceback."""

import copy
import tempfile
from pathlib import Path

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from umlbench import recipe
from umlbench.errors import UserError

DATA = yaml.safe_load("""
id: mine
title: A small recipe
protocol: linear_probe
axes: {shots: [1, 2], method: [unimodal, uml]}
seeds: [1, 2]
settings: {dataset: digits, encoder: pixels}
grid: {learning_rate: [0.001, 0.01], batch_size: [8]}
selection: val_accuracy
report:
  metrics: [accuracy]
  rows: [shots]
  columns: [method]
  baseline: {method: unimodal}
  average: method
  points: {step: [1.0]}
  labels: {method: {uml: Ours}}
  plot: {x: shots, lines: method}
claims:
- {text: a, kind: ordering, greater: {method: uml}, than: {method: unimodal}, for_each: [shots]}
- {text: b, kind: trend, along: shots, direction: rising, for_each: [method]}
- {text: c, kind: bound, at_least: 0.0, for_each: [method], over: shots, where: {shots: [1]}}
notes: [a note]
""")


def places(node, at=()):
    """Every path of the data."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, inner in items:
        yield (*at, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*at, key))


PATHS = list(places(DATA))
WORDS = st.sampled_from(["shots", "method", "uml", "digits", "accuracy", "kind", "x", ""])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.sampled_from([10**400, -(10**30), 1e300, float("inf"), float("nan")])
    | st.floats()
    | WORDS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
ACTS = st.sampled_from(["put", "drop", "rename"])
CHANGES = st.tuples(
    st.sampled_from(PATHS), st.sampled_from(["put", "drop", "rename"]), VALUES, WORDS
)


def changed(changes):
    data = copy.deepcopy(DATA)
    for path, act, value, word in changes:
        node = data
        try:
            for part in path[:-1]:
                node = node[part]
            if act == "put":
                node[path[-1]] = value
            else:
                moved = node.pop(path[-1])
                if act == "rename" and isinstance(node, dict):
                    node[word] = moved
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # an earlier change took the place away
    return data


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CHANGES, min_size=1, max_size=4))
@example([(("settings",), "put", {5: 1}, "")])
@example([(("report", "metrics", 0), "put", ["accuracy"], "")])
@example([(("axes", "shots", 0), "put", {"shots": 1}, "")])
@example([(("report", "baseline", "method"), "put", ["uml"], "")])
@example([(("claims", 0), "put", "it helps", "")])
def test_a_damaged_recipe_is_told_what_is_wrong(changes):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "mine.yaml"
        path.write_text(yaml.safe_dump(changed(changes)), encoding="utf-8")
        lines = recipe.errors(path)
        assert all(line.startswith(f"{path}:") for line in lines)
        assert len(set(lines)) == len(lines)
        if not lines:
            assert list(recipe.load(path).jobs())


@settings(max_examples=60)
@given(
    st.sampled_from(["overrides", "only", "seeds"]),
    st.text("shotmed.=,-[]{}:'!&* 0123456789\n", max_size=12)
    | st.builds("{}={}".format, st.sampled_from([".".join(map(str, p)) for p in PATHS]), VALUES),
)
@example("overrides", "settings.dataset.name=x")
@example("overrides", "report=3")
@example("overrides", "axes=null")
@example("overrides", "shots={a: 1}")
def test_any_option_is_applied_or_refused_in_words(option, text):
    change = text if option == "seeds" else [text]
    try:
        loaded = recipe.load("digits", **{option: change})
    except UserError as error:
        message = error.message
    else:
        message = ""
        assert loaded.file.axes
    assert message or loaded.modified
