"""Ratios of issue 2, each beside its reference in the same run.

    python benchmarks/issue2.py [help copy demo day] [--bars FILE --news FILE]

Without arguments everything runs that needs no file. Medians; the machine's other work shows in the spread.
"""

import argparse
import os
import resource
import statistics as st
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path


def timed(command, n, env=None):
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
        )
        seconds.append(time.perf_counter() - start)
    return st.median(seconds), min(seconds), max(seconds)


def row(what, value, aim=""):
    print(f"{what:<58} {value:<34} {aim}", flush=True)


def bench_help():
    ours = timed([sys.executable, "-m", "catalyst", "--help"], 15)
    bare = timed([sys.executable, "-c", "pass"], 15)
    row("catalyst --help, seconds (median, min, max)", "{:.3f}  {:.3f}  {:.3f}".format(*ours))
    row("python -c pass", "{:.3f}  {:.3f}  {:.3f}".format(*bare))
    row("difference", f"{ours[0] - bare[0]:.3f} s", "aim: at most 0.15 s")


def bench_copy(n=1_000_000, repeats=3):
    "COPY upsert into trading_history against a raw COPY into its bare twin"
    import numpy as np
    import pandas as pd

    from catalyst.bars import write_bars
    import io

    from pyarrow import Table, csv

    from catalyst.clock import sessions_between, slots
    from catalyst.core import Timeframe
    from catalyst.replay import SPAN
    from catalyst.schema import scratch_store
    from catalyst.store import connect

    per_day = [
        t for s in sessions_between(date(2024, 1, 2), date(2024, 12, 31)) for t in slots(s)[:-1]
    ]
    securities = -(-n // len(per_day))
    rng = np.random.default_rng(1)
    ts = pd.DatetimeIndex(per_day * securities).astype("datetime64[us, UTC]")[:n]
    close = np.round(100 + rng.normal(0, 1, n).cumsum() / 100, 4).clip(1)
    bars = pd.DataFrame(
        {"symbol": np.repeat([f"S{i:03}" for i in range(securities)], len(per_day))[:n], "ts": ts}
    )
    bars = bars.assign(
        open=close,
        high=close + 0.5,
        low=close - 0.5,
        close=close,
        volume=rng.integers(1, 10**6, n).astype(float),
    )
    bars["available_at"] = bars.ts + SPAN[Timeframe.MIN15]
    ratios = []
    for _ in range(repeats):
        with scratch_store() as store:
            start = time.perf_counter()
            with store.transaction() as tx:
                write_bars(tx, bars, Timeframe.MIN15, "bench")
            ours = time.perf_counter() - start
            flat = store.frame(
                "select security_id, time_id, timeframe\\:\\:text, open, high, low, close, volume, available_at, feed from trading_history limit 0"
            )
            store.run(
                "create table twin as select security_id, time_id, timeframe, open, high, low, close, volume, available_at, feed from trading_history with no data"
            )
            raw = bars.drop(columns=["symbol", "ts"]).assign(
                security_id=1, time_id=1735000000, timeframe="15min", feed="bench"
            )[list(flat.columns)]
            raw["volume"] = raw.volume.astype("int64")
            start = time.perf_counter()
            out = io.BytesIO()
            csv.write_csv(
                Table.from_pandas(raw, preserve_index=False),
                out,
                csv.WriteOptions(include_header=False),
            )
            data = out.getvalue()
            serialise = time.perf_counter() - start
            with connect(store.url) as c:
                start = time.perf_counter()
                with c.cursor() as cursor, cursor.copy("copy twin from stdin (format csv)") as copy:
                    copy.write(data)
                bare = time.perf_counter() - start
        ratios.append((bare / ours, n / ours, n / bare, (bare + serialise) / ours))
    mid = sorted(ratios)[len(ratios) // 2]
    row(f"upsert of {n:,} bars, keys and uniqueness on", f"{mid[1]:,.0f} rows/s")
    row("raw COPY of the same rows into a bare table", f"{mid[2]:,.0f} rows/s")
    every = ", ".join(f"{r[0]:.2f}" for r in ratios)
    row(
        "ratio, ours from the frame, raw from ready bytes",
        f"{mid[0]:.2f}  (all: {every})",
        "aim: 0.5 or better",
    )
    row("ratio, both from the frame", f"{mid[3]:.2f}")


def bench_demo():
    import json

    with tempfile.TemporaryDirectory(prefix="catalyst-bench-") as home:
        start = time.perf_counter()
        out = subprocess.run(
            [sys.executable, "-m", "catalyst", "demo", "--home", home, "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        wall = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    told = json.loads(out.stdout)
    row("catalyst demo, whole wall time", f"{wall:.1f} s", "aim: under 60 s")
    row("largest process of it, resident", f"{peak:,.0f} MB", "aim: under 1 GB")
    row(
        "share spent in kernels' start-up",
        f"{told['kernel_seconds'] / wall:.0%} of {told['runs']} runs",
    )


def bench_day(bars, news):
    import json

    with tempfile.TemporaryDirectory(prefix="catalyst-bench-") as home:
        command = [
            sys.executable,
            "-m",
            "catalyst",
            "day",
            "--session",
            "2025-08-13",
            "--bars",
            bars,
            "--home",
            home,
            "--fast",
            "--json",
        ]
        out = subprocess.run(
            command + (["--news", news] if news else []), capture_output=True, text=True, check=True
        )
        told = json.loads(out.stdout)
        subprocess.run(
            [sys.executable, "-m", "catalyst", "db", "stop", "--home", home],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    slots = 27
    row(
        "catalyst day --fast",
        f"{told['seconds']:.1f} s, {told['seconds'] / slots:.2f} s per slot of {told['tracked']} securities",
    )


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("what", nargs="*", default=["help", "copy", "demo"])
    p.add_argument("--bars")
    p.add_argument("--news")
    a = p.parse_args()
    home = tempfile.TemporaryDirectory(prefix="catalyst-bench-home-")
    os.environ["CATALYST_HOME"] = home.name
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {sys.version.split()[0]}, {os.cpu_count()} cores\n"
    )
    for name in a.what:
        bench_day(a.bars, a.news) if name == "day" else globals()[f"bench_{name}"]()
    if (Path(home.name) / "pg").exists():
        from catalyst.server import Server, stop_server

        stop_server(Server(Path(home.name)))
    home.cleanup()
