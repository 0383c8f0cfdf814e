"Calibration: a frequency only when counted, only with skill, and never from the future"

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst.calibration import (
    Calibration,
    Curve,
    brier,
    curve_points,
    diagram,
    fit,
    fit_each,
    foretold,
    gain,
    known_outcomes,
    on_curve,
    reliability_table,
    report,
    trade_outcomes,
)
from catalyst.core import InputError
from catalyst.shares import wilson

START = pd.Timestamp("2025-06-02 15:00", tz="UTC")


def made(n=600, worth=1.0, per_day=6, seed=7, subject="setup:a"):
    "A score between 0.2 and 1 that wins 0.4 of the time, more when it is high and worth something"
    random = np.random.default_rng(seed)
    score = random.uniform(0.2, 1.0, n)
    won = random.random(n) < 0.4 + worth * (score - 0.6)
    days, minutes = np.divmod(np.arange(n), per_day)
    at = START + pd.to_timedelta(days, unit="D") + pd.to_timedelta(minutes, unit="min")
    return pd.DataFrame({"subject": subject, "score": score, "won": won, "known_at": at})


# The future


@pytest.mark.parametrize("day", [40, 70, 99])
def test_guard18_outcomes_known_later_change_no_probability(day):
    outcomes, asof = made(), (START + timedelta(days=day, minutes=2)).to_pydatetime()
    later = outcomes.known_at > asof
    assert 0 < later.sum() < len(later)
    expected = fit(outcomes, asof=asof).as_rows()
    turned = outcomes.assign(won=outcomes.won ^ later, score=outcomes.score.where(~later, 0.99))
    for other in (turned, outcomes[~later], turned.sample(frac=1, random_state=1)):
        assert fit(other, asof=asof).as_rows() == expected
    assert fit(turned).as_rows() != fit(outcomes).as_rows()


def test_an_outcome_counts_from_the_instant_at_which_it_is_known():
    asof = START.to_pydatetime()
    assert fit(made(), asof=asof).curves[0].count == 1
    assert fit(made(), asof=asof - timedelta(seconds=1)).curves == ()


def test_a_walk_forward_gives_each_instant_its_own_curve():
    outcomes, nights = made(), [(START + timedelta(days=d)).to_pydatetime() for d in (10, 50, 99)]
    walked = fit_each(outcomes, nights)
    for night in nights:
        one = fit(outcomes, asof=night)
        for asof in (night, night + timedelta(hours=5)):
            assert walked.probability("setup:a", 0.8, asof) == one.probability("setup:a", 0.8)
    assert walked.probability("setup:a", 0.8, nights[0] - timedelta(seconds=1)) == (None, 0)


def test_the_later_part_is_told_only_by_what_was_known_before_it_was_said():
    outcomes = known_outcomes(made().assign(decided_at=lambda o: o.known_at - timedelta(days=7)))
    later = foretold(outcomes)
    cut = outcomes.known_at[419]
    assert (later.known_at - timedelta(days=7) > cut).all() and len(later) == 138
    turned = outcomes.assign(won=outcomes.won ^ (outcomes.known_at > cut))
    assert foretold(turned).predicted.tolist() == later.predicted.tolist()


def test_what_ends_at_the_same_instant_is_not_split():
    flat = made().assign(known_at=lambda o: o.known_at.dt.floor("D"))
    later = foretold(known_outcomes(flat[:-3]))
    assert set(later.known_at) == set(flat.known_at[420:])


# Enough, and with skill


def test_fewer_than_the_minimum_is_uncalibrated():
    curve = fit(made(99)).curves[0]
    assert (curve.calibrated, curve.reason) == (False, "99 outcomes of 100")
    assert fit(made(99)).probability("setup:a", 0.9) == (None, 99)
    assert fit(made(), min_count=601).probability("setup:a", 0.9) == (None, 600)


def test_a_single_day_proves_nothing():
    assert "later days" in fit(made(600, per_day=1000)).curves[0].reason


def test_guard23_a_score_without_skill_is_not_called_calibrated():
    found = [fit(made(300, 0.0, seed=s)).curves[0] for s in range(40)]
    assert sum(c.brier < c.brier_base for c in found) >= 8  # better by luck
    assert sum(c.calibrated for c in found) <= 4
    assert all(c.reason.startswith("no skill: on 90 later outcomes") for c in found if c.reason)


def test_guard23_an_anti_predictive_score_is_not_called_calibrated():
    "SC-5: the best-rated trades won least"
    curve = fit(made(600, -1.0)).curves[0]
    assert not curve.calibrated
    assert curve.at(0.95) == pytest.approx(curve.base_rate, abs=0.05)


def test_a_score_with_skill_is_calibrated_to_its_frequency():
    curve = fit(made(3000, per_day=10)).curves[0]
    assert curve.calibrated and 0.05 < curve.skill < 0.5
    for score in (0.3, 0.5, 0.7, 0.9):
        assert curve.at(score) == pytest.approx(score - 0.2, abs=0.06)


def test_trades_of_a_day_count_as_one():
    "Each outcome five times at the same instant knows no more than once"
    one = known_outcomes(made(300, per_day=3))
    many = known_outcomes(one.loc[one.index.repeat(5)])
    flat = lambda o: foretold(o).assign(predicted=lambda x: np.where(x.won, 0.5, 0.3), average=0.4)
    assert gain(flat(many)) == pytest.approx(gain(flat(one)))


def test_all_won_or_all_lost_is_no_skill():
    for won in (True, False):
        curve = fit(made().assign(won=won)).curves[0]
        assert not curve.calibrated and 0.0 <= curve.at(0.5) <= 1.0


# The numbers


def test_the_curve_is_scikit_learns_isotonic_regression():
    from sklearn.isotonic import IsotonicRegression

    o = made(400)
    points = curve_points(o.score, o.won)
    drawn = (points.hits + 2 * o.won.mean()) / (points["count"] + 2)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(points.score, drawn, points["count"] + 2)
    asked = np.linspace(-0.5, 1.5, 101)
    assert on_curve(points, asked) == pytest.approx(theirs.predict(asked), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=120))
def test_a_curve_is_monotone_and_a_probability(pairs):
    score, won = zip(*pairs, strict=True)
    table = curve_points(score, won)
    assert table["count"].sum() == len(pairs) and table.hits.sum() == sum(won)
    assert (table["count"] >= min(10, len(pairs))).sum() >= 1 and len(table) <= 10
    told = on_curve(table, np.linspace(0, 1, 21))
    assert (np.diff(told) >= -1e-12).all() and told.min() >= 0 and told.max() <= 1
    assert (table.low <= table.frequency + 1e-12).all() and (
        table.frequency <= table.high + 1e-12
    ).all()


def test_wilson_and_brier_as_published():
    "Wilson: 81 of 263 gives 0.255 to 0.366 (Newcombe 1998, table I); Brier: always 0.5 is 0.25"
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert brier([0.5] * 4, [True, False, True, True]) == 0.25


def test_equal_scores_stay_in_one_group():
    table = reliability_table([0.5] * 35 + [0.8] * 15, [True] * 50)
    assert table["count"].tolist() == [35, 15]


def test_the_diagram_and_the_report_hold_every_outcome():
    known = fit(pd.concat([made(), made(30, subject="pattern:flag")]))
    drawn = diagram(known.curve("setup:a"))
    assert (drawn["count"].sum(), drawn.hits.sum()) == (600, made().won.sum())
    told = report(known)
    assert told["count"].to_dict() == {"pattern:flag": 30, "setup:a": 600}
    assert told.calibrated.to_dict() == {"pattern:flag": False, "setup:a": True}
    assert (told.low < told.base_rate).all() and (told.base_rate < told.high).all()


# Rows and mistakes


def test_rows_give_back_the_calibration():
    known = fit_each(made(), [(START + timedelta(days=d)).to_pydatetime() for d in (5, 60)])
    assert Calibration.from_rows(known.as_rows()).curves == known.curves


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda o: o.drop(columns="known_at"), "received 'known_at'"),
        (lambda o: o.assign(won=[None, *[True] * (len(o) - 1)]), "leave undecided ones out"),
        (lambda o: o.assign(score=np.nan), "rows that are complete"),
    ],
)
def test_incomplete_outcomes_are_refused(change, line):
    with pytest.raises(InputError, match=line):
        fit(change(made(20)))


def test_no_outcomes_are_no_error():
    assert fit(made()[:0]).curves == () and len(report(fit(made()[:0]))) == 0


def test_an_undecided_trade_is_no_outcome():
    at = [START, pd.NaT, START]
    trades = pd.DataFrame(
        {
            "plan_id": [0, 1, 2],
            "setup": "a",
            "decided_at": START,
            "exit_at": at,
            "pnl": [5.0, np.nan, 0.0],
        }
    )
    told = trade_outcomes(trades, pd.DataFrame({"plan_id": [0, 1, 2], "score": [0.5, 0.6, 0.7]}))
    assert told[["score", "won"]].to_numpy().tolist() == [[0.5, True], [0.7, False]]
    assert set(told.subject) == {"setup:a"}


def test_the_newest_curve_speaks():
    old = fit(made(), asof=START.to_pydatetime()).curves[0]
    new = replace(old, usable_from=old.usable_from + timedelta(days=1), count=2)
    both = Calibration([new, old])
    assert both.probability("setup:a", 0.5)[1] == 2
    assert both.probability("setup:a", 0.5, datetime(2025, 6, 2, 16, tzinfo=UTC))[1] == 1
    assert isinstance(both.curve("setup:a"), Curve) and both.curve("setup:b") is None
