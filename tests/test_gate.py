"What limits is the newest that is known: halts, places, losses, prices, peaks, the market; and the commands that say so"

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pandas as pd
import pytest

from catalyst import dealing, gate, impact
from catalyst.account import INDEXES, index_of, note_halt, read_book
from catalyst.config import Config
from catalyst.core import InputError, OrderType, PositionSide, UnavailableError, World
from catalyst.limits import check, largest
from catalyst.ports import Account, BrokerPosition
from catalyst.proposals import Book, Facts, Proposal, RiskState
from catalyst.results import mark_equity, streak
from catalyst.risk import approve
from catalyst.schema import scratch_store
from catalyst.states import assess, current, halt, resume, set_state, standing

TEN = datetime(2025, 8, 13, 14, tzinfo=UTC)
SECOND, HOUR, DAY, D = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1), Decimal
CYCLE = "20250813-replay"
NEW = "insert into trading_cycles (cycle_id, session, world, started_at) values (:c, '2025-08-13', cast(:w as world), :t)"


@pytest.fixture(scope="module")
def database():
    with scratch_store() as store:
        yield store


@pytest.fixture
def store(database):
    database.run(
        "truncate trading_cycles, workflow_log, risk_events, risk_states, security_halts, equity_marks, paper.accounts restart identity cascade"
    )
    database.run("delete from trading_history")
    database.run("update securities set name = null where name like '%(simulated)'")
    database.run(NEW, c=CYCLE, w="replay", t=TEN)
    return database


def known(store, *symbols):
    return [store.value("select get_or_create_security(:s)", s=s) for s in symbols]


def proposal(sid, at=TEN, **more):
    prices = D("175.50"), D("173.00"), D("180.00")
    values = (sid, f"S{sid}", PositionSide.LONG, D(50), *prices, "lesson", at, at + HOUR)
    return replace(Proposal(*values), **more)


def book(*sids, at=TEN, **more):
    facts = {s: Facts("Energy", True, at, None, {}) for s in sids}
    return replace(Book(at, *[D(100_000)] * 2, peak_equity=D(100_000), facts=facts), **more)


def money(equity=100_000, name="paper"):
    return Account(name, D(equity), D(equity), D(equity), TEN, simulated=True)


def position(store, sid, key="p", opened=TEN - HOUR, entry=D("175.50"), pnl=None, closed=None):
    row = {"k": key, "c": CYCLE, "s": sid, "e": entry, "o": opened, "g": pnl, "x": closed}
    row |= {"st": "closed" if closed else "open", "n": 0 if closed else 100}
    row |= {"p": entry if closed else None, "y": "stop" if closed else None}
    return store.value(
        """insert into positions (position_key, cycle_id, security_id, side, quantity, open_quantity, entry_price, risk_amount, status,
           opened_at, closed_at, exit_price, realized_pnl, close_reason)
           values (:k, :c, :s, 'long', 100, :n, :e, 250, cast(:st as position_status), :o, :x, :p, :g, :y) returning position_id""",
        **row,
    )


def bar(store, sid, at, close):
    store.value("select ensure_partition(cast(extract(epoch from :t) as bigint))", t=at)
    store.run(
        """insert into trading_history (security_id, time_id, timeframe, open, high, low, close, volume, available_at, feed)
           values (:s, get_or_create_time(:t), '15min', :p, :p, :p, :p, 1, :a, 'test')""",
        s=sid, t=at, a=at + HOUR / 4, p=close,
    )  # fmt: skip


def refusals(p, b, **config):
    return {c.name: c.note for c in check(p, b, Config(config)) if c.verdict == "refused"}


def said(decision):
    return [c["name"] for c in decision.checks if c["verdict"] == "refused"]


# ------------------------------------------------------------------------------------------------------------------- halts


def test_a_halt_of_today_stands_in_a_replay_of_last_year(store, tmp_path):
    [sid] = known(store, "AAPL")
    ask = lambda at: approve(store, CYCLE, None, proposal(sid, at), book(sid, at=at), Config())
    this_year = TEN + 400 * DAY
    halt(store, "replay", "not today", "ada", this_year)
    assert current(store, "replay", TEN).may_enter, "what was known then stays"
    assert standing(store, "replay", TEN).state == "halted" and said(ask(TEN)) == ["state"]
    told = assess(store, "replay", book(), Config(), TEN + HOUR, tmp_path, 0, timedelta(0))
    assert told.state == "halted" and not ask(TEN + HOUR).approved
    with pytest.raises(InputError, match="a person may resume"):
        set_state(store, "replay", "active", "x", "over", "rules", TEN)
    back = resume(store, "replay", "it is over", "ada", TEN, tmp_path)
    assert back.may_enter and back.since == this_year, "never dated before what it follows"
    assert standing(store, "replay", TEN).may_enter and ask(TEN + 2 * HOUR).approved


def test_a_halt_seconds_after_the_slot_is_seen_and_a_rule_of_a_later_day_is_not(store):
    [sid] = known(store, "AAPL")
    set_state(store, "replay", "reducing", "books", "they differ", "rules", TEN + DAY)
    assert standing(store, "replay", TEN).may_enter
    read = lambda acting: (
        read_book(store, money(), [], [sid], TEN, world="replay", acting=acting).state
    )
    assert (read(False), read(True)) == ("active", "active")
    set_state(store, "replay", "reducing", "books", "they differ", "rules", TEN + 20 * SECOND)
    assert (read(False), read(True)) == ("active", RiskState.REDUCING)
    note_halt(store, sid, TEN + 20 * SECOND, "news pending", "bench")
    stopped = lambda acting: read_book(store, money(), [], [sid], TEN, acting=acting).of(sid).halted
    assert (stopped(False), stopped(True)) == (None, "news pending")


# ---------------------------------------------------------------------------------------------------------------- the newest


def test_a_place_that_was_reserved_after_the_slots_instant_is_taken(store):
    a, b = known(store, "AAPL", "MSFT")
    one, later = Config({"max_positions": 1}), TEN + 10 * SECOND
    ask = lambda sid, at, **more: approve(
        store, CYCLE, None, proposal(sid, at, **more), book(sid, at=at), one
    )
    assert ask(a, later).approved
    assert "positions" in said(ask(b, TEN)) and "duplicate" in said(ask(a, TEN, setup="other"))


def test_a_loss_after_the_slots_instant_counts_when_acting_and_tomorrows_never(store):
    a, b = known(store, "AAPL", "MSFT")
    position(store, a, "x", pnl=D(-3_000), closed=TEN + 20 * SECOND)
    position(store, b, "y", pnl=D(-500), closed=TEN + DAY)
    read = lambda acting: read_book(store, money(97_000), [], [a], TEN, acting=acting)
    assert read(False).loss == 0 and read(True).loss == 3_000
    assert read(True).losses_in_a_row == 1 and "daily_loss" in refusals(proposal(a), read(True))


def test_three_losses_end_the_day_even_when_a_fourth_trade_wins(store):
    assert streak(map(D, (-1, -1, -1, 5))) == 3 and streak(map(D, (-1, 0, -1))) == 1
    for n, made in enumerate((-1, -1, -1, 5)):
        [sid] = known(store, f"L{n}")
        position(store, sid, f"l{n}", pnl=D(made), closed=TEN - HOUR / 2 + n * SECOND)
    b = read_book(store, money(), [], [sid], TEN, acting=True)
    assert b.losses_in_a_row == 3 and "losing_streak" in refusals(proposal(sid), b)


# --------------------------------------------------------------------------------------------------------------------- prices


def test_the_brokers_price_counts_and_not_the_mark_of_the_pass_before(store):
    a, b = known(store, "AAPL", "MSFT")
    position(store, b)
    store.run("update positions set last_price = 176, unrealized_pnl = 50")
    there = BrokerPosition("MSFT", D(100), D("175.50"), D(150), D(-2_550))
    seen = read_book(store, money(97_450), [there], [a], TEN, acting=True)
    assert (seen.loss, [h.value for h in seen.holdings]) == (2_550, [15_000])
    assert seen.peak_equity == 100_000 and "daily_loss" in refusals(proposal(a), seen)


def test_a_position_without_a_price_is_unknown_and_not_zero(store, tmp_path):
    a, b = known(store, "AAPL", "MSFT")
    position(store, b)
    there = BrokerPosition("MSFT", D(100), D("175.50"), None, None)
    look = lambda seen: assess(store, "replay", seen, Config(), TEN, tmp_path, 0, timedelta(0))
    seen = read_book(store, money(), [there], [a], TEN, acting=True)
    assert seen.loss is None and "MSFT" in refusals(proposal(a), seen)["daily_loss"]
    assert (look(seen).state, look(seen).rule) == ("reducing", "unpriced")
    priced = read_book(store, money(), [replace(there, last_price=D(176))], [a], TEN, acting=True)
    assert priced.loss == 0 and look(priced).may_enter, "a price that is back ends it"


def test_a_position_that_was_held_overnight_counts_from_the_last_close(store):
    a, b = known(store, "AAPL", "MSFT")
    position(store, b, opened=TEN - DAY, entry=D(100))
    there = BrokerPosition("MSFT", D(100), D(100), D(101), D(100))
    read = lambda: read_book(store, money(), [there], [a], TEN, acting=True)
    assert read().loss is None, "without that close nobody knows"
    bar(store, b, TEN - DAY + HOUR, 110)
    assert read().loss == 900
    gone = "update positions set status = 'closed', open_quantity = 0, closed_at = :t, exit_price = 101, realized_pnl = 100, close_reason = 'stop'"
    store.run(gone, t=TEN)
    assert read_book(store, money(), [], [a], TEN).loss == 900, "and closing it hides nothing"


def test_an_order_without_a_limit_is_judged_at_the_worse_price():
    at = lambda last: book(1, facts={1: Facts("Energy", True, TEN, None, {}, last_price=D(last))})
    p = replace(proposal(1), order_type=OrderType.MARKET, quantity=D(56))
    p, config = replace(p, target_price=D("190.00")), Config()
    by_name = lambda p, b: {c.name: c.value for c in check(p, b, config)}
    assert by_name(p, at("178.00"))["trade_risk"] == 280 and by_name(p, at("175.00"))["trade_risk"] == 140  # fmt: skip
    fine = {"state"}
    assert set(refusals(p, at("180.00"))) - fine == {"position_value", "reward_risk"}
    assert set(refusals(p, at("172.00"))) - fine == {"stop_side", "trade_risk", "stop_distance", "reward_risk"}  # fmt: skip
    bound = replace(p, order_type=OrderType.LIMIT)
    assert by_name(bound, at("178.00"))["trade_risk"] == 140
    assert set(refusals(bound, at("174.00"))) == fine, "a limit pays its own price or better"
    assert "stop_side" in refusals(bound, at("172.00")), "a stop above the market sells at once"
    waits = replace(bound, order_type=OrderType.STOP)
    assert "stop_side" not in refusals(waits, at("172.00")), "it waits until the price has come up"
    most = [
        largest(x, replace(at("179.00"), state=RiskState.ACTIVE), config)[0] for x in (p, bound)
    ]
    assert most == [55, 56]
    short = replace(p, side=PositionSide.SHORT, stop_price=D(182), target_price=D(160))
    assert by_name(short, at("172.00"))["stop_distance"] == round(D(10) / 172, 6)
    assert by_name(short, at("179.00"))["position_value"] == 56 * 179


# --------------------------------------------------------------------------------------------------------------------- the peak


def test_the_peak_is_what_passes_have_seen_and_does_not_wander(store):
    [a] = known(store, "AAPL")
    read = lambda equity, at=TEN, name="paper": read_book(
        store, money(equity, name), [], [a], at, acting=True
    )
    assert read(100_000).peak_equity == 100_000
    mark_equity(store, money(112_000), read(112_000).peak_equity, TEN)
    assert read(100_000).peak_equity == 112_000 and "drawdown" in refusals(proposal(a), read(100_000))  # fmt: skip
    position(store, a, "x", pnl=D(-9_000), closed=TEN - 60 * DAY)
    assert read(100_000).peak_equity == 112_000, "nothing realised moves it"
    mark_equity(store, money(130_000), D(130_000), TEN + DAY)
    assert read(100_000).peak_equity == 112_000, "a day that is replayed again knows no later one"
    mark_equity(store, money(90_000), D(112_000), TEN)
    assert store.rows("select equity, peak from equity_marks order by marked_at")[0] == {
        "equity": 90_000, "peak": 112_000}  # fmt: skip
    store.run("insert into paper.accounts values ('paper-replay', 0, 100000, null)")
    assert read(91_000, name="paper-replay").peak_equity == 100_000, "what it began with"


# ------------------------------------------------------------------------------------------------------------------- the market


def days(sid, yesterday, today):
    ts = pd.DatetimeIndex([TEN - DAY, TEN - HOUR / 2]).as_unit("us")
    one = {"close": [yesterday, today], "available_at": ts + pd.Timedelta("15min")}
    return pd.concat({sid: pd.DataFrame(one, index=ts)}, names=["security_id", "ts"])


def test_an_invented_market_has_an_index_of_its_own(store):
    assert impact._MARKETS == INDEXES
    a, sim, spy = known(store, "AAPL", "SIMKET", "SPY")
    frame = pd.concat([days(sim, 100.0, 96.0), days(spy, 100.0, 100.0)])
    read = lambda bars: read_book(store, money(), [], [a], TEN, bars)
    assert read(frame).market_move == 0
    store.run("update securities set name = 'Apple (simulated)' where security_id = :s", s=a)
    assert read(frame).market_move == D("-0.04") and "market" in refusals(proposal(a), read(frame))


def test_an_index_whose_day_is_unknown_refuses_and_a_world_without_one_says_so(store):
    a, spy = known(store, "AAPL", "SPY")
    none = read_book(store, money(), [], [a], TEN)
    note = next(c for c in check(proposal(a), none, Config()) if c.name == "market").note
    assert none.index is None and note == "no index in this world: not checked"
    assert "market" in refusals(proposal(a), none, market_required=1)
    bar(store, spy, TEN - DAY, 600)
    assert index_of(store, [a], TEN - 2 * DAY)[1] is None, "nothing of the future"
    blind = read_book(store, money(), [], [a], TEN)
    assert blind.index == "SPY" and "SPY" in refusals(proposal(a), blind)["market"]


# ----------------------------------------------------------------------------------------------------------------------- late


@pytest.mark.parametrize(("own_time", "late"), [(False, True), (True, False)])
def test_a_slot_that_runs_long_after_its_instant_enters_nothing(store, own_time, late):
    [a] = known(store, "AAPL")
    store.run(NEW, c="20250813-alpaca", w="alpaca", t=TEN)
    broker = SimpleNamespace(account=money, positions=list)
    desk = SimpleNamespace(
        store=store, broker=broker, asof=TEN, config=Config(), cycle_id="20250813-alpaca",
        settings=SimpleNamespace(world=World.ALPACA), feed=SimpleNamespace(simulated=own_time),
    )  # fmt: skip
    view = SimpleNamespace(securities=pd.DataFrame({"symbol": ["AAPL"]}, index=[a]), bars=None)
    prices = dict(entry_price=175.5, stop_price=173.0, target_price=180.0, confidence=0.0)
    plan = SimpleNamespace(
        security_id=a, side=PositionSide.LONG, setup="lesson", expires_at=TEN + HOUR, calibrated=False,
        entry_type="limit", story_id=None, **prices,
    )  # fmt: skip
    done = dealing._judge(desk, view, plan, None, None)
    assert ("on_time" in said(done)) == late and not done.approved
    assert any("on_time" in line for line in dealing._unasked([done])) != late


# ------------------------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def shell(store, monkeypatch, tmp_path):
    for name in ("CATALYST_WORLD", "CATALYST_SIMULATE_SESSION"):
        monkeypatch.delenv(name, raising=False)
    told = {"CATALYST_DATABASE_URL": store.url, "CATALYST_HOME": str(tmp_path), "USER": "ada"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    store.run("delete from trading_cycles")
    store.run(NEW, c="20250813-simulated", w="simulated", t=TEN)
    store.run(
        "insert into workflow_log (cycle_id, step, slot_at, status) values ('20250813-simulated', '50_trade', :t, 'completed')",
        t=TEN,
    )
    return store


def run(capsys, command, **options):
    status = command(argparse.Namespace(**dict(home=None, json=True, asof="") | options))
    return status, json.loads(capsys.readouterr().out)


def test_a_halt_in_a_replay_is_dated_by_its_last_instant(shell, capsys):
    assert run(capsys, gate.risk_halt, reason="not today")[1]["since"] == TEN.isoformat()
    assert not current(shell, "simulated", TEN).may_enter
    _, told = run(capsys, gate.risk_metrics)
    assert (told["state"], told["world"]) == ("halted", "simulated")
    assert run(capsys, gate.risk_resume, reason="well again")[1]["state"] == "active"


def test_the_stop_finds_its_world_and_cancels(shell, capsys):
    assert run(capsys, gate.risk_stop, reason="get me out") == (0, [])
    assert standing(shell, "simulated", TEN).rule == "emergency"
    assert run(capsys, gate.risk_exposure)[1][-1]["sector"] == "all"


def test_a_stop_without_a_broker_says_that_it_has_halted(shell, capsys, monkeypatch):
    def gone(*_):
        raise UnavailableError("the broker is away")

    monkeypatch.setattr("catalyst.desk.open_desk", gone)
    with pytest.raises(UnavailableError, match="away"):
        run(capsys, gate.risk_stop, reason="get me out")
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["world"], told["reason"]) == ("halted", "simulated", "get me out")


def test_risk_limits_tells_what_is_left(shell, capsys):
    a, b = known(shell, "AAPL", "MSFT")
    store_position = "insert into positions (position_key, cycle_id, security_id, side, quantity, open_quantity, entry_price, risk_amount, status, opened_at, last_price) values ('p', '20250813-simulated', :s, 'long', 100, 100, 100, 250, 'open', :t, 95)"
    shell.run(store_position, s=b, t=TEN - HOUR)
    mark_equity(shell, money(100_000, "paper-simulated"), D(104_000), TEN)
    found = {r["name"]: r for r in run(capsys, gate.risk_limits, cycle=None)[1]}
    left = lambda name: (found[name]["used"], found[name]["left"])
    assert left("max_positions") == (1, 4) and left("max_daily_loss_usd") == (500, 1_500)
    assert left("max_portfolio_risk_pct") == (0.0025, 0.0475)
    assert left("max_sector_exposure_pct") == (0.095, 0.305)
    assert left("max_drawdown_pct") == (0.038462, 0.061538)
    assert left("min_reward_risk") == (None, None)
    shell.run("update positions set last_price = null")
    found = {r["name"]: r for r in run(capsys, gate.risk_limits, cycle=None)[1]}
    assert left("max_daily_loss_usd") == (None, None)
