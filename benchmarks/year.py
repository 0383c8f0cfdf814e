"""A simulated year of collecting and ageing, and what it costs to keep.

    python benchmarks/year.py [--securities 100] [--sessions 252] [--no-bars]

Every slot goes through `track.collect` and the same bulk write as the scheduled step; every night through `ageing.age`. The market is
SIMULATED: a random walk, with quotes and news counts. By default nobody cools down, so every slot of every security is collected and
kept for as long as an active one is: the dearest year. With `--active 20` four fifths cool down as they would. Bars of a quarter of an hour are stored beside it (`--no-bars` leaves them out).
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

FIRST = date(2024, 1, 2)


def market(rng, n, asof, price, active):
    "Features of `n` securities at a slot, and their quotes"
    import numpy as np
    import pandas as pd

    ids = np.arange(1, n + 1)
    wild = np.where(ids % 100 < active, 0.004, 0.0004)
    price *= np.exp(rng.normal(0, wild))
    features = pd.DataFrame(
        {
            "asof": pd.Timestamp(asof),
            "bar_ts": pd.Timestamp(asof) - pd.Timedelta(minutes=15),
            "close": np.round(price, 4),
            "bar_age_minutes": 0.0,
            "volume": rng.integers(1_000, 1_000_000, n).astype(float),
            "volatility_15min": wild * np.abs(rng.normal(1, 0.2, n)),
            "relative_volume": rng.lognormal(0, 0.3, n),
            "catalyst_score": np.where(ids % 100 < active, 0.6, 0.1),
        },
        index=pd.Index(ids, name="security_id"),
    )
    features["null_reason"] = [{} for _ in ids]
    quotes = pd.DataFrame({"security_id": ids, "bid": price * 0.9998, "ask": price * 1.0002})
    return features, quotes.assign(ts=pd.Timestamp(asof))


def scanned(features, active, five=5):
    "As much of a scan's result as `retier` reads"
    rows = features.reset_index()[["security_id", "relative_volume", "catalyst_score"]]
    rows = rows.assign(
        rank=rows.security_id, tracked=True, selected_for_trading=rows.security_id <= five
    )
    rows["scan_metadata"] = [
        {
            "news_count": 6 if i % 100 < active else 0,
            "news_age_minutes": 30.0 if i % 100 < active else 9e4,
        }
        for i in rows.security_id
    ]
    return rows


def bars_of(features, asof):
    import pandas as pd

    f = features.reset_index()
    p = f.close
    return pd.DataFrame(
        {
            "symbol": [f"Y{i:04}" for i in f.security_id], "ts": f.bar_ts, "open": p, "high": p, "low": p, "close": p,
            "volume": f.volume, "available_at": pd.Timestamp(asof),
        }
    )  # fmt: skip


def simulate(store, n, sessions, with_bars, active):
    import numpy as np
    import pandas as pd

    from catalyst.ageing import age
    from catalyst.bars import write_bars
    from catalyst.clock import sessions_between, slots
    from catalyst.config import Config
    from catalyst.core import Timeframe
    from catalyst.dims import ensure_times, security_ids, time_id
    from catalyst.night import tidy
    from catalyst.steps import read_state, write_state
    from catalyst.track import collect, empty_state, retier

    rng, config, state = np.random.default_rng(11), Config(), empty_state()
    price, spent = rng.uniform(10, 300, n), {"collect": 0.0, "write": 0.0, "age": 0.0, "bars": 0.0}
    ids = security_ids(store, [f"Y{i:04}" for i in range(1, n + 1)])
    to_id = np.array([ids[f"Y{i:04}"] for i in range(1, n + 1)])
    days = sessions_between(FIRST, FIRST + timedelta(days=400))[:sessions]
    due = done = aged = 0
    for day in days:
        stored = []
        for slot in slots(day)[1:]:
            features, quotes = market(rng, n, slot, price, active)
            features.index = pd.Index(to_id, name="security_id")
            quotes["security_id"] = to_id
            start = time.perf_counter()
            if slot.minute == 0:
                rows = scanned(
                    features.set_axis(np.arange(1, n + 1)).rename_axis("security_id"), active
                )
                state = retier(state, rows.assign(security_id=to_id), slot, config)
            news = dict.fromkeys(to_id.tolist(), 1)
            points, state, told = collect(features, quotes, news, state, slot, config)
            spent["collect"] += time.perf_counter() - start
            due, done = due + len(told["due"]), done + len(told["collected"])
            start = time.perf_counter()
            with store.transaction() as tx:
                ensure_times(tx, [time_id(slot), time_id(slot) - 900])
                tx.upsert("security_data_high_freq", points, keys=["security_id", "time_id"])
                write_state(tx, state)
            spent["write"] += time.perf_counter() - start
            stored.append(
                bars_of(features.set_axis(np.arange(1, n + 1)).rename_axis("security_id"), slot)
            )
        start = time.perf_counter()
        if with_bars:
            with store.transaction() as tx:
                write_bars(tx, pd.concat(stored), Timeframe.MIN15, "simulated")
        spent["bars"] += time.perf_counter() - start
        start = time.perf_counter()
        aged += sum(
            a.taken for a in age(store, day.closes + timedelta(hours=3, minutes=45), config)
        )
        tidy(store)
        spent["age"] += time.perf_counter() - start
    assert read_state(store).shape[0] == n
    return due, done, aged, spent, days


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--securities", type=int, default=100)
    p.add_argument("--sessions", type=int, default=252)
    p.add_argument(
        "--active", type=int, default=100, help="of a hundred securities, how many never cool down"
    )
    p.add_argument("--no-bars", action="store_true")
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="catalyst-bench-") as home:
        os.environ["CATALYST_HOME"] = home
        from catalyst.core import load_settings
        from catalyst.schema import open_store
        from catalyst.server import Server, stop_server
        from catalyst.storage import table_sizes

        store, started = open_store(load_settings(None)), time.perf_counter()
        empty = store.value("select pg_database_size(current_database())")
        due, done, aged, spent, days = simulate(
            store, a.securities, a.sessions, not a.no_bars, a.active
        )
        wall = time.perf_counter() - started
        store.run("analyze")
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, simulated market")
        print(f"{len(days)} sessions {days[0].day} to {days[-1].day}, {a.securities} securities")
        print(f"due {due:,}, collected {done:,}, rows aged {aged:,}, wall {wall:,.0f} s")
        print("seconds: " + ", ".join(f"{k} {v:,.0f}" for k, v in spent.items()))
        total = store.value("select pg_database_size(current_database())")
        for row in table_sizes(store):
            if row["bytes"] > 200_000:
                print(f"  {row['table']:<28} {row['rows']:>10,} rows {row['bytes'] / 1e6:>8.1f} MB")
        print(
            f"database {total / 1e6:,.1f} MB, of which {empty / 1e6:,.1f} MB before the first row"
        )
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
        store.close()
        stop_server(Server(Path(home)))


if __name__ == "__main__":
    sys.exit(main())
