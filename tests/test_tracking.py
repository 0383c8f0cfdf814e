"Who is followed, how the collection does, and one more look on demand (TR-1, TR-3, TR-4 of the earlier system)"

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from catalyst.backup import differences, table_sums
from catalyst.clock import parse_instant
from catalyst.config import Config
from catalyst.core import InputError, Settings, UnavailableError, World
from catalyst.desk import open_desk
from catalyst.schema import scratch_store
from catalyst.simulate import SimulatedFeed
from catalyst.steps import collect_news, read_state, write_state
from catalyst.track import STATE_COLUMNS
from catalyst.tracking import (
    LIST_COLUMNS,
    plain_rows,
    session_counts,
    tracked_securities,
    tracking_metrics,
    update_tracking,
)
from catalyst.workflow import create_trading_cycle, log_workflow_step

SIMULATED = Settings(world=World.SIMULATED, simulate_session="2025-08-13")
AT = datetime(2025, 8, 13, 14, tzinfo=UTC)  # Ten o'clock in New York
QUARTER = timedelta(minutes=15)


def sums(store):
    with store.transaction() as tx:
        return table_sums(tx)


def at(time):
    return parse_instant(f"2025-08-13T{time}:00-04:00")


@dataclass
class Frozen:
    "The simulated feed, which stops at an instant: it answers, with nothing new"

    real: SimulatedFeed
    until: datetime

    def __getattr__(self, name):
        return getattr(self.real, name)

    def bars(self, symbols, timeframe, start, end, asof):
        return self.real.bars(
            symbols, timeframe, start, min(end, self.until), min(asof, self.until)
        )


@pytest.fixture(scope="module")
def morning():
    "The simulated market at ten: news taken, a hundred followed, one collection; read only"
    with scratch_store() as store:
        collect_news(open_desk(at("09:45"), SIMULATED, store))
        yield store, update_tracking(store, at("10:00"), SIMULATED)


def test_tr04_every_row_of_a_scan_and_of_a_collection_is_stored(morning):
    "TR-4: a bulk insert with the wrong placeholders stored none, and nobody counted"
    store, told = morning
    scanned = store.rows("select count(*) as n, sum(cast(tracked as int)) as tracked from scan_results")[0]  # fmt: skip
    universe = store.value("select (details ->> 'due')\\:\\:int from workflow_log where step = '20_scan' and status = 'completed'")  # fmt: skip
    assert (scanned["n"], scanned["tracked"]) == (universe, 100) == (universe, told["tracked"])
    points = store.rows("select security_id, price from security_data_high_freq")
    assert len(points) == told["done"] == told["due"] == 100
    assert all(p["price"] is not None for p in points)


def test_the_list_is_the_state_with_names(morning):
    store, told = morning
    shown = tracked_securities(store, AT, Config())
    assert list(shown.columns) == LIST_COLUMNS and len(shown) == 100
    assert shown["rank"].tolist() == list(range(1, 101)) and shown["symbol"].is_unique
    assert (shown["tier"] == "ultra_high").sum() == told["selected"] > 0
    pause = shown["tier"].map({"ultra_high": 60, "high": 900}).astype("timedelta64[s]")
    assert (shown["next_due"] == shown["last_collected"] + pause).all()
    assert (shown["points"] == 1).all() and shown["reason"].str.len().min() > 10
    rows = plain_rows(shown)
    assert json.loads(json.dumps(rows, default=str)) and type(rows[0]["rank"]) is int


def test_metrics_are_what_the_tables_hold(morning):
    store, told = morning
    got = tracking_metrics(store, AT + QUARTER, Config())
    tiers = {t["tier"]: t for t in got["tiers"]}
    assert list(tiers) == ["ultra_high", "high", "medium", "low", "archive"]
    for tier, n in told["due_by_tier"].items():
        row = tiers[tier]
        assert (row["securities"], row["due"], row["collected"], row["missing"]) == (n, n, n, 0)
        assert (row["due_now"], row["longest_silence_minutes"]) == (n, 15.0)
    assert tiers["low"]["longest_silence_minutes"] is None
    assert got["points"] == {"high_freq": 100, "hourly": 0, "daily": 0}
    assert (got["points_total"], got["followed"], got["session"]) == (100, 100, date(2025, 8, 13))
    assert (
        got["bytes"] > store.value("select pg_total_relation_size('security_data_high_freq')") - 1
    )


def test_the_past_is_refused_in_one_line(morning):
    store, _ = morning
    early = AT - timedelta(seconds=1)
    for ask in (
        lambda: tracked_securities(store, early, Config()),
        lambda: tracking_metrics(store, early, Config()),
        lambda: update_tracking(store, early, SIMULATED),
    ):
        with pytest.raises(InputError, match="allowed: 2025-08-13T14:00:00.* or later") as e:
            ask()
        assert "\n" not in str(e.value)


CHILD = """
import sys, json
from catalyst.store import Store
from catalyst.config import Config
from catalyst.clock import parse_instant
from catalyst.tracking import plain_rows, tracked_securities
print(json.dumps(plain_rows(tracked_securities(Store(sys.argv[1]), parse_instant(sys.argv[2]), Config())), default=str))
"""


def test_tr03_a_new_process_finds_the_same_state(morning):
    "TR-3: the state was loaded and never saved; a restart forgot everybody"
    store, _ = morning
    told = subprocess.run(
        [sys.executable, "-c", CHILD, store.url, AT.isoformat()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    mine = json.dumps(plain_rows(tracked_securities(store, AT, Config())), default=str)
    assert json.loads(told.stdout) == json.loads(mine)


def test_tr03_every_column_of_the_state_survives(scratch):
    row = {
        "security_id": 1, "first_seen": AT, "tier": "medium", "tracking_rank": 7, "last_ranked_at": AT, "last_collected_at": AT,
        "data_points_collected": 41, "price_volatility": 0.0125, "relative_volume": 1.75, "flatline_periods": 3,
        "last_price": 20.5, "last_volume": 1200, "last_catalyst_score": 0.75, "last_catalyst_at": AT,
        "volume_profile": {"09:30": 5}, "aging_schedule": {"tier_since": AT.isoformat(), "points": 37}, "tracking_reason": "a test",
    }  # fmt: skip
    assert set(row) == set(STATE_COLUMNS)
    write_state(scratch, pd.DataFrame([row]))
    other = scratch.sibling(scratch.value("select current_database()"))
    assert read_state(other).to_dict("records") == [row]
    other.close()


# TR-1: only a collection counts as one


def test_tr01_a_look_at_a_silent_feed_collects_nobody_and_stamps_nobody():
    "TR-1: ranking stamped *updated*, so the collector found that nothing was due"
    feed = Frozen(SimulatedFeed(seed=7, session=date(2025, 8, 13)), at("10:00"))
    with scratch_store() as store:
        assert update_tracking(store, at("10:00"), SIMULATED, feed)["done"] == 100
        before = read_state(store).set_index("security_id")
        assert (before["data_points_collected"] == 1).all(), "a rank alone counts nothing"
        with pytest.raises(UnavailableError, match=r"100 were due and none was done: .* \(\d+\)"):
            update_tracking(store, at("11:15"), SIMULATED, feed)
        after = read_state(store).set_index("security_id")
        for column in ("last_collected_at", "data_points_collected", "last_price"):
            assert after[column].equals(before[column]), column
        assert store.value("select count(*) from security_data_high_freq") == 100
        shown = tracked_securities(store, at("11:15"), Config())
        assert (shown["next_due"] <= pd.Timestamp(at("11:15"))).all(), "all of them are still owed"
        counts = session_counts(store, at("11:15"))
        assert (counts["due"].sum(), counts["missing"].sum()) == (200, 100)
        feed.until = at("16:00")
        again = update_tracking(store, at("11:30"), SIMULATED, feed)
        assert again["done"] == again["due"] >= 100, "who has left the hundred is still followed"


def test_the_same_instant_again_changes_nothing(morning):
    store, told = morning
    before = sums(store)
    assert update_tracking(store, "2025-08-13T10:00:00-04:00", SIMULATED) == told
    assert differences(before, sums(store)) == []


def test_an_instant_outside_of_a_trading_day_is_refused(scratch):
    for asof in ("2025-08-16T12:00:00-04:00", "2025-08-13T22:00:00-04:00"):
        with pytest.raises(InputError, match="lies in no trading day"):
            update_tracking(scratch, asof, SIMULATED)
    assert read_state(scratch).empty


# The list, from states made by hand


def stated(store, *rows):
    base = {"first_seen": AT, "data_points_collected": 0, "flatline_periods": 0, "tracking_reason": "a test"}  # fmt: skip
    ids = [r["security_id"] for r in store.rows("select security_id from securities order by 1 limit 9")]  # fmt: skip
    made = [dict.fromkeys(STATE_COLUMNS) | base | {"security_id": i} | r for i, r in zip(ids, rows)]
    times = [c for c in STATE_COLUMNS if c.endswith("_at") or c == "first_seen"]
    write_state(store, pd.DataFrame(made).astype(dict.fromkeys(times, "datetime64[us, UTC]")))


def test_next_due_follows_the_tier_and_an_archived_security_has_none(scratch):
    hour, looked = timedelta(hours=1), {"last_collected_at": AT - timedelta(hours=1)}
    stated(
        scratch,
        {"tier": "low", "tracking_rank": 3, **looked},
        {"tier": "medium", "tracking_rank": 2, **looked},
        {"tier": "high", "tracking_rank": 1},
        {"tier": "archive", "tracking_rank": None, **looked},
    )
    shown = tracked_securities(scratch, AT, Config())
    assert shown["tier"].tolist() == ["high", "medium", "low"]
    assert shown["next_due"].tolist() == [AT, AT, AT + 23 * hour]
    slow = tracked_securities(scratch, AT, Config({"medium_freq_interval": 7200}))
    assert slow["next_due"].tolist()[1] == AT + hour
    everybody = plain_rows(tracked_securities(scratch, AT, Config(), everybody=True))
    assert [r["rank"] for r in everybody] == [1, 2, 3, None]
    assert everybody[-1]["next_due"] is None


def test_nobody_followed_is_an_empty_list_and_no_error(scratch):
    shown = tracked_securities(scratch, AT, Config())
    assert list(shown.columns) == LIST_COLUMNS and plain_rows(shown) == []
    got = tracking_metrics(scratch, AT, Config())
    assert (got["followed"], got["session"], got["points_total"]) == (0, None, 0)
    assert len(got["tiers"]) == 5


def test_the_values_in_force_are_used_when_none_are_given(scratch, monkeypatch):
    stated(scratch, {"tier": "high", "tracking_rank": 1, "last_collected_at": AT})
    monkeypatch.setenv("HIGH_FREQ_INTERVAL", "600")
    shown = tracked_securities(scratch, AT)
    assert shown["next_due"].tolist() == [AT + timedelta(minutes=10)]


def test_counts_are_of_the_newest_session_and_of_nothing_later(scratch):
    for day, due in ((12, 9), (13, 4)):
        started = datetime(2025, 8, day, 13, tzinfo=UTC)
        data = {"session": started.date(), "world": "replay", "started_at": started}
        key = create_trading_cycle(scratch, data)
        for hour, status in ((14, "completed"), (15, "failed"), (20, "completed")):
            told = {"due_by_tier": {"high": due, "low": 1}, "done_by_tier": {"high": due - 1}}
            slot = started.replace(hour=hour)
            log_workflow_step(scratch, key, "30_collect", status, told | {"slot_at": slot})
    noon = datetime(2025, 8, 13, 16, tzinfo=UTC)
    counts = session_counts(scratch, noon)
    assert counts.loc["high"].to_dict() == {"due": 4, "collected": 3, "missing": 1}
    assert counts.loc["low"].to_dict() == {"due": 1, "collected": 0, "missing": 1}
    before = session_counts(scratch, noon - timedelta(days=1))
    assert before.loc["high"].to_dict() == {"due": 9, "collected": 8, "missing": 1}
    evening = session_counts(scratch, noon + timedelta(hours=12))
    assert evening.loc["high"].to_dict() == {"due": 8, "collected": 6, "missing": 2}
