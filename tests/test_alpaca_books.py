"Our books against an account at Alpaca: what only a service with a will of its own does to them"

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from alpaca_bench import Bench, Faults, Tape
from test_trade import CYCLE, EMPTY, TEN

from catalyst.alpaca_api import connect
from catalyst.alpaca_broker import AlpacaBroker
from catalyst.clock import ReplayClock, get_session
from catalyst.compare import price_gaps
from catalyst.config import Config
from catalyst.core import PositionSide
from catalyst.exits import close_position, flee, guard
from catalyst.limits import Book, Facts, Proposal
from catalyst.ports import BrokerPosition
from catalyst.reconcile import reconcile
from catalyst.risk import approve
from catalyst.schema import scratch_store
from catalyst.trade import enter, open_positions
from catalyst.watch import monitor

D = Decimal
MINUTE = timedelta(minutes=1)
LONG = dict(side=PositionSide.LONG, stop="98.00", target="104.00")
SHORT = dict(side=PositionSide.SHORT, entry="99.90", stop="102.00", target="96.00")


@pytest.fixture(scope="module")
def store():
    with scratch_store() as made:
        yield made


@pytest.fixture
def desk(store, monkeypatch):
    "A desk at a bench whose minutes are given; closed at the end"
    monkeypatch.setattr("catalyst.trade.PAUSES", (0.0, 0.0, 0.0))
    store.run(EMPTY)
    made = []

    def make(prices, faults=None, cash=100_000):
        bench = Bench(Tape(TEN, {"AAPL": prices}), TEN, faults, cash).__enter__()
        made.append(bench)
        return Desk(store, bench)

    yield make
    for bench in made:
        bench.__exit__(None, None, None)


class Desk:
    "One account and the steps of a pass"

    def __init__(self, store, bench):
        self.store, self.bench, self.clock, self.config = store, bench, ReplayClock(TEN), Config()
        told = connect(bench.settings(Path()), timeout=(9.0, 9.0), seconds=9.0, wait=0.01)
        self.broker = AlpacaBroker(told, self.clock)
        cycle = "insert into trading_cycles (cycle_id, session, world, started_at) values (:c, '2025-08-13', 'alpaca', :t)"
        store.run(cycle, c=CYCLE, t=TEN)

    @property
    def asof(self):
        return self.clock.now()

    def enter(self, side, stop, target, entry="100.10", quantity=50):
        sid, t = self.store.value("select get_or_create_security('AAPL')"), self.asof
        prices = (D(x) for x in (entry, stop, target))
        p = Proposal(sid, "AAPL", side, D(quantity), *prices, "test", t, t + timedelta(hours=1))
        facts = {sid: Facts("X", True, t, None, {}, shortable=True)}
        b = Book(t, D(10**6), D(10**6), peak_equity=D(10**6), facts=facts)
        wide = Config({"max_position_usd": 90_000.0})
        return enter(self.store, self.broker, approve(self.store, CYCLE, None, p, b, wide), t)

    def jump(self, to, *more):
        "A pass at an instant"
        self.broker.advance(self.clock.move(to))
        self.report = reconcile(self.store, self.broker, self.asof)
        self.watch = monitor(self.store, self.broker, CYCLE, self.asof, self.config, *more)
        return self

    def events(self, kind):
        sql = "select message, severity from risk_events where event_type = :k order by event_id"
        return [(r["message"], r["severity"]) for r in self.store.rows(sql, k=kind)]


# ---------------------------------------------------------------------------------------------------------------- stops

GAP = [100] * 10 + [107] * 30  # Over 102 and over the limit of 104.55 behind it


def test_a_gap_over_the_stop_of_a_short_is_closed_by_the_next_pass(desk):
    "The service files a buy stop as a stop-limit; the gap left it alive, and the short was thought covered until the close"
    d = desk(GAP)
    d.enter(**SHORT)
    d.jump(TEN + 5 * MINUTE)
    [p] = open_positions(d.store)
    assert (p["side"], p["covered"], d.watch.closing) == ("short", 50, {})
    d.bench.advance(TEN + 14 * MINUTE)
    [theirs] = [o for o in d.bench.state()["orders"] if o["type"] == "stop"]
    assert theirs["status"] == "new" and theirs["filled_qty"] == "0"  # It stands, and does not fill
    d.jump(TEN + 15 * MINUTE)
    assert d.watch.closing == {"AAPL": "closing"}
    [(text, severity)] = d.events("stop_jumped")
    assert "102" in text and "107" in text and severity == "warning"
    d.jump(TEN + 17 * MINUTE)
    [p] = d.store.rows("select status, close_reason from positions")
    assert (p["status"], p["close_reason"]) == ("closed", "stop_passed")
    state = d.bench.state()
    assert state["positions"] == [] and len(state["fills"]) == 2  # Bought back once
    assert all(o["status"] in ("filled", "canceled", "replaced") for o in state["orders"])


def test_a_stop_within_its_fence_fills_by_itself(desk):
    d = desk([100] * 10 + [(102.5, 104, 102.5, 104)] + [104] * 30)
    d.enter(**SHORT)
    d.jump(TEN + 5 * MINUTE).jump(TEN + 15 * MINUTE)
    [p] = d.store.rows("select status, close_reason from positions")
    assert (p["status"], p["close_reason"]) == ("closed", "stop") and d.watch.closing == {}


def test_a_stop_that_fills_while_it_is_looked_at_is_not_sold_a_second_time(desk):
    "The price has passed the stop, our books do not know of the fill yet: one look-up, and no order"
    d = desk([100] * 10 + [(97, 97, 96, 96)] + [96] * 30)
    d.enter(**LONG)
    d.jump(TEN + 5 * MINUTE)
    [p] = open_positions(d.store)
    d.broker.advance(d.clock.move(TEN + 15 * MINUTE))
    sent = len(d.bench.state()["orders"])
    assert flee(d.store, d.broker, p, D(96), d.asof) is None
    assert guard(d.store, d.broker, d.asof, {"AAPL": D(96)}).closing == {}
    state = d.bench.state()
    assert (len(state["orders"]), state["positions"], len(state["fills"])) == (sent, [], 2)
    assert d.store.value("select close_reason from positions") == "stop"


# ------------------------------------------------------------------------------------------------------------------ pace


def test_an_order_that_was_too_fast_is_sent_again_under_its_name(desk):
    d = desk([100] * 40, Faults().next("429", "orders.post"))
    row = d.enter(**LONG)
    assert row["status"] == "unknown" and d.bench.state()["orders"] == []
    assert d.events("order_rejected") == []  # It counts among no rejections
    d.jump(TEN + MINUTE)
    assert d.report.sent == 1
    [theirs] = [o for o in d.bench.state()["orders"] if not o["parent_id"]]
    assert theirs["client_order_id"] == row["client_order_id"]
    d.jump(TEN + 3 * MINUTE)
    [p] = open_positions(d.store)
    assert p["covered"] == 50 and d.report.agrees


# ------------------------------------------------------------------------------------------------------- cash and prices


def test_fees_of_the_night_are_explained_and_a_loss_without_a_name_is_not(desk):
    "They were told as cash that no execution explains, and stopped the entries of the next morning"
    d = desk([100] * 40, cash=200_000)
    d.enter(**LONG, quantity=800)
    d.jump(TEN + 3 * MINUTE)
    [p] = open_positions(d.store)
    close_position(d.store, d.broker, p["position_id"], d.asof, "by hand")
    d.jump(TEN + 5 * MINUTE).jump(get_session("2025-08-13").closes)
    assert d.broker.positions() == []
    before = d.broker.account().cash
    d.jump(get_session("2025-08-14").opens)
    taken = d.broker.account().cash - before
    assert taken < D("-2") and d.report.agrees
    assert d.store.value("select sum(amount) from cash_charges") == taken
    d.bench.books.charge("DIV", D("31.50"), "a dividend")
    d.jump(get_session("2025-08-14").opens + MINUTE)
    assert d.report.agrees and d.store.value("select count(*) from cash_charges") == 3
    d.bench.books.cash -= 40
    d.jump(get_session("2025-08-14").opens + 2 * MINUTE)
    assert d.report.problems == ["cash: -40.00 dollars at the broker that no execution explains"]
    d.jump(get_session("2025-08-14").opens + 3 * MINUTE)
    assert d.report.agrees


def test_the_average_of_an_older_position_may_differ(desk):
    "Over the night Alpaca counts the shares that are left, first in, first out: both numbers are right"
    d = desk([100] * 40)
    d.enter(**LONG)
    d.jump(TEN + 3 * MINUTE)
    [p] = open_positions(d.store)
    theirs = [BrokerPosition("AAPL", D(50), p["entry_price"] + 1, None, None)]
    wrong, notes = price_gaps(d.store, theirs, d.asof)
    assert (len(wrong), notes) == (1, [])
    assert price_gaps(d.store, theirs, d.asof + timedelta(days=1)) == ([], wrong)
    b = d.bench.books
    o = next(o for o, _ in b.fills)
    b.fills[:] = [(o, {**b.fills[0][1], "qty": D(25), "price": D(q)}) for q in (100, 110)]
    b.orders["x"] = sold = next(x for x in b.orders.values() if x.parent is o)
    b.fills.append((sold, {**b.fills[0][1], "qty": D(25), "price": D(111)}))
    today = b.average("AAPL")
    b.now += timedelta(days=1)
    assert (today, b.average("AAPL")) == (105, 110)
