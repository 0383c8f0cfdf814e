"""Orders on their way: the submit path without a network, many orders through the simulated broker, and the comparison of books.

    python benchmarks/orders.py [--orders 100] [--book 500]

`submit` is approval, intent, sending to a broker that answers at once from memory, read-back, comparison and taking over. `paper` is the same through
the simulated broker, whose own books are in the database, with the account read anew for each order. `reconcile` compares a book of resting
orders with what a broker tells that has not changed; `commit` is one empty row written and committed, the unit of all of it.
"""

import argparse
import os
import statistics as st
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

TEN, CYCLE = datetime(2025, 8, 13, 14, tzinfo=UTC), "20250813-replay"
LOOSE = {
    "max_positions": 50,
    "max_portfolio_risk_pct": 0.5,
    "max_sector_exposure_pct": 1,
    "max_correlation": 1,
}


class Ready:
    "A broker in memory: takes everything, fills nothing"

    def __init__(self):
        self.told = {}

    def submit(self, o):
        from catalyst.core import OrderClass, OrderPurpose, OrderStatus, OrderType, Side
        from catalyst.ports import BrokerOrder

        def one(name, side, kind, limit, stop, status, purpose=None, legs=()):
            known = name, name, o.symbol, side, kind, o.order_class, o.time_in_force, o.quantity
            return BrokerOrder(
                *known, limit, stop, status, D(0), None, TEN, None, purpose, legs=legs
            )

        legs = ()
        if o.order_class == OrderClass.BRACKET:
            out = Side.SELL if o.side == Side.BUY else Side.BUY
            legs = (
                one(o.client_order_id + "-t", out, OrderType.LIMIT, o.target_price, None, OrderStatus.HELD, OrderPurpose.TARGET),
                one(o.client_order_id + "-s", out, OrderType.STOP, None, o.stop_loss_price, OrderStatus.HELD, OrderPurpose.STOP),
            )  # fmt: skip
        self.told[o.client_order_id] = one(
            o.client_order_id, o.side, o.order_type, o.limit_price, o.stop_price, OrderStatus.ACCEPTED, legs=legs
        )  # fmt: skip
        return self.told[o.client_order_id]

    def order_by_client_id(self, name):
        return self.told.get(name)

    def orders(self, since=None):
        return list(self.told.values())

    def positions(self):
        return []

    def account(self):
        from catalyst.ports import Account

        return Account("bench", D(10**7), D(10**7), D(10**7), TEN, True)


def feed_of(symbols):
    import pandas as pd

    class Feed:
        name, simulated = "bench", True

        def bars(self, names, timeframe, start, end, asof):
            ts = pd.date_range(TEN - timedelta(hours=1), asof - timedelta(minutes=15), freq="15min")
            f = pd.DataFrame(
                [(s, t) for s in names or symbols for t in ts], columns=["symbol", "ts"]
            )
            f = f.assign(open=100.0, high=101.0, low=99.0, close=100.0, volume=1e7)
            return f.assign(available_at=f.ts + timedelta(minutes=15))[lambda x: x.ts >= start]

        def assets(self):
            return pd.DataFrame({"symbol": symbols, "tradable": True})

    return Feed()


def timed(call, n):
    took = []
    for i in range(n):
        start = time.perf_counter()
        call(i)
        took.append((time.perf_counter() - start) * 1000)
    return took


def tell(name, took, note=""):
    took = sorted(took)
    p99 = took[min(int(len(took) * 0.99), len(took) - 1)]
    print(
        f"{name:12} median {st.median(took):8.2f} ms   p99 {p99:8.2f} ms   n {len(took)}   {note}"
    )


def run(a):
    from catalyst.account import read_book
    from catalyst.clock import ReplayClock
    from catalyst.config import Config
    from catalyst.core import PositionSide
    from catalyst.paper import PaperBroker
    from catalyst.proposals import Book, Facts, Proposal, RiskState
    from catalyst.reconcile import reconcile
    from catalyst.risk import approve
    from catalyst.schema import scratch_store
    from catalyst.trade import enter

    config = Config({**LOOSE, "account_cash_usd": 1e7})

    def fresh(store, n):
        sql = "insert into trading_cycles (cycle_id, session, world, started_at) values (:c, '2025-08-13', 'replay', :t)"
        store.run(sql, c=CYCLE, t=TEN)
        return [store.value("select get_or_create_security(:s)", s=f"B{i:03}") for i in range(n)]

    def ask(ids, i):
        prices = D("100.10"), D(98), D(104)
        known = ids[i], f"B{i:03}", PositionSide.LONG, D(10), *prices, "bench", TEN
        return Proposal(*known, TEN + timedelta(hours=1))

    def book_of(sid, ids):
        facts = {sid: Facts("unclassified", True, TEN, None, dict.fromkeys(ids, 0.0))}
        return Book(
            TEN, D(10**7), D(10**7), peak_equity=D(10**7), facts=facts, state=RiskState.ACTIVE
        )

    def send(store, broker, ids, i, book):
        decision = approve(store, CYCLE, None, ask(ids, i), book, config)
        if not decision.approved:
            raise SystemExit([c for c in decision.checks if c["verdict"] != "approved"])
        return enter(store, broker, decision, TEN)

    with scratch_store() as store:
        ids, broker = fresh(store, a.book), Ready()
        store.run("create table unit (n integer)")
        tell("commit", timed(lambda i: store.run("insert into unit values (:n)", n=i), 200))
        release = "update risk_approvals set released_at = :t where released_at is null"

        def one(i):
            send(store, broker, ids, i, book_of(ids[i], ids))
            if i % 40 == 39:
                store.run(release, t=TEN)

        tell("submit", timed(one, a.book))
        reconcile(store, broker, TEN)
        tell(
            "reconcile",
            timed(lambda i: reconcile(store, broker, TEN), 9),
            f"{a.book} resting brackets",
        )
    with scratch_store() as store:
        ids, clock = fresh(store, a.orders), ReplayClock(TEN)
        broker = PaperBroker(store, feed_of([f"B{i:03}" for i in range(a.orders)]), clock, config)

        def whole(i):
            book = read_book(
                store, broker.account(), broker.positions(), [ids[i]], TEN, None, None, "replay"
            )
            facts = {
                ids[i]: replace(
                    book.facts[ids[i]],
                    tradable=True,
                    bar_at=TEN,
                    correlations=dict.fromkeys(ids, 0.0),
                )
            }
            send(store, broker, ids, i, replace(book, facts=facts))
            if i % 40 == 39:
                store.run(release, t=TEN)

        took = timed(whole, a.orders)
        tell("paper", took, f"{1000 / st.median(took):.1f} orders a second, every check")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--orders", type=int, default=100)
    p.add_argument("--book", type=int, default=500)
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="catalyst-bench-") as home:
        os.environ["CATALYST_HOME"] = home
        from catalyst.server import Server, stop_server

        try:
            run(a)
        finally:
            stop_server(Server(Path(home)))


if __name__ == "__main__":
    main()
