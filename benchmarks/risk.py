"""The gate with fifty open positions: asking, reading the account, approving; medians and 99th percentiles in milliseconds.

    python benchmarks/risk.py [--repeats 300] [--positions 50]

`validate` answers from a book that has been read; the aims are 10 ms (median) and 50 ms (99th percentile). `read_book` is the account
from the database with the bars of all positions; `approve` is the whole decision under its lock, stored, and is asked a new question each time.
"""

import argparse
import os
import statistics as st
import tempfile
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

TEN, CYCLE = datetime(2025, 8, 13, 14, tzinfo=UTC), "20250813-replay"


def fill(store, n):
    "A cycle, and `n` open positions of a hundred shares"
    cycle = "insert into trading_cycles (cycle_id, session, world, started_at) values (:c, '2025-08-13', 'replay', :t)"
    store.run(cycle, c=CYCLE, t=TEN)
    position = """insert into positions (position_key, cycle_id, security_id, side, quantity, open_quantity, entry_price, stop_price,
                  risk_amount, status, opened_at) values (:k, :c, :s, 'long', 100, 100, 50, 49, 100, 'open', :t)"""
    ids = [store.value("select get_or_create_security(:s)", s=f"B{i:03}") for i in range(n + 1)]
    for i in ids[1:]:
        store.run(position, k=f"p{i}", c=CYCLE, s=i, t=TEN - timedelta(hours=1))
    return ids


def bars_of(ids):
    "28 days of quarters of an hour for every security"
    import numpy as np
    import pandas as pd

    from catalyst.clock import sessions_between, slots

    days = sessions_between(date(2025, 7, 17), date(2025, 8, 13))
    ts = pd.DatetimeIndex([t for s in days for t in slots(s)[:-1]]).as_unit("us")
    rng, frames = np.random.default_rng(1), {}
    for i in ids:
        close = 50 + rng.normal(0, 0.05, len(ts)).cumsum()
        columns = {
            "open": close,
            "high": close + 0.1,
            "low": close - 0.1,
            "close": close,
            "volume": 1e5,
        }
        frames[i] = pd.DataFrame(columns | {"available_at": ts + pd.Timedelta("15min")}, index=ts)
    return pd.concat(frames, names=["security_id", "ts"]).sort_index()


def measured(call, repeats):
    "Median, 99th percentile and this process's mean share of the processor, milliseconds"
    took, cpu = [], time.process_time()
    for n in range(repeats + 5):
        start = time.perf_counter()
        call(n)
        took.append((time.perf_counter() - start) * 1000)
    took = sorted(took[5:])
    cpu = (time.process_time() - cpu) / (repeats + 5) * 1000
    return st.median(took), took[min(int(len(took) * 0.99), len(took) - 1)], cpu


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--repeats", type=int, default=300)
    p.add_argument("--positions", type=int, default=50)
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="catalyst-bench-") as home:
        os.environ["CATALYST_HOME"] = home
        run(a)


def run(a):
    from catalyst.config import Config
    from catalyst.core import PositionSide
    from catalyst.ports import Account, BrokerPosition
    from catalyst.proposals import Proposal
    from catalyst.risk import approve, largest, read_book, validate
    from catalyst.schema import scratch_store
    from catalyst.server import Server, stop_server

    prices = D("50.00"), D("49.00"), D("52.00")
    try:
        with scratch_store() as store:
            new, *held = ids = fill(store, a.positions)
            bars, config = (
                bars_of(ids),
                Config({"max_positions": 50, "max_portfolio_risk_pct": 0.5}),
            )
            ask = Proposal(
                new,
                "B000",
                PositionSide.LONG,
                D(100),
                *prices,
                "bench",
                TEN,
                TEN + timedelta(hours=1),
            )
            account = Account("bench", D(10**6), D(10**6), D(10**6), TEN, True)
            theirs = [
                BrokerPosition(f"B{i:03}", D(100), D(50), D(50), D(0))
                for i in range(1, a.positions + 1)
            ]
            read = lambda frame: read_book(
                store, account, theirs, [new], TEN, frame, None, "replay"
            )
            book = read(bars)
            assert len(book.holdings) == a.positions and not book.disagreements
            again = lambda n: replace(ask, setup=f"bench{n}")
            rows = {
                "validate": (lambda n: validate(ask, book, config), a.repeats),
                "largest": (lambda n: largest(ask, book, config), a.repeats),
                "read_book, no bars": (lambda n: read(None), a.repeats // 3),
                "read_book, bars": (lambda n: read(bars), a.repeats // 10),
                "approve": (
                    lambda n: approve(store, CYCLE, None, again(n), book, config),
                    a.repeats // 3,
                ),
            }
            print(f"{a.positions} open positions, {len(bars):,} bars; milliseconds")
            for name, (call, repeats) in rows.items():
                median, worst, cpu = measured(call, repeats)
                print(
                    f"{name:20} median {median:8.2f}   p99 {worst:8.2f}   cpu {cpu:8.2f}   n {repeats}"
                )
    finally:
        stop_server(Server(__import__("pathlib").Path(os.environ["CATALYST_HOME"])))


if __name__ == "__main__":
    main()
