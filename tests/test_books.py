"Our books against a broker that repeats itself, forgets, and tells things late and in the wrong order"

import os
import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_trade import CYCLE, EMPTY, FALLING, OPEN, RISING, SLOT, TEN, Path15, World

from catalyst.compare import NEAR, cash_gap, gaps, id_gaps, mark_cash, price_gaps, profit_gaps
from catalyst.core import ENDED, OrderClass, OrderPurpose, OrderStatus, OrderType, Side, TimeInForce
from catalyst.ledger import hear, intend, legs_of, order_row, order_rows
from catalyst.ports import BrokerOrder, Fill, Unanswered
from catalyst.reconcile import reconcile
from catalyst.risk import approve_exits
from catalyst.schema import scratch_store
from catalyst.trade import enter, open_positions
from catalyst.watch import monitor

D = Decimal
LONG = bool(os.environ.get("CATALYST_LONG"))
MANY = settings(
    max_examples=200 if LONG else 8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def store():
    with scratch_store() as made:
        yield made


@pytest.fixture
def world(store):
    def make(feed=None):
        store.run(EMPTY)
        return World(store, feed or Path15(AAPL=[100] * 27))

    return make


# ------------------------------------------------------------------------------------------------- what a broker could tell, in any order

parts = st.lists(st.tuples(st.integers(1, 20), st.integers(9990, 10010)), min_size=1, max_size=3)


class Teller:
    "One group at the broker, and every snapshot that it could have shown"

    def __init__(self, request, ids):
        self.shown, self.at, self.ids = [], TEN, ids
        same = {
            "order_class": request["order_class"],
            "time_in_force": TimeInForce.GTC,
            "symbol": request["symbol"],
        }
        self.members = {
            purpose: BrokerOrder(
                f"B{request['order_id']}-{purpose}", request["client_order_id"] if not i else f"B{request['order_id']}-{purpose}",
                side=Side(row["side"]), order_type=OrderType(row["order_type"]), quantity=row["quantity"], limit_price=row["limit_price"],
                stop_price=row["stop_price"], status=OrderStatus.ACCEPTED if not i else OrderStatus.HELD, filled_quantity=D(0),
                filled_avg_price=None, submitted_at=TEN, ended_at=None, purpose=OrderPurpose(purpose) if i else None, **same,
            )
            for i, (purpose, row) in enumerate(request["members"])
        }  # fmt: skip
        self.show()

    def show(self):
        parent, *legs = self.members.values()
        self.shown.append(replace(parent, legs=tuple(legs)))

    def fill(self, purpose, shares, price):
        self.at += timedelta(seconds=7)
        o = self.members[purpose]
        fills = (*o.fills, Fill(f"x{next(self.ids)}", D(shares), D(price), D("0.01"), self.at))
        filled = sum(f.quantity for f in fills)
        done = filled == o.quantity
        average = sum(f.quantity * f.price for f in fills) / filled
        self.members[purpose] = replace(
            o, fills=fills, filled_quantity=filled, filled_avg_price=average, ended_at=self.at if done else None,
            status=OrderStatus.FILLED if done else OrderStatus.PARTIALLY_FILLED,
        )  # fmt: skip
        self.show()

    def end(self, *purposes):
        for purpose in purposes:
            o = self.members[purpose]
            if not o.ended:
                self.members[purpose] = replace(o, status=OrderStatus.CANCELED, ended_at=self.at)
        self.show()


def request_of(store, order_id):
    "An order of ours with its exits, as `Teller` takes it"
    row = order_row(store, order_id)
    legs = [(str(p), leg) for p, leg in legs_of(store, order_id).items()]
    return {
        **row,
        "order_class": OrderClass(row["order_class"]),
        "members": [(row["purpose"], row), *legs],
    }


def statuses(store):
    return {r["order_id"]: r["status"] for r in store.rows("select order_id, status from orders")}


def hear_all(store, order_id, shown):
    "Hear snapshots; an order that has ended stays as it is"
    for told in shown:
        before = statuses(store)
        hear(store, order_id, told)
        after = statuses(store)
        assert all(after[o] == s for o, s in before.items() if s in ENDED), (before, after)


def true_books(*tellers):
    "Shares in, shares out, and cash moved, from the executions alone"
    fills = [(o.side, f) for t in tellers for o in t.members.values() for f in o.fills]
    of = lambda side: [f for s, f in fills if s == side]
    money = lambda fs: sum((f.quantity * f.price for f in fs), D(0))
    shares = lambda fs: sum((f.quantity for f in fs), D(0))
    bought, sold = of(Side.BUY), of(Side.SELL)
    fees = sum((f.fees for _, f in fills), D(0))
    return (
        shares(bought),
        shares(sold),
        money(bought),
        money(sold) - money(bought) - fees,
        {f.execution_id for _, f in fills},
    )


@MANY
@given(
    entry=parts,
    cut=st.booleans(),
    target=st.booleans(),
    exits=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
def test_td06_td10_any_order_of_answers_ends_in_the_books_of_the_executions(
    world, entry, cut, target, exits, order
):
    "Quantity, average price within 0.01 %, realised profit, ids: from answers that are doubled, late and shuffled"
    w = world()
    store, ids = w.store, iter(range(1, 99))
    total = sum(q for q, _ in entry)
    row = intend(store, w.decide(quantity=total + 5 * cut).approval_id, TEN)
    assert store.value("select count(*) from positions") == 0  # TD-10: no fill, no position
    first = Teller(request_of(store, row["order_id"]), ids)
    for quantity, cents in entry:
        first.fill("entry", quantity, D(cents) / 100)
    tellers, out = [first], first
    if cut:
        first.end("entry", "target", "stop")
        hear_all(store, row["order_id"], [first.shown[-1]])
        [held] = open_positions(store)
        pair = approve_exits(
            store, held["position_id"], D(total), TEN, 1, target_price=D(104), stop_price=D(98)
        )
        oco = intend(store, pair.approval_id, TEN, held["position_id"], "protection")
        out = Teller(request_of(store, oco["order_id"]), ids)
        tellers.append(out)
    which, other = ("target", "stop") if target else ("stop", "target")
    for i in range(exits):
        last = i == 2
        quantity = total - sum(f.quantity for f in out.members[which].fills) if last else 1
        if quantity > 0 and total > 2:
            out.fill(which, quantity, D("104.00") if target else D("97.98"))
    if out.members[which].ended:
        out.end(other)
    for t, parent in zip(tellers, [row, *([oco] if cut else [])]):
        shown = [*t.shown, *order.choices(t.shown, k=4)]
        order.shuffle(shown)
        hear_all(store, parent["order_id"], shown)
    bought, sold, paid, moved, executions = true_books(*tellers)
    p = w.one("select * from positions")
    assert (p["quantity"], p["open_quantity"]) == (bought, bought - sold)
    assert abs(p["entry_price"] - paid / bought) <= NEAR * p["entry_price"]
    assert {r["execution_id"] for r in store.rows("select execution_id from fills")} == executions
    if bought == sold:
        assert p["status"] == "closed" and abs(p["realized_pnl"] - moved) <= D("0.01")
        assert p["close_reason"] == which and p["slippage"] is not None
        assert profit_gaps(store, w.asof) == []
    else:
        assert p["status"] == "open"
    events = store.rows("select order_id, status from order_events order by event_id")
    ended = [e["order_id"] for e in events if e["status"] in ENDED]
    assert len(ended) == len(set(ended))


def test_both_exits_that_fill_do_not_count_twice(world):
    w = world()
    row = intend(w.store, w.decide(quantity=50).approval_id, TEN)
    t = Teller(request_of(w.store, row["order_id"]), iter(range(1, 9)))
    for purpose, price in (("entry", "100.00"), ("target", "104.00"), ("stop", "97.98")):
        t.fill(purpose, 50, price)
    hear_all(w.store, row["order_id"], t.shown)
    p = w.one("select * from positions")
    assert (p["status"], p["close_reason"], p["open_quantity"]) == ("closed", "target", 0)
    assert p["realized_pnl"] == 200 - D("0.03")


def test_an_end_waits_for_its_executions(world):
    "A broker that says 'filled' before it lists the fills leaves the order on our list"
    w = world()
    row = intend(w.store, w.decide(quantity=50).approval_id, TEN)
    t = Teller(request_of(w.store, row["order_id"]), iter(range(1, 9)))
    t.fill("entry", 20, "100.00")
    t.fill("entry", 30, "100.02")
    early = replace(t.shown[-1], fills=t.shown[-1].fills[:1])
    hear(w.store, row["order_id"], early)
    assert order_row(w.store, row["order_id"])["ended_at"] is None
    hear(w.store, row["order_id"], t.shown[-1])
    assert w.one("select quantity, entry_price from positions") == {
        "quantity": 50,
        "entry_price": D("100.012"),
    }


# ---------------------------------------------------------------------------------------- a broker that cannot be relied on, and a day


class Unreliable:
    "A broker that shows old lists, shuffles them, is silent, and does not see what it has"

    def __init__(self, broker, dice):
        self._broker, self._dice, self._lists = broker, dice, []

    def __getattr__(self, name):
        return getattr(self._broker, name)

    def orders(self, since=None):
        self._lists.append(self._broker.orders(since))
        if self._dice.random() < 0.2:
            raise Unanswered("no answer")
        shown = list(self._dice.choice(self._lists))
        self._dice.shuffle(shown)
        return shown + shown[:1]

    def order_by_client_id(self, name):
        roll = self._dice.random()
        if roll < 0.2:
            raise Unanswered("no answer")
        return None if roll < 0.3 else self._broker.order_by_client_id(name)

    def submit(self, order):
        roll = self._dice.random()
        if roll < 0.2:
            raise Unanswered("lost on the way")
        told = self._broker.submit(order)
        if roll < 0.4:
            raise Unanswered("reply lost")
        return told

    def cancel(self, name):
        if self._dice.random() < 0.3:
            raise Unanswered("lost on the way")
        self._broker.cancel(name)


@settings(MANY, max_examples=100 if LONG else 3)
@given(
    seed=st.integers(0, 10**6),
    path=st.sampled_from([RISING, FALLING, dict(AAPL=[100] * 27)]),
    thin=st.booleans(),
)
def test_td06_td08_td14_the_four_invariants_hold_after_an_unreliable_day(
    world, monkeypatch, seed, path, thin
):
    monkeypatch.setattr("catalyst.trade.PAUSES", (0.0, 0.0, 0.0))
    w, dice = world(Path15(volume=400 if thin else 10**6, **path)), random.Random(seed)
    w.broker = Unreliable(w.paper, dice)
    enter(w.store, w.broker, w.decide(), w.asof)
    for slot in (1, 2, 3, 5, 7, 23):
        before = statuses(w.store)
        w.clock.move(TEN + SLOT * slot)
        w.paper.advance(w.asof)
        for _ in range(2):
            reconcile(w.store, w.broker, w.asof)
            monitor(w.store, w.broker, CYCLE, w.asof, w.config)
        after = statuses(w.store)
        assert all(after[o] == s for o, s in before.items() if s in ENDED)
    w.broker = w.paper
    w.clock.move(TEN + SLOT * 24)
    w.paper.advance(w.asof)
    for _ in range(2):
        report = reconcile(w.store, w.paper, w.asof)
        monitor(w.store, w.paper, CYCLE, w.asof, w.config)
    told = {o.client_order_id: o for o in w.paper.orders()}
    assert report.agrees, report.problems
    assert gaps(w.store, w.paper.positions()) == []
    assert price_gaps(w.store, w.paper.positions(), w.asof) == ([], [])
    assert (
        profit_gaps(w.store, w.asof) == id_gaps(w.store, told) == []
        and cash_gap(w.store, w.paper.account()) == 0
    )
    ours = {r["client_order_id"] for r in w.store.rows("select client_order_id from orders")}
    assert set(told) <= ours  # nothing at the broker that we did not write down first
    entries = [o for o in told.values() if o.side == Side.BUY]
    assert len(entries) <= 1
    assert all(
        p["covered"] >= p["open_quantity"] for p in open_positions(w.store)
    ) or w.store.value("select count(*) from risk_events where severity = 'critical'")


# --------------------------------------------------------------------------------------------------------------------------- cash


def test_cash_that_moves_without_an_execution_is_told_once(world):
    w = world()
    w.enter()
    w.tick(2)
    assert w.report.agrees
    w.store.run("update paper.accounts set cash = cash - 100")
    found = [reconcile(w.store, w.broker, w.asof + timedelta(minutes=i)) for i in (1, 2)]
    assert found[0].problems == ["cash: -100.00 dollars at the broker that no execution explains"]
    assert found[1].agrees
    assert w.store.value("select difference from cash_marks where difference <> 0") == -100


# ------------------------------------------------------------------------------------------------------------------- many, and how fast


class Counted:
    "Counts the questions that a broker is asked"

    def __init__(self, broker, orders):
        self._broker, self._orders, self.calls = broker, orders, []

    def __getattr__(self, name):
        real = getattr(self._broker, name)  # What the broker does not have, this one has not either
        return lambda *a: (self.calls.append(name), real(*a))[1]

    def orders(self, since=None):
        self.calls.append("orders")
        return self._orders


def many(w, n):
    "n resting orders of ours, and the broker's list of them"
    w.store.run(
        """insert into securities (symbol) select 'Z' || lpad(i::text, 4, '0') from generate_series(1, :n) i on conflict do nothing""",
        n=n,
    )
    w.store.run(
        """insert into risk_approvals (approval_key, cycle_id, security_id, purpose, verdict, side, order_type, quantity, limit_price, decided_at,
             expires_at, checks, snapshot, order_hash)
           select 'k/' || symbol, :c, security_id, 'entry', 'approved', 'buy', 'limit', 10, 50, :t, :e, '[]', '{}', 'x' from securities
           where symbol ~ '^Z[0-9]{4}$' order by symbol limit :n""",
        c=CYCLE, t=TEN, e=TEN + timedelta(days=1), n=n,
    )  # fmt: skip
    ids = [
        r["i"]
        for r in w.store.rows(
            "select approval_id as i from risk_approvals where approval_key like 'k/%' order by 1"
        )
    ]
    rows = [intend(w.store, i, TEN) for i in ids]
    return [Teller(request_of(w.store, r["order_id"]), iter(range(9))).shown[-1] for r in rows]


def test_td17_a_pass_over_many_orders_asks_the_broker_a_few_times(world):
    "60 requests in 30 seconds were used up by a loop over quotes"
    w = world()
    told = many(w, 40)
    broker = Counted(w.paper, told)
    first, again = (reconcile(w.store, broker, w.asof) for _ in range(2))
    assert (first.looked_up, again.looked_up, again.agrees) == (40, 40, True)
    assert sorted(broker.calls) == ["account"] * 2 + ["orders"] * 2 + ["positions"] * 2
    assert {
        r["status"]
        for r in order_rows(
            w.store, [r["order_id"] for r in w.store.rows("select order_id from orders")]
        )
    } == {"accepted"}


def test_the_mark_of_cash_is_written_only_when_something_moved(world):
    w = world()
    account = w.paper.account()
    for minute in range(3):
        mark_cash(w.store, account, D(0), OPEN + timedelta(minutes=minute))
    assert w.store.value("select count(*) from cash_marks") == 1
