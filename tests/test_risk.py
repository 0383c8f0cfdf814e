"The gate: one transaction, one place for the last slot, and a database that refuses the rest"

import ast
import inspect
import json
import multiprocessing
import os
from collections import Counter
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy.exc import DBAPIError
from test_limits import HOUR, TEN, proposal

import catalyst
from catalyst import risk, states
from catalyst.account import correlations, foreign, note_halt, note_resumption
from catalyst.config import Config
from catalyst.core import ENTRY_SIDE, EXIT_SIDE, CatalystError, InputError, PositionSide
from catalyst.limits import check
from catalyst.ports import Account, BrokerPosition
from catalyst.proposals import Book, Facts, Holding, Proposal, RiskState
from catalyst.risk import (
    approve,
    approve_close,
    approve_exits,
    correlation,
    holdings,
    order_hash,
    read_book,
    release,
    validate,
)
from catalyst.schema import scratch_store
from catalyst.store import Store

D = Decimal
CYCLE = "20250813-replay"
CHECKS = 33


def book(**more):
    values = dict(asof=TEN, equity=D(100_000), buying_power=D(100_000), peak_equity=D(100_000))
    return Book(**values | more)


def failing(p, b):
    return {c.name for c in check(p, b, Config()) if c.verdict == "refused"}


def reasons(decision):
    return [c["name"] for c in decision.checks if c["verdict"] == "refused"]


@pytest.fixture(scope="module")
def database():
    with scratch_store() as store:
        yield store


@pytest.fixture
def desk(database):
    "The database of this file, emptied, with one cycle"
    database.run(
        "truncate trading_cycles, risk_events, risk_states, security_halts, foreign_positions restart identity cascade"
    )
    database.run(NEW_CYCLE, c=CYCLE, d="2025-08-13", t=TEN)
    return database


NEW_CYCLE = """insert into trading_cycles (cycle_id, session, world, started_at) values (:c, :d, 'replay', :t)"""


def ids(store, *symbols):
    return [store.value("select get_or_create_security(:s)", s=s) for s in symbols]


def known(store, *symbols, **more):
    found = ids(store, *symbols)
    facts = {i: Facts(f"Sector {i}", True, TEN, None, {j: 0.0 for j in found}) for i in found}
    return book(facts=facts, state=RiskState.ACTIVE, **more), found


def _ask(url, start, answers, security_id, b):
    "One process of the race: a store and a connection of its own"
    store = Store(url)
    p = proposal(security_id=security_id, symbol=f"S{security_id}", quantity=D(10))
    start.wait(60)
    try:
        done = approve(store, CYCLE, None, p, b, Config({"max_positions": 1}))
        answers.put((str(done.verdict), reasons(done)))
    except Exception as e:  # the parent must not wait for ever
        answers.put((f"{type(e).__name__}: {e}", []))
    store.close()


def test_rk06_and_guard_09_processes_race_for_the_last_place_and_one_gets_it(desk):
    "Twelve at once in every run, fifty with CATALYST_LONG"
    n = 50 if os.environ.get("CATALYST_LONG") else 12
    b, found = known(desk, *[f"T{i:02}" for i in range(n)])
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Barrier(n), fork.Queue()
    racers = [fork.Process(target=_ask, args=(desk.url, start, answers, i, b)) for i in found]
    [p.start() for p in racers]
    got = [answers.get(timeout=120) for _ in racers]
    [p.join(60) for p in racers]
    assert Counter(v for v, _ in got) == {"approved": 1, "refused": n - 1}, got
    assert all(why == ["positions"] for v, why in got if v == "refused")
    sql = "select verdict, count(*) as n from risk_approvals where purpose = 'entry' group by 1"
    assert {r["verdict"]: r["n"] for r in desk.rows(sql)} == {"approved": 1, "refused": n - 1}
    assert (
        desk.value("select count(*) from risk_events where event_type = 'entry_refused'") == n - 1
    )
    assert len(holdings(desk, TEN)) == 1


def test_rk05_cycles_that_multiply_share_the_places(desk):
    "The earlier system counted per cycle and held 36 positions where five were allowed"
    b, found = known(desk, *"ABCDEFGH")
    approved = 0
    for day, sid in enumerate(found):
        cycle = f"2025080{day + 1}-replay"
        desk.run(NEW_CYCLE, c=cycle, d=f"2025-08-0{day + 1}", t=TEN)
        p = proposal(security_id=sid, symbol=f"S{sid}", quantity=D(10))
        approved += approve(desk, cycle, None, p, b, Config()).approved
    assert approved == Config().max_positions == len(holdings(desk, TEN))


def test_guard_08_a_security_is_entered_once_whatever_the_cycle(desk):
    other = "20250814-replay"
    desk.run(
        "insert into trading_cycles (cycle_id, session, world, started_at) values (:c, '2025-08-14', 'replay', :t)",
        c=other,
        t=TEN,
    )
    b, [sid] = known(desk, "QUBT")
    first = approve(desk, CYCLE, None, proposal(security_id=sid, quantity=D(10)), b, Config())
    again = approve(
        desk, other, None, proposal(security_id=sid, quantity=D(10), setup="other"), b, Config()
    )
    assert first.approved and not again.approved
    assert reasons(again) == ["duplicate"]


def test_asking_twice_gives_the_first_answer_and_no_rows(desk):
    b, [sid] = known(desk, "AAPL")
    p = proposal(security_id=sid)
    first = approve(desk, CYCLE, None, p, b, Config())
    counts = lambda: [
        desk.value(f"select count(*) from {t}") for t in ("risk_approvals", "risk_events")
    ]
    before = counts()
    later = replace(b, asof=TEN + timedelta(minutes=5), equity=D(1))
    assert approve(desk, CYCLE, None, replace(p, quantity=D(1)), later, Config()) == first
    assert counts() == before == [3, 0]


def test_an_approval_brings_its_exits_with_exact_prices(desk):
    b, [sid] = known(desk, "AAPL")
    for side, (stop, target) in {
        PositionSide.LONG: ("173.00", "180.00"),
        PositionSide.SHORT: ("178.00", "171.00"),
    }.items():
        done = approve(
            desk,
            CYCLE,
            None,
            proposal(
                security_id=sid,
                side=side,
                setup=str(side),
                stop_price=D(stop),
                target_price=D(target),
            ),
            b,
            Config(),
        )
        rows = desk.rows(
            "select * from risk_approvals where parent_approval_id = :a or approval_id = :a order by approval_id",
            a=done.approval_id,
        )
        shape = [
            (
                r["purpose"],
                r["side"],
                r["order_type"],
                r["limit_price"],
                r["stop_price"],
                r["quantity"],
            )
            for r in rows
        ]
        enter_, leave = ENTRY_SIDE[side], EXIT_SIDE[side]
        assert shape == [
            ("entry", enter_, "limit", D("175.50"), None, 50),
            ("target", leave, "limit", D(target), None, 50),
            ("stop", leave, "stop", None, D(stop), 50),
        ]
        assert rows[0]["expires_at"] == TEN + timedelta(minutes=15) and rows[2][
            "expires_at"
        ] > TEN + timedelta(days=80)
        assert rows[0]["risk_amount"] == 125 and len({r["order_hash"] for r in rows}) == 3
        release(desk, done.approval_id, TEN)


def test_a_refusal_is_stored_with_all_its_numbers(desk):
    b, [sid] = known(desk, "AAPL")
    done = approve(desk, CYCLE, None, proposal(security_id=sid, quantity=D(100)), b, Config())
    row = desk.rows("select * from risk_approvals where approval_id = :a", a=done.approval_id)[0]
    assert row["verdict"] == "refused" and len(row["checks"]) == CHECKS
    assert {
        "name": "position_value",
        "value": 17550.0,
        "limit": 10000.0,
        "unit": "dollars",
        "verdict": "refused",
        "note": "",
    } in row["checks"]
    assert row["snapshot"]["proposal"]["quantity"] == 100.0 and "17550" in desk.value(
        "select message from risk_events"
    )
    assert holdings(desk, TEN) == ()


def test_reservations_count_until_they_lapse_or_are_released(desk):
    b, [sid] = known(desk, "AAPL")
    done = approve(desk, CYCLE, None, proposal(security_id=sid), b, Config())
    [h] = holdings(desk, TEN + timedelta(minutes=15))
    assert (h.security_id, h.value, h.risk, h.reserved) == (sid, 8775, 125, True)
    assert holdings(desk, TEN + timedelta(minutes=16)) == () and holdings(desk, TEN - HOUR) == ()
    assert release(desk, done.approval_id, TEN) and not release(desk, done.approval_id, TEN)
    assert holdings(desk, TEN) == ()


def position(store, sid, key="p1", status="open", pnl=None, closed=None, quantity=100, side="long"):
    done = status == "closed"
    return store.value(
        """insert into positions (position_key, cycle_id, security_id, side, quantity, open_quantity, entry_price, stop_price, risk_amount, status, opened_at,
           closed_at, exit_price, realized_pnl, close_reason) values (:k, :c, :s, :d, :q, :o, 50, 49, 100, :st, :t, :cl, :x, :r, :w) returning position_id""",
        k=key, c=CYCLE, s=sid, d=side, q=quantity, o=0 if done else quantity, st=status, t=TEN - HOUR, cl=closed, x=D(50) if done else None,
        r=pnl, w="stop" if done else None,
    )  # fmt: skip


def test_rk11_and_guard_30_a_close_is_asked_one_question_and_no_limit_blocks_it(desk):
    [sid] = ids(desk, "AAPL")
    pid = position(desk, sid)
    night = TEN + 14 * HOUR
    states.halt(desk, "replay", "the feed is wrong", "ada", TEN)
    done = approve_close(desk, pid, D(100), night)
    row = desk.rows("select * from risk_approvals where approval_id = :a", a=done.approval_id)[0]
    assert done.approved and (row["side"], row["purpose"], row["order_type"]) == (
        "sell",
        "close",
        "market",
    )
    assert approve_close(desk, pid, D(100), night) == done
    assert not approve_close(desk, pid, D(101), night, attempt=2).approved
    with pytest.raises(InputError, match="position"):
        approve_close(desk, 999, D(1), night)
    gone = position(desk, ids(desk, "MSFT")[0], "p2", "closed", D(-5), TEN)
    assert not approve_close(desk, gone, D(100), night).approved
    assert (
        "config" not in inspect.signature(approve_close).parameters
        and "book" not in inspect.signature(approve_close).parameters
    )


def test_a_shorts_protection_is_bought(desk):
    pid = position(desk, ids(desk, "AEO")[0], side="short")
    done = approve_close(desk, pid, D(100), TEN, stop_price=D("52.00"))
    row = desk.rows("select * from risk_approvals where approval_id = :a", a=done.approval_id)[0]
    assert (row["side"], row["purpose"], row["stop_price"]) == ("buy", "stop", 52)


ACCOUNT = Account("paper", D(95_000), D(98_000), D(60_000), TEN, True)


def test_rk04_results_count_by_the_day_of_the_close(desk):
    found = ids(desk, "A", "B", "C", "D", "E")
    yesterday = TEN - timedelta(days=1)
    for sid, key, pnl, closed in zip(
        found,
        "vwxyz",
        (-900, 500, -100, -200, -300),
        (yesterday, TEN - HOUR / 2, TEN - HOUR / 3, TEN, TEN + HOUR),
    ):
        position(desk, sid, key, "closed", D(pnl), closed)
    b = read_book(desk, ACCOUNT, [], found, TEN)
    assert (b.realized, b.losses_in_a_row) == (200, 2)
    assert b.peak_equity == 98_000 + 700
    assert b.equity == 98_000


def test_guard_06_books_that_differ_stop_entries(desk):
    sid, other = ids(desk, "AAPL", "MSFT")
    position(desk, sid)
    b = read_book(desk, ACCOUNT, [BrokerPosition("MSFT", D(7), D(10), None, None)], [other], TEN)
    assert b.disagreements == ("ghost AAPL: ours 100, broker 0", "foreign MSFT: ours 0, broker 7")
    assert "books" in failing(proposal(security_id=other), b)
    agreed = read_book(
        desk, ACCOUNT, [BrokerPosition("AAPL", D(100), D(50), D(51), D(100))], [other], TEN
    )
    assert agreed.disagreements == ()


def test_the_book_knows_nothing_of_the_future(desk):
    a, b = ids(desk, "AAPL", "MSFT")
    position(desk, b)
    ts = pd.date_range("2025-08-11 13:30", periods=200, freq="15min", tz="UTC", unit="us")
    wave = pd.Series(range(200)).mod(7).add(100.0)
    frame = pd.concat(
        {
            i: pd.DataFrame(
                {"close": (wave * i).to_numpy(), "available_at": ts + pd.Timedelta("15min")},
                index=ts,
            )
            for i in (a, b)
        },
        names=["security_id", "ts"],
    )
    wild = frame.assign(close=frame.close.where(frame.available_at <= TEN, 1.0))
    quotes = pd.DataFrame({"symbol": ["AAPL"], "bid": [99.0], "ask": [101.0], "ts": [TEN]})
    held_ = [BrokerPosition("MSFT", D(100), D(50), D(51), D(100))]
    one, two = (read_book(desk, ACCOUNT, held_, [a], TEN, f, quotes) for f in (frame, wild))
    assert one == two and one.of(a).bar_at == TEN and one.of(a).spread_pct == D("0.02")
    assert one.of(a).correlations[b] == pytest.approx(1.0)
    assert correlation(frame, a, b, ts[50]) is None
    crossed = quotes.assign(ask=98.0)
    assert read_book(desk, ACCOUNT, held_, [a], TEN, frame, crossed).of(a).spread_pct is None


def test_validate_answers_everything_and_writes_nothing(desk):
    b, [sid] = known(desk, "AAPL")
    tables = ("risk_approvals", "risk_events", "risk_states", "orders")
    count = lambda: [desk.value(f"select count(*) from {t}") for t in tables]
    before = count()
    answers = validate(proposal(security_id=sid, quantity=D(100)), b, Config())
    assert len(answers) == CHECKS and count() == before == [0, 0, 0, 0]
    done = approve(desk, CYCLE, None, proposal(security_id=sid, quantity=D(100)), b, Config())
    assert [c["name"] for c in done.checks] == [c.name for c in answers]
    assert (
        reasons(done) == [c.name for c in answers if c.verdict == "refused"] == ["position_value"]
    )


def test_a_decision_can_be_repeated_from_its_snapshot(desk):
    b, [sid, other] = known(desk, "AAPL", "MSFT", market_move=D("-0.01"))
    approve(
        desk, CYCLE, None, proposal(security_id=other, symbol="MSFT", quantity=D(5)), b, Config()
    )
    done = approve(desk, CYCLE, None, proposal(security_id=sid, quantity=D(100)), b, Config())
    sql = "select snapshot, checks from risk_approvals where approval_id = :a"
    [row] = desk.rows(sql, a=done.approval_id)
    exact = lambda x: D(str(x)) if isinstance(x, float) else x
    plain = lambda d: {k: exact(v) for k, v in d.items()}
    at = lambda d, *names: {n: datetime.fromisoformat(d[n]) for n in names}
    told, seen, of = row["snapshot"]["proposal"], row["snapshot"]["book"], row["snapshot"]["facts"]
    p = Proposal(
        **plain(told) | at(told, "decided_at", "expires_at") | {"side": PositionSide(told["side"])}
    )
    pairs = {int(k): v for k, v in of["correlations"].items()}
    facts = Facts(**plain(of) | at(of, "bar_at") | {"correlations": pairs})
    held_ = tuple(Holding(**plain(h)) for h in seen["holdings"])
    again = Book(**plain(seen) | at(seen, "asof") | {"holdings": held_, "facts": {sid: facts}})
    assert len(held_) == 1 and {f.name for f in fields(Book)} == set(seen)
    plainly = json.loads(json.dumps([asdict(c) for c in check(p, again, Config())], default=float))
    numbers = lambda checks: [{k: v for k, v in c.items() if k != "note"} for c in checks]
    assert numbers(plainly) == numbers(row["checks"]) and reasons(done) == ["position_value"]


def test_the_hash_proves_the_words_of_the_order_that_was_stored(desk):
    b, [sid] = known(desk, "AAPL")
    done = approve(desk, CYCLE, None, proposal(security_id=sid), b, Config())
    desk.run(ORDER, name="o", approval=done.approval_id, cycle=CYCLE, sid=sid, purpose="entry", side="buy",
             kind="limit", quantity=50, limit=D("175.50"), at=TEN)  # fmt: skip
    [row] = desk.rows(
        "select o.*, a.order_hash from orders o join risk_approvals a using (approval_id)"
    )
    assert order_hash(row) == row["order_hash"] and len(row["order_hash"]) == 64
    for change in (
        {"quantity": D(49)},
        {"limit_price": D("175.49")},
        {"side": "sell"},
        {"trail_price": D(1)},
    ):
        assert order_hash(row | change) != row["order_hash"]


def test_rk03_an_event_that_cannot_be_written_takes_the_decision_with_it(desk):
    "The earlier system swallowed the error and went on"
    b, [sid] = known(desk, "AAPL")
    desk.run("alter table risk_events add constraint deaf check (event_type <> 'entry_refused')")
    try:
        with pytest.raises((DBAPIError, CatalystError)):
            approve(desk, CYCLE, None, proposal(security_id=sid, quantity=D(100)), b, Config())
    finally:
        desk.run("alter table risk_events drop constraint deaf")
    assert desk.value("select count(*) from risk_approvals") == 0


def test_rk10_a_cycle_is_its_text_everywhere(desk):
    b, [sid] = known(desk, "AAPL")
    for wrong in (20250813, "20250813", ""):
        with pytest.raises(InputError, match="cycle"):
            approve(desk, wrong, None, proposal(security_id=sid), b, Config())
    assert desk.value("select count(*) from risk_approvals") == 0
    done = approve(desk, CYCLE, None, proposal(security_id=sid), b, Config())
    assert done.approved and done.approval_key.startswith(f"{CYCLE}/AAPL/")


def test_a_state_that_changes_after_the_book_was_read_is_seen(desk):
    b, [sid, other] = known(desk, "AAPL", "MSFT")
    assert approve(desk, CYCLE, None, proposal(security_id=sid), b, Config()).approved
    states.halt(desk, "replay", "the feed is wrong", "ada", TEN)
    p = proposal(security_id=other, symbol="MSFT", quantity=D(5))
    done = approve(desk, CYCLE, None, p, b, Config())
    assert reasons(done) == ["state"] and b.state == "active"
    away = replace(b, state=RiskState.HALTED)
    states.resume(
        desk, "replay", "the feed is right", "ada", TEN + timedelta(minutes=1), Path("/nowhere")
    )
    later = replace(p, decided_at=TEN + timedelta(minutes=1))
    again = approve(
        desk, CYCLE, None, later, replace(away, asof=TEN + timedelta(minutes=1)), Config()
    )
    assert again.approved, "the state in the book is not the one that counts"


def test_guard_31_a_close_that_is_not_possible_says_so(desk):
    [sid] = ids(desk, "AAPL")
    gone = position(desk, sid, "p2", "closed", D(-5), TEN)
    done = approve_close(desk, gone, D(100), TEN + HOUR)
    assert not done.approved and reasons(done) == ["position_open", "close_quantity"]
    assert desk.value("select count(*) from risk_approvals where verdict = 'approved'") == 0


# ---------------------------------------------------------------------------------------------------------------------- exits


def exits_of(store, decision):
    sql = """select purpose, side, order_type, quantity, limit_price, stop_price, trail_price, verdict
             from risk_approvals where approval_id = :a or parent_approval_id = :a order by approval_id"""
    return [tuple(r.values()) for r in store.rows(sql, a=decision.approval_id)]


def stopped_at(store, symbol="AAPL", side="long", stop="173.00", last="178.00"):
    pid = position(store, ids(store, symbol)[0], f"p-{symbol}", side=side)
    store.run(
        "update positions set stop_price = :s, last_price = :l, entry_price = 175.50 where position_id = :p",
        s=D(stop), l=last and D(last), p=pid,
    )  # fmt: skip
    return pid


def test_every_kind_of_exit_has_its_approval(desk):
    pid = stopped_at(desk)
    ask = lambda n, **prices: approve_exits(
        desk, pid, D(60), TEN, n, **{k: D(v) for k, v in prices.items()}
    )
    kinds = {
        "stop": ask(1, stop_price="173.00"),
        "stop_limit": ask(2, stop_price="174.00", stop_limit="173.50"),
        "trailing_stop": ask(3, trail_price="2.50"),
        "pair": ask(4, target_price="180.00", stop_price="175.50"),
    }
    assert all(d.approved for d in kinds.values())
    same = ("sell", 60)
    got = {k: [(r[0], r[2], *r[4:7]) for r in exits_of(desk, d)] for k, d in kinds.items()}
    assert got == {
        "stop": [("stop", "stop", None, D("173.00"), None)],
        "stop_limit": [("stop", "stop_limit", D("173.50"), D("174.00"), None)],
        "trailing_stop": [("stop", "trailing_stop", None, None, D("2.50"))],
        "pair": [
            ("target", "limit", D("180.00"), None, None),
            ("stop", "stop", None, D("175.50"), None),
        ],
    }
    assert {(r[1], r[3]) for d in kinds.values() for r in exits_of(desk, d)} == {same}
    assert all(d.expires_at > TEN + timedelta(days=80) for d in kinds.values())


def test_exits_that_cannot_be_meant_are_mistakes(desk):
    pid = stopped_at(desk)
    for prices, words in (
        ({}, "a stop, a trail"),
        (dict(target_price="180.00"), "target and stop"),
        (dict(trail_price="2.50", stop_price="173.00"), "stop and limit; trail"),
        (dict(target_price="172.00", stop_price="173.00"), "below it for a long"),
        (dict(stop_price="173.001"), "on the tick"),
    ):
        with pytest.raises(InputError, match=words):
            approve_exits(desk, pid, D(50), TEN, 1, **{k: D(v) for k, v in prices.items()})
    assert desk.value("select count(*) from risk_approvals") == 0


def send_stop(store, decision, pid, status="accepted"):
    "As trade would: the order of an approved stop, alive at the broker"
    sql = """insert into orders (client_order_id, approval_id, position_id, cycle_id, security_id, purpose, side, order_type,
             order_class, time_in_force, quantity, limit_price, stop_price, trail_price, intended_at, status)
             select approval_key, approval_id, :p, cycle_id, security_id, purpose, side, order_type, 'simple', 'gtc', quantity,
             limit_price, stop_price, trail_price, decided_at, :s from risk_approvals where approval_id = :a"""
    store.run(sql, p=pid, s=status, a=decision.approval_id)


@pytest.mark.parametrize("side, sign", [("long", 1), ("short", -1)])
def test_a_stop_never_moves_away_from_the_market(desk, side, sign):
    at = lambda x: D("175.50") + sign * D(x)
    pid = stopped_at(desk, side=side, stop=str(at("-2.50")), last=str(at("3.00")))
    ask = lambda n, **prices: approve_exits(desk, pid, D(100), TEN, n, **prices)
    assert reasons(ask(1, stop_price=at("-2.51"))) == ["never_widen"]
    assert ask(1, stop_price=at("-2.50")).approved, "a refusal binds nobody"
    even = ask(2, stop_price=at("0.00"))
    send_stop(desk, even, pid)
    assert reasons(ask(3, stop_price=at("-0.01"))) == ["never_widen"]
    assert reasons(ask(3, target_price=at("9.00"), stop_price=at("-1.00"))) == ["never_widen"]
    assert reasons(ask(3, trail_price=D("3.01"))) == ["never_widen"]
    trail = ask(3, trail_price=D("2.00"))
    send_stop(desk, trail, pid)
    assert reasons(ask(4, stop_price=at("0.99"))) == ["never_widen"]
    assert ask(4, stop_price=at("1.00")).approved
    assert approve_close(desk, pid, D(100), TEN).approved, "leaving is never blocked"


def test_a_stop_that_the_broker_rejected_never_stood(desk):
    pid = stopped_at(desk)
    even = approve_exits(desk, pid, D(100), TEN, 1, stop_price=D("177.00"))
    send_stop(desk, even, pid, "rejected")
    assert approve_exits(desk, pid, D(100), TEN, 2, stop_price=D("173.00")).approved


def test_a_trail_without_a_last_price_is_nowhere(desk):
    pid = stopped_at(desk, last=None)
    assert reasons(approve_exits(desk, pid, D(100), TEN, 1, trail_price=D(1))) == ["never_widen"]
    assert approve_exits(desk, pid, D(100), TEN, 1, stop_price=D("173.00")).approved


def test_an_attempt_is_answered_once_and_other_words_are_another_order(desk):
    pid = stopped_at(desk)
    ask = lambda q=100, at=TEN, n=1, stop="173.00": approve_exits(
        desk, pid, D(q), at, n, stop_price=D(stop)
    )
    first = ask()
    assert ask(at=TEN + HOUR) == first
    fewer = ask(60)
    assert fewer.approved and fewer.approval_id != first.approval_id and ask(60) == fewer
    send_stop(desk, first, pid)
    assert ask(60) == first, "an order has been made of this attempt"
    assert reasons(ask(101, n=2)) == ["close_quantity"]
    desk.run("update positions set quantity = 120, open_quantity = 120")
    assert ask(101, at=TEN + HOUR, n=2).approved, "a late fill made it possible"


def test_exits_pass_at_night_in_a_halt_and_with_the_day_lost(desk):
    pid = stopped_at(desk)
    states.halt(desk, "replay", "the day is lost", "ada", TEN)
    night = TEN + 14 * HOUR
    assert approve_exits(desk, pid, D(100), night, 1, stop_price=D("173.00")).approved
    assert approve_close(desk, pid, D(40), night, 1).approved
    for function in (approve_close, approve_exits):
        assert not {"config", "book"} & set(inspect.signature(function).parameters)


# -------------------------------------------------------------------------------------------------------------------- the book


def test_correlations_in_one_pass_are_those_of_pandas_pair_by_pair():
    import numpy as np

    rng = np.random.default_rng(3)
    ts = pd.date_range("2025-08-11 13:30", periods=160, freq="15min", tz="UTC", unit="us")
    moves = rng.normal(0, 0.01, (160, 5)) + rng.normal(0, 0.01, (160, 1))
    close = pd.DataFrame(100 * np.exp(moves.cumsum(axis=0)), index=ts, columns=range(1, 6))
    close[4] = close[4].where(
        rng.random(160) > 0.2
    )  # holes: bars that one of the two does not have
    close[5] = close[5].where(rng.random(160) > 0.5)  # too few in common
    frame = close.stack().rename("close").swaplevel().sort_index().to_frame()
    frame.index.names = ["security_id", "ts"]
    frame["available_at"] = frame.index.get_level_values("ts") + pd.Timedelta("15min")
    asof = frame.available_at.max()
    got = correlations(frame, 1, [1, 2, 3, 4, 5, 99], asof)
    for i in (2, 3, 4):
        pair = close[[1, i]].dropna().pct_change().dropna()
        assert len(pair) >= 100 and got[i] == pytest.approx(pair[1].corr(pair[i]), abs=1e-12)
    assert set(got) == {2, 3, 4, 5, 99} and got[5] is None and got[99] is None


def test_shares_that_are_not_ours_stop_their_own_symbol_only(desk):
    theirs, ours = ids(desk, "QUBT", "AAPL")
    broker = [BrokerPosition("QUBT", D(200), D(9), None, None)]
    b = read_book(desk, ACCOUNT, broker, [theirs, ours], TEN)
    assert b.disagreements == ("foreign QUBT: ours 0, broker 200",)
    desk.run(
        "insert into foreign_positions (symbol, first_seen_at, quantity, avg_price, last_seen_at) values ('QUBT', :t, 200, 9, :t)",
        t=TEN,
    )
    b = read_book(desk, ACCOUNT, broker, [theirs, ours], TEN)
    assert b.disagreements == () and foreign(desk) == {"QUBT": 200}
    assert "foreign" in failing(proposal(security_id=theirs), b)
    assert not {"foreign", "books"} & failing(proposal(security_id=ours), b)
    more = [replace(broker[0], quantity=D(300))]
    assert read_book(desk, ACCOUNT, more, [ours], TEN).disagreements == (
        "quantity QUBT: ours 200, broker 300",
    )


def test_a_halt_of_the_exchange_holds_until_it_ends(desk):
    [sid] = ids(desk, "AAPL")
    note_halt(desk, sid, TEN, "T1", "bench"), note_resumption(desk, sid, TEN + HOUR)
    seen = {}
    for minutes in (-1, 0, 59, 60):
        b = read_book(desk, ACCOUNT, [], [sid], TEN + timedelta(minutes=minutes))
        seen[minutes] = "not_halted" in failing(proposal(security_id=sid), b)
    assert seen == {-1: False, 0: True, 59: True, 60: False}


def test_the_state_comes_with_the_book_of_its_world(desk):
    [sid] = ids(desk, "AAPL")
    states.halt(desk, "replay", "the feed is wrong", "ada", TEN)
    read = lambda world: read_book(desk, ACCOUNT, [], [sid], TEN, world=world).state
    assert (read("replay"), read("simulated"), read(None)) == ("halted", "active", None)


def test_volume_range_and_the_market_are_read_as_of(desk):
    a, spy = ids(desk, "AAPL", "SPY")
    starts = [
        d.replace(hour=13, minute=30) for d in pd.date_range("2025-08-11", "2025-08-13", tz="UTC")
    ]
    ts = pd.DatetimeIndex(
        [s + pd.Timedelta(minutes=15 * i) for s in starts for i in range(26)]
    ).as_unit("us")
    one = pd.DataFrame({"close": 100.0, "high": 101.0, "low": 99.0, "volume": 1_000.0,
                        "available_at": ts + pd.Timedelta("15min")}, index=ts)  # fmt: skip
    falls = one.assign(close=[100.0] * 52 + [97.0] * 26)
    frame = pd.concat({a: one, spy: falls}, names=["security_id", "ts"])
    wild = frame.where(frame.available_at <= TEN, frame.assign(close=1.0, volume=9e9, high=5.0))
    one_, two = (read_book(desk, ACCOUNT, [], [a], TEN, f) for f in (frame, wild))
    assert one_ == two and one_.market_move == D("-0.03")
    assert (one_.of(a).mean_volume, one_.of(a).atr_pct) == (26_000, D("0.02"))
    assert (
        read_book(desk, ACCOUNT, [], [a], starts[2] - timedelta(hours=2), frame).market_move is None
    )
    assert read_book(desk, ACCOUNT, [], [a], starts[0], frame).of(a).mean_volume is None


# -------------------------------------------------------------------------------------------------------------- paths to money


def touches(tree, names):
    "(function, owner, name) of every attribute of a broker among `names`, called or handed on"
    found = []
    for f in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
        for n in ast.walk(f):
            if (
                isinstance(n, ast.Attribute)
                and n.attr in names
                and "broker" in ast.unparse(n.value).lower()
            ):
                found.append((f.name, n.attr))
            if isinstance(n, ast.Constant) and n.value in names and "getattr" in ast.unparse(f):
                found.append((f.name, f"getattr {n.value}"))
    return found


def test_every_path_to_a_brokers_sending_calls_is_one():
    "Lists them all: an order leaves in one function of `trade`, and what that function sends has an approval"
    paths = {}
    for file in sorted(Path(catalyst.__file__).parent.glob("*.py")):
        text = file.read_text("utf-8")
        tree = ast.parse(
            text if ".submit" in text or ".cancel" in text or "getattr" in text else ""
        )
        for function, name in touches(tree, {"submit", "cancel"}):
            paths.setdefault(name, set()).add(f"{file.stem}.{function}")
    assert set(paths) == {"submit", "cancel"}
    assert len(paths["submit"]) == 1 and {p.split(".")[0] for p in paths["submit"]} == {"trade"}, (
        paths
    )
    assert {p.split(".")[0] for p in paths["cancel"]} == {"trade"}, paths
    made_up = ast.parse("def go(desk):\n    send = desk.broker.submit\n    send(1)")
    assert touches(made_up, {"submit"}) == [("go", "submit")], "an alias is seen as well"
    assert not touches(ast.parse(inspect.getsource(risk)), {"submit", "cancel"})


# ------------------------------------------------------------------------------------------------------- the database's own wall

ORDER = """insert into orders (client_order_id, approval_id, cycle_id, security_id, purpose, side, order_type, order_class, time_in_force, quantity, limit_price, intended_at)
values (:name, :approval, :cycle, :sid, :purpose, :side, :kind, 'bracket', 'gtc', :quantity, :limit, :at)"""


def test_raw_sql_cannot_store_an_order_that_was_not_approved(desk):
    b, [sid, other] = known(desk, "AAPL", "MSFT")
    done = approve(desk, CYCLE, None, proposal(security_id=sid), b, Config())
    no = approve(desk, CYCLE, None, proposal(security_id=other, quantity=D(100)), b, Config())
    good = dict(
        name="o",
        approval=done.approval_id,
        cycle=CYCLE,
        sid=sid,
        purpose="entry",
        side="buy",
        kind="limit",
        quantity=50,
        limit=D("175.50"),
        at=TEN,
    )
    wrongs = [
        dict(approval=None), dict(approval=10**6), dict(approval=no.approval_id, sid=other), dict(sid=other), dict(side="sell"), dict(quantity=51),
        dict(limit=D("175.51")), dict(limit=None, kind="market"), dict(at=TEN + HOUR), dict(at=TEN - HOUR), dict(purpose="close"),
    ]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(DBAPIError):
            desk.run(ORDER, **good | wrong)
    desk.run(ORDER, **good)
    with pytest.raises(DBAPIError):
        desk.run("update orders set quantity = 5000")
    with pytest.raises(DBAPIError):
        desk.run("update risk_approvals set quantity = 5000")
    with pytest.raises(DBAPIError):
        desk.run("delete from risk_approvals")
    with pytest.raises(DBAPIError):
        desk.run(ORDER, **good | dict(name="o2"))
    assert desk.value("select count(*) from orders") == 1
