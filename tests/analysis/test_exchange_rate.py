"""Planes and rates against a case by hand, scikit-learn, and every resample there is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from umlbench.analysis.exchange_rate import FITS, Rate, plane

IMAGES, TEXTS = (1, 2, 4, 8, 16), (0, 1, 2, 5, 10, 15)
GRID = [(float(i), float(t)) for i in IMAGES for t in TEXTS]
RAW, LOG = FITS["raw"], FITS["log"]


def surface(figure, seeds=(1, 2, 3), grid=GRID):
    return {p: {s: figure(*p, s) for s in seeds} for p in grid}


def planted(image, text, noise=0.0, seeds=range(1, 6)):
    stream = np.random.default_rng(0)
    return surface(
        lambda i, t, s: 40 + image * i + text * t + noise * stream.standard_normal(), seeds
    )


# By hand


def test_by_hand():
    """Accuracy 50, 52, 51, 53 at (1, 1), (2, 1), (1, 5), (2, 5): 2 an image, 1/4 a sentence."""
    found = {(1.0, 1.0): 50.0, (2.0, 1.0): 52.0, (1.0, 5.0): 51.0, (2.0, 5.0): 53.0}
    rate = Rate({point: {1: value} for point, value in found.items()}, RAW, words=16.0)
    assert rate.mean.intercept == pytest.approx(47.75)
    assert (rate.mean.image, rate.mean.text) == pytest.approx((2.0, 0.25))
    assert rate.mean.r_squared == pytest.approx(1.0)
    assert rate.summary("texts_per_image").mean == pytest.approx(8.0)
    assert rate.summary("words_per_image").mean == pytest.approx(128.0)
    assert rate.summary("words_per_image").bounds is None  # one seed has no interval
    assert rate.problems(1) == []


def test_logarithms_by_hand():
    """3 points a doubling of images, 1 a doubling of sentences; the grid's middle is (2, 4)."""
    points = [(i, t) for i in (1.0, 2.0, 4.0) for t in (2.0, 4.0, 8.0)]
    rate = Rate(
        surface(lambda i, t, s: 10 + 3 * math.log2(i) + math.log2(t), grid=points),
        FITS["log_no_zero"],
        words=10.0,
    )
    # One more image at 2: 3 / (2 ln 2) points; one more sentence at 4: 1 / (4 ln 2).
    assert rate.summary("texts_per_image").mean == pytest.approx(6.0)
    assert rate.summary("words_per_image").mean == pytest.approx(60.0)
    with_zero = Rate(rate.surface, LOG, 10.0)
    assert with_zero.summary("r_squared").mean < rate.summary("r_squared").mean


def test_zero_sentences_count_where_the_fit_says_so():
    jump = surface(lambda i, t, s: 50 + i + (10 + 0.1 * t if t else 0))
    with_zero, without = Rate(jump, RAW, 1.0), Rate(jump, FITS["raw_no_zero"], 1.0)
    assert without.summary("texts_per_image").mean == pytest.approx(10.0)
    assert with_zero.summary("texts_per_image").mean < 4
    assert len(with_zero.points) == 30
    assert len(without.points) == 25


# Against scikit-learn and all resamples


@pytest.mark.parametrize("fit", FITS.values(), ids=list(FITS))
def test_the_plane_is_scikit_learns(fit):
    rate = Rate(planted(0.7, 0.2, noise=3.0), fit, 16.0)
    x = fit.coordinates(rate.points)
    y = np.array([np.mean(list(rate.surface[p].values())) for p in rate.points])
    oracle = LinearRegression().fit(x, y)
    assert (rate.mean.image, rate.mean.text) == pytest.approx(tuple(oracle.coef_))
    assert rate.mean.intercept == pytest.approx(oracle.intercept_)
    assert rate.mean.r_squared == pytest.approx(oracle.score(x, y))
    assert rate.mean.at(x) == pytest.approx(oracle.predict(x))
    assert fit.counts(x) == pytest.approx(np.array(rate.points))


@pytest.mark.parametrize("seeds", [3, 4])
def test_the_interval_is_that_of_all_resamples(seeds):
    """With 27 or 256 resamples, each equally likely, the quantiles are known exactly."""
    rate = Rate(planted(0.7, 0.2, noise=2.0, seeds=range(seeds)), RAW, 16.0)
    slopes = [(one.image, one.text) for one in rate.planes.values()]
    drawn = [np.mean(c, axis=0) for c in itertools.product(slopes, repeat=seeds)]
    rates = sorted(16 * image / text for image, text in drawn)
    exact = (rates[math.floor(0.025 * len(rates))], rates[math.ceil(0.975 * len(rates)) - 1])
    low, high = rate.summary("words_per_image").bounds
    assert (low, high) == pytest.approx(exact, rel=0.02)
    if seeds == 3:
        own = sorted(rate.by_seed("words_per_image").values())
        assert (low, high) == pytest.approx((own[0], own[-1]))


def test_a_planted_plane_lies_within_its_interval():
    """1.5 points an image and 0.1 a sentence of 16 words: 240 words, at twenty noise levels."""
    inside = 0
    for number in range(20):
        stream = np.random.default_rng(number)
        noisy = surface(
            lambda i, t, s, stream=stream: 40 + 1.5 * i + 0.1 * t + stream.standard_normal(),
            seeds=range(10),
        )
        found = Rate(noisy, RAW, 16.0).summary("words_per_image")
        assert found.low < found.mean < found.high
        inside += found.low <= 240 <= found.high
    assert inside >= 16  # of a nominal 95%, which ten seeds do not quite give


def test_the_interval_is_seeded_and_shrinks_with_the_noise():
    loud, quiet = (Rate(planted(1.5, 0.1, noise), RAW, 16.0) for noise in (2.0, 0.2))
    again = Rate(planted(1.5, 0.1, 2.0), RAW, 16.0)
    assert loud.summary("words_per_image") == again.summary("words_per_image")
    widths = [
        (r.summary("words_per_image").high - r.summary("words_per_image").low)
        for r in (loud, quiet)
    ]
    assert widths[1] < widths[0] / 5


@given(st.floats(0.1, 5), st.floats(0.01, 1), st.floats(5, 30), st.floats(0.1, 10))
def test_units_of_accuracy_do_not_matter(image, text, words, unit):
    percent = Rate(planted(image, text), RAW, words)
    other = Rate(
        {p: {s: unit * v for s, v in found.items()} for p, found in percent.surface.items()},
        RAW,
        words,
    )
    expected = pytest.approx(image / text * words, rel=1e-6)
    assert percent.summary("words_per_image").mean == expected
    assert other.summary("words_per_image").mean == expected


# What stands in the way


def test_text_that_does_not_help_has_no_rate():
    rate = Rate(planted(1.0, -0.1), RAW, 16.0)
    assert rate.summary("words_per_image") is None
    assert rate.by_seed("words_per_image") == {}
    assert rate.summary("text_slope").mean == pytest.approx(-0.1)
    assert rate.problems(5) == ["no rate, since accuracy does not rise with text"]


def test_a_seed_without_a_rate_leaves_the_interval_open():
    slopes = {1: 0.2, 2: 0.1, 3: -0.05}
    rate = Rate(surface(lambda i, t, s: i + slopes[s] * t), RAW, 10.0)
    found = rate.summary("words_per_image")
    assert found.mean == pytest.approx(10 / np.mean(list(slopes.values())))
    assert found.bounds == (pytest.approx(50.0), math.inf)
    assert rate.by_seed("words_per_image") == {}  # the seeds that have one would be a selection
    assert rate.problems(3) == ["accuracy does not rise with text at seed 3 alone"]


def test_images_that_do_not_help():
    rate = Rate(planted(-1.0, 0.1), RAW, 16.0)
    assert rate.summary("words_per_image").mean == pytest.approx(-160.0)
    assert rate.problems(5) == ["accuracy does not rise with images"]


def test_missing_cells_and_seeds_are_said():
    whole = planted(1.0, 0.1)
    whole[(16.0, 15.0)] = {}
    del whole[(1.0, 0.0)][3]
    rate = Rate(whole, RAW, 16.0)
    assert rate.seeds == [1, 2, 4, 5]
    assert rate.summary("words_per_image").mean == pytest.approx(160.0)
    assert rate.problems(5) == [
        "1 of 30 cells are missing",
        "4 of 5 seeds have every cell that was run",
    ]
    without = Rate(whole, FITS["raw_no_zero"], 16.0)
    assert without.problems(5) == ["1 of 25 cells are missing"]


def test_cells_without_text_alone_are_no_run_of_a_fit_without_them():
    only = {p: found if p[1] == 0 else {} for p, found in planted(1.0, 0.1).items()}
    assert Rate(only, FITS["raw_no_zero"]).problems(5) == []
    assert Rate(only, RAW).problems(5) == [
        "25 of 30 cells are missing",
        "no plane without two numbers of images and of sentences",
    ]


@pytest.mark.parametrize("grid", [[(1.0, 0.0), (1.0, 5.0), (1.0, 10.0)], [(1.0, 1.0), (2.0, 2.0)]])
def test_too_few_cells_for_a_plane(grid):
    rate = Rate(surface(lambda i, t, s: i + t, grid=grid), RAW, 16.0)
    assert rate.summary("r_squared") is None
    assert rate.by_seed("words_per_image") == {}
    assert rate.problems(3) == ["no plane without two numbers of images and of sentences"]


def test_nothing_run_and_no_seed_in_common():
    assert Rate({(1.0, 0.0): {}, (2.0, 1.0): {}}, RAW).problems(3) == []
    apart = Rate({p: {n: 1.0} for n, p in enumerate(GRID)}, RAW)
    assert apart.summary("words_per_image") is None
    assert apart.problems(3) == ["0 of 3 seeds have every cell that was run"]


def test_without_words_there_are_sentences_still():
    rate = Rate(planted(1.0, 0.1), RAW)
    assert rate.summary("words_per_image") is None
    assert rate.summary("texts_per_image").mean == pytest.approx(10.0)


def test_a_flat_surface_explains_nothing():
    rate = Rate(surface(lambda i, t, s: 50.0), RAW, 16.0)
    assert rate.summary("r_squared") is None
    assert rate.summary("words_per_image") is None


def test_points_on_a_line_span_no_plane():
    assert plane(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]), np.arange(3.0)) is None
