"Indicators against second implementations, holes, warm-up and the future."

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalyst.clock import Stopwatch
from catalyst.core import InputError
from catalyst.indicators import NEEDS, VALUES, indicators
from catalyst.profile import VALUE_SHARE, value_area, volume_profile
from catalyst.slots import UNUSUAL, slot_ratio
from catalyst.swings import levels, swings
from catalyst.warmup import warmup

OHLCV = ["open", "high", "low", "close", "volume"]


def bars_frame(raw, limit=None):
    "The shared file's rows as a bars frame; ids in order of the symbols"
    raw = raw[raw.volume > 0].sort_values(["symbol", "ts"])
    raw = raw.assign(
        security_id=raw.symbol.astype(str).astype("category").cat.codes.astype("int64") + 1
    )
    if limit:
        raw = raw.groupby("security_id").head(limit)
    raw = raw.assign(ts=raw.ts.astype("datetime64[us, UTC]"))
    out = raw.set_index(["security_id", "ts"])[OHLCV].astype(float).round(4)
    return out.assign(available_at=out.index.get_level_values(1) + pd.Timedelta("15min"))


def walk(n=400, seed=3, ids=(1, 2), scale=0.3):
    "Random walks with uneven volume, 26 bars a session, on real session dates"
    draw, frames = np.random.default_rng(seed), []
    days = pd.bdate_range("2025-06-23", periods=n // 26 + 1, tz="America/New_York")
    ts = pd.DatetimeIndex(
        [d + pd.Timedelta(minutes=570 + 15 * i) for d in days for i in range(26)][:n]
    )
    ts = ts.tz_convert("UTC").as_unit("us")
    for sid in ids:
        close = 100 + draw.normal(size=n).cumsum() * scale
        opens = np.r_[close[0], close[:-1]]
        high = np.maximum(opens, close) + draw.uniform(0, scale, n)
        low = np.minimum(opens, close) - draw.uniform(0, scale, n)
        volume = np.floor(draw.lognormal(8, 0.8, n)) + 1
        index = pd.MultiIndex.from_arrays([np.full(n, sid), ts], names=["security_id", "ts"])
        frames.append(
            pd.DataFrame(
                dict(zip(OHLCV, (opens, high, low, close, volume), strict=True)), index=index
            )
        )
    out = pd.concat(frames)
    return out.assign(available_at=out.index.get_level_values(1) + pd.Timedelta("15min"))


@pytest.fixture(scope="module")
def data():
    return walk()


@pytest.fixture(scope="module")
def ind(data):
    return indicators(data, "15min")


def wilder(x, n):
    out = [x[:n].mean()]
    for value in x[n:]:
        out.append((out[-1] * (n - 1) + value) / n)
    return np.array(out)


def test_te03_rsi_and_atr_are_wilders(data, ind):
    "guard: the earlier system used a plain mean and called it RSI"
    one, got = data.loc[1], ind.loc[1]
    step = np.diff(one.close)
    up, down = wilder(step.clip(0), 14), wilder((-step).clip(0), 14)
    np.testing.assert_allclose(got.rsi_14.iloc[14:], 100 - 100 / (1 + up / down), rtol=1e-9)
    previous = one.close.shift()
    reach = pd.concat(
        [one.high - one.low, (one.high - previous).abs(), (one.low - previous).abs()], axis=1
    ).max(axis=1)
    np.testing.assert_allclose(got.atr_14.iloc[14:], wilder(reach.to_numpy()[1:], 14), rtol=1e-9)


def test_adx_by_hand(data, ind):
    one = data.loc[1]
    up, down = one.high.diff().to_numpy()[1:], -one.low.diff().to_numpy()[1:]
    plus, minus = (
        np.where((up > down) & (up > 0), up, 0),
        np.where((down > up) & (down > 0), down, 0),
    )

    def total(
        x,
    ):  # Wilder's running sum: begins with 13 values, then the fourteenth enters smoothed
        out = [x[:13].sum()]
        for value in x[13:]:
            out.append(out[-1] * 13 / 14 + value)
        return np.array(out[1:])

    a, b = total(plus), total(minus)
    dx = 100 * np.abs(a - b) / (a + b)
    np.testing.assert_allclose(ind.loc[1].adx_14.iloc[27:], wilder(dx, 14), rtol=1e-7)


def test_te03_macd_has_a_signal_of_its_own(data, ind):
    close, got = data.loc[2].close, ind.loc[2]
    fast, slow = (close.ewm(span=n, adjust=False).mean() for n in (12, 26))
    np.testing.assert_allclose(got.macd.iloc[300:], (fast - slow).iloc[300:], atol=1e-6)
    assert not np.allclose(
        got.macd.iloc[40:], got.macd_signal.iloc[40:]
    )  # as the earlier system had it
    mean, spread = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    np.testing.assert_allclose(
        got.bollinger_lower.iloc[19:], (mean - 2 * spread).iloc[19:], rtol=1e-9
    )


def test_vwap_resets_with_the_session(data, ind):
    one = data.loc[1]
    typical, day = (
        (one.high + one.low + one.close) / 3,
        one.index.tz_convert("America/New_York").date,
    )
    for d in np.unique(day)[:3]:
        rows = day == d
        expected = (typical * one.volume)[rows].cumsum() / one.volume[rows].cumsum()
        np.testing.assert_allclose(ind.loc[1].vwap[rows], expected, rtol=1e-12)


def test_volume_ratio_by_hand(data, ind):
    one = data.loc[2].assign(slot=lambda f: f.index.tz_convert("America/New_York").time)
    for at in (26 * 5, 26 * 9 + 4, 399):
        slot = one[one.slot == one.slot.iloc[at]]
        earlier = slot[slot.index < one.index[at]].volume.tail(20)
        assert ind.loc[2].volume_ratio.iloc[at] == pytest.approx(
            one.volume.iloc[at] / earlier.mean()
        )
    assert ind.loc[2].volume_ratio.iloc[: 26 * 5].isna().all()
    known = ind[ind.volume_ratio.notna()]
    assert (known.unusual_volume_flag.astype(bool) == (known.volume_ratio > UNUSUAL)).all()
    assert known.unusual_volume_flag.astype(bool).any()
    assert all(v is None for v in ind.unusual_volume_flag[ind.volume_ratio.isna()])


def test_slot_ratio_looks_back_twenty_sessions_not_more():
    day, slot = np.arange(30), np.full(30, 34200)
    volume = np.r_[np.full(9, 1e6), np.full(21, 10.0)]
    ratio, n = slot_ratio(day, slot, volume)
    assert ratio[29] == 1.0 and n[29] == 20 and np.isnan(ratio[4]) and n[4] == 4


def test_summer_time_keeps_its_slot():
    "The opening bar is 14:30 UTC in winter and 13:30 in summer"
    days = pd.bdate_range("2025-03-03", periods=9, tz="America/New_York") + pd.Timedelta("570min")
    ts = days.tz_convert("UTC").as_unit("us")
    index = pd.MultiIndex.from_arrays([np.full(9, 1), ts], names=["security_id", "ts"])
    flat = pd.DataFrame(dict.fromkeys(OHLCV, 10.0), index=index).assign(available_at=ts)
    assert indicators(flat, "15min").volume_ratio.iloc[-1] == 1.0


def test_te04_profile_is_a_profile(data, ind):
    "guard: the earlier value area was the day's high and low"
    got = ind.loc[1]
    assert ((got.val <= got.vpoc) & (got.vpoc <= got.vah)).all()
    day = data.loc[1].index.tz_convert("America/New_York").date
    last = np.r_[day[1:] != day[:-1], True]
    high, low = (
        data.loc[1][c].groupby(day).agg(f).to_numpy() for c, f in (("high", "max"), ("low", "min"))
    )
    assert ((got.vah[last].to_numpy() <= high) & (got.val[last].to_numpy() >= low)).all()
    assert (got.vah - got.val)[last].mean() < 0.9 * (high - low).mean()


def test_value_area_by_brute_force():
    draw = np.random.default_rng(5)
    profile = np.floor(draw.lognormal(3, 1, (200, 17)))
    for row, poc, low, high in zip(profile, *value_area(profile), strict=True):
        held, a, b = row[poc], poc, poc
        while held < VALUE_SHARE * row.sum():
            up, down = (row[b + 1] if b < 16 else -1), (row[a - 1] if a > 0 else -1)
            if up >= down:
                b, held = b + 1, held + up
            else:
                a, held = a - 1, held + down
        assert (poc, low, high) == (row.argmax(), a, b)


def test_profile_does_not_depend_on_later_bars_of_its_session(data):
    one = data.loc[1].iloc[:26]
    arrays = {c: one[c].to_numpy() for c in OHLCV}
    whole = volume_profile(np.zeros(26), arrays)
    for n in range(1, 26):
        part = volume_profile(np.zeros(n), {c: a[:n] for c, a in arrays.items()})
        for name in part:
            np.testing.assert_array_equal(part[name], whole[name][:n])


def test_support_is_confirmed_and_below(data, ind):
    for sid in (1, 2):
        one, got = data.loc[sid], ind.loc[sid]
        assert (got.support_level.dropna() <= one.close[got.support_level.notna()]).all()
        assert (got.resistance_level.dropna() >= one.close[got.resistance_level.notna()]).all()
        pivots = swings(one.high.to_numpy(), one.low.to_numpy())
        for at in (60, 200, 399):
            lows = pivots.price[(pivots.kind < 0) & (pivots.confirmed_at <= at)][-20:]
            below = lows[lows <= one.close.iloc[at]]
            expected = below[-1] if len(below) else np.nan
            np.testing.assert_equal(got.support_level.iloc[at], expected)


def test_a_swing_is_known_when_it_is_confirmed(data):
    "At every bar, what is known then is what the whole series says was confirmed by then"
    high, low = (data.loc[1][c].to_numpy() for c in ("high", "low"))
    for k in (1, 3):
        whole = swings(high, low, k)
        assert (whole.confirmed_at == whole.pivot_at + k).all() and len(whole.kind) > 20
        for n in range(len(high)):
            early, keep = swings(high[:n], low[:n], k), whole.confirmed_at < n
            for a, b in zip(early, whole, strict=True):
                np.testing.assert_array_equal(a, b[keep])


def test_te02_warm_up_is_null_with_a_reason(ind):
    "guard-16: missing is null with a reason, never a number"
    for sid in (1, 2):
        got = ind.loc[sid]
        for name, need in NEEDS.items():
            if need > 1 and name != "sector_strength":  # no sectors given
                assert (
                    got[name].iloc[: need - 1].isna().all()
                    and got[name].iloc[need - 1 :].notna().all()
                ), name
                assert got.null_reason.iloc[need - 2][name].endswith(f"has {need - 1}"), name
                assert got.null_reason.iloc[0][name] == f"warm-up: needs {need} bars, has 1"
    nulls = ind[VALUES].isna()
    assert all(
        set(r) == set(nulls.columns[n])
        for r, n in zip(ind.null_reason, nulls.to_numpy(), strict=True)
    )
    assert (
        ind.bid_ask_spread.isna().all()
        and ind.null_reason.iloc[-1]["order_flow_imbalance"] == "no quotes"
    )


@pytest.mark.parametrize("column", OHLCV)
def test_a_hole_costs_one_row(data, column):
    hole = data.copy()
    at = hole.index[150]
    hole.loc[at, column] = np.nan
    got = indicators(hole, "15min")
    pd.testing.assert_frame_equal(got.drop(at), indicators(data.drop(at), "15min"))
    assert got.loc[at, VALUES].isna().all()
    assert got.loc[at, "null_reason"]["rsi_14"] == f"incomplete bar: no {column}"


def test_a_price_that_stands_still_has_no_oscillator():
    "TA-Lib answers 0, which reads as oversold"
    flat = walk(60, ids=(1,))
    flat[["open", "high", "low", "close"]] = 20.0
    got = indicators(flat, "15min")
    assert got[["rsi_14", "adx_14", "stoch_k", "stoch_d"]].isna().all(axis=None)
    assert got.null_reason.iloc[-1]["rsi_14"] == "no price movement so far"
    assert got.sma_50.iloc[-1] == 20 and got.vpoc.iloc[-1] == pytest.approx(20, abs=0.02)


def test_no_volume_no_vwap():
    nothing = walk(30, ids=(1,))
    nothing.iloc[26:, nothing.columns.get_loc("volume")] = 0.0
    got = indicators(nothing, "15min")
    assert (
        got[["vwap", "vpoc", "vah", "val"]].iloc[26:].isna().all(axis=None)
        and got.vwap.iloc[25] > 0
    )
    assert got.null_reason.iloc[-1]["vpoc"] == "no volume in this session yet"


def test_the_future_changes_nothing(data, ind):
    "guard-18"
    draw = np.random.default_rng(1)
    for cut in (100, 233, 399):
        known = data.groupby(level=0).cumcount() < cut
        later = data.copy()
        later.loc[~known, OHLCV] = draw.uniform(60, 160, (int((~known).sum()), 5))
        pd.testing.assert_frame_equal(indicators(later, "15min")[known], ind[known])
        pd.testing.assert_frame_equal(indicators(data[known], "15min"), ind[known])


def test_securities_do_not_touch(data, ind):
    pd.testing.assert_frame_equal(indicators(data.loc[[2]], "15min"), ind.loc[[2]])


def test_last_only(data, ind):
    pd.testing.assert_frame_equal(
        indicators(data, "15min", last_only=True), ind.groupby(level=0).tail(1)
    )
    assert len(indicators(data.head(0), "15min")) == 0


@pytest.mark.parametrize(
    ("change", "timeframe", "text"),
    [
        (lambda d: d, "30min", "900 s apart"),
        (lambda d: d, "15m", "timeframe"),
        (lambda d: d.iloc[::-1], "15min", "out of order"),
        (lambda d: pd.concat([d, d.tail(1)]), "15min", "out of order"),
        (lambda d: d.drop(columns="high"), "15min", "high is missing"),
        (lambda d: d.reset_index(), "15min", "security_id, ts"),
    ],
)
def test_te01_te07_wrong_frames_are_refused(data, change, timeframe, text):
    "guard: mixed timeframes and columns that do not exist gave silent nonsense"
    with pytest.raises(InputError, match=text):
        indicators(change(data), timeframe)


def plainly(data, at):
    "Levels of the session at row `at` of one security, written out"
    day = pd.Series(data.index.tz_convert("America/New_York").date, index=data.index)
    seen = data.iloc[: at + 1]
    today = seen[day.iloc[: at + 1] == day.iloc[at]]
    out = {}
    typical, volume = (today.high + today.low + today.close) / 3, today.volume
    middle = (typical * volume).sum() / volume.sum()
    away = ((typical - middle) ** 2 * volume).sum() / volume.sum()
    out["vwap_upper"], out["vwap_lower"] = middle + 2 * away**0.5, middle - 2 * away**0.5
    earlier = seen[day.iloc[: at + 1] < day.iloc[at]]
    if len(earlier):
        before = earlier[day[earlier.index] == day[earlier.index[-1]]]
        h, l, c = before.high.max(), before.low.min(), before.close.iloc[-1]
        p = (h + l + c) / 3
        out |= {"pivot": p, "pivot_r1": 2 * p - l, "pivot_s1": 2 * p - h}
        out |= {"pivot_r2": p + h - l, "pivot_s2": p - h + l}
        out |= {"pivot_r3": out["pivot_r1"] + h - l, "pivot_s3": out["pivot_s1"] - h + l}
        out["gap_pct"] = today.open.iloc[0] / c - 1
    local = today.index.tz_convert("America/New_York")
    if (local[-1] + pd.Timedelta("15min")).hour >= 10:
        half = today[local.hour * 60 + local.minute < 600]
        out["opening_high"], out["opening_low"] = half.high.max(), half.low.min()
    return out


NEW = "vwap_upper vwap_lower pivot pivot_r1 pivot_r2 pivot_r3 pivot_s1 pivot_s2 pivot_s3".split()
NEW += ["opening_high", "opening_low", "gap_pct"]


def test_session_levels_by_hand(data, ind):
    for sid in (1, 2):
        for at in (0, 1, 2, 25, 26, 27, 133, 399):
            want = plainly(data.loc[sid], at)
            got = ind.loc[sid].iloc[at]
            assert set(NEW) - set(want) == {n for n in NEW if pd.isna(got[n])}
            for name, value in want.items():
                assert got[name] == pytest.approx(value, rel=1e-9), (name, at)


def test_new_columns_say_why_they_are_null(data, ind):
    "guard-16"
    first = ind.loc[1].null_reason.iloc[0]
    assert first["pivot_s3"] == first["gap_pct"] == "no earlier session"
    assert first["opening_low"] == "the first 30 minutes have not ended"
    assert ind.loc[1].null_reason.iloc[30]["sector_strength"] == "sectors were not given"
    hourly = data[data.index.get_level_values(1).minute == 30]
    why = indicators(hourly, "1hour").null_reason.iloc[-1]
    assert why["opening_high"] == "bars of this length do not show 30 minutes"
    late = data[data.index.get_level_values(1).tz_convert("America/New_York").hour >= 11]
    assert indicators(late, "15min").null_reason.iloc[-1]["opening_high"] == (
        "no bar in the first 30 minutes"
    )


def test_a_session_cut_by_the_frame_gives_no_pivots(data, ind):
    "Its high may be missing; its close is not"
    cut = data.loc[[1]].iloc[10:]
    got, whole = indicators(cut, "15min"), ind.loc[[1]].iloc[10:]
    second = slice(16, 16 + 26)
    assert got["pivot"].iloc[second].isna().all()
    assert got.null_reason.iloc[20]["pivot"].startswith("the session before may be cut off")
    np.testing.assert_allclose(got.gap_pct.iloc[second], whole.gap_pct.iloc[second])
    np.testing.assert_allclose(got["pivot"].iloc[42:], whole["pivot"].iloc[42:])


def test_a_late_start_later_on_is_no_cut(data):
    "A halt until eleven is the session's own; only the frame's first session can be cut off by the frame"
    halted = data.loc[[1]].drop(data.loc[[1]].index[26:32])
    got = indicators(halted, "15min")["pivot"]
    assert got.iloc[26:].notna().all()


def test_swings_by_brute_force(data):
    high, low = (data.loc[1][c].to_numpy() for c in ("high", "low"))
    found = swings(high, low, 3)
    want = []
    for i in range(3, 397):
        if low[i] < min(low[i - 3 : i]) and low[i] <= min(low[i + 1 : i + 4]):
            want.append((i, -1))
        if high[i] > max(high[i - 3 : i]) and high[i] >= max(high[i + 1 : i + 4]):
            want.append((i, 1))
    assert list(zip(found.pivot_at.tolist(), found.kind.tolist(), strict=True)) == want


def test_profile_by_brute_force(data, ind):
    "One table of bins for one session at a time"
    for start in (0, 26 * 7):
        for n in (1, 9, 26):
            day = data.loc[2].iloc[start : start + n]
            width = max(day.open.iloc[0] * 0.001, 0.01)
            edges = np.arange(60 // width, 160 // width) * width
            reach = (edges - day.low.to_numpy()[:, None]) / (day.high - day.low).to_numpy()[:, None]
            table = np.diff(np.clip(reach, 0, 1), axis=1) * day.volume.to_numpy()[:, None]
            poc, low, high = (int(x[0]) for x in value_area(table.sum(0)[None]))
            want = np.array([edges[poc] + width / 2, edges[high + 1], edges[low]])
            got = ind.loc[2].iloc[start + n - 1][["vpoc", "vah", "val"]].to_numpy(float)
            np.testing.assert_allclose(got, want.clip(day.low.min(), day.high.max()), rtol=1e-9)


def test_sector_strength_by_hand():
    four = walk(60, ids=(1, 2, 3, 4))
    sectors = pd.Series({1: "x", 2: "x", 3: "x", 4: None})
    four.loc[(2, four.index[40][1]), "available_at"] += pd.Timedelta("1h")  # late
    got = indicators(four, "15min", sectors=sectors)
    close = four.close.unstack(0)
    back = close / close.shift(20) - 1
    for at in (20, 40, 59):
        ts = close.index[at]
        for sid in (1, 2, 3):
            own = four.available_at[(sid, ts)]
            others = [o for o in (1, 2, 3) if o != sid and four.available_at[(o, ts)] <= own]
            want = back.loc[ts, sid] - back.loc[ts, others].mean()
            assert got.sector_strength[(sid, ts)] == pytest.approx(want, rel=1e-9)
    assert got.sector_strength[4].isna().all() and got.sector_strength.iloc[:20].isna().all()
    why = got.null_reason[4]
    assert why.iloc[-1]["sector_strength"] == "no sector known for this security"
    assert why.iloc[3]["sector_strength"] == "warm-up: needs 21 bars, has 4"
    newest = indicators(four, "15min", sectors=sectors, last_only=True)
    pd.testing.assert_frame_equal(newest, got.groupby(level=0).tail(1))


def quoted(data, seed=8):
    draw, n = np.random.default_rng(seed), len(data)
    mid = data.close.round(1)
    sizes = {f"{s}_size": draw.integers(1, 20, n) * 100.0 for s in ("bid", "ask")}
    return data.assign(bid=mid - 0.01, ask=mid + draw.integers(1, 4, n) / 100, **sizes)


def test_quotes_by_hand(data):
    one = quoted(data.loc[[1]])
    one.iloc[70, one.columns.get_loc("bid")] = np.nan
    one.iloc[90, one.columns.get_loc("bid")] = one.ask.iloc[90] + 1
    got = indicators(one, "15min")
    pd.testing.assert_series_equal(
        got.bid_ask_spread.iloc[:70], (one.ask - one.bid).iloc[:70], check_names=False
    )
    assert got.null_reason.iloc[70]["bid_ask_spread"] == "no quote at this bar"
    assert got.null_reason.iloc[90]["bid_ask_spread"] == "bid above ask"
    assert got.null_reason.iloc[26]["order_flow_imbalance"] == "first bar of the session"
    assert got.order_flow_imbalance.iloc[70:72].isna().all()
    for i in [*range(1, 26), 33, 60]:  # Cont, Kukanov and Stoikov (2014), one event
        a, b = one.iloc[i - 1], one.iloc[i]
        event = b.bid_size * (b.bid >= a.bid) - a.bid_size * (b.bid <= a.bid)
        event += a.ask_size * (b.ask >= a.ask) - b.ask_size * (b.ask <= a.ask)
        total = b.bid_size + a.bid_size + b.ask_size + a.ask_size
        assert got.order_flow_imbalance.iloc[i] == pytest.approx(event / total)
    bare = indicators(one.drop(columns=["bid_size", "ask_size"]), "15min").null_reason.iloc[-1]
    assert bare["order_flow_imbalance"] == "no quote sizes" and "bid_ask_spread" not in bare


def test_the_future_changes_nothing_with_sectors_and_quotes(data):
    "guard-18"
    sectors, all_of = pd.Series({1: 5, 2: 5}), quoted(data)
    whole = indicators(all_of, "15min", sectors=sectors)
    assert whole.sector_strength.notna().sum() == 2 * 380
    for cut in (57, 100, 233):
        known = (all_of.groupby(level=0).cumcount() < cut).to_numpy()
        later = all_of.copy()
        later.iloc[~known, :5] *= 3.3
        later.iloc[~known, 6:] *= 0.7
        for bars in (all_of[known], later):
            got = indicators(bars, "15min", sectors=sectors)
            pd.testing.assert_frame_equal(got[known] if len(got) > cut * 2 else got, whole[known])


def test_last_only_with_holes_at_the_end(data):
    three = pd.concat([data, walk(40, ids=(3, 4))])
    three.loc[(1, three.loc[1].index[-1]), "high"] = np.nan
    three.loc[(2, three.loc[2].index[-3]), "close"] = np.nan
    three.loc[three.index.get_level_values(0) == 3, "open"] = np.nan
    got = indicators(three, "15min", last_only=True)
    pd.testing.assert_frame_equal(got, indicators(three, "15min").groupby(level=0).tail(1))
    assert got.null_reason.iloc[0]["pivot"] == got.null_reason.iloc[0]["obv"]
    assert pd.isna(got.vwap.iloc[2]) and got.vwap.iloc[3] > 0


def test_one_kind_of_row_is_explained_once(ind):
    "Rows that lack the same things share their reasons; the others do not"
    one = ind.loc[1].null_reason.iloc[200:]
    assert len({id(r) for r in one}) < 12 and len({json.dumps(r) for r in one}) == len(
        {id(r) for r in one}
    )


def test_stochastic_is_null_where_fourteen_bars_have_no_range(data):
    bars = data.loc[[1]].copy()
    bars.iloc[100:120, :4] = bars.close.iloc[100]
    got = indicators(bars, "15min")
    high, low = bars.high, bars.low
    reach = high.rolling(14).max() - low.rolling(14).min()
    assert got.stoch_k.isna().iloc[17:].equals((reach.rolling(3).min() == 0).iloc[17:])
    assert got.stoch_d.isna().iloc[17:].equals((reach.rolling(5).min() == 0).iloc[17:])
    assert got.stoch_k.isna().sum() > 17


def test_swings_and_levels_of_many_are_those_of_each(data):
    high, low, close = (data[c].to_numpy() for c in ("high", "low", "close"))
    security = np.repeat([0, 1], 400)
    both = swings(high, low, security=security)
    apart = [swings(high[s], low[s]) for s in (slice(0, 400), slice(400, 800))]
    assert both.pivot_at.tolist() == [*apart[0].pivot_at, *(apart[1].pivot_at + 400)]
    begins = np.repeat([0, 400], 400)
    for kind in (-1, 1):
        got = levels(close, both, kind, np.arange(800), begins)
        want = [levels(close[400 * i : 400 * i + 400], p, kind) for i, p in enumerate(apart)]
        np.testing.assert_array_equal(got, np.concatenate(want))


def test_every_column_has_a_place_in_the_database():
    columns = json.loads((Path(__file__).parents[1] / "sql" / "schema.json").read_text())["columns"]
    assert {f"technical_indicators.{v}" for v in [*VALUES, "null_reason"]} <= set(columns)


def test_warm_up_error_by_hand():
    "RSI on its fifteen bars alone against RSI on all"
    one = walk(400, ids=(1,))
    table = warmup(one, "15min", lengths=(1, 5), ends=1).set_index(["column", "times"])
    whole = indicators(one, "15min").rsi_14
    short = indicators(one.tail(15), "15min").rsi_14.iloc[-1]
    want = abs(short - whole.iloc[-1]) / whole.mean()
    assert table.max_error["rsi_14", 1] == pytest.approx(want) and want > 0.001
    memory = ["rsi_14", "atr_14", "adx_14", "ema_9", "macd_signal"]
    error = table.max_error[memory].unstack().sum()
    assert error[5] < error[1] / 5
    exact = ["sma_20", "bollinger_lower", "stoch_d", "vpoc", "vwap_upper", "pivot_r3", "gap_pct"]
    assert (table.max_error[exact] < 1e-9).all() and (table.missing[exact] == 0).all()
    assert table.compared["sma_200", 5] == 0  # 1,000 bars of 400


def test_daily_bars():
    days = pd.bdate_range("2025-01-02", periods=60, tz="UTC").as_unit("us")
    index = pd.MultiIndex.from_arrays([np.full(60, 1), days], names=["security_id", "ts"])
    close = 50 + np.sin(np.arange(60))
    daily = pd.DataFrame(
        {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 100.0},
        index=index,
    )
    got = indicators(daily.assign(available_at=days), "1day")
    np.testing.assert_allclose(got.vwap, close)
    assert got.volume_ratio.iloc[5:].eq(1).all() and got.volume_ratio.iloc[:5].isna().all()


def test_real_bars(shared):
    "Every security has everything but quotes after 200 bars; and it is quick"
    bars = bars_frame(pd.read_parquet(shared / "ibkr_15min_101_2025.parquet"), 1700)
    watch = Stopwatch()
    got = indicators(bars, "15min", last_only=True)
    assert watch.seconds < 10  # measured 1.0 s; the margin is for a busy machine
    assert len(got) == 101
    must = [
        v
        for v in VALUES
        if v not in ("bid_ask_spread", "order_flow_imbalance", "support_level", "resistance_level")
        and v not in ("sector_strength", "opening_high", "opening_low")  # one ends at its open
    ]
    assert got[must].notna().all(axis=None)
    assert got.rsi_14.between(0, 100).all() and (got.val <= got.vah).all()
