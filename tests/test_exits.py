"Exits: placed, moved, counted, never held by older orders, and the truth about an emergency"

import threading
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from test_trade import CYCLE, EMPTY, FALLING, RISING, SLOT, TEN, Flaky, Killed, Path15, World

from catalyst.config import Config
from catalyst.core import OrderClass, Side, TimeInForce, UnavailableError
from catalyst.core import OrderType as Kind
from catalyst.emergency import emergency_stop
from catalyst.exits import close_position, guard, protect, scale_out, standing_stop, trail
from catalyst.ledger import differences, intend, legs_of, request_of
from catalyst.paper import _nested
from catalyst.ports import OrderRequest, Refused
from catalyst.reconcile import reconcile
from catalyst.risk import approve_close, approve_exits
from catalyst.schema import scratch_store
from catalyst.states import current, set_state
from catalyst.trade import acting, cancel_order, enter, open_positions, place_exits
from catalyst.watch import monitor, must_be_flat

D = Decimal
ONE_R = Config({"scale_out_r": 1.0})


@pytest.fixture(scope="module")
def store():
    with scratch_store() as made:
        yield made


@pytest.fixture
def world(store, monkeypatch):
    monkeypatch.setattr("catalyst.trade.PAUSES", (0.0, 0.0, 0.0))

    def make(feed=None, config=None):
        store.run(EMPTY)
        return World(store, feed or Path15(AAPL=[100] * 27), config)

    return make


@pytest.fixture
def held(world):
    "A desk with fifty AAPL, bought at about 100, stop 98, target 104"

    def make(feed=None, config=None, **more):
        w = world(feed, config)
        w.enter(**more)
        w.tick(1)
        return w

    return make


def live(w):
    "What rests for us at the broker: purpose or type, and price"
    members = [m for o in w.paper.orders() for m in (o, *o.legs) if not m.ended]
    return sorted(
        (str(m.order_type), m.limit_price or m.stop_price or m.trail_price, m.quantity)
        for m in members
    )


# ---------------------------------------------------------------------------------------------------------------------- order types


@pytest.mark.parametrize(
    "shape",
    [
        dict(order_type=Kind.MARKET),
        dict(order_type=Kind.LIMIT, limit_price=D("104.00")),
        dict(order_type=Kind.STOP, stop_price=D("98.00")),
        dict(order_type=Kind.STOP_LIMIT, stop_price=D("98.00"), limit_price=D("97.50")),
        dict(order_type=Kind.TRAILING_STOP, trail_price=D("1.50")),
        dict(
            order_type=Kind.LIMIT,
            limit_price=D("104.00"),
            stop_loss_price=D("98.00"),
            order_class=OrderClass.OCO,
        ),
    ],
)
def test_every_kind_of_exit_is_compared_field_by_field(shape):
    asked = OrderRequest("c", "AAPL", Side.SELL, D(50), time_in_force=TimeInForce.GTC, **shape)
    told = _nested(asked, "x", TEN)
    assert differences(asked, told) == []
    for field, value in dict(
        limit_price=D("1.00"), trail_price=D("9.00"), quantity=D(7), side=Side.BUY, legs=(told,)
    ).items():
        if field != "legs" or asked.order_class != OrderClass.SIMPLE:
            assert differences(asked, replace(told, **{field: value})), field
    if asked.order_type == Kind.TRAILING_STOP:
        assert differences(asked, replace(told, stop_price=D("99.00"))) == []
    elif asked.stop_price:
        assert differences(asked, replace(told, stop_price=D("99.00")))


@pytest.mark.parametrize(
    "prices, expected",
    [
        (dict(stop_price=D("98.00")), [("stop", "stop", "simple")]),
        (dict(stop_price=D("98.00"), stop_limit=D("97.50")), [("stop", "stop_limit", "simple")]),
        (dict(trail_price=D("1.50")), [("stop", "trailing_stop", "simple")]),
        (
            dict(target_price=D("104.00"), stop_price=D("98.00")),
            [("target", "limit", "oco"), ("stop", "stop", "oco")],
        ),
    ],
)
def test_every_kind_of_exit_is_intended_as_it_was_approved(held, prices, expected):
    w = held()
    w.store.run("update positions set last_price = 100")
    pid = open_positions(w.store)[0]["position_id"]
    decision = approve_exits(w.store, pid, D(50), w.asof, 1, **prices)
    row = intend(w.store, decision.approval_id, w.asof, pid, "test")
    legs = legs_of(w.store, row["order_id"])
    assert [
        (str(r["purpose"]), str(r["order_type"]), str(r["order_class"]))
        for r in (row, *legs.values())
    ] == expected
    sent = request_of(row, legs)
    asked = (sent.limit_price, sent.stop_loss_price or sent.stop_price, sent.trail_price)
    limit = prices.get("stop_limit") or prices.get("target_price")
    assert asked == (limit, prices.get("stop_price"), prices.get("trail_price"))


@pytest.mark.parametrize(
    "purpose, change", [("stop", "stop_price = 97"), ("target", "limit_price = 110"), ("stop", "trail_price = 1"), ("stop", "limit_price = 97"),
                        ("target", "quantity = 51"), ("entry", "limit_price = 101"), ("entry", "stop_price = 99")]
)  # fmt: skip
def test_guard_08_the_database_holds_no_exit_that_differs_from_its_approval(held, purpose, change):
    w = held()
    with pytest.raises(Exception, match="refused: "):
        w.store.run(f"update orders set {change} where purpose = '{purpose}'")


# -------------------------------------------------------------------------------------------------------------------------- protection


def test_guard_03_td03_a_bracket_taken_as_a_plain_order_that_filled_is_protected(world):
    "34 positions stood without exits, because the class had been ignored"
    w = world()

    class Ignores:
        "A broker that drops the class and the legs"

        def __getattr__(self, name):
            return getattr(w.paper, name)

        def submit(self, order):
            plain = dict(order_class=OrderClass.SIMPLE, target_price=None, stop_loss_price=None)
            return w.paper.submit(
                replace(order, **plain) if order.order_class == OrderClass.BRACKET else order
            )

        def order_by_client_id(self, name):
            w.clock.move(w.asof + SLOT), w.paper.advance(w.asof)  # It fills before we look
            return w.paper.order_by_client_id(name)

    w.broker = Ignores()
    w.enter()
    w.broker = w.paper
    reconcile(w.store, w.broker, w.asof)
    assert [p["covered"] for p in open_positions(w.store)] == [0]
    assert guard(w.store, w.broker, w.asof).protected == ["AAPL"]
    assert live(w) == [("limit", 104, 50), ("stop", 98, 50)]
    told = {r["event_type"]: r["severity"] for r in w.store.rows("select * from risk_events")}
    assert told == {"order_differs": "critical", "protected": "warning"}


def test_guard_04_td04_a_target_alone_is_no_protection(held):
    w = held()
    w.store.run(
        "update paper.orders set status = 'canceled', ended_at = :t where order_type = 'stop'",
        t=w.asof,
    )
    report = reconcile(w.store, w.broker, w.asof)
    [p] = open_positions(w.store)
    assert (p["live_exits"], p["covered"], report.unprotected) == (1, 0, ["AAPL"])
    monitor(w.store, w.broker, CYCLE, w.asof, w.config)
    assert open_positions(w.store)[0]["covered"] == 50
    assert live(w) == [("limit", 104, 50), ("stop", 98, 50)]


def test_guard_04_every_share_is_protected_or_a_person_is_called(held):
    w = held()
    w.paper.cancel(w.paper.orders()[0].legs[0].broker_order_id)
    w.broker = Flaky(w.paper, submit=["refuse"] * 9)
    for _ in range(5):
        reconcile(w.store, w.broker, w.asof)
        done = guard(w.store, w.broker, w.asof)
    assert done.alarms == ["AAPL"] and len(w.broker.sent) == 3
    assert (
        w.one("select severity from risk_events where event_type = 'unprotected'")["severity"]
        == "critical"
    )
    assert [o.order_class for o in w.broker.sent] == ["oco", "simple", "simple"]


def test_a_stop_that_the_market_has_passed_becomes_a_close(held):
    w = held(Path15(AAPL=[100, 100, 100, 100, 95, 95, 95, 95]))
    w.paper.cancel(w.paper.orders()[0].legs[0].broker_order_id)
    w.clock.move(w.asof + 3 * SLOT)
    w.paper.advance(w.asof)
    reconcile(w.store, w.broker, w.asof)
    guard(w.store, w.broker, w.asof)
    w.tick(1)
    p = w.one("select * from positions")
    assert (p["status"], p["close_reason"], w.paper.positions()) == ("closed", "stop_passed", [])


def test_guard_05_td05_an_exit_that_outlives_its_position_is_ended(held):
    "After one of two independent exits had filled, the other opened a position the other way"
    w = held()
    w.store.run(
        "update positions set status = 'closed', closed_at = :t, exit_price = 104, realized_pnl = 0, close_reason = 'x'",
        t=w.asof,
    )
    reconcile(w.store, w.broker, w.asof)
    assert (
        live(w) == []
        and w.store.value("select count(*) from risk_events where event_type = 'orphan'") == 1
    )


def test_guard_06_td06_a_ghost_is_closed_with_the_executions_that_prove_it(held):
    w = held()
    w.paper.cancel(w.paper.orders()[0].legs[0].broker_order_id)
    w.paper.submit(OrderRequest("by-hand", "AAPL", Side.SELL, D(50), Kind.MARKET, TimeInForce.DAY))
    w.clock.move(w.asof + SLOT)
    w.paper.advance(w.asof)
    report = reconcile(w.store, w.broker, w.asof)
    p = w.one("select * from positions")
    assert report.agrees and report.ghosts == ["AAPL"]
    sold = w.paper.order_by_client_id("by-hand").fills
    assert (p["status"], p["close_reason"], p["exit_price"], p["slippage"]) == (
        "closed",
        "closed elsewhere",
        sold[0].price,
        None,
    )
    assert p["realized_pnl"] == ((sold[0].price - p["entry_price"]) * 50).quantize(D("0.01"))
    assert reconcile(w.store, w.broker, w.asof).agrees


def test_guard_06_without_evidence_a_ghost_stays_and_is_told(held):
    w = held()
    w.paper.cancel(w.paper.orders()[0].legs[0].broker_order_id)
    w.paper.submit(OrderRequest("by-hand", "AAPL", Side.SELL, D(20), Kind.MARKET, TimeInForce.DAY))
    w.clock.move(w.asof + SLOT)
    w.paper.advance(w.asof)
    w.store.run(
        "delete from paper.fills where broker_order_id = (select broker_order_id from paper.orders where client_order_id <> 'by-hand' and parent_id is null)"
    )
    report = reconcile(w.store, w.broker, w.asof)
    assert (
        report.problems[0].startswith("quantity AAPL: ours 50, broker -20")
        and w.one("select status from positions")["status"] == "open"
    )


# ------------------------------------------------------------------------------------------------------------------------ held shares


def test_guard_22_td11_exits_that_hold_the_shares_are_cancelled_before_the_sale(held):
    "A winner could not be sold in nine tries, because an older order held its shares"
    w = held()
    [p] = open_positions(w.store)
    assert approve_close(w.store, p["position_id"], D(50), w.asof).approved
    assert not place_exits(w.store, w.broker, p, w.asof, "test", D(50), stop_price=D("98.00"))
    asked = Flaky(w.paper)
    assert close_position(w.store, asked, p["position_id"], w.asof, "by hand") == "closing"
    assert live(w) == [("market", None, 50)] and len(asked.sent) == 1
    assert w.store.value("select count(*) from orders where cancel_asked_at is not null") == 2


@pytest.mark.parametrize("day, flat", [("2025-08-13", "15:45"), ("2025-11-28", "12:45")])
def test_td12_flat_in_time_on_whole_and_half_days(day, flat):
    "The sales of the last five minutes were all cancelled; on half days nobody looked"
    times = [f"{h:02}:{m:02}" for h in range(9, 17) for m in (0, 15, 30, 45)]
    at = lambda t: datetime.fromisoformat(f"{day}T{t}:00-0{4 if day < '2025-11' else 5}:00")
    due = [t for t in times if must_be_flat(at(t), Config())]
    assert due == [flat]


# --------------------------------------------------------------------------------------------------------------------------- scale out

UP = dict(AAPL=[100, 100, 100, 100, 102.5, 103, 103, 103, 103])


def test_half_is_sold_at_one_r_and_the_rest_cannot_lose(held):
    w = held(Path15(**UP), ONE_R)
    w.tick(2)
    assert w.watch.scaled == ["AAPL"]
    w.tick(1)
    [p] = open_positions(w.store)
    assert (p["open_quantity"], p["covered"]) == (25, 25) and w.report.agrees
    assert live(w) == [("limit", 104, 25), ("stop", p["entry_price"], 25)]
    w.tick(1)
    assert (
        w.watch.scaled == []
        and w.store.value("select count(*) from orders where purpose = 'close'") == 1
    )


def test_scaling_out_is_off_unless_it_is_asked_for(held):
    w = held(Path15(**UP))
    w.tick(3)
    assert w.store.value("select count(*) from orders") == 3 and Config().scale_out_r == 0


@pytest.mark.parametrize("plan", [dict(submit=["kill before"]), dict(submit=["kill after"]), dict(submit=[None, "kill before"]),
                                  dict(submit=[None, "kill after"]), dict(cancel=["kill after"])])  # fmt: skip
def test_scaling_out_survives_a_crash_at_every_step(held, plan):
    w = held(Path15(**UP), ONE_R)
    w.tick(1)
    w.broker = Flaky(w.paper, **plan)
    with pytest.raises(Killed):
        w.tick(1)
    w.broker = w.paper
    reconcile(w.store, w.broker, w.asof)
    monitor(w.store, w.broker, CYCLE, w.asof, w.config)
    w.tick(2)
    [p] = open_positions(w.store)
    assert (p["open_quantity"], p["covered"]) == (25, 25) and w.report.agrees
    assert [b.quantity for b in w.paper.positions()] == [25]


def test_a_stop_is_never_moved_away_from_the_market(held):
    w = held(Path15(**UP), ONE_R)
    w.tick(3)
    [p] = open_positions(w.store)
    even = standing_stop(w.store, p)
    assert even == p["entry_price"] > 98
    assert not approve_exits(
        w.store, p["position_id"], D(25), w.asof, 99, stop_price=D("98.00")
    ).approved
    w.paper.cancel([o for o in w.paper.orders() if o.order_class == "oco"][0].broker_order_id)
    reconcile(w.store, w.broker, w.asof)
    assert protect(w.store, w.broker, open_positions(w.store)[0], w.asof, D(103))
    assert ("stop", even, 25) in live(w)


def test_a_trailing_stop_takes_the_place_of_both_exits(held):
    w = held(Path15(AAPL=[100, 100, 100, 100, 102, 103, 104, 101, 101, 101]), target="110.00")
    [p] = open_positions(w.store)
    assert trail(w.store, w.broker, p, D("1.50"), w.asof)
    assert [kind for kind, _, _ in live(w)] == ["trailing_stop"]
    w.tick(7)
    p = w.one("select * from positions")
    assert (p["status"], p["close_reason"]) == ("closed", "stop") and p["realized_pnl"] > 0


# --------------------------------------------------------------------------------------------------------------------------- closing


def test_guard_07_td07_td16_a_close_writes_slippage_fees_and_reason_at_once(held):
    w = held(Path15(**FALLING), Config({"commission_per_share": 0.01}))
    w.tick(5)
    p = w.one("select * from positions")
    fills = w.store.rows(
        "select f.price, f.quantity, f.side, o.intended_price from fills f join orders o using (order_id)"
    )
    cost = sum(
        (f["price"] - f["intended_price"]) * f["quantity"] * (1 if f["side"] == "buy" else -1)
        for f in fills
    )
    assert (p["status"], p["close_reason"], p["fees"]) == ("closed", "stop", 1)
    assert p["slippage"] == cost.quantize(D("0.01")) and p["r_multiple"] < 0


def test_td09_orders_are_rows_of_their_own(held):
    w = held()
    rows = w.store.rows("select purpose, position_id from orders order by order_id")
    assert [r["purpose"] for r in rows] == ["entry", "target", "stop"] and len(
        {r["position_id"] for r in rows}
    ) == 1


def test_td10_a_position_appears_with_its_first_fill_and_counts_every_share(world):
    w = world(Path15(AAPL=[100] * 27, volume=300))
    w.enter()
    assert w.store.value("select count(*) from positions") == 0
    w.tick(1)
    p = w.one("select quantity, entry_price from positions")
    assert p["quantity"] == 30 == w.paper.positions()[0].quantity and p["entry_price"] > 0


def test_td14_a_failed_booking_leaves_nothing_half_done(held, monkeypatch):
    w = held(Path15(**RISING))
    w.clock.move(w.asof + 6 * SLOT)
    w.paper.advance(w.asof)
    before = {
        t: w.store.rows(f"select * from {t} order by 1")
        for t in ("orders", "fills", "positions", "risk_approvals")
    }
    monkeypatch.setattr("catalyst.ledger.release", lambda *a: 1 / 0)
    assert "is not booked: ZeroDiv" in reconcile(w.store, w.broker, w.asof).problems[0]
    assert {t: w.store.rows(f"select * from {t} order by 1") for t in before} == before
    monkeypatch.undo()
    reconcile(w.store, w.broker, w.asof)
    assert w.one("select status from positions")["status"] == "closed"


# ------------------------------------------------------------------------------------------------------------------------- emergency


def test_guard_31_td14_an_emergency_stop_says_what_is_true(world):
    "A flag was set and success reported, while positions stayed open"
    w = world(Path15(AAPL=[100] * 27, MSFT=[50] * 27, NVDA=[20] * 27))
    w.enter()
    w.enter(symbol="MSFT", entry="50.10", stop="48.00", target="54.00")
    w.enter(symbol="NVDA", entry="19.00", stop="18.30", target="20.50")  # Rests
    w.tick(1)
    refuses = Flaky(w.paper)
    refuses._plan = {"submit": []}
    real = refuses.submit

    def submit(order):
        return (
            real(order)
            if order.symbol != "MSFT"
            else Flaky(w.paper, submit=["refuse"]).submit(order)
        )

    refuses.submit = submit
    done = {o.symbol: o for o in emergency_stop(w.store, refuses, w.asof, "test")}
    assert {s: o.said for s, o in done.items()} == {
        "NVDA": "cancelled",
        "AAPL": "closing",
        "MSFT": "failed",
    }
    assert done["MSFT"].why == "insufficient buying power" and done["MSFT"].left == 50
    assert not current(w.store, "replay", w.asof).may_enter
    w.tick(1)
    assert [p.symbol for p in w.paper.positions()] == ["MSFT"]
    [p] = open_positions(w.store)
    assert p["covered"] == 50  # What would not close is protected again
    with pytest.raises(AssertionError):
        assert w.decide(symbol="AAPL", setup="again").approved
    w.broker = w.paper
    assert [o.said for o in emergency_stop(w.store, w.paper, w.asof, "test")] == ["closing"]
    w.tick(1)
    assert w.paper.positions() == [] and emergency_stop(w.store, w.paper, w.asof, "test") == []


def test_guard_31_a_silent_broker_is_no_success(held):
    w = held()
    silent = Flaky(w.paper, positions=["lost"] * 9, cancel=["lost"] * 9)
    [o] = emergency_stop(w.store, silent, w.asof, "test")
    assert (o.said, o.left, o.over) == ("waiting", None, False)
    assert open_positions(w.store)[0]["covered"] == 50


def test_an_entry_that_was_approved_before_a_halt_is_not_sent(world):
    w = world()
    done = w.decide()
    emergency_stop(w.store, w.paper, w.asof, "test")
    row = enter(w.store, w.broker, done, w.asof)
    assert (row["status"], w.paper.orders()) == ("rejected", []) and row[
        "status_reason"
    ].startswith("halted")


# ------------------------------------------------------------------------------------------------------------------- one at a time


def test_two_passes_at_once_close_a_position_once(held):
    w = held()
    [p] = open_positions(w.store)
    asked = Flaky(w.paper)
    said = []
    close = lambda: said.append(close_position(w.store, asked, p["position_id"], w.asof, "by hand"))
    threads = [threading.Thread(target=close) for _ in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert said == ["closing"] * 4 and len(asked.sent) == 1


def test_the_right_to_act_is_given_back_and_waited_for_in_vain_with_a_word(held):
    w = held()
    told = []

    def other():
        try:
            with acting(w.store, 0.1):
                told.append("mine")
        except UnavailableError as e:
            told.append(str(e))

    def ask():
        t = threading.Thread(target=other)
        t.start(), t.join()

    with acting(w.store):
        ask()
    ask()
    assert told[0].startswith("trade: another pass has been acting") and told[1] == "mine"


# ------------------------------------------------------------------------------------------------- what others do meanwhile


def sold_by_hand(w, name="hand", quantity=50, side=Side.SELL):
    "A person ends what rests, trades at the broker, and a quarter of an hour passes"
    for m in (m for o in w.paper.orders() for m in (o, *o.legs) if not m.ended):
        with suppress(Refused):
            w.paper.cancel(m.broker_order_id)
    w.paper.submit(OrderRequest(name, "AAPL", side, D(quantity), Kind.MARKET, TimeInForce.DAY))
    w.clock.move(w.asof + SLOT)
    w.paper.advance(w.asof)


def unlisted(orders):
    "The orders of a broker that has not listed the executions of a person yet"
    return [replace(o, fills=()) if o.client_order_id == "hand" else o for o in orders]


CLOSE = TEN + 23 * SLOT  # 15:45


def test_guard_05_a_ghost_is_never_sold_and_is_booked_when_it_is_proven(held):
    "A person sells; his execution comes a pass late; the end of the day sold the shares again"
    w = held()
    sold_by_hand(w)
    w.broker = Flaky(w.paper, orders=[unlisted] * 2)
    w.jump(CLOSE)
    assert w.broker.sent == [] and w.watch.closing == {"AAPL": "waiting"}
    told = w.store.rows("select severity, message from risk_events where event_type = 'not_backed'")
    assert told == [{"severity": "critical", "message": "AAPL: the broker holds 0 of 50.0000"}]
    w.broker = w.paper
    w.jump(CLOSE + SLOT)
    assert w.paper.positions() == [] and w.one("select status from positions")["status"] == "closed"


def test_guard_05_a_ghost_without_proof_gets_no_stop_and_is_not_sold(held):
    "Sixty sold and ten bought prove nothing; exits that were put back would have opened a short"
    w = held()
    sold_by_hand(w)
    for name, side in (("hand-2", Side.BUY), ("hand-3", Side.SELL)):
        sold_by_hand(w, name, 10, side)
    w.broker = Flaky(w.paper)
    w.tick(2)
    w.jump(CLOSE)
    assert w.broker.sent == [] and "AAPL" in w.watch.alarms and live(w) == []


def test_guard_05_exits_that_protect_stay_when_the_broker_does_not_tell_its_positions(held):
    w = held()
    w.broker = Flaky(w.paper, positions=["lost"] * 9)
    [p] = open_positions(w.store)
    assert close_position(w.store, w.broker, p["position_id"], w.asof, "by hand") == "waiting"
    assert live(w) == [("limit", 104, 50), ("stop", 98, 50)] and w.broker.sent == []


def test_guard_05_a_close_is_not_sent_again_for_shares_that_are_gone(held):
    w = held()
    [p] = open_positions(w.store)
    w.broker = Flaky(w.paper, submit=["kill before"])
    with pytest.raises(Killed):
        close_position(w.store, w.broker, p["position_id"], w.asof, "by hand")
    sold_by_hand(w)
    w.broker = Flaky(w.paper, orders=[unlisted] * 2)
    report = reconcile(w.store, w.broker, w.asof)
    assert w.broker.sent == [] and report.sent == 0
    assert reconcile(w.store, w.paper, w.asof).ghosts == ["AAPL"] and w.paper.positions() == []


def test_guard_06_shares_are_not_adopted_where_we_have_traded_of_late(held):
    "A short position that we had made ourselves was adopted as somebody else's"
    w = held()
    sold_by_hand(w)
    reconcile(w.store, w.broker, w.asof)
    sold_by_hand(w, "hand-2", 5)
    report = reconcile(w.store, w.broker, w.asof)
    assert report.foreign == [] and report.problems[0] == "foreign AAPL: ours 0, broker -5"


# --------------------------------------------------------------------------------------------------------- what is not seen


SILENT = dict(submit=["reply lost"], order_by_client_id=[lambda o: None] * 9, orders=[lambda o: []])


def test_guard_31_a_halt_after_the_slot_stops_its_entries(world):
    "Forty seconds after the slot somebody pulls the plug; the slot is still deciding"
    w = world()
    before = w.decide()
    emergency_stop(w.store, w.paper, w.asof + timedelta(seconds=40), "test")
    assert enter(w.store, w.broker, before, w.asof)["status"] == "rejected"
    assert not w.decide(symbol="MSFT", setup="after").approved and w.paper.orders() == []


def test_guard_31_an_entry_without_an_answer_is_no_empty_account(world):
    w = world()
    w.broker = Flaky(w.paper, **SILENT)
    w.enter()
    w.clock.move(w.asof + timedelta(seconds=5))
    [told] = emergency_stop(w.store, w.broker, w.asof, "test")
    assert (told.symbol, told.said, told.over) == ("AAPL", "alive", False)
    report = reconcile(w.store, w.paper, w.asof + timedelta(minutes=1))
    assert report.problems == [] and live(w) == [] and w.statuses()["entry"] == "canceled"


def test_guard_05_an_unknown_order_is_dead_after_minutes_and_not_at_once(world):
    w = world()
    plan = SILENT | {"orders": [lambda o: []] * 9}
    w.broker = Flaky(w.paper, **plan)
    w.enter()
    set_state(w.store, "replay", "reducing", "stale_data", "x", "rules", w.asof)
    found = []
    for seconds in (1, 60, 130):
        report = reconcile(w.store, w.broker, TEN + timedelta(seconds=seconds))
        found.append((report.lapsed, w.statuses()["entry"], len(report.problems)))
    assert found == [(0, "unknown", 1), (0, "unknown", 1), (1, "expired", 1)]


def given_up(w):
    "An entry that was sent, is alive with both exits, and has ended in our books"
    w.broker = Flaky(w.paper, submit=["kill after"])
    with pytest.raises(Killed):
        w.enter()
    w.restart(order_by_client_id=[lambda o: None] * 3, orders=[lambda o: []])
    w.clock.move(w.asof + timedelta(minutes=16))
    reconcile(w.store, w.broker, w.asof)
    w.broker = w.paper
    assert set(w.statuses().values()) == {"expired"}


def test_guard_04_the_exits_of_an_order_that_came_back_are_ended_and_replaced(world):
    "They held the shares: no stop could be placed and nothing sold, for the rest of the day"
    w = world()
    given_up(w)
    w.tick(2)
    [p] = open_positions(w.store)
    assert p["covered"] == 50 and live(w) == [("limit", 104, 50), ("stop", 98, 50)]
    w.jump(CLOSE)
    w.jump(CLOSE + SLOT)
    assert w.paper.positions() == [] and w.watch.alarms == []


def test_guard_08_no_entry_while_an_earlier_one_is_unresolved(world):
    w = world()
    given_up(w)
    w.paper.cancel(w.paper.orders()[0].broker_order_id)
    row = w.enter(setup="two")
    assert row["status_reason"] == "nobody knows what became of an earlier entry"
    assert len(w.paper.orders()) == 1


def test_td14_an_order_that_cannot_be_booked_does_not_keep_the_others_from_it(world, monkeypatch):
    "A second open position in one security ended every pass with an exception, for ever"
    w = world(Path15(AAPL=[100] * 27, MSFT=[50] * 27))
    given_up(w)
    monkeypatch.setattr("catalyst.trade.no_entry", lambda *a: None)
    w.enter(setup="two")
    w.enter(symbol="MSFT", entry="50.10", stop="48.00", target="54.00")
    w.tick(2)
    assert any("positions_one_open" in p for p in w.report.problems) and not w.report.agrees
    assert {p["symbol"]: p["covered"] for p in open_positions(w.store)}["MSFT"] == 50
    w.tick(1)
    event = w.one("select severity from risk_events where event_type = 'not_booked' limit 1")
    assert event["severity"] == "critical"


@pytest.mark.parametrize("what", ["legs", "order"])
def test_guard_04_an_exit_that_the_broker_does_not_show_protects_nobody(held, what):
    w = held()
    bare = lambda orders: [replace(o, legs=()) if what == "legs" else o for o in orders]
    shown = (lambda orders: []) if what == "order" else bare
    one = lambda o: None if what == "order" else replace(o, legs=())
    w.broker = Flaky(w.paper, orders=[shown] * 9, order_by_client_id=[one] * 9)
    report = reconcile(w.store, w.broker, w.asof)
    assert "the broker has no" in report.problems[0] and report.unprotected == ["AAPL"]
    assert open_positions(w.store)[0]["claimed"] == 50
    reconcile(w.store, w.broker, w.asof + timedelta(minutes=3))
    w.broker = w.paper
    reconcile(w.store, w.broker, w.asof + timedelta(minutes=4))
    assert guard(w.store, w.broker, w.asof + timedelta(minutes=4)).alarms == []
    assert live(w) == [("limit", 104, 50), ("stop", 98, 50)]
    assert open_positions(w.store)[0]["covered"] == 50


def test_guard_04_an_exit_that_is_shown_again_protects_again(held):
    w = held()
    w.broker = Flaky(w.paper, orders=[lambda o: []], order_by_client_id=[lambda o: None])
    assert reconcile(w.store, w.broker, w.asof).unprotected == ["AAPL"]
    report = reconcile(w.store, w.broker, w.asof + timedelta(minutes=9))
    assert (report.agrees, report.unprotected, len(w.broker.sent)) == (True, [], 0)


def test_guard_03_an_order_that_differs_is_cancelled_until_it_ends(world):
    w = world()
    more = SimpleNamespace(**{n: getattr(w.paper, n) for n in ("order_by_client_id", "orders")})
    more.submit = lambda order: w.paper.submit(replace(order, quantity=D(70)))
    more.cancel = Flaky(w.paper, cancel=["lost"] * 13).cancel
    more.positions, more.account = w.paper.positions, w.paper.account
    w.broker = more
    w.enter(entry="95.00", stop="93.00", target="99.00", life=300)
    report = reconcile(w.store, more, w.asof)
    assert report.problems == [
        f"AAPL: {w.paper.orders()[0].client_order_id} should have ended, and lives"
    ]
    assert reconcile(w.store, more, w.asof).problems == [] and live(w) == []


def test_guard_22_an_entry_that_would_not_end_is_an_alarm_and_no_success(world):
    w = world()
    w.enter(entry="95.00", stop="93.00", target="99.00", life=900)
    w.broker = Flaky(w.paper, cancel=["lost"] * 9)
    w.jump(CLOSE)
    assert (w.watch.cancelled, w.watch.alarms) == ([], ["AAPL"])
    assert (
        w.store.value("select severity from risk_events where event_type = 'entry_stuck'")
        == "critical"
    )
    w.broker = w.paper
    assert reconcile(w.store, w.broker, w.asof).problems == [] and live(w) == []


# ------------------------------------------------------------------------------------------------------------ marks and ticks


def test_guard_09_a_silent_broker_erases_no_mark(held):
    w = held(Path15(AAPL=[100, 100, 100, 100, 98.5, 98.5, 98.5]))
    w.tick(4)
    marks = w.one("select last_price, unrealized_pnl from positions")
    assert marks["unrealized_pnl"] < 0
    w.broker = Flaky(w.paper, positions=[None, "lost"])
    w.tick(1)
    assert w.one("select last_price, unrealized_pnl from positions") == marks


def test_guard_04_a_trail_between_two_ticks_can_be_put_back(held):
    "never_widen refused the stop for three tenths of a cent, and the position stayed bare"
    w = held(
        Path15(AAPL=[100, 100, 100, 100, 101, 102, 103, 104, 106, *[106.123] * 7]), target="112.00"
    )
    w.tick(2)
    assert trail(w.store, w.broker, open_positions(w.store)[0], D("1.50"), w.asof)
    w.jump(w.asof + 8 * SLOT)
    [o] = [o for o in w.paper.orders() if not o.ended]
    w.paper.cancel(o.broker_order_id)
    w.tick(1)
    assert w.watch.alarms == [] and open_positions(w.store)[0]["covered"] == 50
    assert ("stop", D("104.63"), 50) in live(w)


def test_a_trail_for_shares_that_a_close_has_claimed_is_refused(held):
    "Found by the campaign: an approval for no share at all ended the pass"
    w = held()
    [p] = open_positions(w.store)
    assert close_position(w.store, w.broker, p["position_id"], w.asof, "by hand") == "closing"
    assert not trail(w.store, w.broker, open_positions(w.store)[0], D("1.50"), w.asof)
    assert live(w) == [("market", None, 50)]


def test_guard_04_a_trail_that_is_refused_leaves_nothing_bare(held):
    "Found by the campaign: the exits were cancelled first, and the wider trail was refused after"
    w = held()
    [p] = open_positions(w.store)
    assert not trail(w.store, w.broker, p, D("9.00"), w.asof)
    assert live(w) == [("limit", 104, 50), ("stop", 98, 50)]


def called(w):
    "What a person was called for"
    sql = "select event_type from risk_events where severity = 'critical' order by event_id"
    return [r["event_type"] for r in w.store.rows(sql)]


def test_guard_22_an_exit_that_was_asked_to_end_protects_nobody(held):
    "Found by the campaign: cancels that were confirmed after the look left shares bare, and only a warning"
    w = held()
    [p] = open_positions(w.store)
    w.broker = Flaky(w.paper, cancel=["lost"] * 20)
    assert not trail(w.store, w.broker, p, D("1.50"), w.asof)
    [left] = open_positions(w.store)
    assert (left["covered"], left["claimed"]) == (0, 50)
    assert called(w) == ["exits_stuck", "unprotected"]
    assert reconcile(w.store, w.paper, w.asof).unprotected == ["AAPL"]
    assert guard(w.store, w.paper, w.asof).protected == ["AAPL"]
    assert live(w) == [("limit", 104, 50), ("stop", 98, 50)] and w.tick().unprotected == []


@pytest.mark.parametrize("act", ["trail", "close", "scale_out"])
def test_guard_04_exits_that_made_way_for_an_order_without_an_answer_call_a_person(held, act):
    "Found by the campaign: the trailing stop had no answer, and nobody was told"
    w = held()
    [p] = open_positions(w.store)
    w.broker = Flaky(w.paper, submit=["lost"] * 9)
    if act == "trail":
        assert not trail(w.store, w.broker, p, D("1.50"), w.asof)
    elif act == "close":
        close_position(w.store, w.broker, p["position_id"], w.asof, "by hand")
    else:
        assert scale_out(w.store, w.broker, p, D(150), w.asof, ONE_R)
    assert "unprotected" in called(w) and live(w) == []


def test_guard_06_an_exit_without_an_answer_ends_when_its_shares_are_gone(held):
    "Found by the campaign: a person had sold, and the exit waited for ever; silence proves nothing"
    w = held()
    [p] = open_positions(w.store)
    trail(w.store, Flaky(w.paper, submit=["lost"]), p, D("1.50"), w.asof)
    sold_by_hand(w)
    began = w.asof
    for minutes, silent, ended in [(0, True, 0), (5, True, 0), (6, False, 0), (9, False, 1)]:
        asof = began + timedelta(minutes=minutes)
        says = {"positions": ["lost"] * 9} if silent else {}
        reconcile(w.store, Flaky(w.paper, orders=[unlisted] * 2, **says), asof)
        left = w.store.value("select count(*) from orders where ended_at is null")
        assert left == 1 - ended, minutes


def test_guard_04_an_exit_that_never_arrived_is_sent_again_though_its_end_was_asked_for(held):
    w = held()
    [p] = open_positions(w.store)
    mute = Flaky(w.paper, submit=["lost"])
    trail(w.store, mute, p, D("1.50"), w.asof)
    assert not protect(w.store, mute, open_positions(w.store)[0], w.asof)
    assert w.store.value("select cancel_asked_at from orders where ended_at is null") == w.asof
    assert reconcile(w.store, w.paper, w.asof).sent == 1
    assert open_positions(w.store)[0]["covered"] == 50 and len(live(w)) == 1


def test_guard_22_an_entry_whose_end_was_asked_for_is_not_sent_after_a_crash(world):
    w = world()
    w.broker = Flaky(w.paper, submit=["lost"])
    row = w.enter()
    assert not cancel_order(w.store, w.broker, row["order_id"], w.asof)
    w.broker = Flaky(w.paper)
    for minutes in (0, 1, 2):
        reconcile(w.store, w.broker, w.asof + timedelta(minutes=minutes))
    assert w.broker.sent == [] and set(w.statuses().values()) == {"expired"}


def test_guard_04_a_trail_that_has_passed_the_target_is_put_back_without_it(held):
    "Found by the campaign: a pair with its target behind its stop was an error, and ended every pass"
    w = held(Path15(AAPL=[100, 100, 100, 100, 101, 102, 103, 104, 108, *[108] * 7]))
    w.tick(2)
    w.store.run("update positions set target_price = 112")
    assert trail(w.store, w.broker, open_positions(w.store)[0], D("1.50"), w.asof)
    w.store.run("update positions set target_price = 104")
    w.jump(w.asof + 8 * SLOT)
    trailing = w.store.value("select order_id from orders where ended_at is null")
    assert cancel_order(w.store, w.broker, trailing, w.asof)
    w.tick(1)
    assert w.watch.alarms == [] and [k for k, _, _ in live(w)] == ["stop"]


@pytest.mark.parametrize("step", ["protect", "close", "drop", "stop"])
def test_td14_a_position_that_cannot_be_watched_does_not_keep_the_others_from_it(
    held, step, monkeypatch
):
    "Found by the campaign: an error about one position ended the pass, and the others had no exits"
    rests = {"entry": "90.10", "stop": "88.00", "target": "95.00"} if step == "drop" else {}
    w = held(Path15(AAPL=[100] * 27, MSFT=[100] * 27), **rests)
    w.enter(symbol="MSFT", **rests)
    w.tick(1)
    act = {"protect": "protect", "close": "close_position", "drop": "cancel_order"}.get(step)
    place = "catalyst.exits" if step == "protect" else "catalyst.watch"
    seen = []
    assert len(open_positions(w.store)) == (0 if rests else 2)

    def broken(store, broker, about, *rest):
        seen.append(about)
        raise ValueError("odd")

    if step == "stop":
        monkeypatch.setattr("catalyst.emergency.close_position", broken)
        done = emergency_stop(w.store, w.broker, w.asof, "test", "replay")
        assert [(o.said, o.symbol) for o in done] == [("failed", "AAPL"), ("failed", "MSFT")]
        return
    if step == "protect":
        for o in w.paper.orders():
            for m in (o, *o.legs):
                if not m.ended:
                    with suppress(Refused):
                        w.paper.cancel(m.broker_order_id)
    monkeypatch.setattr(f"{place}.{act}", broken)
    w.jump({"close": CLOSE, "drop": w.asof + 5 * SLOT}.get(step, w.asof + SLOT))
    assert {"AAPL", "MSFT"} == set(w.watch.alarms) and len(seen) == 2
    kind = "not_guarded" if step == "protect" else "not_watched"
    assert called(w).count(kind) == 2
