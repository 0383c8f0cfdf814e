"Folds share no time: walk-forward, purged k-fold and combinatorial splits against plain loops and the book's example."

from datetime import timedelta
from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst.core import InputError
from catalyst.folds import (
    along_paths, as_cv, combinatorial_purged, overlaps, paths, purged_kfold, time_groups, walk_forward,
)  # fmt: skip

START = pd.Timestamp("2025-06-02 13:30", tz="UTC")


def rows(n=300, seed=3, longest=600, crowd=1):
    "Decisions at uneven times, several at one instant, in no order, with labels of uneven length"
    draw = np.random.default_rng(seed)
    minutes = np.sort(draw.integers(0, n * 20 // crowd, n))
    times = START + pd.to_timedelta(minutes, unit="min")
    ends = times + pd.to_timedelta(draw.integers(0, longest, n), unit="min")
    order = draw.permutation(n)
    return times[order], ends[order]


def pairs(train, test, times, ends):
    "Every pair of a training row and a test row that shares time, by looking at all of them"
    return sum(bool(times[i] < ends[j] and ends[i] > times[j]) for i in train for j in test)


def every(times, ends, hours=2):
    wait = timedelta(hours=hours)
    yield from purged_kfold(times, ends, 5, wait)
    yield from combinatorial_purged(times, ends, 6, 2, wait)
    yield from walk_forward(times, ends, timedelta(hours=8), timedelta(hours=16), wait)


def test_fold_no_training_row_shares_time_with_a_test_row():
    times, ends = rows()
    folds = list(every(times, ends))
    assert len(folds) >= 22
    for f in folds:
        assert not set(f.train) & set(f.test) and len(f.train) and len(f.test)
        assert (
            overlaps(f.train, f.test, times, ends) == 0 == pairs(f.train, f.test[:20], times, ends)
        )


def test_fold_overlaps_counts_what_a_plain_loop_counts():
    times, ends = rows(60, longest=200)
    draw = np.random.default_rng(1).permutation(60)
    for k in (5, 20, 40):
        assert (
            overlaps(draw[:k], draw[k:], times, ends) == pairs(draw[:k], draw[k:], times, ends) > 0
        )


def test_fold_the_purge_is_by_time_and_not_by_rows():
    "The same labels on a busy and on a quiet day: the rows purged follow the clock, not a number"
    busy = pd.date_range(START, periods=240, freq="min")
    quiet = pd.date_range(START + pd.Timedelta("1D"), periods=8, freq="30min")
    times = busy.append(quiet)
    ends = times + pd.Timedelta("1h")
    test = np.arange(200, 248)
    begin = [f for f in purged_kfold(times, ends, 5) if f.test[0] <= 240 <= f.test[-1]][0]
    before = begin.test[0]
    assert (
        begin.purged == 59
    )  # the minutes of the hour before, whose labels end later; the first ends as the test begins
    assert times[before] - times[begin.train.max()] == pd.Timedelta("1h") and len(test)


def test_fold_embargo_begins_after_the_last_label_and_only_there():
    times = pd.date_range(START, periods=100, freq="h")
    ends = times + pd.Timedelta("3h")
    for wait in (0, 1, 5):
        f = purged_kfold(times, ends, 4, timedelta(hours=wait))[1]
        assert f.embargoed == wait
        after = f.train[f.train > f.test.max()].min()
        assert times[after] == pd.Timestamp(f.test_to) + pd.Timedelta(hours=wait)
        assert ends[f.train[f.train < f.test.min()].max()] == times[f.test.min()]


def test_fold_walk_forward_never_trains_on_what_comes_later():
    times, ends = rows()
    for f in walk_forward(times, ends, timedelta(hours=6), embargo=timedelta(hours=1)):
        at = times[f.test].min()
        assert (ends[f.train] <= at - pd.Timedelta("0h")).all() and (times[f.train] < at).all()
        window = times[f.test].max() - at
        assert window < pd.Timedelta("6h")


def test_fold_walk_forward_by_a_plain_loop():
    times, ends = rows(200)
    step, span, wait = pd.Timedelta("8h"), pd.Timedelta("20h"), pd.Timedelta("1h")
    at, told = times.min() + span, list(walk_forward(times, ends, step, span, wait))
    found = 0
    while at <= times.max():
        test = [i for i in range(200) if at <= times[i] < at + step]
        train = [i for i in range(200) if at - span <= times[i] < at and ends[i] <= at - wait]
        if test and train:
            f = told[found]
            assert (f.train.tolist(), f.test.tolist()) == (train, test)
            inside = sum(at - span <= t < at for t in times)
            assert f.purged + f.embargoed == inside - len(train)
            found += 1
        at += step
    assert found == len(told) > 1


def test_fold_every_row_is_tested_once_and_moments_stay_together():
    times, ends = rows(crowd=40)
    folds = purged_kfold(times, times, 5)
    assert sorted(np.concatenate([f.test for f in folds])) == list(range(300))
    for f in folds:
        assert not set(times[f.test]) & set(times[f.train])
    sizes = [len(g) for g in time_groups(times, 5)]
    assert sum(sizes) == 300 and max(sizes) - min(sizes) < 40


def test_fold_the_worked_example_of_the_book():
    "López de Prado 2018, 12.4: six groups, two tested: 15 splits, 5 paths, and the first two paths as printed"
    times = pd.date_range(START, periods=60, freq="h")
    folds = combinatorial_purged(times, times, 6, 2)
    plan = paths(6, 2)
    assert len(folds) == comb(6, 2) == 15 and plan.shape == (5, 6)
    assert (plan[0] + 1).tolist() == [1, 1, 2, 3, 4, 5] and (plan[1] + 1).tolist() == [
        2,
        6,
        6,
        7,
        8,
        9,
    ]
    assert folds[0].groups == (0, 1) and folds[-1].groups == (4, 5)
    used = [(s, g) for path in plan for g, s in enumerate(path)]
    assert len(set(used)) == 30 and all(
        g in folds[s].groups for s, g in used
    )  # each prediction once


@pytest.mark.parametrize(("n", "k"), [(4, 1), (5, 3), (10, 8), (6, 2)])
def test_fold_paths_use_every_tested_group_once(n, k):
    plan = paths(n, k)
    assert plan.shape == (comb(n - 1, k - 1), n) and comb(n, k) * k // n == len(plan)
    assert len({(s, g) for p in plan for g, s in enumerate(p)}) == comb(n, k) * k


def test_fold_predictions_return_along_paths():
    "Every row of every path is predicted by a split that tested it; shuffled rows keep their places"
    times, _ = rows(90, crowd=1)
    folds = combinatorial_purged(times, times, 6, 2)
    along = along_paths(folds, {i: f.test * 100.0 + i for i, f in enumerate(folds)}, 90)
    assert along.shape == (90, 5) and along.notna().all(axis=None)
    assert ((along // 100).T == np.arange(90)).all(axis=None)
    assert (
        (along % 100).nunique(axis=1).eq(5).all()
    )  # five paths, five different splits for each row


def test_fold_scikit_learn_takes_them():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    times, ends = rows(200, longest=60)
    draw = np.random.default_rng(1)
    x = draw.normal(size=(200, 2))
    score = cross_val_score(
        LogisticRegression(), x, x[:, 0] > 0, cv=as_cv(purged_kfold(times, ends, 4))
    )
    assert len(score) == 4 and score.min() > 0.8


def test_fold_leaking_labels_show_in_a_plain_split_and_not_in_a_purged_one():
    "Nearest neighbours on noise whose labels overlap: a split by rows learns, a purged one does not"
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neighbors import KNeighborsRegressor

    draw, n, hold = np.random.default_rng(5), 600, 30
    times = pd.date_range(START, periods=n, freq="h")
    ends = times + pd.Timedelta(hours=hold)
    steps = draw.normal(size=n + hold)
    label = np.convolve(steps, np.ones(hold), "valid")[1 : n + 1]
    x = np.arange(n)[:, None] / 10.0  # Knows nothing but the time
    score = lambda cv: cross_val_score(KNeighborsRegressor(3), x, label, cv=cv, scoring="r2").mean()
    assert score(KFold(20, shuffle=True, random_state=1)) > 0.8
    assert score(as_cv(purged_kfold(times, ends, 20, timedelta(hours=hold)))) < 0


def test_fold_refusals():
    times, ends = rows(40)
    for call, text in (
        (lambda: purged_kfold(times, times - pd.Timedelta("1h"), 3), "not before the decision"),
        (lambda: purged_kfold(times.tz_localize(None), ends, 3), "time zone"),
        (lambda: purged_kfold(times, ends[:-1], 3), "one for each"),
        (lambda: purged_kfold(times, times, 41), "different instants"),
        (lambda: combinatorial_purged(times, ends, 4, 4), "tested groups"),
        (lambda: purged_kfold(times, times + pd.Timedelta("90D"), 3), "no row to train on"),
        (lambda: list(walk_forward(times, ends, timedelta(0))), "positive length"),
    ):
        with pytest.raises(InputError, match=text):
            call()


@settings(max_examples=25, deadline=None)
@given(st.integers(12, 60), st.integers(0, 10**6), st.integers(1, 300), st.integers(2, 4))
def test_fold_property_no_shared_time(n, seed, longest, k):
    times, ends = rows(n, seed, longest, crowd=1)
    try:
        folds = [
            *purged_kfold(times, ends, k, timedelta(minutes=longest)),
            *walk_forward(times, ends, timedelta(hours=3)),
        ]
    except InputError as e:
        assert "no row to train on" in str(e) or "different instants" in str(e)
        return
    for f in folds:
        assert pairs(f.train, f.test, times, ends) == 0
