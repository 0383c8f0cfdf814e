"""Candlesticks and chart patterns: 100 securities over 5,000 bars, and one look of the desk.

    python benchmarks/patterns.py [--securities 100] [--bars 5000] [--repeat 5]

The 61 candlestick functions are timed against bare calls of TA-Lib on the same arrays, in turns, so that a slow minute of the machine
meets both; the ratio is that of the medians. Bars are SIMULATED random walks of a quarter of an hour. The desk's look is 122
securities over 9 sessions with `since` at the start of the last.
"""

import argparse
import resource
import statistics
import time

import numpy as np
import pandas as pd
import talib

from catalyst.candles import FUNCTIONS, candles
from catalyst.patterns import detect
from catalyst.slots import INPUTS


def walks(securities, bars, seed=3):
    "Bars frame of random walks, 26 bars a session"
    draw, sessions = np.random.default_rng(seed), bars // 26 + 1
    days = pd.bdate_range("2024-01-02", periods=sessions, tz="America/New_York")
    ts = pd.DatetimeIndex([d + pd.Timedelta(minutes=570 + 15 * i) for d in days for i in range(26)])
    ts = ts[:bars].tz_convert("UTC").as_unit("us")
    steps = draw.normal(0, 0.003, (securities, bars)).cumsum(axis=1)
    close = np.round(100 * np.exp(steps), 2)
    opens = np.roll(close, 1, axis=1)
    opens[:, 0] = close[:, 0]
    high = np.maximum(opens, close) + np.round(draw.exponential(0.1, close.shape), 2)
    low = np.minimum(opens, close) - np.round(draw.exponential(0.1, close.shape), 2)
    volume = np.floor(draw.lognormal(9, 0.7, close.shape))
    index = pd.MultiIndex.from_product([range(1, securities + 1), ts], names=["security_id", "ts"])
    frame = pd.DataFrame(
        dict(zip(INPUTS, (x.ravel() for x in (opens, high, low, close, volume)))), index
    )
    return frame.assign(available_at=index.get_level_values(1) + pd.Timedelta("15min"))


def bare(arrays):
    "Every function on every security, and nothing else"
    return [[getattr(talib, name)(*ohlc) for name in FUNCTIONS] for ohlc in arrays]


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--securities", type=int, default=100)
    parser.add_argument("--bars", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=5)
    a = parser.parse_args()
    frame, n = walks(a.securities, a.bars), a.bars
    prices = [frame[c].to_numpy() for c in INPUTS[:4]]
    arrays = [
        [np.ascontiguousarray(p[i * n : (i + 1) * n]) for p in prices] for i in range(a.securities)
    ]
    runs = [
        (timed(lambda: bare(arrays)), timed(lambda: candles(frame))) for _ in range(a.repeat + 1)
    ][1:]
    ours, theirs = statistics.median(c for _, c in runs), statistics.median(b for b, _ in runs)
    print(f"{len(frame):,} bars, {a.securities} securities, median of {a.repeat}")
    print(f"61 functions: TA-Lib {theirs:.3f} s, candles {ours:.3f} s, ratio {ours / theirs:.2f}")
    took = statistics.median(timed(lambda: detect(frame, "15min")) for _ in range(a.repeat))
    found = detect(frame, "15min")
    print(f"detect: {took:.2f} s, {took / len(frame) * 1e6:.2f} µs a bar, {len(found):,} patterns")
    day = walks(122, 9 * 26)
    since = day.index.get_level_values(1)[8 * 26].to_pydatetime()
    looks = [timed(lambda: detect(day, "15min", since=since)) for _ in range(2 * a.repeat)]
    print(f"one look, 122 securities: {statistics.median(looks) * 1000:.0f} ms")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
