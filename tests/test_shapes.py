"Turning points, shapes and candles: found where they are drawn, rare where nothing is, alone with their own security."

import os

import numpy as np
import pandas as pd
import pytest
import talib
from test_indicators import OHLCV, bars_frame, walk

from catalyst.candles import CONTINUATIONS, FUNCTIONS, REVERSALS, candles
from catalyst.patterns import DRAWINGS, detect, drawn, hit_rates
from catalyst.slots import parts
from catalyst.swings import swings
from catalyst.turns import REACH, sketch, views

TENTHS = dict.fromkeys(OHLCV[:4], 1)  # Prices that often touch each other
MIRROR = {
    "double_bottom": "double_top", "triple_bottom": "triple_top", "ascending_triangle": "descending_triangle",
    "inverse_head_and_shoulders": "head_and_shoulders", "falling_wedge": "rising_wedge", "bull_flag": "bear_flag",
    "cup_and_handle": "inverse_cup_and_handle",
}  # fmt: skip
ANYWHERE = {"consolidation", "opening_range_breakout"}  # In every market; only their outcomes tell


def flipped(bars):
    "The same prices upside down"
    out = 220 - bars[OHLCV[:4]]
    return bars.assign(open=out.open, high=out.low, low=out.high, close=out.close)


# --------------------------------------------------------------------------------------- drawings


@pytest.mark.parametrize("name", sorted(DRAWINGS))
def test_each_pattern_is_found_in_its_drawing_and_in_the_mirror(name):
    found = detect(drawn(name), "15min").query("pattern_type == @name")
    assert len(found) and found.confirmed_at.max() > found.pivot_at.max()
    other = MIRROR.get(name, name)
    below = detect(flipped(drawn(name)), "15min").query("pattern_type == @other")
    assert found.ts.tolist() == below.ts.tolist()
    if name != "consolidation":
        assert "bullish" in set(found.bias)
        assert (
            found.bias.map({"bullish": "bearish", "bearish": "bullish"}).tolist()
            == below.bias.tolist()
        )
        np.testing.assert_allclose(found.target_price, 220 - below.target_price.to_numpy())


@pytest.mark.parametrize("name", sorted(set(DRAWINGS) - {"consolidation"}))
def test_no_pattern_before_its_breakout(name):
    "Cut off one bar before the confirmation, the drawing is not there yet"
    kind = "pattern_type == @name and bias == 'bullish'"
    found = detect(drawn(name), "15min").query(kind).iloc[-1]
    bars = drawn(name)
    early = detect(bars[bars.available_at < found.confirmed_at], "15min")
    assert not (early.query(kind).pivot_at == found.pivot_at).any()


def test_found_with_noise_and_rare_in_matched_walks():
    rates = hit_rates(8, 0.1, seed=3)
    assert (rates.found >= 0.75).all()
    rare = rates.drop(index=list(ANYWHERE))
    assert (rare.in_walks < rare.found).all() and rare.in_walks.mean() <= 0.2


@pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG is not set")
@pytest.mark.parametrize(("noise", "least"), [(0.1, 0.85), (0.2, 0.7), (0.4, 0.25)])
def test_hit_rates_of_three_hundred(noise, least):
    rates = hit_rates(300, noise, seed=1)
    print(rates.round(3))
    assert (rates.found >= least).all() and rates.drop(index=list(ANYWHERE)).in_walks.mean() <= 0.2


BENT = {  # A drawing that breaks one rule of the type
    "double_bottom": ([105, 100, 103.5, 98, 106], 6),
    "triple_bottom": ([105, 100, 103.5, 98, 103.2, 100.1, 106], 6),
    "inverse_head_and_shoulders": ([105, 101, 104, 100.8, 104, 101.1, 107], 6),
    "ascending_triangle": ([102, 106, 101, 104, 103, 109], 6),
    "rectangle": ([102, 106, 101, 106, 103, 109], 6),
    "symmetric_triangle": ([100, 110, 101.5, 110, 101.5, 110, 101.5, 113], 6),
    "falling_wedge": ([114, 104, 112, 101, 109, 98, 106, 114], 6),
    "cup_and_handle": ([98, 106, 100, 106, 104.2, 108.5], [10, 20, 20, 9, 6]),
    "abcd": ([112, 105, 109.5, 98, 106], 7),
    "bull_flag": ([100, 106, 102, 108.5], [6, 5, 6]),
    "pennant": ([100, 110, 106.5, 111, 107.2, 112], [7, 4, 4, 4, 6]),
}


@pytest.mark.parametrize("name", sorted(BENT))
def test_a_broken_rule_is_no_pattern(name):
    assert name not in set(detect(sketch(*BENT[name]), "15min").pattern_type)


def test_pt05_a_plain_rise_is_no_flag_and_a_peak_counts():
    "The earlier system called any rise of two percent a bull flag, and never looked at the peak of a double bottom"
    plain = detect(sketch([100, 100.2, 103], [20, 3]), "15min")
    assert "bull_flag" not in set(plain.pattern_type)
    low_peak = detect(sketch([105, 100, 100.2, 100.1, 103], 6), "15min")
    assert "double_bottom" not in set(low_peak.pattern_type)


# ---------------------------------------------------------------------------------------- turns


def chain_by_hand(high, low, atr):
    "States of the chain with a list that is altered, as a person would keep it"
    chain, states = [], []
    for kind, at, known, price in zip(*(a.tolist() for a in swings(high, low)), strict=True):
        far = REACH * (0 if np.isnan(atr[known]) else atr[known])
        if chain and chain[-1][0] == kind:
            if kind * (price - chain[-1][1]) <= 0:
                continue
            chain[-1] = (kind, price, at)
        elif chain and kind * (price - chain[-1][1]) <= far:
            continue
        else:
            chain.append((kind, price, at))
        last = [p[2] for p in chain[-7:]]
        states.append([known, kind, *[-1] * (7 - len(last)), *last])
    return states


def test_the_chain_against_a_list():
    bars = walk(500, seed=12, ids=(1, 2, 3))
    v = views(bars, "15min")[0]
    told = np.c_[v.turns.known, v.turns.kind, v.turns.last].tolist()
    expected = []
    for _, s in parts(bars):
        rows = chain_by_hand(v.high[s], v.low[s], v.atr[s])
        expected += [
            [r[0] + s.start, r[1], *(x + s.start if x >= 0 else -1 for x in r[2:])] for r in rows
        ]
    assert told == expected and len(told) > 100


def test_a_state_that_was_known_stays():
    bars = walk(400, seed=9, ids=(1,))
    whole = views(bars, "15min")[0].turns
    for n in range(30, 400, 23):
        part = views(bars.iloc[:n], "15min")[0].turns
        some = whole.known < n
        assert part.known.tolist() == whole.known[some].tolist()
        assert part.last.tolist() == whole.last[some].tolist()


# --------------------------------------------------------------------------------------- candles


def check_candles(bars):
    got = candles(bars)
    assert got.columns.tolist() == FUNCTIONS and (got.dtypes == np.int8).all()
    for _, s in parts(bars):
        ohlc = [bars[c].to_numpy()[s] for c in OHLCV[:4]]
        for name in FUNCTIONS:
            assert (got[name].to_numpy()[s].astype(int) * 2 == getattr(talib, name)(*ohlc)).all(), (
                name
            )
    return got


def test_all_61_functions_are_those_of_talib():
    assert len(FUNCTIONS) == 61 and set(REVERSALS) | set(CONTINUATIONS) <= set(FUNCTIONS)
    got = check_candles(walk(800, seed=6, ids=(1, 2)).round(TENTHS))
    assert (got != 0).any().sum() > 20


def test_candles_of_real_bars(shared):
    raw = pd.read_parquet(shared / "ibkr_15min_101_2025.parquet")
    got = check_candles(bars_frame(raw[raw.symbol.isin(["AAPL", "TSLA"])]))
    assert (got != 0).any().sum() > 45
    assert set(np.unique(got)) >= {-100, -50, 0, 50, 100}  # 200 of TA-Lib fits


def test_candles_do_not_cross_securities_and_know_no_future():
    bars = walk(300, seed=6, ids=(1, 2)).round(TENTHS)
    both = candles(bars)
    pd.testing.assert_frame_equal(candles(bars.loc[[2]]), both.loc[[2]])
    for n in (5, 40, 177):
        pd.testing.assert_frame_equal(candles(bars.loc[[1]].head(n)), both.loc[[1]].head(n))


def test_a_bar_without_a_price_has_no_candle():
    bars = walk(200, seed=6, ids=(1, 2)).round(TENTHS)
    hole = bars.copy()
    hole.iloc[100, 2] = np.nan
    got = candles(hole)
    assert (got.iloc[100] == 0).all()
    pd.testing.assert_frame_equal(got.drop(bars.index[100]), candles(bars.drop(bars.index[100])))


def test_a_bar_tells_one_reversal_and_one_continuation_at_most():
    found = detect(walk(2000, seed=3, ids=(1, 2)).round(TENTHS), "15min")
    some = found[found.pattern_type.str.endswith(("reversal", "continuation"))]
    assert len(some) > 100 and not some.duplicated(["security_id", "ts", "pattern_type"]).any()


def test_a_reversal_stands_at_an_extreme():
    bars = walk(1500, seed=3, ids=(1,)).round(TENTHS)
    found = detect(bars, "15min").query("pattern_type == 'bullish_reversal'")
    lowest = bars.loc[1].low.rolling(10).min()
    assert len(found) > 20 and (found.stop_level.to_numpy() == lowest[found.ts].to_numpy()).all()
