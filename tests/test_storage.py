"How large the memory is, how fast it grows, and when that is told (reference 14.5)"

from datetime import UTC, date, datetime, timedelta

import pytest

from catalyst.clock import sessions_between
from catalyst.config import Config
from catalyst.core import InputError
from catalyst.dims import ensure_times, time_id
from catalyst.storage import (
    YEAR,
    _TIER_OF,
    growth,
    projection,
    record,
    storage,
    table_sizes,
    tier_of,
    watch_storage,
)

SESSIONS = [s.day for s in sessions_between(date(2025, 8, 11), date(2025, 9, 30))]
AT = datetime(2025, 8, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)


def sizes_of(store):
    return {r["table"]: r for r in table_sizes(store)}


def log(store, session, **sizes):
    rows = [
        {"session": session, "table_name": t, "bytes": n, "row_count": 1} for t, n in sizes.items()
    ]
    store.upsert("storage_log", rows, keys=["session", "table_name"])


def bars(store, *months):
    for month in months:
        at = datetime(2025, month, 14, 14, tzinfo=UTC)
        ids = [time_id(at) + 900 * i for i in range(800)]
        ensure_times(store, ids)
        store.value("select ensure_partition(:t)", t=ids[0])
        store.run(
            """insert into trading_history select 1, t, '15min', 10, 11, 9, 10, 5, null, null, to_timestamp(t + 900), 'x'
               from unnest(cast(:ids as bigint[])) t""",
            ids=ids,
        )


def test_bytes_are_postgres_own_and_months_are_one_table(scratch):
    bars(scratch, 7, 8)
    got = sizes_of(scratch)
    assert not [t for t in got if t.startswith("trading_history_")]
    parts = scratch.value(
        "select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = cast('trading_history' as regclass)"
    )
    assert got["trading_history"]["bytes"] == parts > 2 * 50_000
    assert got["trading_history"]["rows"] == 1600
    whole = scratch.value("select pg_total_relation_size('exchange_days')")
    heap = scratch.value("select pg_relation_size('exchange_days')")
    assert got["exchange_days"]["bytes"] == whole > heap


def test_tiers_add_up_to_the_database(scratch):
    bars(scratch, 8)
    told = storage(scratch, Config())
    assert sum(t["bytes"] for t in told["tiers"]) == told["database_bytes"]
    now = scratch.value("select pg_database_size(current_database())")
    assert told["database_bytes"] == pytest.approx(now, rel=0.05)
    tiers = {t["tier"]: t for t in told["tiers"]}
    assert tiers["bars"]["bytes"] == sum(t["bytes"] for t in told["tables"] if t["tier"] == "bars")
    assert tiers["catalogue"]["rows"] is None and tiers["catalogue"]["bytes"] > 1_000_000


def test_the_list_of_tiers_names_real_tables(scratch):
    "A table that was renamed would leave its tier without a word"
    assert set(_TIER_OF) - set(sizes_of(scratch)) == set()


def test_a_table_nobody_named_and_a_detached_month_are_shown(scratch):
    bars(scratch, 7)
    scratch.run("alter table trading_history detach partition trading_history_202507")
    scratch.run("create table letters (body text)")
    got = sizes_of(scratch)
    assert (got["letters"]["tier"], got["trading_history_202507"]["tier"]) == ("other", "bars")
    assert tier_of("trading_history_of_rome") == "other"
    others = [t for t in storage(scratch, Config())["tiers"] if t["tier"] == "other"]
    assert [t["tables"] for t in others] == [1]


# Growth


def test_a_session_is_recorded_once(scratch):
    first = record(scratch, SESSIONS[0])
    bars(scratch, 8)
    again = record(scratch, SESSIONS[0])
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, first.inserted)
    stored = scratch.value("select row_count from storage_log where table_name = 'trading_history'")
    assert stored == 0 and first.inserted == len(table_sizes(scratch))
    with pytest.raises(InputError, match="weekend"):
        record(scratch, date(2025, 8, 16))


def test_recording_is_part_of_the_nights_transaction(scratch):
    with pytest.raises(ZeroDivisionError), scratch.transaction() as tx:
        record(tx, SESSIONS[0])
        1 / 0
    assert scratch.value("select count(*) from storage_log") == 0


def test_one_measurement_has_no_growth(scratch):
    for n in (0, 1):
        told = storage(scratch, Config())
        assert told["year_bytes"] is None and told["growth_per_session"] is None
        assert told["reason"] == f"measured at the end of {n} sessions; 2 are needed"
        assert told["measured_sessions"] == n
        log(scratch, SESSIONS[n], orders=500)


def test_growth_is_by_session_and_not_by_measurement(scratch):
    "A night without a measurement, a weekend and a holiday are not growth"
    log(scratch, date(2025, 8, 28), orders=1000)
    log(scratch, date(2025, 9, 3), orders=7000, fills=300)  # 29th, Labor Day, 2nd, 3rd
    told = growth(scratch)
    assert told["by_table"] == {"fills": 100, "orders": 2000}
    assert (told["bytes_per_session"], told["measured"]) == (2100, 2)
    ahead = projection(told, 50_000, 92_000)
    assert ahead["year_bytes"] == 2100 * YEAR and ahead["sessions_left"] == 20
    assert ahead["in_a_year_bytes"] == 50_000 + 2100 * YEAR


def test_growth_looks_at_the_newest_month(scratch):
    log(scratch, SESSIONS[0], orders=9_000_000)
    for i, session in enumerate(SESSIONS[1:24]):
        log(scratch, session, orders=1000 * i)
    assert growth(scratch)["bytes_per_session"] == 1000
    assert growth(scratch, sessions=24)["bytes_per_session"] < 0


def test_a_database_that_shrinks_lasts_for_ever(scratch):
    log(scratch, SESSIONS[0], orders=2000, letters=10)
    log(scratch, SESSIONS[1], orders=1000)
    ahead = projection(growth(scratch), 10, 20)
    assert (ahead["sessions_left"], ahead["reason"]) == (None, "it does not grow")
    assert growth(scratch)["by_table"]["letters"] == -10


# Alerts


def alerts(store):
    return store.rows(
        "select severity, raised_at, resolved_at, message from alerts order by alert_id"
    )


def limits(store, share):
    used = store.value("select pg_database_size(current_database())") / 1e9
    return Config({"storage_capacity_gb": used / share})


def test_the_alert_comes_at_the_configured_share_and_once(scratch):
    assert watch_storage(scratch, limits(scratch, 0.75), AT) is None and not alerts(scratch)
    for i in range(3):
        assert watch_storage(scratch, limits(scratch, 0.85), AT + i * DAY) == "warning"
    assert watch_storage(scratch, limits(scratch, 0.85), AT) == "warning"
    [one] = alerts(scratch)
    assert (one["severity"], one["raised_at"], one["resolved_at"]) == ("warning", AT, None)
    assert "85%, told from 80%" in one["message"]


def test_full_is_critical_and_room_resolves(scratch):
    assert watch_storage(scratch, limits(scratch, 1.05), AT) == "critical"
    assert [a["severity"] for a in alerts(scratch)] == ["warning", "critical"]
    assert watch_storage(scratch, limits(scratch, 0.9), AT + DAY) == "warning"
    assert [a["resolved_at"] for a in alerts(scratch)] == [None, AT + DAY]
    watch_storage(scratch, limits(scratch, 0.1), AT + 2 * DAY)
    assert [a["resolved_at"] for a in alerts(scratch)] == [AT + 2 * DAY, AT + DAY]
    watch_storage(scratch, limits(scratch, 0.9), AT + 3 * DAY)
    assert len(alerts(scratch)) == 3, "full once more is a new alert"


def test_the_alert_is_part_of_the_nights_transaction(scratch):
    with pytest.raises(ZeroDivisionError), scratch.transaction() as tx:
        watch_storage(tx, limits(scratch, 0.9), AT)
        1 / 0
    assert not alerts(scratch)
