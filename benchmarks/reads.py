"""Reading a million stored bars: `history.read_bars` beside other readers of the same rows, in turns.

    python benchmarks/reads.py [--rows 1000000] [--repeats 5]

A reader that is not installed is left out (`pip install adbc-driver-postgresql connectorx` into an environment of its own). Every
reader gets the same statement and must give the same numbers in a pandas frame, sorted by security and start; ours also makes the index.
"""

import argparse
import os
import resource
import statistics as st
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path

COLUMNS = "security_id, time_id, {prices}, volume\\:\\:float8 as volume, {known} as available_at"
FLOATS = ", ".join(f"{c}\\:\\:float8 as {c}" for c in ("open", "high", "low", "close"))
EPOCH = "(extract(epoch from available_at) * 1000000)\\:\\:bigint"
WHERE = """from trading_history where timeframe = '15min' and available_at <= '2025-01-01Z'
           and time_id >= 0 and time_id < 1735689601 order by security_id, time_id"""
CAST = f"select {COLUMNS.format(prices=FLOATS, known=EPOCH)} {WHERE}"
NATIVE = f"select {COLUMNS.format(prices='open, high, low, close', known='available_at')} {WHERE}"
ASOF = datetime(2025, 1, 1, tzinfo=UTC)


def fill(store, n):
    "`n` bars of a quarter of an hour, over the sessions of 2024"
    import numpy as np
    import pandas as pd

    from catalyst.bars import write_bars
    from catalyst.clock import sessions_between, slots
    from catalyst.core import Timeframe

    days = sessions_between(date(2024, 1, 2), date(2024, 12, 31))
    ts = pd.DatetimeIndex([t for s in days for t in slots(s)[:-1]]).as_unit("us")
    k, rng = -(-n // len(ts)), np.random.default_rng(1)
    close = np.round(100 + rng.normal(0, 1, n).cumsum() / 100, 4).clip(1)
    names = np.repeat([f"S{i:03}" for i in range(k)], len(ts))[:n]
    bars = pd.DataFrame({"symbol": names, "ts": ts.append([ts] * (k - 1))[:n]})
    bars = bars.assign(open=close, high=close + 0.5, low=close - 0.5, close=close)
    bars["volume"] = rng.integers(1, 10**6, n).astype(float)
    bars["available_at"] = bars.ts + pd.Timedelta("15min")
    with store.transaction() as tx:
        write_bars(tx, bars, Timeframe.MIN15, "bench")
    with store._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        c.exec_driver_sql("vacuum analyze")


def readers(store):
    "Name to a function that gives a frame"
    import pandas as pd
    from sqlalchemy import create_engine, text

    from catalyst.history import read_bars

    engine = create_engine(store.url.replace("postgresql:", "postgresql+psycopg:"))
    plain = CAST.replace("\\:", ":")

    def read_sql(statement):
        with engine.connect() as c:
            return pd.read_sql(text(statement), c)

    out = {
        "catalyst read_bars": lambda: read_bars(store, ASOF),
        "catalyst read_bars, split": lambda: read_bars(store, ASOF, adjustment="split"),
        "pandas.read_sql": lambda: read_sql(CAST),
        "pandas.read_sql, no casts": lambda: read_sql(NATIVE),
    }
    if find_spec("adbc_driver_postgresql"):
        import adbc_driver_postgresql.dbapi as adbc

        connection = adbc.connect(store.url)

        def by_adbc(statement):
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetch_arrow_table().to_pandas()

        out["adbc-driver-postgresql"] = lambda: by_adbc(plain)
        unsorted = plain.partition(" order by ")[0]
        out["adbc, sorted by pandas"] = lambda: by_adbc(unsorted).sort_values(
            ["security_id", "time_id"]
        )
    if find_spec("connectorx"):
        import connectorx

        host = store.url.partition("host=")[2]
        name = store.url.rpartition("/")[2].partition("?")[0]
        url = f"postgresql://catalyst@{host}/{name}"
        out["connectorx"] = lambda: connectorx.read_sql(url, plain)
    return out


def same(frame, reference):
    "The columns of any reader equal ours"
    import numpy as np

    flat = frame.reset_index() if "close" in frame and frame.index.nlevels == 2 else frame
    assert len(flat) == len(reference)
    for c in ("security_id", "open", "high", "low", "close", "volume"):
        ours = reference.reset_index()[c].to_numpy("float64")
        assert np.array_equal(flat[c].to_numpy("float64"), ours), c


def main(rows, repeats):
    from catalyst.schema import scratch_store

    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {sys.version.split()[0]}, {os.cpu_count()} cores"
    )
    with scratch_store() as store:
        fill(store, rows)
        table = readers(store)
        reference = table["catalyst read_bars"]()
        for name, read in table.items():
            same(read(), reference)
        told = {name: [] for name in table}
        for _ in range(repeats):
            for name, read in table.items():
                start = time.perf_counter()
                read()
                told[name].append(time.perf_counter() - start)
    ours = st.median(told["catalyst read_bars"])
    print(f"{rows:,} bars, median of {repeats}, seconds\n")
    print(f"{'':<28}{'median':>8}{'min':>8}{'max':>8}{'/ ours':>8}")
    for name, seconds in told.items():
        mid = st.median(seconds)
        print(f"{name:<28}{mid:>8.2f}{min(seconds):>8.2f}{max(seconds):>8.2f}{mid / ours:>8.2f}")
    print("\naim: pandas.read_sql / ours at least 5; ours / best Arrow reader at most 1.5")
    arrow = [st.median(told[n]) for n in told if n.startswith(("adbc", "connectorx"))]
    if arrow:
        print(f"ours / best Arrow reader: {ours / min(arrow):.2f}")
    print(f"pandas.read_sql / ours: {st.median(told['pandas.read_sql']) / ours:.2f}")
    print(
        f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB"
    )


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rows", type=int, default=1_000_000)
    p.add_argument("--repeats", type=int, default=5)
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="catalyst-bench-home-") as home:
        os.environ["CATALYST_HOME"] = home
        try:
            main(a.rows, a.repeats)
        finally:
            from catalyst.server import Server, stop_server

            stop_server(Server(Path(home)))
