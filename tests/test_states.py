"Active, reducing, halted: who may change which, what the rules find, and that a stored halt is acted on"

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from catalyst.config import Config
from catalyst.core import CatalystError, InputError, PositionSide
from catalyst.proposals import Book, Facts, Proposal, RiskState
from catalyst.risk import approve
from catalyst.schema import scratch_store
from catalyst.states import FRESH, RULES, SWITCH, assess, current, halt, history, kill_switch
from catalyst.states import rejection_streak, resume, set_state

TEN = datetime(2025, 8, 13, 14, tzinfo=UTC)
MINUTE, HOUR, D = timedelta(minutes=1), timedelta(hours=1), Decimal
CYCLE = "20250813-replay"
GHOST = ("ghost QUBT: ours 200, broker 0",)


@pytest.fixture(scope="module")
def database():
    with scratch_store() as store:
        yield store


@pytest.fixture
def store(database):
    database.run("truncate trading_cycles, risk_events, risk_states restart identity cascade")
    sql = "insert into trading_cycles (cycle_id, session, world, started_at) values (:c, '2025-08-13', 'replay', :t)"
    database.run(sql, c=CYCLE, t=TEN)
    return database


def book(**more):
    values = dict(asof=TEN, equity=D(100_000), buying_power=D(100_000), peak_equity=D(100_000))
    return Book(**values | more)


def look(store, home, b=None, at=TEN, rejections=0, age=timedelta(0), **more):
    return assess(store, "replay", b or book(), Config(), at, home, rejections, age, **more)


def told(store):
    return {
        r["event_type"]: r["severity"]
        for r in store.rows("select event_type, severity from risk_events")
    }


def test_before_anything_was_decided_entries_are_judged(store, tmp_path):
    assert current(store, "replay", TEN) == FRESH and FRESH.may_enter
    assert look(store, tmp_path) == FRESH and history(store, "replay", TEN) == []


RULES_AND_STATES = {
    "daily_loss": (dict(b=book(realized=D(-1_200), open_pnl=D(-800))), "halted"),
    "drawdown": (dict(b=book(peak_equity=D("111111.12"))), "halted"),
    "kill_switch": (dict(), "halted"),
    "books": (dict(b=book(disagreements=GHOST)), "reducing"),
    "rejections": (dict(rejections=3), "reducing"),
    "stale_data": (dict(age=31 * MINUTE), "reducing"),
    "clock": (dict(skew=timedelta(seconds=-31)), "reducing"),
}


@pytest.mark.parametrize("rule", RULES_AND_STATES)
def test_each_rule_sets_its_state_and_says_why(store, tmp_path, rule):
    given_, state = RULES_AND_STATES[rule]
    if rule == "kill_switch":
        (tmp_path / SWITCH).write_text("the power is going\nmore")
    at = TEN if rule != "stale_data" else TEN + HOUR
    found = look(store, tmp_path, at=at, **given_)
    assert (found.state, found.rule, found.set_by) == (state, rule, RULES) and found.reason
    assert current(store, "replay", at) == found and current(store, "simulated", at) == FRESH
    severity = {"halted": "critical", "reducing": "warning"}[state]
    assert told(store)[f"state_{state}"] == severity
    again = look(store, tmp_path, at=at + MINUTE, **given_)
    assert again == found and len(history(store, "replay", at + HOUR)) == 1


NEAR = {
    "daily_loss": dict(b=book(realized=D("-1999.99"))),
    "profit": dict(b=book(realized=D(50_000))),
    "drawdown": dict(b=book(peak_equity=D("111111.11"))),
    "rejections": dict(rejections=2),
    "stale_data": dict(age=30 * MINUTE, at=TEN + HOUR),
    "no data before the first bar can be old": dict(
        age=None, at=datetime(2025, 8, 13, 13, 59, tzinfo=UTC)
    ),
    "no data at night": dict(age=None, at=TEN + 10 * HOUR),
    "clock": dict(skew=timedelta(seconds=30)),
}


@pytest.mark.parametrize("name", NEAR)
def test_a_rule_does_nothing_just_inside_its_limit(store, tmp_path, name):
    assert look(store, tmp_path, **NEAR[name]).may_enter


def test_data_that_never_came_is_old(store, tmp_path):
    assert look(store, tmp_path, at=TEN + HOUR, age=None).rule == "stale_data"


def test_three_quarters_of_the_loss_are_told_once_and_stop_nothing(store, tmp_path):
    for minute, lost in enumerate(("-1499.99", "-1500", "-1600", "-1500")):
        state = look(store, tmp_path, book(realized=D(lost)), TEN + minute * MINUTE)
        assert state.may_enter and ("daily_loss_warning" in told(store)) == (minute > 0)
    assert store.value("select count(*) from risk_events") == 1
    assert not look(store, tmp_path, book(realized=D(-2_000)), TEN + HOUR).may_enter


def test_a_reduction_ends_with_its_cause_and_a_halt_does_not(store, tmp_path):
    step = lambda n, **more: str(look(store, tmp_path, at=TEN + n * MINUTE, **more).state)
    assert step(0, b=book(disagreements=GHOST)) == "reducing" and step(1) == "active"
    assert step(2, b=book(disagreements=GHOST)) == "reducing"
    assert step(3, b=book(realized=D(-2_000), disagreements=GHOST)) == "halted"
    assert step(4) == "halted" and step(60 * 24) == "halted" and step(60 * 24 * 30) == "halted"
    states = [r["state"] for r in history(store, "replay", TEN + 60 * HOUR)]
    assert states == ["halted", "reducing", "active", "reducing"]


def test_a_reduction_by_hand_waits_for_the_hand(store, tmp_path):
    set_state(store, "replay", "reducing", "hand", "a holiday is near", "ada", TEN)
    assert look(store, tmp_path, at=TEN + MINUTE).state == "reducing"
    assert look(store, tmp_path, book(realized=D(-2_000)), TEN + 2 * MINUTE).state == "halted"


def test_only_a_person_ends_a_halt_and_only_with_a_reason(store, tmp_path):
    halt(store, "replay", "the feed is wrong", "ada", TEN)
    for wrong in ("active", "reducing"):
        with pytest.raises(InputError, match="a person may resume"):
            set_state(store, "replay", wrong, "recovered", "it is over", RULES, TEN + HOUR)
    for reason, who in (("", "ada"), (" \n", "ada"), ("why not", RULES), ("why not", "")):
        with pytest.raises(InputError):
            resume(store, "replay", reason, who, TEN + HOUR, tmp_path)
    sql = "insert into risk_states (world, state, rule, reason, set_by, set_at) values ('replay', 'active', 'x', 'x', 'rules', :t)"
    with pytest.raises((DBAPIError, CatalystError), match="by hand only"):
        store.run(sql, t=TEN + HOUR)
    back = resume(store, "replay", "the feed is right", "ada", TEN + HOUR, tmp_path)
    assert back.may_enter and (back.rule, back.set_by) == ("resume", "ada")
    assert not current(store, "replay", TEN + HOUR - MINUTE).may_enter, "what was known then stays"


def test_the_file_stops_and_must_be_gone_before_anybody_resumes(store, tmp_path):
    (tmp_path / SWITCH).mkdir()  # not even a file: still a stop
    assert "HALT is there" in kill_switch(tmp_path) and not look(store, tmp_path).may_enter
    with pytest.raises(InputError, match="remove it first"):
        resume(store, "replay", "all is well", "ada", TEN + HOUR, tmp_path)
    (tmp_path / SWITCH).rmdir()
    assert look(store, tmp_path, at=TEN + HOUR).state == "halted", "the file's end is no resumption"
    assert resume(store, "replay", "all is well", "ada", TEN + HOUR, tmp_path).may_enter


def test_a_hostile_reason_is_one_masked_line(store, tmp_path, monkeypatch):
    monkeypatch.setenv("APCA_API_SECRET_KEY", "s3cret-of-ada")
    (tmp_path / SWITCH).write_bytes(b"\x1b[31m s3cret-of-ada \xff " + b"x" * 10_000)
    assert "s3cret" not in kill_switch(tmp_path) and kill_switch(tmp_path).isprintable()
    found = look(store, tmp_path)
    assert "s3cret" not in found.reason and "\x1b" not in found.reason and len(found.reason) <= 300
    told_ = store.value("select message from risk_events")
    assert "s3cret" not in told_ and "\n" not in told_
    halt(store, "replay", "'); drop table risk_states; --\n" * 50, "a\nda", TEN + MINUTE)
    assert len(history(store, "replay", TEN + HOUR)) == 2


def test_a_row_is_never_changed(store):
    halt(store, "replay", "the feed is wrong", "ada", TEN)
    for sql in ("update risk_states set state = 'active'", "delete from risk_states"):
        with pytest.raises((DBAPIError, CatalystError), match="never changed"):
            store.run(sql)


def test_a_halt_survives_the_process(store, tmp_path):
    halt(store, "replay", "the feed is wrong", "ada", TEN)
    code = """
import sys
from datetime import datetime
from catalyst.states import current
from catalyst.store import Store
print(current(Store(sys.argv[1]), "replay", datetime.fromisoformat(sys.argv[2])).state)"""
    at = (TEN + HOUR).isoformat()
    done = subprocess.run(
        [sys.executable, "-c", code, store.url, at], capture_output=True, text=True, env=os.environ
    )
    assert done.stdout.strip() == "halted", done.stderr


def entry(store, sid, at, n):
    p = Proposal(
        sid,
        f"S{sid}",
        PositionSide.LONG,
        D(5),
        D("175.50"),
        D("173.00"),
        D("180.00"),
        f"try{n}",
        at,
        at + HOUR,
    )
    facts = {sid: Facts("Energy", True, at, None, {})}
    return approve(store, CYCLE, None, p, book(asof=at, facts=facts), Config())


def sent(store, sid, at, n, status):
    "An approved entry as an order that the broker has answered"
    done = entry(store, sid, at, n)
    sql = """insert into orders (client_order_id, approval_id, cycle_id, security_id, purpose, side, order_type, order_class, time_in_force,
             quantity, limit_price, status, intended_at, ended_at)
             select :n, approval_id, cycle_id, security_id, purpose, side, order_type, 'bracket', 'gtc', quantity, limit_price, :s, :t, :e
             from risk_approvals where approval_id = :a"""
    ended = at if status == "rejected" else None
    store.run(sql, n=f"o{n}", s=status, t=at, e=ended, a=done.approval_id)
    store.run("update risk_approvals set released_at = :t where released_at is null", t=at)


def test_rejections_in_a_row_reduce_and_a_person_starts_the_count_again(store, tmp_path):
    sid = store.value("select get_or_create_security('AAPL')")
    words = ["rejected", "accepted", "rejected", "rejected", "rejected", "unknown"]
    for n, status in enumerate(words):
        other = store.value("select get_or_create_security(:s)", s=f"T{n}")
        sent(store, other, TEN + n * MINUTE, n, status)
        streak = rejection_streak(store, "replay", TEN + n * MINUTE)
        assert streak == [1, 0, 1, 2, 3, 3][n]
    at = TEN + 6 * MINUTE
    assert look(store, tmp_path, at=at, rejections=streak).rule == "rejections"
    assert not entry(store, sid, at, 9).approved
    resume(store, "replay", "the account was reset", "ada", at + MINUTE, tmp_path)
    assert rejection_streak(store, "replay", at + MINUTE) == 0
    assert rejection_streak(store, "replay", TEN + 24 * HOUR) == 0, "a new session counts anew"
    assert rejection_streak(store, "simulated", at) == 0


def test_rk07_a_stored_halt_is_acted_on_by_the_next_entry(store, tmp_path):
    "The earlier system stored its emergency stop, and nothing read it"
    sid = store.value("select get_or_create_security('AAPL')")
    look(store, tmp_path, book(realized=D(-2_000)))
    done = entry(store, sid, TEN, 1)
    assert [c["name"] for c in done.checks if c["verdict"] == "refused"] == ["state"]
    assert [c["note"] for c in done.checks if c["name"] == "state"] == ["the state is halted"]
    resume(store, "replay", "the limit was wrong", "ada", TEN + MINUTE, tmp_path)
    assert entry(store, sid, TEN + MINUTE, 2).approved


HANDS = st.sampled_from(["quiet", "books", "loss", "halt", "resume", "reduce"])


@settings(max_examples=15, deadline=None)
@given(st.lists(HANDS, max_size=8))
def test_whatever_happens_a_halt_is_left_by_a_resumption_only(database, tmp_path_factory, acts):
    database.run("truncate risk_states, risk_events restart identity")
    home, at = Path(tmp_path_factory.getbasetemp()), TEN
    before = current(database, "replay", at)
    for act in acts:
        at += MINUTE
        if act == "halt":
            now = halt(database, "replay", "by hand", "ada", at)
        elif act == "resume":
            now = resume(database, "replay", "by hand", "ada", at, home)
        elif act == "reduce":
            if before.state == "halted":
                continue
            now = set_state(database, "replay", "reducing", "hand", "by hand", "ada", at)
        else:
            b = {
                "quiet": book(),
                "books": book(disagreements=GHOST),
                "loss": book(realized=D(-2_000)),
            }[act]
            now = look(database, home, b, at)
        assert now == current(database, "replay", at)
        if before.state == "halted" and now.state != "halted":
            assert act == "resume"
        if act in ("loss", "halt"):
            assert now.state == "halted"
        before = replace(now)
    assert RiskState.HALTED == "halted"
