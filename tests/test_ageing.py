"Ageing: whole hours and sessions, each once; proved before anything is removed; the past decides as before"

import re
import signal
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import catalyst.ageing as page
from catalyst.ageing import AgeingError, age, drop_correlations, late_looks, retire_partitions
from catalyst.clock import get_session, parse_instant, sessions_between, slots
from catalyst.config import Config
from catalyst.core import Settings, World
from catalyst.dims import ensure_times, security_ids
from catalyst.schema import scratch_store

ROOT, CONFIG, DAY = Path(__file__).parents[1], Config(), timedelta(days=1)
SESSION = get_session("2025-08-13")
OPEN = int(SESSION.opens.timestamp())
TABLES = "security_data_high_freq", "security_data_hourly", "security_data_daily"


def point(security_id, at, price=20.0, bar="newest", **more):
    "A look at epoch second `at`; it saw the newest quarter of an hour unless told otherwise"
    bar = at - at % 900 - 900 if bar == "newest" else bar
    base = {
        "security_id": security_id,
        "time_id": at,
        "bar_time_id": bar,
        "price": price,
        "volume": 100,
        "tier": "high",
    }
    return base | {"collected_at": pd.Timestamp(at, unit="s", tz="UTC")} | more


def put(store, rows):
    frame = pd.DataFrame(rows)
    ensure_times(store, {*frame.time_id, *frame.bar_time_id.dropna().astype(int)})
    frame["bar_time_id"] = frame.bar_time_id.astype("Int64")
    return store.upsert("security_data_high_freq", frame, keys=["security_id", "time_id"])


def follow(store, **tiers):
    "Symbols with their tier; returns their ids in the order given"
    ids = security_ids(store, tiers)
    rows = [
        {"security_id": ids[s], "tier": t, "first_seen": SESSION.opens, "tracking_reason": "test", "tracking_rank": i}
        for i, (s, t) in enumerate(tiers.items(), 1)
    ]  # fmt: skip
    store.upsert("security_tracking_state", rows, keys=["security_id"], update=["tier"])
    return [ids[s] for s in tiers]


def session_points(security_id, session, draw, prices=None):
    at = [int(t.timestamp()) for t in slots(session)[1:]]
    walk = 20 * np.exp(np.cumsum(draw.normal(0, 0.002, len(at)))) if prices is None else prices
    return [
        point(security_id, t, round(float(p), 2), volume=int(draw.integers(1, 10_000)), news_mentions=int(draw.integers(0, 4)),
              catalyst_score=round(float(draw.uniform()), 3), relative_volume=round(float(draw.uniform(0, 3)), 4))
        for t, p in zip(at, walk, strict=True)
    ]  # fmt: skip


def dump(store, *tables):
    order = {TABLES[2]: "security_id, session"}
    return [
        store.frame(f"select * from {t} order by {order.get(t, 'security_id, time_id')}")
        for t in tables or TABLES
    ]


def same(left, right):
    for a, b in zip(left, right, strict=True):
        pd.testing.assert_frame_equal(a, b)


@pytest.fixture
def week(scratch):
    "Three securities, seven sessions, every quarter of an hour"
    ids, draw = follow(scratch, AAA="low", BBB="high", CCC="medium"), np.random.default_rng(7)
    days = sessions_between(date(2025, 8, 5), date(2025, 8, 13))
    for s in days:
        put(scratch, [p for i in ids for p in session_points(i, s, draw)])
    return scratch, ids, days


# What becomes of the looks


def test_hours_and_days_equal_a_direct_computation(week):
    store, _, days = week
    looks = dump(store, TABLES[0])[0]
    age(store, SESSION.closes + 100 * DAY, CONFIG)
    hours, made = dump(store)[1:]
    assert hours.empty and len(made) == 3 * len(days)
    opens = {s.day: int(s.opens.timestamp()) for s in days}
    looks["session"] = looks.collected_at.dt.date
    looks["hour"] = (looks.time_id - 1 - looks.session.map(opens)) // 3600
    looks["dollars"] = (looks.price * looks.volume).round(10)
    by_hour = looks.groupby(["security_id", "session", "hour"])
    hour = by_hour.agg(
        close=("price", "last"),
        volume=("volume", "sum"),
        dollars=("dollars", "sum"),
        score=("catalyst_score", "max"),
    )
    by_day = looks.groupby(["security_id", "session"])
    day = by_day.agg(open=("price", "first"), high=("price", "max"), low=("price", "min"), close=("price", "last"),
                     volume=("volume", "sum"), points=("price", "size"), news_count=("news_mentions", "max"), dollars=("dollars", "sum"))  # fmt: skip
    got = made.set_index(["security_id", "session"])
    for column in ("open", "high", "low", "close", "volume", "points", "news_count"):
        np.testing.assert_allclose(got[column].astype(float), day[column].astype(float))
    assert (got.points == 26).all() and (got.volume == day.volume).all()
    np.testing.assert_allclose(
        got.dollar_volume, day.dollars, rtol=1e-5
    )  # the vwap of an hour keeps four decimals
    moves = hour.groupby(level=[0, 1]).close.apply(lambda c: c.pct_change().std())
    np.testing.assert_allclose(got.volatility, moves, atol=1e-6)
    returns = day.close.groupby(level=0).pct_change()
    np.testing.assert_allclose(got.daily_return, returns, atol=1e-6)
    assert got.daily_return.isna().sum() == 3  # the first session of each has none before it
    best = hour.score.groupby(level=[0, 1]).nlargest(3).groupby(level=[0, 1]).apply(list)
    assert [[e["score"] for e in events] for events in got.catalyst_events] == best.tolist()


def test_hours_are_cut_at_the_close_of_a_half_day(scratch):
    [sid], half = follow(scratch, AAA="low"), get_session("2025-11-28")
    put(scratch, session_points(sid, half, np.random.default_rng(1)))
    put(
        scratch,
        [
            point(sid, int(half.closes.timestamp()) + 900),
            point(sid, int(half.opens.timestamp()) - 600),
        ],
    )
    age(scratch, half.closes + 2 * DAY, CONFIG)
    local = scratch.frame(
        "select t.hour, t.minute, points, h.time_id from security_data_hourly h join time_dimension t using (time_id) order by time_id"
    )
    assert [f"{r.hour:02}:{r.minute:02}" for r in local.itertuples()] == [
        "09:00",
        "09:30",
        "10:30",
        "11:30",
        "12:30",
        "13:00",
    ]
    assert local.points.tolist() == [1, 4, 4, 4, 2, 1]


def test_a_bar_that_many_looks_saw_counts_once(scratch):
    "Minute looks of one quarter of an hour, and a stock that has stopped trading"
    minute, stale, silent = follow(scratch, AAA="low", BBB="low", CCC="low")
    put(
        scratch, [point(minute, OPEN + 900 + 60 * m, volume=700) for m in range(45)]
    )  # bars of 09:30, 09:45, 10:00
    put(scratch, [point(stale, OPEN + 900 * (i + 1), volume=500, bar=OPEN) for i in range(4)])
    put(
        scratch, [point(silent, OPEN + 900 + 60 * m, volume=30, bar=None) for m in range(45)]
    )  # no look told its bar
    age(scratch, SESSION.closes + 2 * DAY, CONFIG)
    got = dump(scratch, TABLES[1])[0]
    assert dict(zip(got.security_id, got.volume, strict=True)) == {
        minute: 2100,
        stale: 500,
        silent: 90,
    }
    assert got.points.tolist() == [45, 4, 45]
    assert got.volatility.isna().tolist() == [False, True, False]


def test_a_stale_look_after_the_hour_belongs_to_its_bar_and_delays_its_hour(scratch):
    [sid] = follow(scratch, AAA="low")
    put(scratch, [point(sid, OPEN + 3600), point(sid, OPEN + 3600 + 1800, bar=OPEN + 2700)])
    ends = SESSION.opens + timedelta(hours=1)
    assert [s.taken for s in age(scratch, ends + DAY + timedelta(minutes=29), CONFIG)] == [0, 0]
    assert [s.taken for s in age(scratch, ends + DAY + timedelta(minutes=30), CONFIG)] == [2, 0]
    row = scratch.rows("select points, volume, time_id from security_data_hourly")
    assert row == [{"points": 2, "volume": 100, "time_id": OPEN}]


def test_unknown_stays_null(scratch):
    [sid] = follow(scratch, AAA="low")
    put(scratch, [point(sid, OPEN + 900, price=None, volume=None)])
    age(scratch, SESSION.closes + 2 * DAY, CONFIG)
    row = scratch.rows("select * from security_data_hourly")[0]
    assert {k for k, v in row.items() if v is not None} == {"security_id", "time_id", "points"}
    age(scratch, SESSION.closes + 40 * DAY, CONFIG)
    row = scratch.rows("select * from security_data_daily")[0]
    assert {k for k, v in row.items() if v is not None} == {
        "security_id",
        "session",
        "time_id",
        "points",
    }


def test_a_return_needs_the_session_before(scratch):
    [sid], draw = follow(scratch, AAA="low"), np.random.default_rng(3)
    for day, price in (("2025-08-08", 20), ("2025-08-11", 21), ("2025-08-13", 42)):
        put(scratch, session_points(sid, get_session(day), draw, np.full(26, price)))
    age(scratch, SESSION.closes + 40 * DAY, CONFIG)
    got = scratch.frame(
        "select session, daily_return from security_data_daily order by 1"
    ).daily_return
    np.testing.assert_allclose(
        got, [np.nan, 0.05, np.nan]
    )  # Monday follows Friday; Wednesday does not follow Monday


# When


@pytest.mark.parametrize(
    ("tier", "look_days", "hour_days"),
    [("archive", 1, 7), ("low", 1, 7), ("medium", 1, 30), ("high", 7, 30), ("ultra_high", 7, 30)],
)
def test_age_and_activity_decide(scratch, tier, look_days, hour_days):
    [sid] = follow(scratch, AAA=tier)
    put(scratch, [point(sid, OPEN + 900 * (i + 1)) for i in range(4)])
    ends, evening, second = SESSION.opens + timedelta(hours=1), SESSION.ends, timedelta(seconds=1)
    moved = [
        [s.taken for s in age(scratch, at, CONFIG)]
        for at in (ends + look_days * DAY - second, ends + look_days * DAY, evening + hour_days * DAY - second, evening + hour_days * DAY)
    ]  # fmt: skip
    assert moved == [[0, 0], [4, 0], [0, 0], [0, 1]]


def test_an_hour_in_which_the_looks_stopped_ages_at_its_end(scratch):
    [sid] = follow(scratch, AAA="low")
    put(scratch, [point(sid, OPEN + 900)])
    ends = SESSION.opens + timedelta(hours=1) + DAY
    assert [s.taken for s in age(scratch, ends - timedelta(seconds=1), CONFIG)] == [0, 0]
    assert [s.taken for s in age(scratch, ends, CONFIG)] == [1, 0]


def test_tr07_demoted_securities_leave_whole_hours(week):
    "TR-7: single points were written between hours, into columns that did not exist"
    store, (low, high, _), _ = week
    age(store, SESSION.opens + timedelta(hours=2, minutes=20) + DAY, CONFIG)
    store.run("update security_tracking_state set tier = 'low' where security_id = :s", s=high)
    age(store, SESSION.opens + timedelta(hours=3, minutes=20) + DAY, CONFIG)
    both = f"""select count(*) from security_data_high_freq h join ({page.PLACES}) p on p.bar = {page.BAR}
               join security_data_hourly x on x.security_id = h.security_id and x.time_id = p.hour"""
    assert store.value(both) == 0
    left = store.frame(
        "select security_id, count(*) as n, min(time_id) as first from security_data_high_freq group by 1 order by 1"
    )
    assert left.n.tolist() == [14] * 3 and (left["first"] == OPEN + 3 * 3600 + 900).all()
    assert store.value("select count(*) from security_data_hourly where points not in (4, 2)") == 0
    sums = [f"select coalesce(sum(points), 0) from {t} where security_id = :s" for t in TABLES[1:]]
    assert sum(store.value(q, s=low) for q in sums) == 7 * 26 - 14


def test_a_session_waits_for_its_last_look(scratch):
    "High looks stay longer than hours of a security that was demoted in between"
    [sid] = follow(scratch, AAA="low")
    put(scratch, [point(sid, OPEN + 900 * (i + 1)) for i in range(8)])
    age(scratch, SESSION.opens + timedelta(hours=1) + DAY, CONFIG)
    slow = Config({"high_freq_age_hours": 24 * 20})
    assert [s.taken for s in age(scratch, SESSION.ends + 8 * DAY, slow)] == [0, 0]
    assert [s.taken for s in age(scratch, SESSION.ends + 21 * DAY, slow)] == [4, 2]


# Once


def test_tr05_each_security_keeps_its_own_score(scratch):
    "TR-5: a loop variable gave all twenty rows the score of the last"
    ids = follow(scratch, **{f"A{i}": "low" for i in range(20)})
    put(
        scratch,
        [
            point(s, OPEN + 900 * k, catalyst_score=i / 20 + k / 1000)
            for i, s in enumerate(ids)
            for k in (1, 2)
        ],
    )
    age(scratch, SESSION.closes + 2 * DAY, CONFIG)
    wanted = {s: pytest.approx(i / 20 + 0.002) for i, s in enumerate(ids)}
    hours = dump(scratch, TABLES[1])[0].set_index("security_id")
    assert hours.max_catalyst_score.to_dict() == wanted
    age(scratch, SESSION.closes + 40 * DAY, CONFIG)
    days = dump(scratch, TABLES[2])[0].set_index("security_id")
    assert {s: e[0]["score"] for s, e in days.catalyst_events.items()} == wanted


def test_tr06_a_pass_that_is_repeated_adds_nothing(week):
    "TR-6: the daily upsert added its volume again at each run"
    store, _, _ = week
    asof = SESSION.closes + 5 * DAY
    volume, points = store.frame(
        "select sum(volume) as v, count(*) as n from security_data_high_freq"
    ).iloc[0]
    first = age(store, asof, CONFIG)
    once, log = dump(store), store.frame("select * from ageing_log order by source_table")
    assert first[0].taken > 0
    for _ in range(2):
        assert [s.taken for s in age(store, asof, CONFIG)] == [0, 0]
        same(dump(store), once)
    pd.testing.assert_frame_equal(
        store.frame("select * from ageing_log order by source_table"), log
    )
    for later in (10, 20, 31, 40, 40):
        age(store, SESSION.closes + later * DAY, CONFIG)
        sums = [store.frame(f"select coalesce(sum(volume), 0) as v, {n} as n from {t}").iloc[0]
                for t, n in zip(TABLES, ("count(*)", "coalesce(sum(points), 0)", "coalesce(sum(points), 0)"), strict=True)]  # fmt: skip
        assert (sum(s.v for s in sums), sum(s.n for s in sums)) == (volume, points)


def test_it_does_not_matter_how_often_the_pass_runs(week):
    store, _, _ = week
    with scratch_store() as other:
        follow(other, AAA="low", BBB="high", CCC="medium")
        looks = dump(store, TABLES[0])[0]
        put(other, looks.astype({"bar_time_id": "Int64"}).to_dict("records"))
        age(store, SESSION.closes + 40 * DAY, CONFIG)
        for hours in range(-12 * 24, 41 * 24, 7):
            age(other, SESSION.closes + timedelta(hours=hours), CONFIG)
        same(dump(store, *TABLES[1:]), dump(other, *TABLES[1:]))
        assert len(dump(other, TABLES[2])[0]) == 21


def test_a_late_look_stays_and_is_counted(scratch):
    "Merge rule: an hour that has aged is closed"
    [sid] = follow(scratch, AAA="low")
    rows = [point(sid, OPEN + 900 * (i + 1)) for i in range(4)]
    put(scratch, rows)
    age(scratch, SESSION.closes + 2 * DAY, CONFIG)
    before = dump(scratch, TABLES[1])
    put(scratch, [rows[0], point(sid, OPEN + 960, price=99.0)])  # one again, one that never was
    for days in (2, 3):
        assert [s.taken for s in age(scratch, SESSION.closes + days * DAY, CONFIG)] == [0, 0]
    same(dump(scratch, TABLES[1]), before)
    assert late_looks(scratch) == 2
    assert [s.taken for s in age(scratch, SESSION.closes + 40 * DAY, CONFIG)] == [
        0,
        1,
    ]  # they do not hold the day back
    put(scratch, [point(sid, OPEN + 7200)])  # its hour never was, its day has aged
    assert [s.taken for s in age(scratch, SESSION.closes + 41 * DAY, CONFIG)] == [0, 0]
    assert late_looks(scratch) == 3 and scratch.value("select points from security_data_daily") == 4


def test_db08_the_same_slot_twice_is_one_row(scratch):
    "DB-8: no uniqueness, so a second collection doubled the rows"
    [sid] = follow(scratch, AAA="low")
    rows = [point(sid, OPEN + 900)]
    assert (put(scratch, rows).inserted, put(scratch, rows).inserted) == (1, 0)
    age(scratch, SESSION.closes + 40 * DAY, CONFIG)
    for table, key in zip(TABLES[1:], ("time_id", "session"), strict=True):
        value = {"time_id": OPEN, "session": SESSION.day}[key]
        scratch.run(f"delete from {table}")
        insert = (
            f"insert into {table} (security_id, session, time_id, points) values (:s, :d, :t, 1)"
        )
        insert = insert if key == "session" else insert.replace("session, ", "").replace(":d, ", "")
        told = {"s": sid, "t": OPEN} | ({"d": value} if key == "session" else {})
        scratch.run(insert, **told)
        with pytest.raises(Exception, match="duplicate key"):
            scratch.run(insert, **told)


# Nothing is lost on the way


@pytest.mark.parametrize(
    ("table", "change", "told"),
    [
        ("security_data_hourly", "new.volume := new.volume + 1", "security_data_hourly: 1"),
        ("security_data_hourly", "new.points := new.points - 1", "security_data_hourly: 1"),
        ("security_data_hourly", "return null", "security_data_hourly: 1"),
        ("security_data_daily", "new.volume := new.volume * 2", "security_data_daily: 1"),
        ("security_data_daily", "new.points := 1", "security_data_daily: 1"),
        ("security_data_daily", "return null", "security_data_daily: 1"),
    ],
)
def test_a_target_that_differs_changes_nothing(scratch, table, change, told):
    [sid] = follow(scratch, AAA="low")
    put(scratch, [point(sid, OPEN + 900 * (i + 1)) for i in range(4)])
    before = dump(scratch)
    with scratch.transaction() as tx:
        tx.script(
            f"create function spoil() returns trigger language plpgsql as $$ begin {change}; return new; end $$"
        )
        tx.script(
            f"create trigger spoil before insert on {table} for each row execute function spoil()"
        )
    with pytest.raises(AgeingError, match=told):
        age(scratch, SESSION.closes + 40 * DAY, CONFIG)
    same(dump(scratch), before)
    assert scratch.value("select count(*) from ageing_log") == 0


def test_a_row_that_is_not_removed_changes_nothing(scratch):
    [sid] = follow(scratch, AAA="low")
    put(scratch, [point(sid, OPEN + 900 * (i + 1)) for i in range(4)])
    with scratch.transaction() as tx:
        tx.script(
            "create function keep() returns trigger language plpgsql as $$ begin return null; end $$"
        )
        tx.script(
            "create trigger keep before delete on security_data_high_freq for each row execute function keep()"
        )
    with pytest.raises(AgeingError, match="0 rows removed, 4 taken"):
        age(scratch, SESSION.closes + 2 * DAY, CONFIG)
    assert [len(f) for f in dump(scratch)] == [4, 0, 0]


@pytest.mark.parametrize("where", ["prove", "remove"])
@pytest.mark.parametrize("stage", [0, 1])
def test_an_error_between_writing_and_removing_leaves_what_was(week, monkeypatch, where, stage):
    store, _, _ = week
    before, real = dump(store), getattr(page, where)

    def breaks(tx, what, *rest):
        if what is page.STAGES[stage]:
            assert tx.value(f"select count(*) from {what.target}") > 0
            raise RuntimeError("the disk is on fire")
        return real(tx, what, *rest)

    monkeypatch.setattr(page, where, breaks)
    with pytest.raises(RuntimeError, match="on fire"):
        age(store, SESSION.closes + 40 * DAY, CONFIG)
    same(dump(store), before)
    monkeypatch.undo()
    age(store, SESSION.closes + 40 * DAY, CONFIG)
    assert [len(f) for f in dump(store)] == [0, 0, 21]


KILLED = """
import sys, time
from datetime import datetime
import catalyst.ageing as page
from catalyst.config import Config
from catalyst.store import Store

def stop(tx, stage, taken):
    print("written", tx.value(f"select count(*) from {stage.target}"), flush=True)
    time.sleep(60)

page.remove = stop
page.age(Store(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), Config())
"""


def test_a_pass_that_is_killed_is_done_by_the_next(week):
    store, _, _ = week
    before, asof = dump(store), SESSION.closes + 40 * DAY
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, store.url, asof.isoformat()],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline().startswith("written 147")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    same(dump(store), before)
    age(store, asof, CONFIG)
    looks, hours, days = dump(store)
    assert (len(looks), len(hours), len(days)) == (0, 0, 21)
    assert days.volume.sum() == before[0].volume.sum() and days.points.sum() == len(before[0])


def test_the_log_has_a_row_for_each_table(week):
    store, _, _ = week
    asof = SESSION.closes + 40 * DAY
    age(store, asof, CONFIG)
    log = store.frame(
        "select source_table, rows_taken, rows_made, pass_at from ageing_log order by 1"
    )
    assert log.source_table.tolist() == list(TABLES[:2]) and (log.pass_at == asof).all()
    assert log.rows_taken.tolist() == [7 * 26 * 3, 7 * 7 * 3] and log.rows_made.tolist() == [
        7 * 7 * 3,
        7 * 3,
    ]


def test_a_second_pass_of_one_instant_adds_to_its_log(scratch):
    "A security was demoted between two passes for the same night"
    quiet, active = follow(scratch, AAA="low", BBB="high")
    put(scratch, [point(s, OPEN + 900 * (i + 1)) for s in (quiet, active) for i in range(4)])
    age(scratch, SESSION.closes + 2 * DAY, CONFIG)
    follow(scratch, BBB="low")
    for _ in range(2):
        age(scratch, SESSION.closes + 2 * DAY, CONFIG)
    log = scratch.rows(
        "select rows_taken, rows_made from ageing_log where source_table = 'security_data_high_freq'"
    )
    assert log == [{"rows_taken": 8, "rows_made": 2}]


# The past decides as before


def test_ageing_never_changes_a_decision_about_the_past(scratch):
    "Features, scan and plans of three slots, before and after all of the session's looks have become one day"
    from catalyst import steps
    from catalyst.desk import look, open_desk
    from catalyst.scan import scan
    from catalyst.signals import decide_with_reasons

    settings = Settings(world=World.SIMULATED, simulate_session="2025-08-13")
    times = ["09:45", "10:15", "11:45"]

    def decided():
        found = []
        for time in times:
            desk = open_desk(f"2025-08-13T{time}:00-04:00", settings, scratch)
            view = look(desk, scratch)
            ranked = scan(view.features, view.securities, desk.asof, desk.config, True)
            chosen = ranked[ranked.selected_for_trading].security_id
            plans, reasons = decide_with_reasons(
                view.features[view.features.index.isin(chosen)], desk.config
            )
            found.append((view.features, ranked, plans, reasons))
        return found

    for time in times:
        desk = open_desk(f"2025-08-13T{time}:00-04:00", settings, scratch)
        for step in (steps.collect_news, steps.scan_market, steps.collect_points):
            step(desk)
    before = decided()
    stored = scratch.frame("select * from scan_results order by scan_result_id")
    assert sum(len(plans) + len(reasons) for _, _, plans, reasons in before) > 0
    age(scratch, SESSION.closes + 40 * DAY, CONFIG)
    assert [len(f) for f in dump(scratch)][:2] == [0, 0] and len(dump(scratch, TABLES[2])[0]) >= 100
    for (features, ranked, plans, reasons), (f, r, p, q) in zip(before, decided(), strict=True):
        pd.testing.assert_frame_equal(f, features)
        pd.testing.assert_frame_equal(r, ranked)
        assert (p, q) == (plans, reasons)
    pd.testing.assert_frame_equal(
        scratch.frame("select * from scan_results order by scan_result_id"), stored
    )


def test_no_decision_reads_what_ages():
    "By construction: no module of floors 30 to 61 names these tables in a statement"
    reads = re.compile(r"\b(from|join|update|into)\s+\"?security_data_", re.IGNORECASE)
    checked = 0
    for f in (ROOT / "catalyst").glob("*.py"):
        source = f.read_text("utf-8")
        number = re.search(r"File to edit: \S*?(\d+)_\w+\.ipynb", source)
        if number and 30 <= int(number[1]) <= 61:
            assert not reads.search(source), f.name
            checked += 1
    assert checked >= 10
    assert reads.search(
        (ROOT / "catalyst" / "ageing.py").read_text("utf-8")
    )  # the pattern finds what there is


# Months of bars


def bars(store, sid, session, timeframe="15min"):
    at = (
        [int(t.timestamp()) for t in slots(session)[:-1]]
        if timeframe == "15min"
        else [int(session.opens.timestamp())]
    )
    rows = pd.DataFrame(
        {"time_id": at, "timeframe": timeframe, "security_id": sid, "volume": 10, "feed": "t"}
    )
    rows = rows.assign(open=5.0, high=6.0, low=4.0, close=5.0, available_at=session.closes)
    ensure_times(store, at)
    for t in at:
        store.value("select ensure_partition(:t)", t=t)
    store.upsert("trading_history", rows, keys=["security_id", "timeframe", "time_id"])


def months(store):
    return (
        store.frame(
            "select timeframe, to_char(to_timestamp(time_id), 'YYYYMM') as month, count(*) as n from trading_history group by 1, 2 order by 2, 1"
        )
        .to_numpy()
        .tolist()
    )


def test_months_leave_whole_when_they_are_old_and_their_days_exist(scratch):
    sid, old, edge = (
        security_ids(scratch, ["AAA"])["AAA"],
        get_session("2023-06-30"),
        get_session("2023-07-05"),
    )
    for s in (old, edge):
        bars(scratch, sid, s)
    last = parse_instant("2025-06-29T23:59:59+00:00")  # 730 days before: July 1st 2023 has not come
    assert retire_partitions(scratch, last, CONFIG) == {"retired": {}, "waiting": {}}
    asof = last + timedelta(seconds=86401)
    assert retire_partitions(scratch, asof, CONFIG) == {
        "retired": {},
        "waiting": {"trading_history_202306": 1},
    }
    bars(scratch, sid, old, "1day")
    assert retire_partitions(scratch, asof, CONFIG) == {
        "retired": {"trading_history_202306": 26},
        "waiting": {},
    }
    assert months(scratch) == [["1day", "202306", 1], ["15min", "202307", 26]]
    assert retire_partitions(scratch, asof, CONFIG) == {"retired": {}, "waiting": {}}
    log = scratch.rows("select source_table, rows_taken, rows_made from ageing_log")
    assert log == [{"source_table": "trading_history_202306", "rows_taken": 27, "rows_made": 1}]
    bars(scratch, sid, get_session("2023-06-29"))  # a late import finds its partition
    assert retire_partitions(scratch, asof, CONFIG)["waiting"] == {"trading_history_202306": 1}


def test_a_month_that_cannot_leave_stays_as_it_is(scratch):
    sid, old = security_ids(scratch, ["AAA"])["AAA"], get_session("2020-06-30")
    bars(scratch, sid, old), bars(scratch, sid, old, "1day")
    before = months(scratch)
    with pytest.raises(ZeroDivisionError), scratch.transaction() as tx:
        retire_partitions(tx, SESSION.closes, CONFIG)
        raise ZeroDivisionError
    assert months(scratch) == before


def test_old_pairs_are_dropped_and_no_others(scratch):
    ids, key = (
        list(security_ids(scratch, ["AAA", "BBB"]).values()),
        ["security_id", "other_id", "correlation_window", "time_id"],
    )
    times = [OPEN - 86400 * d for d in range(10)]
    ensure_times(scratch, times)
    rows = [dict(zip(key, (*ids, "1day", t), strict=True)) | {"observations": 25} for t in times]
    scratch.upsert("security_correlations", rows, keys=key)
    assert drop_correlations(scratch, SESSION.opens, CONFIG) == 2
    assert scratch.value("select min(time_id) from security_correlations") == OPEN - 7 * 86400


# The night


@pytest.fixture
def evening(scratch, monkeypatch):
    from catalyst import night
    from catalyst.desk import Desk

    monkeypatch.setattr(night, "take_bars", lambda desk: None)
    settings = Settings(world=World.SIMULATED, simulate_session="2025-08-13")
    asof = SESSION.closes + timedelta(minutes=30)
    return night, Desk(settings, scratch, None, None, CONFIG, "20250813-simulated", SESSION, asof)


def test_a_failed_proof_ends_the_night_with_an_alert(evening, scratch, monkeypatch):
    night, desk = evening
    [sid] = follow(scratch, AAA="low")
    put(scratch, [point(sid, OPEN - 86400 * 2 + 900 * (i + 1)) for i in range(4)])
    before = dump(scratch)
    real = page.prove

    def spoiled(tx, stage):
        tx.run(f"update {stage.target} set points = points + 1")
        real(tx, stage)

    monkeypatch.setattr(page, "prove", spoiled)
    for _ in range(2):
        with pytest.raises(AgeingError, match="1 rows differ"):
            night.maintain(desk)
    same(dump(scratch), before)
    alerts = scratch.rows("select severity, subject, message from alerts")
    assert (
        len(alerts) == 1
        and alerts[0]["severity"] == "critical"
        and "security_data_hourly: 1" in alerts[0]["message"]
    )
    assert scratch.value("select count(*) from tracking_metrics") == 0
    assert (
        scratch.value(
            "select count(*) from workflow_log where step = '90_maintain' and status = 'failed'"
        )
        == 1
    )
    monkeypatch.setattr(page, "prove", real)
    assert night.maintain(desk)["ageing"]["stages"][0]["taken"] == 4
    assert [len(f) for f in dump(scratch)] == [0, 1, 0]


def test_a_night_is_done_once(evening, scratch):
    night, desk = evening
    [sid] = follow(scratch, AAA="low")
    put(scratch, [point(sid, OPEN - 86400 * 2 + 900 * (i + 1)) for i in range(4)])
    told = night.maintain(desk)
    assert told["correlations"] == {"why": "no bars of the last sessions"}
    assert (told["due"], told["done"]) == (7, 6)
    sizes = scratch.frame("select * from storage_log order by 2")
    assert night.maintain(desk) == told
    pd.testing.assert_frame_equal(scratch.frame("select * from storage_log order by 2"), sizes)
    assert late_looks(scratch) == 0
