"Patterns: nothing repaints, levels stand on the right side, the reference case is found, outcomes follow."

import os
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from test_indicators import OHLCV, bars_frame, walk

from catalyst.aftermath import fill_outcomes
from catalyst.bars import import_bars
from catalyst.clock import Stopwatch
from catalyst.core import InputError
from catalyst.dims import ensure_times, security_ids
from catalyst.outcomes import judge
from catalyst.patterns import COLUMNS, KEY, detect
from catalyst.trends import given_at, trends


def known_by(found, bars, asof):
    return found[found.confirmed_at <= asof].reset_index(drop=True)


def check_no_repaint(bars, cuts):
    "What is known after each cut is the part of the final answer confirmed by then, whatever comes later"
    whole = detect(bars, "15min")
    draw = np.random.default_rng(2)
    for asof in cuts:
        seen = bars[bars.available_at <= asof]
        expected = known_by(whole, bars, asof)
        pd.testing.assert_frame_equal(detect(seen, "15min"), expected)
        other = bars.copy()
        later = (bars.available_at > asof).to_numpy()
        other.loc[later, OHLCV[:4]] *= draw.uniform(0.5, 2, (int(later.sum()), 1))
        pd.testing.assert_frame_equal(known_by(detect(other, "15min"), bars, asof), expected)
    return whole


def check_levels(found):
    up, down, flat = (found[found.bias == b] for b in ("bullish", "bearish", "neutral"))
    assert (
        (up.stop_level < up.price_at_detection) & (up.price_at_detection < up.target_price)
    ).all()
    assert ((up.stop_level < up.breakout_level) & (up.breakout_level < up.target_price)).all()
    assert (
        (down.stop_level > down.price_at_detection) & (down.price_at_detection > down.target_price)
    ).all()
    assert (
        (down.stop_level > down.breakout_level) & (down.breakout_level > down.target_price)
    ).all()
    assert (
        (flat.stop_level < flat.price_at_detection)
        & (flat.price_at_detection < flat.breakout_level)
    ).all()
    height = found.metadata.map(lambda m: m["height"])
    np.testing.assert_allclose((found.target_price - found.breakout_level).abs(), height, rtol=1e-9)
    assert found.confidence_score.between(0, 1).all()
    assert (found.pivot_at <= found.ts).all() and (found.ts < found.confirmed_at).all()


@pytest.fixture(scope="module")
def data():
    return walk(900, seed=8, ids=(1, 2, 3))


def test_nothing_repaints_in_random_walks(data):
    times = data.available_at.loc[1]
    whole = check_no_repaint(data, [times.iloc[i] for i in range(24, 900, 73)])
    check_levels(whole)
    assert whole.pattern_type.nunique() >= 8


def test_nothing_repaints_at_any_bar():
    "Every bar of a walk is the last one once: a pattern that is known a single bar too early shows"
    bars = walk(130, seed=21, ids=(1,))
    whole = detect(bars, "15min")
    for n in range(1, 131):
        expected = known_by(whole, bars, bars.available_at.iloc[n - 1])
        pd.testing.assert_frame_equal(detect(bars.iloc[:n], "15min"), expected)
    assert whole.pattern_type.nunique() >= 7


BULLISH = """double_bottom triple_bottom inverse_head_and_shoulders ascending_triangle falling_wedge cup_and_handle
bull_flag bullish_reversal bullish_continuation""".split()
BEARISH = """double_top triple_top head_and_shoulders descending_triangle rising_wedge inverse_cup_and_handle bear_flag
bearish_reversal bearish_continuation""".split()
EITHER = """rectangle symmetric_triangle pennant abcd opening_range_breakout gap_continuation gap_fade
volume_breakout""".split()


def test_bias_follows_the_type():
    found = detect(walk(2600, seed=8, ids=tuple(range(8))), "15min")
    sides = found.groupby("pattern_type").bias.unique().map(sorted).to_dict()
    assert sides.pop("consolidation") == ["neutral"]
    for kind, bias in sides.items():
        allowed = (
            ["bullish"]
            if kind in BULLISH
            else ["bearish"]
            if kind in BEARISH
            else ["bearish", "bullish"]
        )
        assert set(bias) <= set(allowed), kind
        assert kind in [*BULLISH, *BEARISH, *EITHER]
    assert len(sides) >= 20


def test_a_range_and_a_breakout_are_told_once(data):
    found = detect(data, "15min")
    place = pd.Series(np.arange(900), index=data.loc[1].index)
    for _, ranges in found[found.pattern_type == "consolidation"].groupby("security_id"):
        assert len(ranges) > 2 and (np.diff(place[ranges.ts]) > 20).all()
    opening = found[found.pattern_type == "opening_range_breakout"]
    day = opening.ts.dt.tz_convert("America/New_York").dt.date
    assert not opening.assign(day=day).duplicated(["security_id", "day", "bias"]).any()


def test_nothing_repaints_in_real_bars(shared):
    raw = pd.read_parquet(shared / "ibkr_15min_101_2025.parquet")
    bars = bars_frame(raw[raw.symbol.isin(["AAPL", "NVDA", "SPY"])], 900)
    times = bars.available_at.loc[1]
    whole = check_no_repaint(bars, [times.iloc[i] for i in range(100, 900, 79)])
    check_levels(whole)


def test_reference_case(shared):
    "908 bars of AAPL gave a bullish reversal (0.73) and a consolidation (0.60); here with levels"
    raw = pd.read_parquet(shared / "ibkr_15min_101_2025.parquet")
    found = detect(bars_frame(raw[raw.symbol == "AAPL"], 908), "15min")
    for kind in ("bullish_reversal", "consolidation"):
        some = found[found.pattern_type == kind]
        assert len(some) and some[["breakout_level", "target_price", "stop_level"]].notna().all(
            axis=None
        )
        assert some.confidence_score.max() > 0.5


def test_real_bars_are_quick(shared):
    bars = bars_frame(pd.read_parquet(shared / "ibkr_15min_101_2025.parquet"), 1700)
    watch = Stopwatch()
    found = detect(bars, "15min")
    assert watch.seconds < 15  # measured 1.8 s; the margin is for a busy machine
    check_levels(found)
    assert found.security_id.nunique() == 101


def test_key_is_unique_and_rows_are_sorted(data):
    found = detect(data, "15min")
    assert list(found.columns) == COLUMNS and not found.duplicated(KEY).any()
    pd.testing.assert_frame_equal(found, found.sort_values(KEY).reset_index(drop=True))
    pd.testing.assert_frame_equal(found, detect(data, "15min"))


def test_since_cuts_the_answer_not_the_view(data):
    whole = detect(data, "15min")
    since = data.index.get_level_values(1)[-26].to_pydatetime()
    part = detect(data, "15min", since=since)
    assert 0 < len(part) < len(whole)
    pd.testing.assert_frame_equal(part, whole[whole.confirmed_at >= since].reset_index(drop=True))
    blind = detect(data[data.index.get_level_values(1) >= since], "15min")
    assert len(blind) < len(part)
    with pytest.raises(InputError, match="since"):
        detect(data, "15min", since=since.replace(tzinfo=None))


def test_upside_down():
    "Each bearish pattern is the bullish one of the mirrored market"
    data = walk(2600, seed=8, ids=(1, 2, 3))
    flipped = data.copy()
    flipped["open"], flipped["close"] = 300 - data.open, 300 - data.close
    flipped["high"], flipped["low"] = 300 - data.low, 300 - data.high
    counts = [detect(d, "15min").groupby("pattern_type").size() for d in (data, flipped)]
    for up, down in (
        ("double_bottom", "double_top"),
        ("bull_flag", "bear_flag"),
        ("bullish_reversal", "bearish_reversal"),
        ("triple_bottom", "triple_top"),
        ("falling_wedge", "rising_wedge"),
        ("inverse_head_and_shoulders", "head_and_shoulders"),
    ):
        here, there = (c.reindex([up, down], fill_value=0).tolist() for c in counts)
        assert here == there[::-1] and sum(here)


def test_securities_do_not_touch(data):
    whole = detect(data, "15min")
    alone = detect(data.loc[[2]], "15min")
    pd.testing.assert_frame_equal(alone, whole[whole.security_id == 2].reset_index(drop=True))


def test_confirmed_when_available_not_before(data):
    "A feed that delivers five minutes late confirms five minutes later"
    late = data.assign(available_at=data.available_at + pd.Timedelta("5min"))
    a, b = detect(data, "15min"), detect(late, "15min")
    assert (b.confirmed_at - a.confirmed_at == pd.Timedelta("5min")).all() and (a.ts == b.ts).all()


def test_unknown_volume_never_raises_confidence(data):
    found = detect(data, "15min")
    parts = found.metadata.map(lambda m: m["volume"])
    unknown = found[parts.isna()]
    assert len(unknown) and len(unknown) < len(found)
    most = np.where(
        unknown.bias == "neutral", 4 / 7, 6 / 9
    )  # Structure, and alignment where it applies
    assert (unknown.confidence_score <= most + 1e-3).all()
    assert all("volume" in m["null_reason"] for m in unknown.metadata)
    assert not any(m["calibrated"] for m in found.metadata)


def test_a_hole_is_passed_over(data):
    hole = data.copy()
    hole.loc[hole.index[300], "low"] = np.nan
    pd.testing.assert_frame_equal(
        detect(hole, "15min"), detect(data.drop(data.index[300]), "15min")
    )


def test_few_bars_no_patterns(data):
    for n in (0, 1, 5, 14):
        found = detect(data.loc[[1]].head(n), "15min")
        assert len(found) == 0 and list(found.columns) == COLUMNS
        assert (
            found.dtypes.astype(str).to_dict() == detect(data, "15min").dtypes.astype(str).to_dict()
        )


# ------------------------------------------------------------------------------------ confidence


def test_pt01_alignment_is_full_when_every_trend_agrees():
    "The earlier system compared 'bullish' with 'positive': its alignment was never true"
    found = detect(walk(900, seed=5, ids=(1, 2)), "15min")
    directed = found[found.bias != "neutral"]
    sign = directed.bias.map({"bullish": 1, "bearish": -1})
    for s, m in zip(sign, directed.metadata, strict=True):
        known = [s * t for t in m["trends"].values() if t is not None]
        expected = None if not known else round(float(np.mean([(1 + k) / 2 for k in known])), 3)
        assert m["alignment"] == expected
    assert {1.0, 0.0} <= {m["alignment"] for m in directed.metadata}
    ranges = found[found.bias == "neutral"].metadata
    assert len(ranges) and all(m["alignment"] is None for m in ranges)
    assert all(m["null_reason"]["alignment"] == "a range has no direction" for m in ranges)


def test_the_hour_is_that_of_the_bars_that_had_ended():
    "Against a loop: closes at the ends of whole hours from 09:30, the last twenty that had ended"
    bars = walk(700, seed=4, ids=(1,))
    found = detect(bars, "15min")
    local = bars.loc[1].index.tz_convert("America/New_York")
    ends = ((local.hour * 60 + local.minute - 570) % 60 == 45) | (
        local.strftime("%H:%M") == "15:45"
    )
    hours = bars.loc[1].close[ends]
    seen = 0
    for ts, m in zip(found.ts, found.metadata, strict=True):
        closes = hours[hours.index <= ts].tail(20)
        if len(closes) < 20:
            assert m["trends"]["1hour"] is None
            continue
        slow, fast, last = closes.mean(), closes.tail(5).mean(), closes.iloc[-1]
        up, down = fast > slow and last > slow, fast < slow and last < slow
        assert m["trends"]["1hour"] == float(up) - float(down)
        seen += 1
    assert seen > 50


def test_given_trends_are_read_as_of_the_confirmation(data):
    quarter = data[data.index.get_level_values(1).minute % 30 == 0]
    five = trends(quarter, "30min").assign(timeframe="5min")
    whole = detect(data, "15min", alignment=five)
    assert any(m["trends"]["5min"] is not None for m in whole.metadata)
    cut = whole.confirmed_at.quantile(0.5, interpolation="nearest")
    later = five.available_at > cut
    other = five.assign(trend=five.trend.where(~later, -five.trend))
    again = detect(data, "15min", alignment=other)
    pd.testing.assert_frame_equal(known_by(again, data, cut), known_by(whole, data, cut))
    assert not again.equals(whole)
    draw = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], len(five))
    got = given_at(five.assign(trend=draw), whole, "5min")
    for r, trend in list(zip(whole.itertuples(), got, strict=True))[::7]:
        mine = (
            (five.security_id == r.security_id) & (five.available_at <= r.confirmed_at)
        ).to_numpy()
        assert trend == draw[mine][-1] if mine.any() else np.isnan(trend)


def test_confidence_is_a_frequency_once_counted(data):
    asked = []

    def history(subject, score):
        asked.append((subject, score))
        return (0.42, 300) if subject == "pattern:double_top" else (None, 7)

    plain, sure = detect(data, "15min"), detect(data, "15min", history=history)
    tops = (plain.pattern_type == "double_top").to_numpy()
    assert tops.any() and (sure.confidence_score[tops] == 0.42).all()
    assert all(m["calibrated"] and m["history"] == 0.42 for m in sure.metadata[tops])
    assert (sure.confidence_score[~tops] == plain.confidence_score[~tops]).all()
    assert not any(m["calibrated"] for m in sure.metadata[~tops])
    assert all("7 outcomes" in m["null_reason"]["history"] for m in sure.metadata[~tops])
    assert [
        s for _, s in asked
    ] == plain.confidence_score.tolist()  # A calibration never feeds on itself


# ------------------------------------------------------------------------------------ outcomes


def by_hand(pattern, bars, horizon=130):
    "Outcome and R of one directed pattern, bar by bar"
    sign = 1 if pattern.bias == "bullish" else -1
    risk = sign * (pattern.price_at_detection - pattern.stop_level)
    r = lambda price: sign * (price - pattern.price_at_detection) / risk
    after = bars.loc[pattern.security_id]
    after = after[after.index >= pattern.confirmed_at].head(horizon)
    for b in after.itertuples():
        best, worst = (b.high, b.low) if sign > 0 else (b.low, b.high)
        won, lost = (
            sign * (best - pattern.target_price) > 0,
            sign * (worst - pattern.stop_level) <= 0,
        )
        if sign * (b.open - pattern.target_price) > 0:
            lost = False
        if sign * (b.open - pattern.stop_level) <= 0:
            won = False
        if lost:
            price = min(sign * b.open, sign * pattern.stop_level) * sign
            return ("ambiguous_stop" if won else "stop"), r(price), b.available_at
        if won:
            return "target", r(pattern.target_price), b.available_at
    if len(after) < horizon:
        return None, None, None
    return "expired", r(after.close.iloc[-1]), after.available_at.iloc[-1]


def test_outcomes_against_a_loop(data):
    found, seen, horizon = detect(data, "15min"), [], 15
    judged = judge(found, data, data.available_at.max(), horizon)
    for (_, p), (_, j) in zip(found.iterrows(), judged.iterrows(), strict=True):
        if p.bias == "neutral":
            continue
        kind, r, at = by_hand(p, data, horizon)
        assert j.actual_outcome == kind if kind else pd.isna(j.actual_outcome)
        if kind:
            assert j.r_multiple == pytest.approx(r) and j.outcome_at == at
            assert (j.completed, j.failed) == (kind == "target", "stop" in kind)
        seen.append(kind)
    assert {"target", "stop", "expired", "ambiguous_stop", None} <= set(seen)


@pytest.mark.parametrize(
    ("bar", "outcome", "r"),
    [
        (
            (8.5, 13.0, 8.0, 12.0),
            "stop",
            -1.5,
        ),  # Opened beyond the stop: it was met first, and filled there
        ((12.5, 13.0, 8.0, 12.0), "target", 2.0),  # Opened beyond the target: that was met first
        ((10.0, 13.0, 8.0, 12.0), "ambiguous_stop", -1.0),  # Nobody knows
        (
            (10.0, 12.0, 9.5, 12.0),
            None,
            None,
        ),  # A price that was only touched did not trade through
    ],
)
def test_a_gap_decides_before_the_rest_of_the_bar(bar, outcome, r):
    for sign, bias in ((1, "bullish"), (-1, "bearish")):
        bars = walk(3, seed=1, ids=(1,))
        o, h, l, c = (10 + sign * (x - 10) for x in bar)
        bars.iloc[1, :4] = [o, max(h, l), min(h, l), c]
        ts, at = bars.index[0][1], bars.available_at.iloc[0]
        row = {
            "security_id": 1,
            "ts": ts,
            "confirmed_at": at,
            "bias": bias,
            "price_at_detection": 10.0,
        }
        levels = {
            "breakout_level": 10.0,
            "target_price": 10 + 2.0 * sign,
            "stop_level": 10 - 1.0 * sign,
        }
        bars.iloc[0, 3] = 10.0
        (told,) = judge(pd.DataFrame([row | levels]), bars, bars.available_at.iloc[1]).itertuples()
        assert told.actual_outcome == outcome if outcome else pd.isna(told.actual_outcome)
        assert r is None or told.r_multiple == pytest.approx(r)


def test_outcomes_do_not_know_the_future(data):
    found = detect(data, "15min")
    times = data.available_at.loc[1]
    whole = judge(found, data, times.iloc[-1])
    draw = np.random.default_rng(4)
    for i in range(150, 900, 250):
        asof, some = times.iloc[i], found[found.confirmed_at <= times.iloc[i]]
        other = data.copy()
        later = (data.available_at > asof).to_numpy()
        other.loc[later, OHLCV[:4]] *= draw.uniform(0.5, 2, (int(later.sum()), 1))
        now = judge(some, other, asof)
        pd.testing.assert_frame_equal(now, judge(some, data[~later], asof))
        decided = whole.loc[some.index][(whole.outcome_at.loc[some.index] <= asof)]
        pd.testing.assert_frame_equal(now[now.actual_outcome.notna()], decided)
        assert now.outcome_at.dropna().le(asof).all() and now.actual_outcome.isna().any()


def test_a_range_takes_the_way_it_is_left(data):
    found = detect(data, "15min").query("bias == 'neutral'")
    judged = judge(found, data, data.available_at.max())
    assert judged.actual_outcome.isin(["target", "stop"]).sum() > 3
    for (_, p), (_, j) in zip(found.iterrows(), judged.iterrows(), strict=True):
        after = data.loc[p.security_id]
        after = after[after.index >= p.confirmed_at].head(130)
        out = after[(after.close > p.breakout_level) | (after.close < p.stop_level)]
        if out.empty or j.actual_outcome is None:
            continue
        up, height = out.close.iloc[0] > p.breakout_level, p.target_price - p.breakout_level
        target = p.target_price if up else p.stop_level - height
        told = after[after.index > out.index[0]]
        told = told[told.available_at <= j.outcome_at]
        met = (told.high > target).any() if up else (told.low < target).any()
        assert met == (j.actual_outcome in ("target", "ambiguous_stop"))


def stored(store, bars, found, timeframe="15min"):
    "Bars and patterns of securities 1, 2, … in a database, as the desk stores them"
    ids = security_ids(store, [f"T{i}" for i in bars.index.levels[0]])
    names = {i: f"T{i}" for i in bars.index.levels[0]}
    flat = bars.reset_index()
    flat["symbol"] = flat.security_id.map(names)
    import_bars(store, flat, timeframe, "test", flat.available_at.max())
    rows = found.assign(
        security_id=found.security_id.map(lambda i: ids[names[i]]),
        time_id=found.ts.astype("int64") // 10**6, timeframe=timeframe,
    ).drop(columns="ts")  # fmt: skip
    with store.transaction() as tx:
        ensure_times(tx, rows.time_id)
        key = ["security_id", "timeframe", "pattern_type", "pattern_subtype", "time_id"]
        return tx.upsert("pattern_analysis", rows, keys=key)


@pytest.fixture(scope="module")
def one():
    return walk(420, seed=8, ids=(1, 2)).round({c: 2 for c in OHLCV[:4]})


def test_pt02_the_same_scan_twice_stores_nothing_new(scratch, one):
    found = detect(one, "15min")
    first = stored(scratch, one, found)
    second = stored(scratch, one, detect(one.copy(), "15min"))
    assert (first.inserted, second.inserted) == (len(found), 0)
    assert scratch.value("select count(*) from pattern_analysis") == len(found)


def test_pt04_every_stored_pattern_gets_its_outcome(scratch, one):
    "The earlier system's columns for it were never filled; here they are, once, and equal to the judge's"
    found = detect(one, "15min")
    stored(scratch, one, found)
    end = one.available_at.max()
    early = fill_outcomes(scratch, end - timedelta(days=5))
    late = fill_outcomes(scratch, end)
    again = fill_outcomes(scratch, end)
    assert early["accepted"] > 50 and late["accepted"] > 20 and again["accepted"] == 0
    sql = "select outcome_at, actual_outcome, r_multiple, pattern_completed, pattern_failed from pattern_analysis order by pattern_id"
    rows = scratch.frame(sql)
    assert (rows.outcome_at.isna() == rows.actual_outcome.isna()).all() and (
        rows.outcome_at.dropna() <= end
    ).all()
    expected = judge(found, one, end).actual_outcome.value_counts()
    assert rows.actual_outcome.value_counts().to_dict() == expected.to_dict()
    closed = fill_outcomes(scratch, end + timedelta(days=40))
    assert (
        closed["reasons"] == {"no bars": closed["accepted"]}
        and fill_outcomes(scratch, end + timedelta(days=99))["reasons"] == {}
    )


def test_a_poison_row_cannot_stop_the_batch(scratch, one, monkeypatch):
    found = detect(one, "15min").head(60)
    stored(scratch, one, found)
    poison = scratch.value(
        "select pattern_id from pattern_analysis order by pattern_id offset 17 limit 1"
    )

    def broken(patterns, *rest):
        if poison in patterns.pattern_id.tolist():
            raise ZeroDivisionError("a price of nothing")
        return judge(patterns, *rest)

    monkeypatch.setattr("catalyst.aftermath.judge", broken)
    told = fill_outcomes(scratch, one.available_at.max())
    assert told["quarantined"] == 1 and told["accepted"] > 30
    assert told["reasons"]["failed: a price of nothing"] == 1
    open_ = scratch.frame(
        "select pattern_id from pattern_analysis where actual_outcome is null"
    ).pattern_id.tolist()
    assert poison in open_ and len(open_) == 60 - told["accepted"]


def test_late_bars_delay_the_confirmation(data):
    "A pattern stands on all bars up to its own, so it is confirmed when the last of them was there"
    ts = data.loc[1].index
    late = data.copy()
    slow = late.index.get_level_values(1) == ts[400]
    late.loc[slow, "available_at"] = ts[410]
    found = detect(late, "15min")
    between = found[(found.ts >= ts[400]) & (found.ts < ts[409])]
    assert len(between) and (between.confirmed_at == ts[410]).all()


long = pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG is not set")


@long
def test_nothing_repaints_in_real_bars_at_many_bars(shared):
    raw = pd.read_parquet(shared / "ibkr_15min_101_2025.parquet")
    names = sorted(raw.symbol.astype(str).unique())[::5]
    bars = bars_frame(raw[raw.symbol.isin(names)], 1500)
    times = np.unique(bars.available_at)
    whole = check_no_repaint(bars, [pd.Timestamp(t, tz="UTC") for t in times[40:1490:29]])
    assert whole.pattern_type.nunique() >= 22
