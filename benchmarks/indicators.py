"""All indicators of many securities against bare calls of TA-Lib's functions on the same arrays.

    python benchmarks/indicators.py [--securities 100] [--bars 5000] [--slot 122x650]

Bars are SIMULATED quarter-hours, 26 in a session. "Bare" calls the same functions of TA-Lib on the same float64 arrays, security by
security, and keeps every result; it checks nothing, explains nothing and makes no frame. Every figure is the median of five in one run,
the sides taking turns. TA-Lib's own columns are timed up to the filled table; the whole is `indicators` from frame to frame.
"""

import argparse
import statistics
import time


def walk(securities, bars):
    "Random walks on session dates, 26 bars in each"
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(3)
    days = pd.bdate_range("2020-01-06", periods=bars // 26 + 1, tz="America/New_York")
    ts = [d + pd.Timedelta(minutes=570 + 15 * i) for d in days for i in range(26)][:bars]
    ts = pd.DatetimeIndex(ts).tz_convert("UTC").as_unit("us")
    close = 100 * np.exp(draw.normal(0, 0.003, (securities, bars)).cumsum(1)).round(4)
    opens = np.c_[close[:, :1], close[:, :-1]]
    reach = close * 0.002
    high = np.maximum(opens, close) + draw.uniform(0, 1, close.shape) * reach
    low = np.minimum(opens, close) - draw.uniform(0, 1, close.shape) * reach
    volume = np.floor(draw.lognormal(8, 0.8, close.shape)) + 1
    names = ["open", "high", "low", "close", "volume"]
    index = pd.MultiIndex.from_product(
        [np.arange(1, securities + 1), ts], names=["security_id", "ts"]
    )
    columns = (opens, high, low, close, volume)
    frame = pd.DataFrame({n: x.ravel() for n, x in zip(names, columns, strict=True)}, index=index)
    return frame.assign(available_at=index.get_level_values(1) + pd.Timedelta("15min"))


def bare(talib, arrays, edges):
    "The sixteen calls of TA-Lib, results kept"
    keep = []
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        h, l, c, v = (x[a:b] for x in arrays)
        keep.append(
            [
                *(talib.SMA(c, n) for n in (20, 50, 200)),
                *(talib.EMA(c, n) for n in (9, 21)),
                talib.RSI(c, 14),
                *talib.MACD(c, 12, 26, 9),
                *talib.STOCH(h, l, c, 14, 3, 0, 3, 0),
                talib.ADX(h, l, c, 14),
                talib.ATR(h, l, c, 14),
                *talib.BBANDS(c, 20, 2.0, 2.0),
                talib.OBV(c, v),
            ]
        )
    return keep


def medians(jobs, times=5):
    "Median seconds of each job, taking turns"
    seen = {name: [] for name in jobs}
    for _ in range(times):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seen[name].append(time.perf_counter() - start)
    return {name: statistics.median(s) for name, s in seen.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--securities", type=int, default=100)
    parser.add_argument("--bars", type=int, default=5000)
    parser.add_argument("--slot", default="122x650", help="securities x bars for last_only")
    a = parser.parse_args()

    import numpy as np
    import pandas as pd
    import talib

    from catalyst import indicators as room
    from catalyst.profile import volume_profile
    from catalyst.slots import slot_ratio

    data = walk(a.securities, a.bars)
    w = room._whole(data, "15min", False)
    arrays = [w.bars[c] for c in ("high", "low", "close", "volume")]
    shape = (len(room.FLOATS), len(data))
    sectors = pd.Series(np.arange(1, a.securities + 1) % 11, index=np.arange(1, a.securities + 1))
    got = medians(
        {
            "bare TA-Lib": lambda: bare(talib, arrays, w.laid.edges),
            "TA-Lib's columns": lambda: room._fill_talib(np.empty(shape), w),
            "volume profile": lambda: volume_profile(w.laid.session, w.bars),
            "slot ratio": lambda: slot_ratio(
                w.laid.session, w.laid.slot, w.bars["volume"], w.laid.security
            ),
            "swings, levels, slot ratio": lambda: room._of_history(w),
            "pivots, opening, gap": lambda: room.session_levels(w.bars, w.laid, "15min"),
            "vwap with bands": lambda: room.vwap_bands(w.bars, w.laid),
            "check and layout": lambda: (
                room.check_bars(data, "15min"),
                room._whole(data, "15min", False),
            ),
            "all, frame to frame": lambda: room.indicators(data, "15min"),
            "all, with sectors": lambda: room.indicators(data, "15min", sectors=sectors),
        }
    )
    unit = got["bare TA-Lib"]
    print(f"{a.securities} securities x {a.bars} bars, {len(room.VALUES)} columns")
    for name, seconds in got.items():
        print(f"{name:28s}{seconds:8.3f} s {seconds / unit:7.2f} x bare")
    n, m = map(int, a.slot.split("x"))
    small = walk(n, m)
    one = medians({"last_only": lambda: room.indicators(small, "15min", last_only=True)})
    print(f"last_only, {n} securities x {m} bars: {one['last_only'] * 1000:.0f} ms")


if __name__ == "__main__":
    main()
