"Failures of the earlier system that belong to no single room; the others are guarded where they could happen"

import ast
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from catalyst.clock import get_session
from catalyst.run import plan_day, read_schedule, run_id_of

PACKAGE = Path(__file__).parents[1] / "catalyst"


def test_tr02_nothing_is_left_to_a_loop_that_nobody_runs():
    "The collector was an async task created where no loop ran. Here every step is a plain call; streams run in threads of their own"
    trees = {f.name: ast.parse(f.read_text("utf-8")) for f in PACKAGE.glob("*.py")}
    left = [n for n, t in trees.items() for x in ast.walk(t) if isinstance(x, ast.AsyncFunctionDef)]
    assert len(trees) > 40 and set(left) <= {"kernels.py", "alpaca_lines.py", "alpaca_streams.py"}


def test_tr09_every_name_is_defined():
    "A time was taken from a start that nobody had defined"
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "-q",
        "--isolated",
        "--select",
        "F821,F823",
        str(PACKAGE),
    ]
    done = subprocess.run(ruff, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("day", ["2025-08-13", "2025-11-28"])
@pytest.mark.parametrize("lengths", [(), ("1min",)])
def test_tr10_a_notebook_is_due_once_at_an_instant(day, lengths):
    "'Minute equals 0' within a loop of thirty seconds was true twice"
    plan = plan_day(read_schedule(), get_session(day), lengths)
    ids = [run_id_of(job.notebook, "replay", at) for at, job in plan]
    assert len(ids) == len(set(ids)) > 50
    assert [at for at, _ in plan] == sorted(at for at, _ in plan)


class Stopped:
    "A market's feed that answers, and has nothing to say any more"

    def __init__(self, feed, last):
        self._feed, self._last = feed, last

    def __getattr__(self, name):
        return getattr(self._feed, name)

    def bars(self, symbols, timeframe, start, end, asof):
        return self._feed.bars(symbols, timeframe, start, end, min(asof, self._last))


def test_guard11_a_feed_that_fell_silent_is_not_healthy(scratch):
    "Six weeks of 'healthy' without a row: the state goes by what is stored, not by who answered"
    from catalyst.core import Settings, World
    from catalyst.desk import open_desk, take_bars
    from catalyst.simulate import SimulatedFeed

    session = get_session("2025-08-13")
    feed = Stopped(SimulatedFeed(session="2025-08-13"), session.opens + timedelta(minutes=45))
    settings = Settings(world=World.SIMULATED, simulate_session="2025-08-13")
    told = []
    for minutes in (45, 60, 75, 90, 400):
        desk = open_desk(session.opens + timedelta(minutes=minutes), settings, scratch, feed)
        take_bars(desk, history=6)
        told.append(
            scratch.rows("select status, error_message, last_output_at from service_health")[0]
        )
    assert [t["status"] for t in told] == ["healthy", "healthy", "degraded", "degraded", "degraded"]
    assert told[2]["error_message"] == "no bar has ended for 0:30:00"
    assert {t["last_output_at"] for t in told} == {session.opens + timedelta(minutes=45)}


def test_guard11_an_empty_store_is_not_healthy_before_the_open(scratch):
    "At quarter past nine nothing is overdue today, and still a store without bars of the last session has nothing to decide from"
    from catalyst.core import Settings, World
    from catalyst.desk import open_desk, take_bars
    from catalyst.simulate import SimulatedFeed

    settings = Settings(world=World.SIMULATED, simulate_session="2025-08-13")
    market = SimulatedFeed(session="2025-08-13")
    told = {}
    for until in ("1990-01-01", "2025-08-11", "2025-08-13"):
        feed = Stopped(market, datetime.fromisoformat(f"{until}T12:00:00+00:00"))
        take_bars(open_desk("2025-08-13T09:15:00-04:00", settings, scratch, feed), history=6)
        row = scratch.rows("select status, error_message from service_health")[0]
        told[until] = (row["status"], row["error_message"])
    assert told["1990-01-01"] == ("degraded", "no bar is stored")
    assert told["2025-08-11"][0] == "degraded" and "2025-08-12 left none" in told["2025-08-11"][1]
    assert told["2025-08-13"] == ("healthy", None)


def test_guard11_a_slot_that_a_long_run_swallowed_has_failed(scratch, capsys):
    from catalyst.core import Settings, World
    from catalyst.day import _failed_runs, _overrun, next_due

    settings, session = Settings(world=World.SIMULATED), get_session("2025-08-13")
    jobs = read_schedule()
    at, _ = next_due(jobs, session.opens + timedelta(minutes=20))
    again, due = next_due(jobs, at)
    assert _overrun(scratch, settings, jobs, (), at, again - timedelta(seconds=1)) == []
    assert _overrun(scratch, settings, jobs, (), at, again) == due != []
    failed = _failed_runs(scratch, session.day, World.SIMULATED)
    assert len(failed) == len(due) and all(
        "missed: an earlier run lasted" in f["error"] for f in failed
    )
    assert _failed_runs(scratch, session.day, World.REPLAY) == []
    assert capsys.readouterr().out.count("failed: missed") == len(due)


def test_guard22_a_swallowed_look_at_what_is_held_is_taken_at_once(scratch, monkeypatch):
    "The slot of 15:45 was the only one that closes positions, and a run that overran it left them open"
    import catalyst.day as day
    from catalyst.clock import ReplayClock
    from catalyst.core import Settings, World

    session, looks = get_session("2025-08-13"), []
    late = ReplayClock(session.closes - timedelta(minutes=14, seconds=52))

    def look(store, settings, at, job):
        looks.append((at, job.notebook))
        late.move(at + timedelta(minutes=16) if len(looks) == 1 else at)  # the first one is slow
        return False

    monkeypatch.setattr(day, "_run_due", look)
    settings, slot = Settings(world=World.SIMULATED), session.closes - timedelta(minutes=30)
    failed = day._catch_up(scratch, settings, read_schedule(), (), slot, late)
    first = session.closes - timedelta(minutes=14, seconds=52)
    assert looks == [(first, "60_monitor"), (first + timedelta(minutes=16), "60_monitor")]
    assert failed == len(day._failed_runs(scratch, session.day, World.SIMULATED)) > 2


def test_guard22_the_last_minutes_are_looked_at_one_by_one():
    session = get_session("2025-11-28")  # A half day
    plan = plan_day(read_schedule(), session, ("1min", "15min"))
    looks = [t for t, job in plan if job.notebook == "60_monitor"]
    last = [session.closes - timedelta(minutes=m) for m in range(15, -1, -1)]
    assert [t for t in looks if last[0] <= t <= session.closes] == last
    slow = [t for t, job in plan_day(read_schedule(), session, ("15min",)) if t in last[1:-1]]
    assert slow == []  # Without minute bars a day costs what it did


def test_guard12_a_step_that_ends_in_a_mistake_of_ours_has_failed(scratch):
    from catalyst.core import Settings, World
    from catalyst.desk import once, open_desk
    from catalyst.simulate import SimulatedFeed

    settings = Settings(world=World.SIMULATED, simulate_session="2025-08-13")
    desk = open_desk("2025-08-13T10:00:00-04:00", settings, scratch, SimulatedFeed())
    for where in ({"work": lambda tx: {}["x"]}, {"work": lambda tx: {}, "before": lambda: {}["x"]}):
        with pytest.raises(KeyError):
            once(desk, f"step{len(where)}", **where)
    rows = scratch.rows("select step, status, error_message from workflow_log order by log_id")
    assert [r["status"] for r in rows] == ["started", "failed"] * 2
    assert {r["error_message"] for r in rows} == {None, "KeyError: 'x'"}


def test_guard12_news_that_ended_in_a_mistake_of_ours_is_not_healthy(scratch, monkeypatch):
    from catalyst import steps
    from catalyst.core import Settings, World
    from catalyst.desk import open_desk
    from catalyst.simulate import SimulatedFeed

    settings = Settings(world=World.SIMULATED, simulate_session="2025-08-13")
    desk = open_desk("2025-08-13T10:00:00-04:00", settings, scratch, SimulatedFeed())
    steps.collect_news(replace(desk, asof=desk.asof - timedelta(minutes=15)))
    monkeypatch.setattr(steps, "judge_news", lambda *asked: {}["x"])
    with pytest.raises(KeyError):
        steps.collect_news(desk)
    told = scratch.rows(
        "select status, error_message from service_health where service_name = 'news'"
    )
    assert told == [{"status": "degraded", "error_message": "KeyError: 'x'"}]


def test_a_collection_asks_the_feed_three_times(scratch):
    "100 securities cost at most three calls: bars, quotes, and the minutes of the selected"
    from catalyst.core import Settings, World
    from catalyst.desk import open_desk
    from catalyst.simulate import SimulatedFeed
    from catalyst.steps import collect_news, collect_points, scan_market

    calls = []

    class Counted(Stopped):
        def __getattr__(self, name):
            asked = getattr(self._feed, name)
            return asked if not callable(asked) else lambda *a: (calls.append(name), asked(*a))[1]

        def bars(self, *a):
            calls.append("bars")
            return self._feed.bars(*a)

    settings = Settings(world=World.SIMULATED, simulate_session="2025-08-13")
    feed = Counted(SimulatedFeed(session="2025-08-13"), None)
    desk = lambda at: open_desk(f"2025-08-13T{at}:00-04:00", settings, scratch, feed)
    collect_news(desk("10:00")), scan_market(desk("10:00"))
    for at, due in (("10:00", 100), ("10:01", 1)):
        calls.clear()
        told = collect_points(desk(at))
        assert told["due"] == told["done"] >= due
        assert sorted(c for c in calls if c != "assets") == ["bars", "bars", "quotes"]
