"A run of discovery: all kinds, everything tried in it, nothing of the future, the same answer wherever it runs; cases and their backtest; days that look alike."

import json
import os
import pickle
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from test_detectors import other_future as garbled

from catalyst import alike, discover, precedents
from catalyst.core import InputError
from catalyst.costs import Costs
from catalyst.discover import KINDS
from catalyst.evidence import TRIED, correct
from catalyst.planted import plant

SMALL = {"securities": 40, "sessions": 40}
WANTED = set(
    [
        "catalyst_sympathy",
        "lead_lag",
        "momentum_cascade",
        "sector_rotation",
        "accumulation",
        "distribution",
        "news_arbitrage",
        "correlation_break",
        "pump_and_dump",
        "unnamed",
    ]
)
MADE = {}
LONG = pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG=1")


def made(kind, *more):
    "Field, truth, run over this kind and some more; each market is made once"
    if (kind, more) not in MADE:
        field, truth = plant(kind, 4, 3, **SMALL)
        MADE[kind, more] = field, truth, discover.discover(field, 2.0, [kind, *more])
    return MADE[kind, more]


@pytest.fixture(scope="module")
def whole():
    "Field, truth, run over all kinds"
    field, truth = plant("catalyst_sympathy", 4, 3, **SMALL)
    return field, truth, discover.discover(field, 2.0)


def same(a, b, columns=TRIED):
    pd.testing.assert_frame_equal(a[columns], b[columns], check_exact=True)


def other_future(field, t):
    "The same field up to row t, known as of then, and nonsense after it"
    return replace(garbled(field, t), asof=field.instants[t].to_pydatetime())


# A run


def test_pd01_a_run_asks_every_kind_and_says_what_is_present(whole):
    assert set(KINDS) == WANTED
    field, _, run = whole
    assert run.kinds == KINDS and run.asof == field.asof and set(run.seconds) == WANTED
    assert list(run.counts().index) == list(KINDS) and run.counts().tried.sum() == len(run.tried)
    field, truth, run = made("accumulation")
    assert "accumulation:all" in set(run.admitted.key)
    late = {f for t in truth[truth.ends >= len(field.instants) - 30].followers for f in t}
    said = {f.securities[0] for f in run.findings if f.kind == "accumulation"}
    assert late <= said and all(f.discovered_at == run.asof for f in run.findings)
    assert run.counts().findings.sum() == len(run.findings)


def test_pd02_the_future_changes_nothing_of_a_run():
    "failure 18: whatever comes after `asof` may be anything, prices, volume and stories"
    field, _, _ = made("catalyst_sympathy")
    answered = set(field.events.t[field.events.strength == 0.7])
    t = max(t for t in answered if t < len(field.instants) - 60)  # A story with something to say
    now = discover.discover(field.until(field.instants[t]), 2.0)
    other = discover.discover(other_future(field, t), 2.0)
    assert len(now.findings) and now.findings == other.findings
    same(now.tried, other.tried)
    same(now.admitted, other.admitted)


def test_pd05_a_kind_that_fails_is_a_failed_run_and_not_an_empty_one(monkeypatch):
    field, _, _ = made("accumulation")

    def broken(*_):
        raise ValueError("no bars today")

    monkeypatch.setitem(discover.ASK, "news_arbitrage", broken)
    with pytest.raises(ValueError, match="no bars today"):
        discover.discover(field, 2.0, kinds=["accumulation", "news_arbitrage"])


def test_pd06_warnings_are_apart_and_nothing_else_is_a_warning():
    _, truth, run = made("pump_and_dump")
    kinds = {f.kind for f in run.findings if f.adversarial}
    assert kinds == {"pump_and_dump"}
    assert not [f for f in run.findings if f.kind == "pump_and_dump" and not f.adversarial]
    assert {f.securities for f in run.findings if f.adversarial} == {truth.followers.iloc[-1]}


def test_pd07_everything_tried_is_in_the_run_and_counted(monkeypatch, whole):
    field, _, run = whole
    handed, true = [], discover.asked
    monkeypatch.setattr(discover, "asked", lambda *a: handed.append(true(*a)) or handed[-1])
    again = discover.discover(field, 2.0)
    rows = pd.concat([r for r, _ in handed if len(r)], ignore_index=True)
    assert len(handed) == len(KINDS) and len(rows) == len(run.tried) > 1560
    same(again.tried, run.tried)
    same(rows, run.tried, [c for c in TRIED if c != "q"])
    assert (run.tried.tried == rows.p.notna().sum()).all() and not run.tried.key.duplicated().any()
    np.testing.assert_array_equal(run.tried.q, correct(rows).q)
    assert set(run.admitted.key) == set(
        run.tried.key[(run.tried.q <= 0.05) & (run.tried.effect_net > 0)]
    )
    keys = set(run.admitted.key)
    assert {f.key for f in run.findings} <= keys
    assert all(f.tried == run.tried.tried.iloc[0] for f in run.findings)


@pytest.mark.parametrize("kind", KINDS)
def test_pd07_one_kind_alone_has_the_same_rows(kind, whole):
    "Whoever asks for less gets the same evidence, and pays for less"
    field, _, run = whole
    alone = discover.discover(field, 2.0, kinds=kind)
    own = run.tried[run.tried.kind == kind].reset_index(drop=True)
    assert len(alone.tried) == len(own)
    if len(own):
        same(alone.tried, own, [c for c in TRIED if c != "q"])
    assert alone.kinds == (kind,) and (alone.tried.q.dropna() <= own.q.dropna() + 1e-15).all()
    known = own.p.notna().sum()
    assert known == 0 or alone.tried.tried.iloc[0] == known < run.tried.tried.iloc[0]


def test_pd07_dice_give_no_discovery():
    "Short form; a hundred markets of full size are in benchmarks/discover.py and on the page"
    long = bool(os.environ.get("CATALYST_LONG"))
    size = {} if long else {"securities": 30, "sessions": 30}
    seeds = range(7000, 7040) if long else range(7000, 7004)
    runs = [
        discover.discover(plant(None, 0, n, reaction=3.0 * (n % 2), **size)[0], 2.0) for n in seeds
    ]
    assert sum((r.tried.q <= 0.05).any() for r in runs) <= (7 if long else 0)
    every = pd.concat([r.tried[r.tried.p.notna()] for r in runs])
    assert (every.p <= 0.05).mean() < 0.07  # So chance is fair, and not only never
    assert (every.p <= 0.05).sum() > 50  # What nobody would have corrected


@pytest.mark.parametrize("jobs", [pytest.param(2, marks=LONG), None])
def test_the_same_wherever_it_runs(jobs):
    "Processes need seconds to start, so the short form has threads, and what would travel to a process"
    field, _, _ = made("lead_lag")
    kinds = ["lead_lag", "accumulation", "unnamed"]
    one = discover.discover(field, 2.0, kinds)
    with parallel_config(backend="loky" if jobs else "threading", n_jobs=jobs or 2):
        two = discover.discover(pickle.loads(pickle.dumps(field)), 2.0, kinds[::-1], jobs=jobs)
    same(one.tried, two.tried)
    assert one.findings == two.findings and one.kinds == two.kinds == tuple(kinds)
    ask, far = pickle.loads(pickle.dumps((discover.asked, field)))
    same(ask("accumulation", far, 2.0, 7)[0], discover.asked("accumulation", field, 2.0, 7)[0])


def test_the_same_however_many_threads_multiply():
    from threadpoolctl import threadpool_limits

    field, _, _ = made("lead_lag")
    told = []
    for n in (1, 2):
        with threadpool_limits(n):
            told.append(discover.discover(field, 2.0, ["lead_lag", "unnamed"]))
    same(told[0].tried, told[1].tried)


def test_a_registered_backend_gets_the_work(monkeypatch):
    "Dask registers itself with joblib in the same way"
    seen, true = set(), discover.asked

    def asked(*a):
        seen.add(threading.get_ident())
        return true(*a)

    monkeypatch.setattr(discover, "asked", asked)
    with parallel_config(backend="threading", n_jobs=2):
        discover.discover(made("lead_lag")[0], 2.0, ["accumulation", "distribution"])
    assert seen and threading.get_ident() not in seen


def test_the_seed_is_the_only_chance():
    field, _, _ = made("catalyst_sympathy")
    a, b, c = (discover.discover(field, 2.0, "catalyst_sympathy", seed=s) for s in (1, 1, 2))
    same(a.tried, b.tried)
    assert (a.tried.statistic == c.tried.statistic).all() and (a.tried.p != c.tried.p).any()


def test_a_stricter_level_admits_less_and_costs_count():
    field, _, run = made("lead_lag")
    none = discover.discover(field, 2.0, "lead_lag", level=float(run.admitted.q.min()) / 2)
    dear = discover.discover(field, 500.0, "lead_lag")
    assert len(run.admitted) and not len(none.admitted) and none.findings == []
    assert not len(dear.admitted) and (dear.tried.q <= 0.05).any()


@pytest.mark.parametrize(
    ("kinds", "says"), [(["moon"], "kind: received 'moon'"), ([], "kinds: received")]
)
def test_unknown_kinds_are_refused(kinds, says):
    with pytest.raises(InputError, match=says):
        discover.discover(made("lead_lag")[0], 2.0, kinds)


def test_a_field_too_short_to_ask_tries_nothing():
    field, _, _ = made("lead_lag")
    run = discover.discover(field.until(field.instants[20]), 2.0)
    assert (len(run.tried), len(run.admitted), run.findings) == (0, 0, [])
    assert (run.counts()[["tried", "tested", "admitted", "findings"]] == 0).all(axis=None)


# Past cases

LED = ("catalyst_sympathy", "lead_lag", "accumulation", "distribution", "sector_rotation")
LED = (*LED, "news_arbitrage", "correlation_break", "pump_and_dump")


@pytest.mark.parametrize("kind", LED)
def test_past_cases_are_those_that_were_counted(kind):
    field, _, run = made(kind)
    row = next(r for r in run.tried.sort_values("q").itertuples() if r.kind == kind)
    cases = precedents.past_cases(field, row)
    per = len(row.followers) if kind == "sector_rotation" else 1
    assert len(cases) == row.n * per
    assert cases.gain.mean() == pytest.approx(abs(row.effect))
    assert (cases.gain.groupby(cases.t).mean() > 0).sum() >= 1 and cases.t.is_monotonic_increasing
    if kind not in ("sector_rotation",):
        assert (cases.gain > 0).sum() == row.detail["hits"]


def test_past_cases_of_a_cascade_and_of_days_alike():
    field, _, run = made("momentum_cascade", "unnamed")
    row = next(r for r in run.tried.sort_values("q").itertuples() if r.kind == "momentum_cascade")
    assert len(precedents.past_cases(field, row)) == 3 * row.n
    row = next(r for r in run.tried[::-1].itertuples() if r.kind == "unnamed")
    cases = precedents.past_cases(field, row)
    assert len(cases) == row.n and cases.gain.mean() == pytest.approx(
        row.effect * row.detail["direction"]
    )


def test_pd02_the_future_adds_no_case():
    field, _, run = made("catalyst_sympathy")
    row, t = next(run.admitted.itertuples()), len(field.instants) - 300
    cut = precedents.past_cases(field.until(field.instants[t]), row)
    other = precedents.past_cases(other_future(field, t).until(field.instants[t]), row)
    pd.testing.assert_frame_equal(cut, other)
    assert 0 < len(cut) < row.n and (cut.t + cut.upto <= t).all()


def test_a_backtest_pays_costs_and_says_that_it_is_of_the_past():
    field, _, run = made("catalyst_sympathy")
    row = next(run.admitted.itertuples())
    told, dear, free = (
        precedents.discovery_backtest(field, row, costs=c)
        for c in (None, Costs(half_spread_bps=52.0), Costs(0, 0.0, 0.0, 1.0, 0.0, 0.0))
    )
    assert told["filled"] == told["cases"] == row.n and told["in_sample"] is True
    assert told["mean_net"] - dear["mean_net"] == pytest.approx(0.01, abs=5e-4)
    assert free["mean_net"] == pytest.approx(free["mean_gross"], abs=1e-3)
    assert 0 <= told["win_low"] <= told["wins"] / told["filled"] <= told["win_high"] <= 1
    assert json.loads(json.dumps(told)) == told and "half-spread" in told["costs"]


def test_a_backtest_begins_at_the_true_open():
    "What the night gave belongs to nobody who waited for the trigger"
    field, _, run = made("accumulation")
    row = next(r for r in run.admitted.itertuples() if r.kind == "accumulation")
    cases = precedents.past_cases(field, row)
    starts = (field.instants - pd.Timedelta("15min")).as_unit("us")
    index = pd.MultiIndex.from_product([field.ids, starts], names=["security_id", "ts"])
    before = np.vstack([field.close[:1], field.close[:-1]])
    bars = pd.DataFrame(
        {"open": (before * 1.03).T.ravel()}, index
    )  # Every bar opens three percent above
    bars["available_at"] = index.get_level_values(1) + pd.Timedelta("15min")
    flat, late = (precedents.discovery_backtest(field, row, b) for b in (None, bars))
    assert (flat["opens"], late["opens"]) == ("close before", "true")
    assert flat["mean_gross"] - late["mean_gross"] == pytest.approx(0.03, abs=0.004)
    assert late["filled"] == len(cases)
    lacking = bars[bars.index.get_level_values(0) != cases.security_id[0]]
    assert precedents.discovery_backtest(field, row, lacking)["filled"] < len(cases)


def test_who_has_left_has_no_cases():
    field, _, run = made("catalyst_sympathy")
    row = next(run.admitted.itertuples())
    for gone in (row._replace(leader=999), row._replace(followers=(999,))):
        told = precedents.discovery_backtest(field, gone)
        assert (told["cases"], told["filled"]) == (0, 0)


# Days that look alike


def test_alike_a_day_is_the_same_in_every_field_that_has_it():
    field, _, _ = made("accumulation")
    whole = alike.session_shapes(field)
    noon = field.instants[field.day == 30][12]
    cut = alike.session_shapes(field.until(noon))
    assert len(cut) == 30 and np.isfinite(whole).all()
    assert np.corrcoef(cut[5:].ravel(), whole[5:30].ravel())[0, 1] > 0.98  # Scales alone differ


def test_alike_no_sort_of_day_is_a_stock():
    field, _, _ = made("accumulation")
    shapes = alike.session_shapes(field)
    assert np.abs(shapes[..., :8].mean(axis=0)).max() < 1  # No habit of a stock is in it
    for sort in alike.sorts_of(shapes):
        own = alike.belong(shapes, sort)
        assert own.sum(axis=0).max() <= 0.35 * len(shapes)


def test_alike_chance_deals_answers_within_sessions():
    draw = np.random.default_rng(2)
    own = draw.random((3, 30, 8)) < 0.3
    common = np.repeat(draw.normal(0, 5, 30)[:, None], 8, axis=1)
    dealt = alike.dealt_answers(own, common, draw, 20)
    np.testing.assert_allclose(dealt, np.tile((own * common).sum(axis=(1, 2)), (20, 1)))
    alone = draw.normal(size=(30, 8))
    assert alike.dealt_answers(own, alone, draw, 20).std(axis=0).min() > 0.5


def test_alike_sorts_are_found_without_a_look_at_what_followed():
    field, _, _ = made("accumulation")
    days = int((field.day < 39).sum())
    other = other_future(field, days - 1)
    other = replace(other, asof=field.asof)
    rows = [
        alike.try_all(f, 2.0, np.random.default_rng(1), draws=100)
        for f in (field.until(field.instants[days - 1]), other.until(field.instants[days - 1]))
    ]
    same(*rows)
    assert (rows[0].n >= 5).all() and rows[0].followers.map(len).gt(0).all()


def test_alike_fires_for_the_last_whole_session_and_is_over_with_the_next():
    field, _, run = made("accumulation", "unnamed")
    rule = run.tried[run.tried.kind == "unnamed"].assign(q=0.01)
    noon, evening = field.instants[field.day == 30][[12, -1]]
    for at, day in ((noon, 29), (evening, 30)):
        said = alike.fire(field, rule, at)
        shapes = alike.session_shapes(field.until(at))[-1]
        close = field.instants[field.day == day][-1]
        assert said and {f.trigger["at"] for f in said} == {close.isoformat()}
        assert len({f.securities for f in said}) == len(said)
        sorts = {
            r.key: alike.Sort(np.array(r.detail["centre"]), r.detail["radius"])
            for r in rule.itertuples()
        }
        assert all(alike.belong(shapes[f.securities[0] - 1], sorts[f.key]) for f in said)
        assert said == alike.fire(
            other_future(field, int(np.searchsorted(field.instants, at))), rule, at
        )
    assert {f.horizon for f in alike.fire(field, rule, noon)} == {
        field.instants[field.day == 30][-1] - noon
    }
