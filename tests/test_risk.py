"The gate: every limit with its number, one place for the last slot, and a database that refuses the rest"

import ast
import inspect
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from catalyst import limits, risk
from catalyst.clock import get_session
from catalyst.config import REGISTRY, Config
from catalyst.core import ENTRY_SIDE, EXIT_SIDE, InputError, OrderType, PositionSide
from catalyst.limits import UNCALIBRATED, Book, Facts, Holding, Proposal, check, refused, suggest
from catalyst.ports import Account, BrokerPosition
from catalyst.risk import approve, approve_close, correlation, holdings, read_book, release
from catalyst.schema import scratch_store

TEN = datetime(2025, 8, 13, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)
D = Decimal
CYCLE = "20250813-replay"


def proposal(**more):
    values = dict(
        security_id=1,
        symbol="AAPL",
        side=PositionSide.LONG,
        quantity=D(50),
        entry_price=D("175.50"),
    )
    values |= dict(
        stop_price=D("173.00"),
        target_price=D("180.00"),
        setup="test",
        decided_at=TEN,
        expires_at=TEN + HOUR,
    )
    return Proposal(**values | more)


def book(**more):
    facts = {
        i: Facts("Information Technology", True, TEN, D("0.0002"), {2: 0.1, 3: -0.9})
        for i in (1, 2, 3)
    }
    values = dict(
        asof=TEN, equity=D(100_000), buying_power=D(100_000), peak_equity=D(100_000), facts=facts
    )
    return Book(**values | more)


def held(security_id=2, sector="Energy", value=5_000, at_risk=100):
    return Holding(security_id, sector, D(value), D(at_risk))


def verdicts(p, b, **config):
    return {c.name: c for c in check(p, b, Config(config))}


def failing(p, b, **config):
    return {c.name for c in check(p, b, Config(config)) if c.verdict == "refused"}


def test_the_playbooks_example():
    found = verdicts(proposal(quantity=D(100)), book())
    assert found["reward_risk"].value == D("1.8") and found["reward_risk"].verdict == "approved"
    assert found["trade_risk"].value == 250 and found["position_value"].value == 17_550
    assert failing(proposal(quantity=D(100)), book()) == {"position_value"}
    assert failing(proposal(quantity=D(100)), book(), max_position_usd=20_000) == set()


CASES = {
    "positions": (
        proposal(),
        book(
            holdings=tuple(held(i, value=100, at_risk=1) for i in range(10, 15)),
            facts={1: Facts("Energy", True, TEN, None, {i: 0 for i in range(10, 15)})},
        ),
    ),
    "duplicate": (proposal(), book(holdings=(held(1, value=100, at_risk=1),))),
    "position_value": (proposal(quantity=D(57)), book()),
    "trade_risk": (
        proposal(quantity=D(50), stop_price=D("170.00"), target_price=D("195")),
        book(equity=D(12_000), peak_equity=D(12_000)),
    ),
    "portfolio_risk": (proposal(), book(holdings=(held(at_risk=4_900),))),
    "sector_exposure": (
        proposal(),
        book(holdings=(held(sector="Information Technology", value=31_300),)),
    ),
    "reward_risk": (proposal(target_price=D("179.00")), book()),
    "stop_side": (proposal(stop_price=D("176.00")), book()),
    "stop_distance": (proposal(stop_price=D("166.70"), target_price=D("195")), book()),
    "buying_power": (proposal(), book(buying_power=D(8_774))),
    "daily_loss": (proposal(), book(realized=D(-1500), open_pnl=D(-500))),
    "drawdown": (proposal(), book(peak_equity=D(112_000))),
    "losing_streak": (proposal(), book(losses_in_a_row=3)),
    "correlation": (
        proposal(),
        book(holdings=(held(2),), facts={1: Facts("Energy", True, TEN, None, {2: 0.71})}),
    ),
    "books": (proposal(), book(disagreements=("ghost QUBT: ours 200, broker 0",))),
    "tick": (proposal(entry_price=D("175.501")), book()),
    "whole_shares": (proposal(quantity=D("49.5")), book()),
    "tradable": (proposal(), book(facts={1: Facts("Energy", False, TEN)})),
    "spread": (proposal(), book(facts={1: Facts("Energy", True, TEN, D("0.011"))})),
    "news_coordination": (proposal(coordination=D("0.6")), book()),
    "after_open": (
        proposal(decided_at=TEN - HOUR),
        book(
            asof=TEN - timedelta(minutes=26),
            facts={1: Facts("Energy", True, TEN - timedelta(minutes=30))},
        ),
    ),
    "before_close": (
        proposal(decided_at=TEN + 5 * HOUR, expires_at=TEN + 6 * HOUR),
        book(
            asof=TEN + timedelta(hours=5, minutes=1),
            facts={1: Facts("Energy", True, TEN + 5 * HOUR)},
        ),
    ),
    "data_age": (proposal(), book(facts={1: Facts("Energy", True, TEN - timedelta(minutes=31))})),
    "signal_alive": (proposal(decided_at=TEN - 2 * HOUR, expires_at=TEN - HOUR), book()),
}


@pytest.mark.parametrize("name", CASES)
def test_each_limit_refuses_by_itself_and_the_others_still_answer(name):
    p, b = CASES[name]
    related = {
        "stop_side": {"trade_risk", "stop_distance", "reward_risk"},
        "trade_risk": {"sector_exposure"},
    }.get(name, set())
    assert failing(p, b) == {name} | related
    assert [c.name for c in check(p, b, Config())] == [
        c.name for c in check(proposal(), book(), Config())
    ]


def test_every_check_has_a_case():
    assert {c.name for c in check(proposal(), book(), Config())} == set(CASES)


def test_a_limit_passes_at_its_value_and_a_loss_limit_does_not():
    assert (
        failing(
            proposal(entry_price=D(100), stop_price=D(98), target_price=D(103), quantity=D(100)),
            book(),
        )
        == set()
    )
    assert failing(proposal(), book(buying_power=D(8_775))) == set()
    assert failing(proposal(), book(realized=D("-1999.99"))) == set()
    assert failing(proposal(), book(realized=D(-2000))) == {"daily_loss"}


def test_a_profit_never_stops_trading_and_the_first_trade_of_a_sector_is_not_all_of_it():
    assert failing(proposal(), book(realized=D(50_000))) == set()
    assert verdicts(proposal(), book())["sector_exposure"].value == D("0.08775")


def test_unknown_is_refused_except_a_quote():
    nothing = book(facts={}, holdings=(held(),))
    assert {"tradable", "data_age", "correlation"} <= failing(proposal(), nothing)
    found = verdicts(proposal(), nothing)
    assert found["correlation"].value is None and "too little" in found["correlation"].note
    assert (
        found["spread"].value is None
        and found["spread"].verdict == "approved"
        and "no quote" in found["spread"].note
    )


def test_unknown_sectors_share_one_bucket():
    facts = {1: Facts(tradable=True, bar_at=TEN, correlations={2: 0.0})}
    assert failing(
        proposal(), book(holdings=(held(2, limits.UNCLASSIFIED, 35_000),), facts=facts)
    ) == {"sector_exposure"}


def test_guard_10_no_entries_at_night_on_weekends_or_late_on_half_days():
    half = get_session("2025-11-28")
    for asof in (
        TEN - 12 * HOUR,
        datetime(2025, 8, 16, 15, tzinfo=UTC),
        half.closes - timedelta(minutes=59),
        half.opens,
    ):
        facts = {1: Facts("Energy", True, asof, None, {})}
        p = proposal(decided_at=asof, expires_at=asof + HOUR)
        assert failing(p, book(asof=asof, facts=facts)) & {"after_open", "before_close"}, asof
    fine = half.closes - timedelta(minutes=60)
    p = proposal(decided_at=fine, expires_at=fine + HOUR)
    assert failing(p, book(asof=fine, facts={1: Facts("Energy", True, fine, None, {})})) == set()


def test_guard_17_every_limit_comes_from_the_registry():
    names = set(REGISTRY)
    used = {
        n.attr
        for n in ast.walk(ast.parse(inspect.getsource(limits)))
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "c"
    }
    assert used and used <= names
    for name in ("position_value", "positions", "reward_risk"):
        tight = {
            "position_value": {"max_position_usd": 1},
            "positions": {"max_positions": 1},
            "reward_risk": {"min_reward_risk": 50},
        }[name]
        assert name in failing(proposal(), book(holdings=(held(),)), **tight)


SHARES = st.integers(1, 100_000)


@given(
    st.sampled_from(list(PositionSide)),
    st.integers(200, 50_000),
    st.integers(1, 2_000),
    st.integers(0, 30_000),
    st.integers(0, 4_000),
    st.booleans(),
    st.floats(0, 1),
)
def test_guard_24_size_follows_the_stop_and_is_the_largest_that_passes(
    side, cents, off, in_sector, used, calibrated, confidence
):
    entry, gap = D(cents) / 100, D(min(off, cents // 2)) / 100
    sign = {PositionSide.LONG: 1, PositionSide.SHORT: -1}[side]
    p = proposal(
        side=side,
        entry_price=entry,
        stop_price=entry - sign * gap,
        target_price=entry + sign * gap * 2,
        calibrated=calibrated,
        confidence=confidence,
    )
    b = book(holdings=(held(2, "Information Technology", in_sector, used),))
    n, why = suggest(p, b, Config())
    sized = {"trade_risk", "portfolio_risk", "position_value", "buying_power", "sector_exposure"}
    if n:
        assert not failing(replace(p, quantity=D(n)), b) & sized
        scale = max(UNCALIBRATED, D(str(confidence))) if calibrated else UNCALIBRATED
        assert n * gap <= 2_000 * scale
    more = replace(p, quantity=D(n + 1))
    assert why == "trade_risk" or why in failing(more, b)


def test_a_stop_on_the_wrong_side_has_no_size():
    assert suggest(proposal(stop_price=D("176.00")), book(), Config()) == (0, "stop_side")
    assert suggest(proposal(stop_price=D("175.50")), book(), Config()) == (0, "stop_side")


def test_guard_01_sides_are_a_table_and_words_are_refused():
    assert {s: ENTRY_SIDE[s] for s in PositionSide} == {"long": "buy", "short": "sell"}
    assert {s: EXIT_SIDE[s] for s in PositionSide} == {"long": "sell", "short": "buy"}
    for wrong in ("buy", "LONG", "", None, "long"):
        with pytest.raises(InputError):
            proposal(side=wrong)


# ---------------------------------------------------------------------------------------------------------------- database


@pytest.fixture
def desk():
    with scratch_store() as store:
        store.run(
            "insert into trading_cycles (cycle_id, session, world, started_at) values (:c, '2025-08-13', 'replay', :t)",
            c=CYCLE,
            t=TEN,
        )
        yield store


def ids(store, *symbols):
    return [store.value("select get_or_create_security(:s)", s=s) for s in symbols]


def known(store, *symbols, **more):
    found = ids(store, *symbols)
    facts = {i: Facts(f"Sector {i}", True, TEN, None, {j: 0.0 for j in found}) for i in found}
    return book(facts=facts, **more), found


def test_guard_09_the_last_place_is_given_once(desk):
    b, found = known(desk, *[f"T{i:02}" for i in range(24)])
    start, answers = threading.Barrier(24), []

    def ask(i):
        start.wait()
        answers.append(
            approve(
                desk,
                CYCLE,
                None,
                proposal(security_id=i, symbol=f"S{i}", quantity=D(10)),
                b,
                Config({"max_positions": 1}),
            )
        )

    threads = [threading.Thread(target=ask, args=(i,)) for i in found]
    [t.start() for t in threads], [t.join() for t in threads]
    assert [a.verdict for a in answers].count("approved") == 1 and len(answers) == 24
    assert (
        desk.value(
            "select count(*) from risk_approvals where purpose = 'entry' and verdict = 'refused'"
        )
        == 23
    )
    assert desk.value("select count(*) from risk_events where event_type = 'entry_refused'") == 23


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
    assert [c["name"] for c in again.checks if c["verdict"] == "refused"] == ["duplicate"]


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
    assert row["verdict"] == "refused" and len(row["checks"]) == len(CASES)
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


def test_guard_30_a_close_is_asked_one_question_and_no_limit_blocks_it(desk):
    [sid] = ids(desk, "AAPL")
    pid = position(desk, sid)
    night = TEN + 14 * HOUR
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


def test_results_count_by_the_day_of_the_close(desk):
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


def test_there_is_no_way_around():
    for function in (approve, approve_close, check, suggest):
        for name in inspect.signature(function).parameters:
            assert not any(w in name for w in ("bypass", "force", "skip", "override", "unsafe")), (
                name
            )
    assert (
        OrderType.LIMIT == proposal().order_type
        and json.dumps(refused(check(proposal(), book(), Config()))) == "[]"
    )
