"""Fourteen factors of 800 securities over 3,270 daily bars, from PostgreSQL to a frame.

    python benchmarks/factors.py [--securities 800] [--sessions 3270]

The job that qlib's paper times on its stores: published there, for the same size, MySQL 365 s, HDF5 184 s, qlib without cache 147 s,
with both caches 7.4 s (other machine, other data). The factors carry the names and formulas of qlib's Alpha158. Bars are SIMULATED.
"Cold" is the first read after the server was restarted; the operating system's page cache is not emptied.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

NAMES = "KMID KLEN ROC5 ROC20 MA5 MA20 STD20 MAX20 MIN20 RSV20 CORR20 VMA5 VSTD20 SUMP14"


def fill(store, securities, sessions):
    "Daily bars of a random walk, through the same writer as every import"
    import numpy as np
    import pandas as pd

    from catalyst.bars import write_bars
    from catalyst.clock import sessions_between
    from catalyst.core import Timeframe

    days = sessions_between(date(2007, 1, 2), date(2020, 12, 31))[-sessions:]
    rng = np.random.default_rng(7)
    ts = pd.DatetimeIndex([s.opens for s in days]).astype("datetime64[us, UTC]")
    ends = pd.DatetimeIndex([s.closes for s in days]).astype("datetime64[us, UTC]")
    for start in range(0, securities, 100):
        some = range(start, min(start + 100, securities))
        steps = rng.normal(0, 0.02, (len(some), len(days)))
        close = np.round(50 * np.exp(np.clip(steps.cumsum(1), -3, 3)), 4)
        opens = np.round(close * np.exp(rng.normal(0, 0.005, close.shape)), 4)
        bars = pd.DataFrame(
            {
                "symbol": np.repeat([f"Q{i:04}" for i in some], len(days)),
                "ts": np.tile(ts, len(some)),
                "open": opens.ravel(),
                "high": np.round(np.maximum(close, opens) * 1.01, 4).ravel(),
                "low": np.round(np.minimum(close, opens) * 0.99, 4).ravel(),
                "close": close.ravel(),
                "volume": rng.integers(1e5, 1e7, close.size).astype(float),
                "available_at": np.tile(ends, len(some)),
            }
        )
        bars["ts"] = (
            pd.DatetimeIndex(bars.ts).tz_localize("UTC") if bars.ts.dt.tz is None else bars.ts
        )
        if bars.available_at.dt.tz is None:
            bars["available_at"] = bars.available_at.dt.tz_localize("UTC")
        with store.transaction() as tx:
            write_bars(tx, bars, Timeframe.DAY1, "simulated")
    store.run("analyze trading_history")


def dump(store, path):
    from catalyst.dims import securities
    from catalyst.history import read_bars

    bars = read_bars(store, datetime(2021, 1, 4, tzinfo=UTC), "1day").reset_index()
    bars["symbol"] = bars.security_id.map(securities(store).symbol)
    bars.drop(columns=["security_id", "available_at"]).to_parquet(path)


def wide(bars, column):
    "One row per session, one column per security"
    import numpy as np
    import pandas as pd

    (ids, ts), (row, col) = bars.index.levels, (bars.index.codes[1], bars.index.codes[0])
    table = np.full((len(ts), len(ids)), np.nan)
    table[row, col] = bars[column].to_numpy()
    return pd.DataFrame(table, index=ts, columns=ids)


def factors(bars):
    "The fourteen, as one long frame: index (ts, security_id)"
    import numpy as np
    import pandas as pd

    o, h, low, c, v = (wide(bars, n) for n in ("open", "high", "low", "close", "volume"))
    r20, r5 = c.rolling(20), c.rolling(5)
    top, bottom, gain = h.rolling(20).max(), low.rolling(20).min(), c.diff()
    logv = np.log(v + 1)
    out = {
        "KMID": (c - o) / o,
        "KLEN": (h - low) / o,
        "ROC5": c.shift(5) / c,
        "ROC20": c.shift(20) / c,
        "MA5": r5.mean() / c,
        "MA20": r20.mean() / c,
        "STD20": r20.std() / c,
        "MAX20": top / c,
        "MIN20": bottom / c,
        "RSV20": (c - bottom) / (top - bottom),
        "CORR20": correlation(c, logv, 20),
        "VMA5": v.rolling(5).mean() / v,
        "VSTD20": v.rolling(20).std() / v,
        "SUMP14": gain.clip(lower=0).rolling(14).sum() / gain.abs().rolling(14).sum(),
    }
    assert list(out) == NAMES.split()
    return pd.DataFrame(
        {n: f.to_numpy(np.float32).ravel() for n, f in out.items()},
        index=pd.MultiIndex.from_product([c.index, c.columns]),
    )


def correlation(x, y, n):
    "Rolling correlation, column by column"
    mean = lambda f: f.rolling(n).mean()
    covariance = mean(x * y) - mean(x) * mean(y)
    return covariance / ((mean(x * x) - mean(x) ** 2) * (mean(y * y) - mean(y) ** 2)) ** 0.5


def job(home, sessions):
    "What is timed, in a process of its own: connect, read, compute"
    os.environ["CATALYST_HOME"] = home
    from catalyst.core import load_settings
    from catalyst.schema import open_store

    started = time.perf_counter()
    from catalyst.history import read_bars

    store = open_store(load_settings(None))
    opened = time.perf_counter()
    bars = read_bars(store, datetime(2021, 1, 4, tzinfo=UTC), "1day")
    read = time.perf_counter()
    frame = factors(bars)
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(bars):,} bars → {frame.shape[1]} factors, {int(frame.notna().all(axis=1).sum()):,} complete rows: "
        f"open {opened - started:.1f} s, read {read - opened:.1f} s, compute {done - read:.1f} s, "
        f"together {done - started:.1f} s, peak {peak:,.0f} MB"
    )


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--securities", type=int, default=800)
    p.add_argument("--sessions", type=int, default=3270)
    p.add_argument("--home")
    p.add_argument("--job", action="store_true")
    p.add_argument("--dump", metavar="FILE", help="also write the bars as Parquet, for qlib_job.py")
    a = p.parse_args()
    if a.job:
        return job(a.home, a.sessions)
    with tempfile.TemporaryDirectory(prefix="catalyst-bench-") as home:
        os.environ["CATALYST_HOME"] = home
        from catalyst.core import load_settings
        from catalyst.schema import open_store
        from catalyst.server import Server, stop_server

        store, started = open_store(load_settings(None)), time.perf_counter()
        fill(store, a.securities, a.sessions)
        if a.dump:
            dump(store, a.dump)
        print(f"filled in {time.perf_counter() - started:.0f} s (simulated daily bars)")
        store.close()
        stop_server(Server(Path(home)))
        for name in ("cold", "warm", "warm"):
            out = subprocess.run(
                [sys.executable, __file__, "--job", "--home", home], capture_output=True, text=True
            )
            print(f"{name}: {out.stdout.strip() or out.stderr[-500:]}", flush=True)
        stop_server(Server(Path(home)))


if __name__ == "__main__":
    main()
