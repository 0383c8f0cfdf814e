"Pattern discovery, ground floor: the field knows nothing of the future, nulls keep what they promise, correction counts everything, planted effects are where the truth says."

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from catalyst.clock import sessions_between, slots
from catalyst.core import InputError
from catalyst.evidence import admit, correct, tried_frame, weights, where_it_failed
from catalyst.field import (
    ARRAYS, _remembered, abnormal_returns, centre_of_others, log_returns, make_field, standardised, time_ahead, usual_volume,
)  # fmt: skip
from catalyst.nulls import (
    Pool,
    block_bootstrap,
    p_values,
    permute_labels,
    phase_randomise,
    shift_events,
)
from catalyst.planted import PLANTERS, plant

DAYS = sessions_between(pd.Timestamp("2025-06-20").date(), pd.Timestamp("2025-08-13").date())
SECTORS = {1: "Energy", 2: "Energy", 3: "Energy", 4: None, 5: "Utilities"}


@pytest.fixture(scope="module")
def frames():
    "Bars of five securities, with holes and one late bar, and news of three"
    draw = np.random.default_rng(9)
    starts = pd.DatetimeIndex([t for s in DAYS for t in slots(s)[:-1]]).as_unit("us")
    parts = {}
    for i in SECTORS:
        close = 40 * np.exp(draw.normal(0, 0.004, len(starts)).cumsum())
        frame = pd.DataFrame(
            {"open": close, "high": close * 1.002, "low": close * 0.997, "close": close}, starts
        )
        frame["volume"] = draw.integers(1000, 5000, len(starts)) * 1.0
        parts[i] = frame[draw.random(len(starts)) > 0.02]
    bars = pd.concat(parts, names=["security_id", "ts"])
    bars["available_at"] = bars.index.get_level_values(1) + pd.Timedelta("15min")
    bars.iloc[500, bars.columns.get_loc("available_at")] += pd.Timedelta("2h")
    n = 300
    at = DAYS[2].opens + pd.to_timedelta(np.sort(draw.integers(0, 48 * 24 * 60, n)), "min")
    news = pd.DataFrame(
        {
            "news_id": range(1, n + 1),
            "received_at": at,
            "headline": "Acme set to explode, hidden gem",
        }
    )
    news["story_id"] = pd.array(draw.integers(1, 200, n), "Int64")
    news.loc[::7, "story_id"] = pd.NA
    news["security_id"] = pd.array(draw.integers(1, 4, n), "Int64")
    news["source_name"], news["source_tier"] = (
        draw.choice(["Wire", "SEC", "Moon"], n),
        draw.choice([1, 3, 5], n),
    )
    news["tone"], news["catalyst_strength"], news["catalyst_type"] = (
        draw.uniform(-1, 1, n),
        draw.random(n),
        "contract",
    )
    return bars, news


def same(a, b):
    "Two fields hold the same"
    assert (
        (a.instants == b.instants).all()
        and (a.slot == b.slot).all()
        and (a.overnight == b.overnight).all()
    )
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-12, err_msg=name)
    pd.testing.assert_frame_equal(a.events, b.events)


@pytest.mark.parametrize(
    "at", ["2025-08-12T14:00Z", "2025-08-12T15:52Z", "2025-07-03T17:00Z", "2025-08-13T01:00Z"]
)
def test_pd02_the_future_changes_no_field(frames, at):
    "failure 18 and PD-2: whatever comes after `asof` may be anything"
    bars, news = frames
    asof = pd.Timestamp(at)
    later, told = bars.copy(), news.copy()
    gone = later["available_at"] > asof
    later.loc[gone, ["open", "high", "low", "close", "volume"]] = 1.0
    late = told["received_at"] > asof
    told.loc[late, "tone"], told.loc[late, "source_tier"] = 0.99, 5
    same(make_field(bars, news, SECTORS, asof, 10), make_field(later, told, SECTORS, asof, 10))
    same(
        make_field(bars, news, SECTORS, asof, 10),
        make_field(bars[~gone], news[~late], SECTORS, asof, 10),
    )


def test_pd02_a_field_cut_back_is_the_field_of_then(frames):
    bars, news = frames
    whole = make_field(bars, news, SECTORS, DAYS[-1].closes, 10)
    for t in slots(DAYS[-1])[3:20:4] + [DAYS[-1].opens + pd.Timedelta("100min")]:
        same(whole.until(t), make_field(bars, news, SECTORS, t, 10))


def test_field_events_come_at_the_first_bar_that_ends_after_the_receipt(frames):
    bars, news = frames
    field = make_field(bars, news, SECTORS, DAYS[-1].closes, 10)
    at = field.instants[field.events.t]
    before = field.instants[field.events.t - 1]
    assert (at >= field.events.received_at).all() and (before < field.events.received_at).all()
    assert not field.events.duplicated(["story_id", "i"]).any()
    assert field.events.filing.any() and not field.events.filing.all()
    first = (
        news.dropna(subset="story_id")
        .sort_values(["received_at", "news_id"])
        .drop_duplicates(["story_id", "security_id"])
    )
    tone = first.set_index(["story_id", "security_id"]).tone
    shown = field.events[field.events.story_id > 0].head(20)
    assert [
        tone[s, field.ids[i]] for s, i in zip(shown.story_id, shown.i, strict=True)
    ] == shown.tone.tolist()


def test_field_a_half_day_is_short_and_the_evening_is_absent(frames):
    bars, news = frames
    extra = bars.loc[[1]].iloc[-1:].rename(lambda t: DAYS[-1].closes + pd.Timedelta("1h"), level=1)
    extra["available_at"] = DAYS[-1].ends
    field = make_field(pd.concat([bars, extra]).sort_index(), news, SECTORS, DAYS[-1].ends, 30)
    lengths = np.bincount(field.day)
    assert sorted(set(lengths)) == [14, 26] and (lengths == 14).sum() == 1
    assert field.overnight.sum() == 30 and field.slot.max() == 25


def test_field_medians_agree_with_a_loop():
    draw = np.random.default_rng(4)
    x = np.where(draw.random((200, 7)) < 0.15, np.nan, draw.normal(size=(200, 7)).round(1))
    x[0] = np.nan
    others = [[np.delete(row, j) for j in range(7)] for row in x]
    plain = [
        [np.median(o[np.isfinite(o)]) if np.isfinite(o).any() else np.nan for o in row]
        for row in others
    ]
    np.testing.assert_allclose(centre_of_others(x), np.array(plain))


def test_field_one_jump_moves_nobody_elses_abnormal_return():
    "A search for followers would find every jump in the others, were it a mean"
    r = np.random.default_rng(1).normal(0, 0.001, (50, 9))
    jump = r.copy()
    jump[25, 0] += 0.08
    sector = np.zeros(9, int)
    moved = np.abs(abnormal_returns(jump, sector) - abnormal_returns(r, sector))[25, 1:]
    assert moved.max() < 0.002  # A mean would give 0.01


def test_field_the_own_session_is_not_in_its_usual_volume():
    volume = np.ones((25, 1))
    volume[24] = 1000
    usual = usual_volume(volume, np.arange(25), np.zeros(25, int))
    assert usual[24, 0] == 1.0 and np.isnan(usual[:5]).all() and usual[5, 0] == 1.0


def test_field_missing_is_unknown_and_never_zero():
    close = np.array([[10.0], [np.nan], [11.0], [12.0]])
    r = log_returns(close, np.zeros(4, int))
    assert np.isnan(r[:3]).all() and r[3, 0] == pytest.approx(np.log(12 / 11))
    nights = log_returns(np.array([[10.0], [np.nan], [11.0]]), np.array([0, 0, 1]))
    assert nights[2, 0] == pytest.approx(np.log(1.1))  # From the last known close


def test_field_scales_remember_only_earlier_rows():
    x = np.abs(np.random.default_rng(2).normal(0, 1, (520, 1)))
    wild = x.copy()
    wild[400] = 50
    before, after = _remembered(x), _remembered(wild)
    np.testing.assert_array_equal(before[:401], after[:401])
    assert after[401] > before[401] + 1 and after[453] - before[453] < 0.2 * (
        after[401] - before[401]
    )


def test_field_time_ahead_crosses_nights_and_half_days():
    noon = pd.Timestamp("2025-07-03T12:45-04:00")
    assert noon + time_ahead(noon, 1) == pd.Timestamp("2025-07-03T13:00-04:00")
    assert noon + time_ahead(noon, 2) == pd.Timestamp("2025-07-07T09:45-04:00")


# Nulls


@pytest.fixture(scope="module")
def market():
    return plant(None, 0, 1, securities=40, sessions=40)[0]


def test_nulls_shifted_events_keep_counts_nights_and_order(market):
    t, who = market.events.t.to_numpy(), market.events.i.to_numpy()
    moved = shift_events(market, t, who, np.random.default_rng(1), draws=30)
    assert moved.shape == (30, len(t)) and moved.min() >= 0 and moved.max() < len(market.instants)
    night = market.slot[t] == 0
    assert (market.slot[moved[:, night]] == 0).all() and not (
        market.slot[moved[:, ~night]] == 0
    ).any()
    assert (moved == t).mean() < 0.01  # No security stays where it was
    days = market.day[moved] - market.day[t]
    for i in np.unique(who)[:5]:
        assert all(len(np.unique(d % 40)) == 1 for d in days[:, who == i])


def test_nulls_phases_keep_the_spectrum(market):
    x = np.nan_to_num(market.returns)
    turned = phase_randomise(x, np.random.default_rng(1))
    np.testing.assert_allclose(np.corrcoef(turned.T), np.corrcoef(x.T), atol=1e-8)
    lag = [
        (v[1:, 0] * v[:-1, 0]).mean() + v[0, 0] * v[-1, 0] / len(v)
        for v in (x - x.mean(0), turned - turned.mean(0))
    ]
    assert lag[0] == pytest.approx(lag[1], rel=0.05, abs=1e-8) and not np.allclose(turned, x)


def test_nulls_blocks_are_whole_sessions(market):
    rows = block_bootstrap(market.day, np.random.default_rng(3))
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    for part in np.split(rows, cuts):
        assert market.slot[part[0]] == 0
    assert len(np.unique(market.day[rows])) < 40


def test_nulls_labels_stay_in_their_session():
    session = np.random.default_rng(1).integers(0, 6, 100)
    dealt = permute_labels(session, np.random.default_rng(2), draws=5)
    assert (session[dealt] == session).all() and all(sorted(d) == list(range(100)) for d in dealt)


def test_pd07_p_values_are_never_zero_and_fair():
    draw = np.random.default_rng(1)
    null = np.abs(draw.normal(size=(200, 500)))
    p = p_values(np.abs(draw.normal(size=500)), null)
    assert 0 < p.min() and 0.03 < (p <= 0.05).mean() < 0.07
    assert p_values(np.array([99.0]), null)[0] == 1 / (1 + null.size)
    assert np.isnan(p_values(np.array([np.nan]), null)[0])


@pytest.mark.parametrize("dof, lean", [(np.inf, 0.8), (30, 0.2)])
def test_pd07_the_continued_tail_is_not_too_hopeful(dof, lean):
    "Against the true tail: a bell curve is never undercut; a slightly fatter one not by much where it matters"
    from scipy.stats import norm, t

    draw = np.random.default_rng(3)
    x = draw.normal(size=400_000) if np.isinf(dof) else draw.standard_t(dof, 400_000)
    pool = Pool()
    pool.add(np.abs(x))
    z = np.array([3.8, 4.2, 4.8])
    true = 2 * (norm.sf(z) if np.isinf(dof) else t.sf(z, dof))
    assert (pool.p(z, tail=True) >= lean * true).all()
    assert (pool.p(z, tail=True) <= 4 * true).all() or dof < np.inf


# Evidence


def rows(p, kind="lead_lag", net=0.001):
    columns = {
        "kind": kind,
        "key": [f"{kind}:{i}" for i in range(len(p))],
        "followers": [(1,)] * len(p),
        "p": p,
        "null": "x",
    }
    return tried_frame(columns | {"statistic": 1.0, "effect": 0.001, "effect_net": net, "n": 9})


def test_pd07_everything_that_was_tried_is_counted():
    "PD-7: 4,950 pairs at five percent are 250 discoveries; here they are none"
    p = np.random.default_rng(1).uniform(size=4950)
    raw = int((p <= 0.05).sum())
    assert raw > 200 and len(admit(correct(rows(p)))) == 0
    one = np.r_[1e-9, p]
    assert len(admit(correct(rows(one)))) == 1
    assert correct(rows(one)).tried.eq(4951).all()


def test_pd07_q_is_benjamini_yekutieli_of_weighted_p():
    p, other = np.array([1e-5, 0.01, 0.2, 0.7]), np.array([1e-3, 0.5])
    told = correct([rows(p), rows(other, "accumulation")])
    w = weights(told.kind)
    assert w.mean() == pytest.approx(1) and w[4] == pytest.approx(6 / (2 * 2))
    own = np.minimum(told.p / w, 1).to_numpy()
    c, order = sum(1 / k for k in range(1, 7)), np.argsort(own)
    q = np.minimum.accumulate((own[order] * 6 * c / np.arange(1, 7))[::-1])[::-1]
    np.testing.assert_allclose(told.q.to_numpy()[order], np.minimum(q, 1))


def test_pd07_untested_rows_count_for_nothing_and_are_kept():
    told = correct(rows(np.array([0.001, np.nan, np.nan])))
    assert len(told) == 3 and told.q.isna().sum() == 2 and told.q[0] == pytest.approx(0.001)


@pytest.mark.parametrize("p", [[0.0], [1.5], [-0.1]])
def test_pd03_impossible_p_values_are_refused(p):
    with pytest.raises(InputError, match="p: received"):
        correct(rows(np.array(p)))


def test_evidence_what_does_not_pay_is_not_admitted():
    told = correct(rows(np.array([1e-9, 1e-9]), net=[0.001, -0.0001]))
    assert (told.q < 0.01).all() and len(admit(told)) == 1
    assert where_it_failed(np.array([0.1, 0.1]), np.array([0, 50]), 60) == ""


# Planted markets


@pytest.mark.parametrize("kind", sorted(PLANTERS))
def test_planted_only_the_truth_differs_from_nothing(kind):
    "Size grows, the market below stays, and the truth names who was touched"
    none, _ = plant(None, 0, 2, securities=40, sessions=40)
    made, truth = plant(kind, 2, 2, securities=40, sessions=40)
    more, _ = plant(kind, 4, 2, securities=40, sessions=40)
    touched = {
        int(i)
        for i in np.flatnonzero(
            (~np.isclose(made.returns, none.returns, atol=1e-9, equal_nan=True)).any(axis=0)
        )
        + 1
    }
    named = {i for f in truth.followers for i in f} | set(truth.leader[truth.leader > 0])
    assert touched - named == set() or kind == "sector_rotation"
    assert set(truth.kind) == {kind} and not np.array_equal(made.close, more.close)
    assert (truth.begins < truth.ends).all() and (truth.begins >= 0).all()


def test_planted_the_null_market_is_like_a_market():
    field, truth = plant(None, 0, 7)
    assert field.close.shape == (60 * 26 - 12, 100) and not len(truth)
    inner = field.abnormal[~field.overnight]
    assert (inner**4).mean() / (inner**2).mean() ** 2 > 5
    assert (
        np.abs(field.returns[field.overnight]).mean()
        > 2 * np.abs(field.returns[~field.overnight]).mean()
    )
    day = np.abs(inner).mean(axis=1)
    assert np.corrcoef(day[26:], day[:-26])[0, 1] > 0.2
    z, _ = standardised(field.abnormal, field.slot)
    answer = z[field.events.t, field.events.i] * np.sign(field.events.tone)
    assert abs(answer.mean()) < 4 / np.sqrt(len(answer))  # Stories mean nothing


def test_planted_a_reaction_is_at_once_and_complete():
    field, _ = plant(None, 0, 7, reaction=6.0)
    z, _ = standardised(field.abnormal, field.slot)
    e = field.events[field.events.t < len(z) - 4]
    way = np.sign(e.tone)
    assert (z[e.t, e.i] * way).mean() > 0.15
    assert abs((z[e.t + 1, e.i] * way).mean()) < 0.08


def test_planted_the_same_seed_is_the_same_market():
    a, b, c = (plant("pump_and_dump", 2, s, securities=40, sessions=40)[0] for s in (1, 1, 2))
    assert (a.close == b.close).all() and not (a.close == c.close).all()
    assert a.events.equals(b.events) and replace(a) is not a
