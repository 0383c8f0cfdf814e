"What the schema must refuse and survive, asked with raw SQL. (DB-1 … DB-11 of the earlier system)"

import json
import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from catalyst.check import check_database
from catalyst.clock import NEW_YORK, market_phase, session_of
from catalyst.core import InputError, resource_dir
from catalyst.dims import ensure_times, security_ids, time_id
from catalyst.schema import live_schema, migrate, refuse_gaps, scratch_store


def refused(store, sql, **params):
    with pytest.raises(Exception) as e:
        store.run(sql, **params)
    return str(e.value)


def test_db_check_passes(scratch):
    assert [c for c in check_database(scratch) if not c.ok] == []


def test_db10_db11_the_manifest_is_what_the_migrations_make(scratch):
    "guard-15: one definition; the list that start-up compares with is the schema itself"
    have = live_schema(scratch)
    need = json.loads((resource_dir("sql") / "schema.json").read_text())
    assert {k: have[k] for k in need} == need


def test_db01_a_missing_function_is_named(scratch):
    "DB-1: helpers that were never deployed made every insert fail in silence"
    scratch.run("drop function get_or_create_time(timestamptz)")
    with pytest.raises(InputError, match="get_or_create_time"):
        refuse_gaps(scratch)


def test_migrations_again_change_nothing(scratch):
    before = live_schema(scratch)
    assert migrate(scratch) == []
    assert live_schema(scratch) == before


def test_two_processes_migrate_at_once(scratch):
    scratch.run("delete from schema_migrations where name like '9%'")
    done = []
    threads = [
        threading.Thread(target=lambda: done.append(len(migrate(scratch)))) for _ in range(2)
    ]
    [t.start() for t in threads], [t.join() for t in threads]
    assert sorted(done) == [0, 3]


def test_unknown_words_are_refused(scratch):
    "guard-01: the database knows the vocabulary too"
    assert "side" in refused(scratch, "select cast('long' as side)")


def test_db05_partitions_are_made_on_demand_and_by_time(scratch):
    "DB-5: a partitioned table without partitions, ranged on ids in arrival order"
    jan, feb = datetime(2025, 1, 31, 20, tzinfo=UTC), datetime(2025, 2, 3, 15, tzinfo=UTC)
    for t in (jan, feb, feb):
        scratch.value("select ensure_partition(:t)", t=time_id(t))
    parts = scratch.rows(
        "select inhrelid\\:\\:regclass\\:\\:text as p from pg_inherits where inhparent = 'trading_history'\\:\\:regclass order by 1"
    )
    assert [p["p"] for p in parts] == ["trading_history_202501", "trading_history_202502"]


@pytest.mark.parametrize(
    "text",
    [
        "2025-03-10T09:30-04:00",
        "2025-03-07T09:30-05:00",
        "2025-11-28T13:00-05:00",
        "2025-07-04T12:00-04:00",
        "2025-08-16T12:00-04:00",
        "2025-08-13T03:59-04:00",
    ],
)
def test_db04_database_and_clock_agree_on_an_instant(scratch, text):
    "DB-4: market_session was never filled, holidays never set, daylight saving ignored"
    at = datetime.fromisoformat(text)
    ensure_times(scratch, [time_id(at)])
    row = scratch.rows("select * from time_dimension")[0]
    s = session_of(at)
    assert (row["market_session"], row["session"]) == (market_phase(at), s.day if s else None)
    assert row["trading_day"] == at.astimezone(NEW_YORK).date()
    assert row["ts"] == at


def test_an_instant_outside_the_calendar_is_refused(scratch):
    assert "no exchange calendar" in refused(scratch, "select ensure_times(array[0]\\:\\:bigint[])")


def test_reused_ticker_is_two_securities(scratch):
    scratch.run(
        "insert into securities (symbol, valid_from, valid_to) values ('ZZOLD', '2000-01-01', '2010-01-01')"
    )
    new = security_ids(scratch, ["ZZOLD"])["ZZOLD"]
    assert scratch.value("select count(*) from securities where symbol = 'ZZOLD'") == 2
    assert scratch.value("select valid_to from securities where security_id = :i", i=new) is None


def test_a_ticker_whose_company_is_gone_begins_again(scratch):
    "The helper looked for today's company for ever when there was none"
    old = scratch.value("select get_or_create_security('GONE')")
    scratch.run("update securities set valid_to = '2020-01-02' where security_id = :i", i=old)
    new = scratch.value("select get_or_create_security('gone')")
    assert new != old and scratch.value("select get_or_create_security('GONE')") == new
    assert scratch.value("select valid_from from securities where security_id = :i", i=new) == date(
        2020, 1, 2
    )


def test_names_of_the_packaged_list_go_to_todays_company(scratch):
    old = scratch.value("select security_id from securities where symbol = 'T'")
    scratch.run(
        "update securities set name = null, valid_to = '2005-11-21' where security_id = :i", i=old
    )
    new = scratch.value("select get_or_create_security('T')")
    scratch.run("delete from schema_migrations where name = '920_securities.sql'")
    migrate(scratch)
    names = {
        r["security_id"]: r["name"]
        for r in scratch.rows("select * from securities where symbol = 'T'")
    }
    assert names == {old: None, new: "AT&T"}


def test_contradicting_bar_cannot_be_stored(scratch):
    t = time_id(datetime(2025, 8, 13, 14, tzinfo=UTC))
    ensure_times(scratch, [t])
    scratch.value("select ensure_partition(:t)", t=t)
    sql = """insert into trading_history values (1, :t, '15min', 10, :high, 9, 10.5, 100, null, null, '2025-08-13 14:15+00', 'x')"""
    assert "violates check" in refused(scratch, sql, t=t, high=10.2)
    assert scratch.run(sql, t=t, high=10.6) == 1
    assert "duplicate key" in refused(scratch, sql, t=t, high=10.6)


def test_one_open_position_per_security(scratch):
    "guard-08: duplicate buys"
    scratch.run(
        "insert into trading_cycles (cycle_id, session, world, started_at) values ('c', '2025-08-13', 'replay', '2025-08-13 13:00+00')"
    )
    sql = """insert into positions (position_key, cycle_id, security_id, side, quantity, open_quantity, entry_price, risk_amount, status, opened_at)
             values (:k, 'c', 1, 'long', 10, 10, 5, 1, 'open', '2025-08-13 14:00+00')"""
    scratch.run(sql, k="a")
    assert "positions_one_open" in refused(scratch, sql, k="b")


def test_a_closed_position_needs_its_result(scratch):
    "guard-07: 140 trades closed at zero"
    scratch.run(
        "insert into trading_cycles (cycle_id, session, world, started_at) values ('c', '2025-08-13', 'replay', '2025-08-13 13:00+00')"
    )
    sql = """insert into positions (position_key, cycle_id, security_id, side, quantity, open_quantity, entry_price, risk_amount, status, opened_at, closed_at)
             values ('a', 'c', 1, 'long', 10, 0, 5, 1, 'closed', '2025-08-13 14:00+00', '2025-08-13 15:00+00')"""
    assert "violates check" in refused(scratch, sql)


def test_approvals_are_evidence(scratch):
    scratch.run(
        "insert into trading_cycles (cycle_id, session, world, started_at) values ('c', '2025-08-13', 'replay', '2025-08-13 13:00+00')"
    )
    scratch.run(
        """insert into risk_approvals (approval_key, cycle_id, security_id, purpose, verdict, side, order_type, quantity, decided_at, expires_at, checks, snapshot, order_hash)
           values ('k', 'c', 1, 'entry', 'refused', 'buy', 'market', 5, '2025-08-13 14:00+00', '2025-08-13 14:15+00', '[]', '{}', '')"""
    )
    assert "cannot be changed" in refused(scratch, "update risk_approvals set verdict = 'approved'")
    assert "cannot be changed" in refused(scratch, "delete from risk_approvals")
    assert scratch.run("update risk_approvals set released_at = '2025-08-13 14:20+00'") == 1


def test_db06_ml_features_show_no_future_news(scratch):
    "DB-6, guard-18: the view joined all news with only a lower bound in time"
    t, at = (
        time_id(datetime(2025, 8, 13, 14, tzinfo=UTC)),
        datetime(2025, 8, 13, 14, 15, tzinfo=UTC),
    )
    ensure_times(scratch, [t])
    scratch.value("select ensure_partition(:t)", t=t)
    scratch.run(
        "insert into trading_history values (1, :t, '15min', 10, 11, 9, 10.5, 100, null, null, :at, 'x')",
        t=t,
        at=at,
    )
    scratch.run("insert into news_sources (feed, source_name) values ('f', 's')")
    for i, received in enumerate(
        [at - timedelta(minutes=5), at + timedelta(seconds=1), at - timedelta(hours=2)]
    ):
        scratch.run(
            "insert into news_revisions (feed, item_id, content_hash, source_id, headline, published_at, received_at) values ('f', :i, 'h', 1, 'x', :r, :r)",
            i=str(i),
            r=received,
        )
        scratch.run(
            "insert into news_sentiment (revision_id, security_id, time_id, headline, source_id, published_at, received_at) values (:i, 1, :t, 'x', 1, :r, :r)",
            i=i + 1,
            t=t,
            r=received,
        )
    assert scratch.value("select news_count_1h from v_ml_features") == 1


def test_db07_seeds_invent_no_economic_values(scratch):
    "DB-7: seed rows with value 0 on today's date"
    assert scratch.value("select count(*) from economic_indicators") == 0


def test_scratch_databases_are_separate():
    with scratch_store() as one, scratch_store() as two:
        one.run("insert into securities (symbol) values ('ZZONE')")
        assert two.value("select count(*) from securities where symbol = 'ZZONE'") == 0
        assert one.value("select min(day) from exchange_days") == date(1990, 1, 1)
