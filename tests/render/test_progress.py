import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from umlbench.render.progress import PlanProgress, duration
from umlbench.running import Event


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (80, "1m20s"),
        (3599.6, "1h00m"),
        (7500, "2h05m"),
        (200_000, "55h33m"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def play(hand, terminal):
    recipe = hand.recipe(seeds=[1], axes={"shots": [1, 2], "method": ["uml"]})
    records = hand.fill(
        recipe, lambda cell, seed: 61.5 if cell["shots"] == 1 else ValueError("[no] luck")
    )
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80, color_system=None)
    with PlanProgress(console) as progress:
        progress.on_plan(SimpleNamespace(id="hand", jobs=3, todo=2, headless=0, missing=()))
        for record in records:
            progress.on_event(Event(SimpleNamespace(recipe=recipe), record))
    return out.getvalue()


def test_a_pipe_gets_one_line_per_job(hand):
    assert play(hand, terminal=False).splitlines() == [
        "hand: 2 of 3 jobs to run, 1 are done",
        "[1/2] hand shots=1 method=uml seed=1: Test accuracy 61.50 (0s left)",
        "FAILED hand shots=2 method=uml seed=1: ValueError: [no] luck",
    ]


def test_a_terminal_gets_a_bar_and_the_failures(hand):
    out = play(hand, terminal=True)
    assert "FAILED hand shots=2 method=uml seed=1: ValueError: [no] luck" in out
    assert "[1/2]" not in out


def test_nothing_to_do_draws_no_bar(hand):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None)
    with PlanProgress(console) as progress:
        progress.on_plan(SimpleNamespace(id="hand", jobs=3, todo=0, headless=0, missing=()))
    assert out.getvalue() == "hand: 0 of 3 jobs to run, 3 are done\n"
