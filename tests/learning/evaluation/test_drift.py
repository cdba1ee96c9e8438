import statistics

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tasks.learning.evaluation.drift import FLOOR, LARGEST, Band, band_after, is_outside

NOISY = [1.00, 1.02, 0.98, 1.01, 0.99, 1.03, 0.97, 1.00]
#: What stands for a metric that has no value.
NO_VALUES = [None, float("nan"), float("inf"), -float("inf"), 10 * LARGEST]

floats = st.floats(-1e6, 1e6, allow_subnormal=False)
befores = st.lists(floats, min_size=5, max_size=40)


def test_the_band_is_three_and_a_half_deviations_estimated_by_the_mad():
    band = band_after([14.0, 10.0, 12.0, 13.0, 11.0])  # median 12, MAD 1
    assert band == Band(pytest.approx(12 - 3.5 / 0.6745), pytest.approx(12 + 3.5 / 0.6745))


@given(befores, floats)
def test_a_value_is_outside_if_its_modified_z_score_is_above_the_cut(before, value):
    last = before[-30:]
    median = statistics.median(last)
    mad = statistics.median(abs(other - median) for other in last)
    floor = 0.001 * abs(median)
    assume(mad * 3.5 / 0.6745 > floor)
    score = abs(0.6745 * (value - median) / mad)
    assume(abs(score - 3.5) > 1e-9)
    assert is_outside(value, before) == (score > 3.5)


@given(st.floats(1e-6, 1e6), st.integers(5, 40), st.floats(-0.999, 0.999))
def test_equal_nights_have_a_floor_below_which_nothing_is_flagged(level, nights, part):
    assert not is_outside(level * (1 + part * FLOOR), [level] * nights)
    assert is_outside(level * (1 + 1.001 * FLOOR), [level] * nights)
    assert is_outside(level * (1 - 1.001 * FLOOR), [level] * nights)


def test_where_all_was_0_anything_else_is_outside():
    assert not is_outside(0.0, [0.0] * 5)
    assert is_outside(5e-324, [0.0] * 5)


@pytest.mark.parametrize("nights", range(5))
def test_too_few_nights_make_no_band(nights):
    assert band_after(NOISY[:nights]) is None
    assert not is_outside(1e9, NOISY[:nights])
    assert not is_outside(None, NOISY[:nights])


def test_only_the_last_thirty_nights_count():
    assert band_after([1e9] * 100 + NOISY * 3 + NOISY[:6]) == band_after(NOISY * 3 + NOISY[:6])
    assert band_after([1e9] * 100 + NOISY * 3 + NOISY[:5]) != band_after(NOISY * 3 + NOISY[:5])


@pytest.mark.parametrize("nothing", NO_VALUES)
def test_a_night_without_a_value_counts_as_a_night_and_not_as_a_value(nothing):
    assert band_after([nothing, *NOISY[:4], nothing]) is None
    assert band_after([nothing, *NOISY[:5], nothing]) == band_after(NOISY[:5])
    assert band_after([*NOISY, *[nothing] * 26]) is None


@pytest.mark.parametrize("nothing", NO_VALUES)
def test_a_value_that_was_always_there_and_is_gone_is_outside(nothing):
    assert is_outside(nothing, NOISY)
    assert is_outside(nothing, [None, *NOISY * 4])
    assert not is_outside(nothing, [None, *NOISY])


def test_a_value_that_was_never_there_is_not_missed():
    assert not is_outside(None, [None] * 40)
    assert not is_outside(0.5, [None] * 40)


def test_one_bad_night_does_not_let_the_next_one_pass():
    before = [*NOISY, 1000.0]
    assert is_outside(1.5, before)
    assert abs(1.5 - np.mean(before)) < np.std(before)  # which mean and standard deviation would take for usual


def test_a_new_level_becomes_the_usual_one_once_it_holds_for_most_of_the_nights():
    usual, new = NOISY * 4, [2 * value for value in NOISY * 4]
    flagged = [is_outside(value, usual + new[:nights]) for nights, value in enumerate(new)]
    assert all(flagged[:10])
    assert not any(flagged[16:])


@given(befores, floats, st.randoms())
def test_the_order_of_the_last_nights_does_not_matter(before, value, draw):
    shuffled = before[-30:]
    draw.shuffle(shuffled)
    assert band_after(shuffled) == band_after(before)


@given(befores, floats, st.integers(-30, 30))
def test_units_and_sign_do_not_matter(before, value, power):
    for factor in (2.0**power, -1.0):
        assert is_outside(factor * value, [factor * other for other in before]) == is_outside(value, before)


@given(befores, st.floats(0, 1), st.floats(1e-6, 1e6))
def test_all_between_the_bounds_is_inside_and_all_beyond_is_outside(before, part, distance):
    band = band_after(before)
    assert not is_outside(min(band.low + part * (band.high - band.low), band.high), before)
    assert is_outside(band.high + distance, before)
    assert is_outside(band.low - distance, before)


@given(befores)
def test_the_usual_value_is_inside(before):
    assert not is_outside(statistics.median(before[-30:]), before)


@given(st.lists(st.floats(-LARGEST, LARGEST), min_size=5, max_size=40))
@example([LARGEST] * 6)
@example([-LARGEST] * 3 + [LARGEST] * 3)
def test_a_band_is_finite_whatever_the_values(before):
    band = band_after(before)
    assert band is not None
    assert -np.inf < band.low <= band.high < np.inf


@pytest.mark.parametrize(("nights", "rate"), [(5, 0.12), (10, 0.033), (30, 0.005)])
def test_chance_puts_as_many_values_outside_as_is_said(nights, rate):
    draws = np.random.default_rng(88).standard_normal((5_000, nights + 1)).tolist()
    flagged = sum(is_outside(draw[-1], draw[:-1]) for draw in draws)
    assert flagged / len(draws) == pytest.approx(rate, abs=3 * np.sqrt(rate / len(draws)))
