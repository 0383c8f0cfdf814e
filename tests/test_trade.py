"Orders from intent to profit: every answer a broker can give, every place where a process can die"

import ast
import json
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import catalyst
from catalyst.clock import ReplayClock
from catalyst.config import Config
from catalyst.core import (
    ENDED,
    ENTRY_SIDE,
    EXIT_SIDE,
    InputError,
    OrderClass,
    OrderStatus,
    OrderType,
    PositionSide,
    Side,
    TimeInForce,
)
from catalyst.ledger import NEXT, client_id, differences, hear, next_status, request_of
from catalyst.limits import Book, Facts, Proposal
from catalyst.paper import PaperBroker
from catalyst.ports import OrderRequest, Refused, Unanswered
from catalyst.risk import approve, holdings
from catalyst.schema import scratch_store
from catalyst.reconcile import reconcile
from catalyst.trade import enter, open_positions
from catalyst.watch import close_position, monitor

OPEN = datetime(2025, 8, 13, 13, 30, tzinfo=UTC)
TEN = OPEN + timedelta(minutes=30)
SLOT = timedelta(minutes=15)
CYCLE = "20250813-replay"
D = Decimal
TABLES = [
    "risk_approvals",
    "orders",
    "order_events",
    "fills",
    "positions",
    "risk_events",
    "daily_risk_metrics",
    "paper.orders",
    "paper.fills",
    "paper.accounts",
]


EMPTY = """truncate trading_cycles, risk_events, risk_states, foreign_positions, foreign_fills, cash_marks, cash_charges, paper.accounts
restart identity cascade"""


class Path15:
    "A feed of one day: each symbol has closes by slot; a bar opens where the last one closed"

    name, simulated = "path", True

    def __init__(self, volume=10**6, **closes):
        rows = []
        for symbol, path in closes.items():
            rows.append(
                (
                    symbol,
                    pd.Timestamp(OPEN - timedelta(hours=17, minutes=45)),
                    *[float(path[0])] * 4,
                    1000,
                )
            )
            for i in range(54 if len(path) > 27 else 27):
                o, c = (
                    float(path[max(0, min(i, len(path)) - 1)]),
                    float(path[min(i, len(path) - 1)]),
                )
                start = OPEN + SLOT * i if i < 27 else OPEN + timedelta(days=1) + SLOT * (i - 27)
                rows.append(
                    (symbol, pd.Timestamp(start), o, max(o, c) + 0.2, min(o, c) - 0.2, c, volume)
                )
        self.frame = pd.DataFrame(
            rows, columns=["symbol", "ts", "open", "high", "low", "close", "volume"]
        )
        self.frame["available_at"] = self.frame.ts + SLOT

    def bars(self, symbols, timeframe, start, end, asof):
        f = self.frame
        return f[
            f.symbol.isin(symbols) & (f.ts >= start) & (f.ts < end) & (f.available_at <= asof)
        ].reset_index(drop=True)

    def assets(self):
        return pd.DataFrame({"symbol": sorted(set(self.frame.symbol)), "tradable": True})


class Killed(BaseException):
    "The process dies here"


class Flaky:
    "A broker whose calls fail as told: {method: [behaviour of the 1st call, 2nd, …]}"

    def __init__(self, broker, **plan):
        self._broker, self._plan, self.sent = broker, plan, []

    def __getattr__(self, name):
        real = getattr(self._broker, name)
        if name in ("advance", "name", "store"):
            return real

        def call(*args, **kwargs):
            what = self._plan[name].pop(0) if self._plan.get(name) else None
            if name == "submit":
                self.sent.append(args[0])
            if what in ("lost", "kill before"):
                raise {"lost": Unanswered("no route"), "kill before": Killed()}[what]
            if what == "refuse":
                raise Refused("insufficient buying power")
            if callable(what):
                return what(real(*args, **kwargs))
            answer = real(*args, **kwargs)
            if what in ("reply lost", "kill after"):
                raise {"reply lost": Unanswered("timeout"), "kill after": Killed()}[what]
            return answer

        return call


class World:
    "A database, a paper broker and the steps of a pass"

    def __init__(self, store, feed, config=None):
        self.store, self.feed, self.clock, self.config = (
            store,
            feed,
            ReplayClock(TEN),
            config or Config(),
        )
        self.paper = self.broker = PaperBroker(store, feed, self.clock, self.config)
        store.run(
            "insert into trading_cycles (cycle_id, session, world, started_at) values (:c, '2025-08-13', 'replay', :t) on conflict do nothing",
            c=CYCLE,
            t=TEN,
        )

    @property
    def asof(self):
        return self.clock.now()

    def decide(
        self,
        symbol="AAPL",
        side=PositionSide.LONG,
        entry="100.10",
        stop="98.00",
        target="104.00",
        quantity=50,
        setup="test",
        life=60,
    ):
        sid = self.store.value("select get_or_create_security(:s)", s=symbol)
        p = Proposal(
            sid,
            symbol,
            side,
            D(quantity),
            D(entry),
            D(stop),
            D(target),
            setup,
            self.asof,
            self.asof + timedelta(minutes=life),
        )
        facts = {sid: Facts(symbol, True, self.asof, None, {i: 0.0 for i in range(1, 400)})}
        b = Book(self.asof, D(100_000), D(100_000), peak_equity=D(100_000), facts=facts)
        return approve(self.store, CYCLE, None, p, b, self.config)

    def enter(self, **more):
        return enter(self.store, self.broker, self.decide(**more), self.asof)

    def restart(self, **plan):
        "A new process: nothing survives but the database"
        self.paper = PaperBroker(self.store, self.feed, self.clock, self.config)
        self.broker = Flaky(self.paper, **plan) if plan else self.paper

    def tick(self, n=1):
        "n passes, a slot after each other"
        for _ in range(n):
            self.jump(self.asof + SLOT)
        return self.report

    def jump(self, to):
        "One pass at an instant"
        self.clock.move(to)
        self.paper.advance(self.asof)
        self.report = reconcile(self.store, self.broker, self.asof)
        self.watch = monitor(self.store, self.broker, CYCLE, self.asof, self.config)

    def one(self, sql, **params):
        [row] = self.store.rows(sql, **params)
        return row

    def statuses(self):
        return {
            r["purpose"]: r["status"]
            for r in self.store.rows("select purpose, status from orders order by order_id")
        }

    def dump(self):
        "All rows with all columns: what must not depend on crashes"
        return {
            t: sorted(
                json.dumps(r, default=str, sort_keys=True)
                for r in self.store.rows(f"select * from {t}")
            )
            for t in TABLES
        }


RISING = dict(AAPL=[100, 100, 100, 100, 101, 102, 105, 105])
FALLING = dict(AAPL=[100, 100, 100, 100, 99, 97, 95, 95])
FLAT = dict(AAPL=[100] * 27)


@pytest.fixture(scope="module")
def stores():
    "Databases of this file; a test gets as many as it asks for, emptied"
    made = ExitStack()
    with made:
        yield (made, [])


@pytest.fixture
def world(stores):
    made, known = stores
    used = iter(range(9))

    def make(feed=None, config=None):
        i = next(used)
        if i == len(known):
            known.append(made.enter_context(scratch_store()))
        known[i].run(EMPTY)
        return World(known[i], feed or Path15(**FLAT), config)

    return make


# -------------------------------------------------------------------------------------------------------------- one good trade


@pytest.mark.parametrize(("path", "reason", "sign"), [(RISING, "target", 1), (FALLING, "stop", -1)])
def test_guard_07_td07_a_close_writes_price_profit_and_reason(world, path, reason, sign):
    w = world(Path15(**path))
    w.enter()
    w.tick(8)
    p = w.one("select * from positions")
    fills = w.store.rows(
        "select f.*, o.purpose from fills f join orders o using (order_id) order by fill_id"
    )
    cash = sum(
        (f["price"] * f["quantity"] * (1 if f["side"] == "sell" else -1) for f in fills), D(0)
    )
    assert (p["status"], p["close_reason"], p["open_quantity"]) == ("closed", reason, 0)
    assert p["realized_pnl"] == cash.quantize(D("0.01")) and p["realized_pnl"] * sign > 0
    assert p["r_multiple"] == pytest.approx(p["realized_pnl"] / p["risk_amount"], abs=D("0.001"))
    assert p["exit_price"] and p["closed_at"] and w.paper.account().cash == 100_000 + cash
    assert holdings(w.store, w.asof) == () and w.report.agrees
    assert {r["released_at"] for r in w.store.rows("select released_at from risk_approvals")} == {
        p["closed_at"]
    }
    assert w.one("select * from daily_risk_metrics")["realized_pnl"] == p["realized_pnl"]


@pytest.mark.parametrize("side", list(PositionSide))
def test_guard_01_td01_the_broker_gets_the_side_that_was_meant(world, side):
    w = world()
    prices = {PositionSide.LONG: ("98.00", "104.00"), PositionSide.SHORT: ("102.00", "96.00")}[side]
    w.broker = Flaky(w.paper)
    w.enter(
        side=side,
        entry={PositionSide.LONG: "100.10", PositionSide.SHORT: "99.90"}[side],
        stop=prices[0],
        target=prices[1],
    )
    [sent] = w.broker.sent
    assert sent.side == ENTRY_SIDE[side]
    w.tick(1)
    assert {
        r["side"] for r in w.store.rows("select side from orders where purpose <> 'entry'")
    } == {EXIT_SIDE[side]}
    assert w.one("select side from positions")["side"] == side
    assert w.paper.positions()[0].quantity == {PositionSide.LONG: 50, PositionSide.SHORT: -50}[side]


def test_guard_02_td02_prices_leave_on_the_tick_as_decimals(world):
    w = world()
    w.broker = Flaky(w.paper)
    w.enter(entry="100.1", stop="98.01", target="104.29")
    [sent] = w.broker.sent
    assert [str(p) for p in (sent.limit_price, sent.stop_loss_price, sent.target_price)] == [
        "100.1000",
        "98.0100",
        "104.2900",
    ]
    assert all(isinstance(p, D) for p in (sent.limit_price, sent.quantity))
    noisy = w.decide(symbol="MSFT", entry="100.1000000001", setup="noise")
    assert not noisy.approved


def test_guard_03_td03_a_bracket_is_at_the_broker_with_both_legs_and_gtc(world):
    w = world()
    row = w.enter()
    told = w.paper.order_by_client_id(row["client_order_id"])
    assert (told.order_class, told.time_in_force, len(told.legs)) == ("bracket", "gtc", 2)
    assert {(leg.purpose, leg.limit_price, leg.stop_price) for leg in told.legs} == {
        ("target", D(104), None),
        ("stop", None, D(98)),
    }
    assert w.statuses() == {"entry": "accepted", "target": "held", "stop": "held"}
    ours = w.store.rows("select broker_order_id from orders order by order_id")
    assert [r["broker_order_id"] for r in ours] == [
        told.broker_order_id,
        *(leg.broker_order_id for leg in told.legs),
    ]


@pytest.mark.parametrize(
    "spoil",
    [
        dict(order_class=OrderClass.SIMPLE, legs=()),
        dict(time_in_force=TimeInForce.DAY),
        dict(quantity=D(500)),
        dict(side=Side.SELL),
        "leg",
    ],
)
def test_guard_03_an_order_that_differs_is_cancelled_and_alarmed(world, spoil):
    w = world()

    def spoilt(told):
        if told is None or spoil != "leg":
            return told and replace(told, **spoil)
        return replace(told, legs=(replace(told.legs[0], limit_price=D("150.00")), told.legs[1]))

    w.broker = Flaky(w.paper, order_by_client_id=[spoilt])
    row = w.enter()
    event = w.one("select * from risk_events where event_type = 'order_differs'")
    assert event["severity"] == "critical" and event["action_taken"] == "cancelled"
    assert (
        row["status"] == "canceled"
        and w.paper.order_by_client_id(row["client_order_id"]).status == "canceled"
    )
    assert holdings(w.store, w.asof) == ()


def test_differences_name_each_field():
    ask = OrderRequest(
        "c",
        "AAPL",
        Side.BUY,
        D(50),
        OrderType.LIMIT,
        TimeInForce.GTC,
        OrderClass.BRACKET,
        D("100"),
        None,
        D("104"),
        D("98"),
    )
    from catalyst.paper import _nested

    told = _nested(ask, "x", TEN)
    assert differences(ask, told) == []
    assert differences(ask, replace(told, legs=told.legs[:1])) != []
    assert differences(ask, replace(told, limit_price=D("100.01"))) == [
        "limit_price: asked 100, broker has 100.01"
    ]


# ------------------------------------------------------------------------------------------------------------ answers and silence


def test_the_intent_is_committed_before_the_broker_is_asked(world):
    w = world()
    seen = []

    def look(order):
        seen.append(World(w.store, w.feed).statuses())
        return w.paper.submit(order)

    w.broker = type(
        "B", (), {"submit": staticmethod(look), "order_by_client_id": w.paper.order_by_client_id}
    )()
    w.enter()
    assert seen == [{"entry": "intended", "target": "intended", "stop": "intended"}]


@pytest.mark.parametrize(
    "plan",
    [
        dict(submit=["reply lost"]),
        dict(submit=["lost"]),
        dict(submit=["reply lost"], order_by_client_id=["lost"]),
        dict(submit=["lost"], order_by_client_id=["lost"]),
    ],
)
def test_silence_is_unknown_until_a_look_up_settles_it(world, plan):
    w = world()
    calm = world()
    calm.enter()
    calm.tick(3)
    arrived = plan == {"submit": ["reply lost"]}
    w.broker = Flaky(w.paper, **{method: list(calls) for method, calls in plan.items()})
    row = w.enter()
    assert row["status"] == ("accepted" if arrived else "unknown")
    w.restart()
    reconcile(w.store, w.broker, w.asof)
    w.tick(3)
    same = ("fills", "positions", "paper.orders", "paper.fills", "daily_risk_metrics")
    ours, theirs = w.dump(), calm.dump()
    assert {t: ours[t] for t in same} == {t: theirs[t] for t in same}


def test_a_refusal_ends_the_order_and_gives_the_place_back(world):
    w = world()
    w.broker = Flaky(w.paper, submit=["refuse"])
    row = w.enter()
    assert w.statuses() == {"entry": "rejected", "target": "rejected", "stop": "rejected"}
    assert row["status_reason"] == "insufficient buying power" and holdings(w.store, w.asof) == ()
    assert w.one("select event_type from risk_events")["event_type"] == "order_rejected"


def test_a_duplicate_answer_is_the_proof_that_the_order_is_in(world):
    w = world()
    done = w.decide()
    w.broker = Flaky(w.paper, submit=["kill after"])
    with pytest.raises(Killed):
        enter(w.store, w.broker, done, w.asof)
    w.restart(order_by_client_id=[lambda told: None], orders=[lambda told: []])
    report = reconcile(w.store, w.broker, w.asof)
    assert report.sent == 1 and len(w.paper.orders()) == 1
    assert w.statuses()["entry"] == "accepted" and report.agrees


def test_an_intent_that_comes_too_late_expires_unsent(world):
    w = world()
    w.broker = Flaky(w.paper, submit=["kill before"])
    with pytest.raises(Killed):
        w.enter()
    w.restart()
    w.clock.move(w.asof + timedelta(minutes=16))
    report = reconcile(w.store, w.broker, w.asof)
    assert (
        report.lapsed == 1 and w.paper.orders() == [] and set(w.statuses().values()) == {"expired"}
    )
    assert holdings(w.store, w.asof) == ()
    w.tick(1)
    assert w.paper.orders() == []


def test_a_pass_in_the_past_leaves_a_later_intent_alone(world):
    w = world()
    w.broker = Flaky(w.paper, submit=["kill before"])
    with pytest.raises(Killed):
        w.enter()
    report = reconcile(w.store, w.paper, w.asof - SLOT)
    assert (report.sent, report.lapsed, w.statuses()["entry"]) == (0, 0, "intended")
    assert reconcile(w.store, w.paper, w.asof).sent == 1


def test_refused_or_stale_decisions_send_nothing(world):
    w = world()
    with pytest.raises(InputError, match="approved"):
        enter(w.store, w.broker, w.decide(quantity=5000), w.asof)
    done = w.decide(symbol="AAPL", setup="late")
    with pytest.raises(InputError, match="used by"):
        enter(w.store, w.broker, done, w.asof + timedelta(minutes=16))
    assert w.paper.orders() == [] and w.statuses() == {}


def test_entering_twice_sends_once(world):
    w = world()
    done = w.decide()
    w.broker = Flaky(w.paper)
    first = enter(w.store, w.broker, done, w.asof)
    assert enter(w.store, w.broker, done, w.asof) == first and len(w.broker.sent) == 1


# --------------------------------------------------------------------------------------------------------------------- statuses


@given(st.lists(st.sampled_from([s for s in OrderStatus if s != "intended"]), max_size=8))
def test_terminal_states_never_go_back(told):
    now = OrderStatus.INTENDED
    for status in told:
        after = next_status(now, status)
        assert after == now if now in ENDED else after in NEXT[now] | {now}
        now = after
    assert next_status(now, OrderStatus.INTENDED) == now


def test_duplicate_late_and_reordered_updates_change_nothing(world):

    w = world(Path15(**RISING))
    row = w.enter()
    past = [w.paper.order_by_client_id(row["client_order_id"])]
    for _ in range(8):
        w.tick(1)
        past.append(w.paper.order_by_client_id(row["client_order_id"]))
    before = w.dump()
    for told in (*reversed(past), *past, past[0]):
        assert hear(w.store, row["order_id"], told) == 0
    assert w.dump() == before and w.one("select status from positions")["status"] == "closed"


def test_updates_in_reverse_order_end_in_the_same_books(world):

    w, other = world(Path15(**FALLING)), world(Path15(**FALLING))
    row, past = w.enter(), []
    for _ in range(8):
        w.tick(1)
        past.append(w.paper.order_by_client_id(row["client_order_id"]))
    twin = other.enter()
    for told in reversed(past):
        hear(other.store, twin["order_id"], told)
    drop = lambda r: {
        k: v
        for k, v in r.items()
        if k not in ("position_id", "security_id", "signal_id", "last_price")
    }
    assert drop(w.one("select * from positions")) == drop(other.one("select * from positions"))


def test_client_ids_are_deterministic_bounded_and_told_apart():
    key = f"{CYCLE}/AAPL/news/2025-08-13T14:00:00Z/entry"
    assert client_id(key) == client_id(key) and len(client_id(key * 9)) == 128
    assert client_id(key + "a" * 200) != client_id(key + "a" * 201)


# ---------------------------------------------------------------------------------------------------------------------- crashes


def day(w, kills=()):
    "A day of passes; the process dies at the given calls and starts again at the same slot"
    kills = list(kills)
    script = {i: [dict(symbol="AAPL")] for i in (0,)} | {
        1: [dict(symbol="MSFT", entry="50.10", stop="48.00", target="54.00")]
    }
    for slot in (*range(6), 22, 23, 24):
        asof = TEN + SLOT * slot
        while True:
            w.restart(**(kills.pop(0) if kills and kills[0].pop("slot", slot) == slot else {}))
            try:
                w.clock.move(max(asof, w.asof))
                w.paper.advance(asof)
                reconcile(w.store, w.broker, asof)
                for trade in script.get(slot, []):
                    done = w.decide(**trade)
                    if done.approved:
                        enter(w.store, w.broker, done, asof)

                w.watch = monitor(w.store, w.broker, CYCLE, asof, w.config)
                break
            except Killed:
                continue
    return w.dump()


CALM = {}  # The day without a kill, played once
BOTH = dict(AAPL=[100, 100, 100, 100, 101, 102, 105, 105], MSFT=[50, 50, 50, 50, 50.1])


@pytest.mark.parametrize(
    "kills",
    [
        [dict(slot=0, submit=["kill before"])],
        [dict(slot=0, submit=["kill after"])],
        [dict(slot=0, order_by_client_id=["kill before"])],
        [
            dict(slot=0, submit=["kill after"]),
            dict(slot=0, order_by_client_id=["kill before"]),
            dict(slot=1, submit=["kill after"]),
        ],
        [dict(slot=1, positions=["kill before"])],
        [dict(slot=23, cancel=["kill before"])],
        [dict(slot=23, cancel=["kill after"])],
        [dict(slot=23, cancel=[None, "kill before"])],
        [dict(slot=23, submit=["kill before"])],
        [dict(slot=23, submit=["kill after"])],
    ],
)
def test_a_killed_day_ends_with_the_same_rows(world, kills):
    calm = CALM.get("rows") or CALM.setdefault("rows", day(world(Path15(**BOTH))))
    killed = day(world(Path15(**BOTH)), [dict(k) for k in kills])
    for table in TABLES:
        assert killed[table] == calm[table], table
    assert len(calm["orders"]) == 7 and len(calm["positions"]) == 2


def test_an_earlier_pass_again_changes_nothing(world):

    w = world(Path15(**RISING))
    w.enter()
    w.tick(2)
    before = w.dump()
    report = reconcile(w.store, w.broker, w.asof)
    monitor(w.store, w.broker, CYCLE, w.asof, w.config)
    assert w.dump() == before and report.fills == report.sent == 0


# ------------------------------------------------------------------------------------------------------------------------ leaving


def test_guard_22_td12_the_end_of_the_day_cancels_confirms_and_closes(world):
    w = world()
    w.enter()
    w.tick(1)
    w.jump(TEN + 22 * SLOT)
    assert (w.asof.hour, w.asof.minute) == (19, 30) and len(open_positions(w.store)) == 1
    w.tick(1)
    assert (
        w.watch.closing == {"AAPL": "closing"}
        and w.statuses()["target"] == w.statuses()["stop"] == "canceled"
    )
    w.tick(1)
    p = w.one("select * from positions")
    assert (p["status"], p["close_reason"], w.paper.positions(), w.watch.alarms) == (
        "closed",
        "end_of_day",
        [],
        [],
    )
    assert w.one("select order_type, time_in_force, side from orders where purpose = 'close'") == {
        "order_type": "market",
        "time_in_force": "day",
        "side": "sell",
    }


def test_guard_22_td11_an_unconfirmed_cancel_waits_and_three_failures_call_a_person(world):
    w = world()
    w.enter()
    w.tick(1)
    [p] = open_positions(w.store)
    w.broker = Flaky(w.paper, cancel=["lost"] * 6)
    assert close_position(w.store, w.broker, p["position_id"], w.asof, "by hand") == "waiting"
    assert [b.quantity for b in w.paper.positions()] == [50] and open_positions(w.store)[0][
        "live_exits"
    ] == 2
    w.broker = Flaky(w.paper, submit=["refuse"] * 9)
    said = [
        close_position(w.store, w.broker, p["position_id"], w.asof, "by hand") for _ in range(5)
    ]
    assert said == ["closing"] * 3 + ["stuck"] * 2
    assert (
        w.one("select severity from risk_events where event_type = 'close_stuck'")["severity"]
        == "critical"
    )
    assert sum("-close-" in o.client_order_id for o in w.broker.sent) == 3


def test_guard_05_td05_a_close_without_an_answer_is_not_repeated(world):
    w = world()
    w.enter()
    w.tick(1)
    [p] = open_positions(w.store)
    w.broker = Flaky(w.paper, submit=["reply lost"], order_by_client_id=[None, "lost"])
    assert close_position(w.store, w.broker, p["position_id"], w.asof, "by hand") == "closing"
    assert w.one("select status from orders where purpose = 'close'")["status"] == "unknown"
    again = [
        close_position(w.store, w.broker, p["position_id"], w.asof, "by hand") for _ in range(3)
    ]
    monitor(w.store, w.broker, CYCLE, w.asof, w.config)
    assert again == ["closing"] * 3 and len(w.broker.sent) == 1
    w.broker = w.paper
    w.tick(1)
    assert (
        w.paper.positions() == []
        and w.one("select status from positions")["status"] == "closed"
        and w.report.agrees
    )


def test_guard_30_a_close_passes_when_every_entry_limit_is_broken(world):
    w = world(config=Config({"max_daily_loss_usd": 1, "max_positions": 1}))
    w.enter()
    w.tick(1)
    w.store.run("update positions set unrealized_pnl = -5000")
    assert not w.decide(symbol="MSFT", setup="no").approved
    [p] = open_positions(w.store)
    assert close_position(w.store, w.broker, p["position_id"], w.asof, "by hand") == "closing"


def test_guard_04_td04_positions_overnight_keep_their_exits(world):
    w = world(Path15(AAPL=[100] * 54), Config({"close_at_end_of_day": "false"}))
    w.enter()
    w.tick(1)
    w.jump(TEN + 24 * SLOT)
    w.jump(OPEN + timedelta(days=1))
    w.tick(1)
    assert (
        [p["live_exits"] for p in open_positions(w.store)] == [2]
        and w.report.unprotected == []
        and w.watch.alarms == []
    )


def test_guard_04_a_position_that_could_not_be_closed_is_protected_and_reported(world):
    w = world()
    w.enter()
    w.tick(1)
    w.jump(TEN + 22 * SLOT)
    w.broker = Flaky(w.paper, submit=["refuse"] * 3)
    w.tick(1)
    w.broker = w.paper
    w.tick(1)
    [p] = open_positions(w.store)
    assert p["live_exits"] == 1 and w.watch.alarms == ["AAPL"]
    events = {r["event_type"]: r["severity"] for r in w.store.rows("select * from risk_events")}
    assert events["not_flat"] == "critical"
    stop = w.one(
        "select * from orders where purpose = 'stop' and parent_order_id is null and ended_at is null"
    )
    assert (stop["time_in_force"], stop["stop_price"], stop["quantity"]) == ("gtc", 98, 50)


def test_half_an_entry_is_cut_and_protected_at_once(world):
    w = world(Path15(volume=300, **FLAT))
    w.enter()
    w.tick(1)
    assert w.watch.cancelled == ["AAPL"] and w.watch.protected == ["AAPL"]
    [p] = open_positions(w.store)
    assert (p["quantity"], p["covered"], p["live_exits"]) == (30, 30, 2) and w.paper.positions()[
        0
    ].quantity == 30
    assert reconcile(w.store, w.broker, w.asof).agrees
    [h] = holdings(w.store, w.asof)
    assert not h.reserved and h.risk == p["risk_amount"]


def test_a_protecting_stop_closes_its_position(world):
    w = world(Path15(volume=300, **FALLING))
    w.enter()
    w.tick(10)
    p = w.one("select * from positions")
    assert (p["status"], p["close_reason"], p["quantity"], w.paper.positions()) == (
        "closed",
        "stop",
        30,
        [],
    )


def test_an_entry_that_does_not_fill_is_cancelled_with_its_signal(world):
    w = world()
    w.enter(entry="99.00", stop="97.50", life=30)
    w.tick(1)
    assert w.statuses()["entry"] == "accepted" and len(holdings(w.store, w.asof)) == 1
    w.tick(1)
    assert w.watch.cancelled == ["AAPL"] and set(w.statuses().values()) == {"canceled"}
    assert holdings(w.store, w.asof) == () and w.store.value("select count(*) from positions") == 0


# ---------------------------------------------------------------------------------------------------------------- the broker's books


def test_guard_06_td06_ghosts_and_strangers_are_found(world):
    w = world(Path15(AAPL=[100] * 27, MSFT=[50] * 27))
    w.enter()
    w.tick(1)
    w.paper.submit(
        OrderRequest("by-hand", "MSFT", Side.BUY, D(7), OrderType.MARKET, TimeInForce.DAY)
    )
    report = reconcile(w.store, w.broker, w.asof)
    assert report.agrees and report.foreign == ["MSFT: order by-hand is not ours"]
    w.tick(1)
    assert w.report.agrees and w.report.foreign == ["foreign MSFT: 7 shares are not ours"]
    assert w.one("select symbol, quantity, gone_at from foreign_positions") == {
        "symbol": "MSFT",
        "quantity": 7,
        "gone_at": None,
    }
    w.store.run(
        "delete from paper.fills where broker_order_id in (select broker_order_id from paper.orders where symbol = 'AAPL')"
    )
    report = reconcile(w.store, w.broker, w.asof)
    assert "ghost AAPL: ours 50, broker 0" in report.problems and not report.agrees
    told = {r["event_type"]: r["severity"] for r in w.store.rows("select * from risk_events")}
    assert told["books_differ"] == "critical" and told["foreign_position"] == "warning"
    assert len(w.paper.orders()) == 2 and len(open_positions(w.store)) == 1


def test_td08_a_symbol_with_somebody_elses_shares_is_not_entered(world):
    w = world(Path15(AAPL=[100] * 27))
    done = w.decide()
    w.paper.submit(
        OrderRequest("by-hand", "AAPL", Side.BUY, D(7), OrderType.MARKET, TimeInForce.DAY)
    )
    w.clock.move(w.asof + SLOT)
    w.paper.advance(w.asof)
    reconcile(w.store, w.broker, w.asof)
    row = enter(w.store, w.broker, done, w.asof)
    assert (row["status"], len(w.paper.orders())) == ("rejected", 1)
    assert row["status_reason"] == "shares that are not ours are held"


def test_an_order_we_gave_up_and_find_alive_is_cancelled(world):
    w = world()
    w.broker = Flaky(w.paper, submit=["kill after"])
    with pytest.raises(Killed):
        w.enter(entry="95.00", stop="93.00", target="99.00")
    w.restart(order_by_client_id=[lambda told: None], orders=[lambda told: []])
    w.clock.move(w.asof + timedelta(minutes=16))
    assert reconcile(w.store, w.broker, w.asof).lapsed == 1
    report = reconcile(w.store, w.broker, w.asof)
    assert "had ended in our books" in report.problems[0]
    assert [o.status for o in w.paper.orders()] == ["canceled"]


def test_an_order_that_vanishes_is_reported(world):
    w = world()
    w.enter()
    w.broker = Flaky(w.paper, order_by_client_id=[lambda told: None], orders=[lambda told: []])
    assert "the broker has no" in reconcile(w.store, w.broker, w.asof).problems[0]
    assert w.statuses()["entry"] == "accepted"


def test_guard_08_td08_no_second_entry_while_one_is_open(world):
    w = world()
    w.enter()
    assert not w.decide(setup="again").approved
    w.tick(1)
    assert not w.decide(setup="and-again").approved


# ----------------------------------------------------------------------------------------------------------------------- the code


def test_only_trade_sends_and_cancels():
    callers = {}
    for path in sorted(Path(catalyst.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("submit", "cancel", "replace_order")
            ):
                if isinstance(
                    node.func.value, ast.Name | ast.Attribute
                ) and "broker" in ast.unparse(node.func.value):
                    callers.setdefault(path.name, []).append(node.func.attr)
    assert callers == {"trade.py": ["submit", "cancel"]} or callers == {
        "trade.py": ["cancel", "submit"]
    }


def test_what_is_sent_is_what_was_approved(world):
    w = world()
    w.broker = Flaky(w.paper)
    done = w.decide()
    row = enter(w.store, w.broker, done, w.asof)
    approval = w.one("select * from risk_approvals where approval_id = :a", a=done.approval_id)
    [sent] = w.broker.sent
    assert (sent.quantity, sent.limit_price, sent.side) == (
        approval["quantity"],
        approval["limit_price"],
        approval["side"],
    )
    assert (
        request_of(row, {}).order_type == "limit"
        if row["order_class"] == "simple"
        else sent.order_class == "bracket"
    )
