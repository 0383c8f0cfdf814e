"One registry, five places, every change kept; flags; and the two tables that every step writes (reference 13, 4.1, DB-3, DB-9)"

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst.config import REGISTRY, Config
from catalyst.core import InputError
from catalyst.schema import scratch_store
from catalyst.workflow import (
    configuration_history,
    create_trading_cycle,
    cycle_config,
    explain_config,
    flag_on,
    get_configuration,
    resolve_config,
    set_configuration,
    unset_configuration,
    update_service_health,
    update_trading_cycle,
)

AT = datetime(2025, 8, 13, 13, 30, tzinfo=UTC)
DAY = date(2025, 8, 13)
SEED = {  # Reference 4.1: the environment of the second seed, as it spelt it
    "TOP_CANDIDATES_TO_TRACK": 100, "TOP_CANDIDATES_TO_TRADE": 5, "TRACKING_CACHE_TTL": 900,
    "PATTERN_DISCOVERY_INTERVAL": 3600, "HIGH_FREQ_INTERVAL": 900, "MEDIUM_FREQ_INTERVAL": 3600,
    "LOW_FREQ_INTERVAL": 86400, "HIGH_FREQ_AGE_HOURS": 24, "MEDIUM_FREQ_AGE_DAYS": 7, "LOW_FREQ_AGE_DAYS": 30,
}  # fmt: skip


def cycle(store, **configuration):
    data = {"session": DAY, "world": "replay", "started_at": AT, "configuration": configuration}
    return create_trading_cycle(store, data)


def write(home, text):
    (home / "catalyst.toml").write_text(text)
    return home


@pytest.fixture(scope="module")
def unset():
    "A database in which nothing is set, for tests that only read"
    with scratch_store() as store:
        yield store


# Where a value comes from


@pytest.mark.parametrize("variable, default", SEED.items())
def test_the_names_of_the_second_seed_work(unset, tmp_path, variable, default):
    "Each with the default that the plan gave it, and with another value from the environment"
    name = variable.lower()
    assert resolve_config(unset, tmp_path, env={})[name] == default
    other = int(default) // 2 or 1
    told = explain_config(unset, tmp_path, env={variable: str(other)})
    [row] = [r for r in told if r["name"] == name]
    assert (row["value"], row["source"], row["default"]) == (other, "environment", default)


def test_cycle_over_table_over_file_over_environment_over_default(scratch, tmp_path):
    def now(cycle_id=None):
        told = explain_config(scratch, tmp_path, cycle_id, env)
        row = next(r for r in told if r["name"] == "max_positions")
        assert resolve_config(scratch, tmp_path, cycle_id, env).max_positions == row["value"]
        return row["value"], row["source"], row["hidden"]

    env = {}
    assert now() == (5, "default", {})
    env = {"MAX_POSITIONS": "9"}
    assert now() == (9, "environment", {})
    write(tmp_path, "[parameters]\nmax_positions = 8\n")
    assert now() == (8, "file", {"environment": 9})
    set_configuration(scratch, "max_positions", 7, "ann", "a test", AT)
    assert now() == (7, "table", {"environment": 9, "file": 8})
    key = cycle(scratch, max_positions=6)
    assert now(key) == (6, "cycle", {"environment": 9, "file": 8, "table": 7})
    assert now() == (7, "table", {"environment": 9, "file": 8})


def test_a_change_at_noon_waits_for_the_next_cycle(scratch, tmp_path):
    key = cycle(scratch, **cycle_config(Config(), "normal"))
    set_configuration(scratch, "max_positions", 2, "ann", "a bad morning", AT)
    assert resolve_config(scratch, tmp_path, key, {}).max_positions == 5
    assert resolve_config(scratch, tmp_path, None, {}).max_positions == 2


def test_every_parameter_is_explained_with_unit_and_range(unset, tmp_path):
    told = explain_config(unset, tmp_path, env={})
    assert [r["name"] for r in told] == list(REGISTRY)
    assert all(r["unit"] and r["meaning"] and r["used_by"] for r in told)
    assert {r["source"] for r in told} == {"default"}


# Wrong values, wherever they stand


def test_cf4_a_missing_key_is_an_error_and_no_default(scratch, tmp_path):
    with pytest.raises(InputError, match="parameter: received 'max_postions'"):
        get_configuration(scratch, "max_postions", tmp_path)
    with pytest.raises(InputError, match="max_postions"):
        set_configuration(scratch, "max_postions", 3, "ann", "a test", AT)
    with pytest.raises(InputError, match="max_postions"):
        unset_configuration(scratch, "max_postions", "ann", "a test", AT)
    with pytest.raises(InputError, match="max_postions"):
        configuration_history(scratch, "max_postions")
    with pytest.raises(InputError, match="cycle: received '20250814-replay'"):
        resolve_config(scratch, tmp_path, "20250814-replay", {})
    with pytest.raises(AttributeError, match="max_postions"):
        Config().max_postions


@pytest.mark.parametrize("text", ["five", "5.5", "", "nan", "true", "5 positions", "0x5", "inf"])
def test_cf5_a_text_is_never_compared_with_a_number(unset, tmp_path, text):
    with pytest.raises(InputError, match="max_positions: received .* allowed: int"):
        set_configuration(unset, "max_positions", text, "ann", "a test", AT)
    with pytest.raises(InputError, match="MAX_POSITIONS in the environment: received .* 1 to 50"):
        resolve_config(unset, tmp_path, env={"MAX_POSITIONS": text})
    assert unset.value("select count(*) from configuration") == 0


def test_cf5_what_was_stored_as_text_comes_back_as_a_number(scratch, tmp_path):
    set_configuration(scratch, "risk_per_trade_pct", "0.010", "ann", "a test", AT)
    set_configuration(scratch, "close_at_end_of_day", "false", "ann", "a test", AT)
    now = resolve_config(scratch, tmp_path, env={})
    assert now.risk_per_trade_pct < 0.02 and now.close_at_end_of_day is False
    assert type(now.risk_per_trade_pct) is float


def test_a_wrong_value_names_the_place_where_it_stands(scratch, tmp_path):
    def told(cycle_id=None, env={}):
        with pytest.raises(InputError) as e:
            resolve_config(scratch, tmp_path, cycle_id, env)
        assert "\n" not in str(e.value)
        return str(e.value)

    assert told(env={"MIN_TONE": "7"}).startswith("MIN_TONE in the environment: received '7'")
    key = cycle(scratch, max_price="cheap")
    assert told(key).startswith("max_price in cycle 20250813-replay: received 'cheap'")
    scratch.run("insert into configuration values ('min_tone', '7', :t, 'x', 'by hand')", t=AT)
    assert told().startswith("min_tone in the table: received '7'")
    write(tmp_path, "[parameters]\nmin_tone = 7\n")
    assert told().startswith("min_tone in catalyst.toml: received 7")


@pytest.mark.parametrize(
    "text, match",
    [
        ("[parameters]\nmax_postions = 3\n", "parameter in catalyst.toml: received 'max_postions'"),
        ("parameters = 3\n", r"parameters in catalyst.toml: received 3; allowed: a table"),
        ("[parameters.risk]\nmax_positions = 3\n", "parameter in catalyst.toml: received 'risk'"),
        ("max_positions = 3\n", "catalyst.toml: received 'max_positions'"),
        ("[parameters]\nmax_positions = [3]\n", "max_positions in catalyst.toml: received"),
        ("[parameters\n", "cannot be read as TOML"),
    ],
)
def test_a_misspelt_file_is_one_line(unset, tmp_path, text, match):
    with pytest.raises(InputError, match=match) as e:
        resolve_config(unset, write(tmp_path, text), env={})
    assert "\n" not in str(e.value)


def test_a_weaker_place_is_checked_too(scratch, tmp_path):
    "The wrong value would count on the day on which the table's is taken away"
    set_configuration(scratch, "min_tone", 0.2, "ann", "a test", AT)
    with pytest.raises(InputError, match="MIN_TONE in the environment"):
        resolve_config(scratch, tmp_path, env={"MIN_TONE": "7"})


def test_an_unknown_state_of_a_cycle_is_refused(scratch):
    key = cycle(scratch)
    for updates in ({"state": "scaning"}, {"state": ""}, {"state": None}, {"State": "scanning"}):
        with pytest.raises(InputError):
            update_trading_cycle(scratch, key, {"news_collected": 7, **updates})
    row = scratch.rows("select state, news_collected from trading_cycles")[0]
    assert (row["state"], row["news_collected"]) == ("created", 0)
    assert not update_trading_cycle(scratch, key, {})
    assert update_trading_cycle(scratch, key, {"state": "stopped"})


# Every change is kept


def changes(store, key="max_positions"):
    names = ("previous_value", "value", "modified_by", "reason", "modified_at")
    return [tuple(r[k] for k in names) for r in configuration_history(store, key)]


def test_who_when_why_and_what_was_there_before(scratch):
    later = AT + timedelta(hours=1)
    assert set_configuration(scratch, "max_positions", 3, "ann", "first week", AT)
    assert set_configuration(scratch, "max_positions", 4, "bob", "second week", later)
    assert unset_configuration(scratch, "max_positions", "ann", "the test is over", later)
    assert changes(scratch) == [
        (None, "3", "ann", "first week", AT),
        ("3", "4", "bob", "second week", later),
        ("4", None, "ann", "the test is over", later),
    ]
    assert len(configuration_history(scratch)) == 3 and changes(scratch, "min_tone") == []
    assert scratch.value("select count(*) from configuration") == 0


def test_the_same_value_again_is_no_change(scratch):
    assert set_configuration(scratch, "min_tone", 0.2, "ann", "first week", AT)
    for same in (0.2, "0.2", "0.20", "2e-1"):
        assert not set_configuration(scratch, "min_tone", same, "bob", "once more", AT)
    assert len(changes(scratch, "min_tone")) == 1
    assert scratch.value("select modified_by from configuration") == "ann"
    scratch.run("update configuration set reason = 'by hand'")
    assert len(changes(scratch, "min_tone")) == 1


def test_what_was_never_set_cannot_be_unset(scratch):
    assert not unset_configuration(scratch, "max_positions", "ann", "a test", AT)
    assert changes(scratch) == []


def test_a_deletion_by_hand_is_kept_as_one(scratch):
    set_configuration(scratch, "max_positions", 3, "ann", "first week", AT)
    unset_configuration(scratch, "min_tone", "ann", "says who for its own transaction only", AT)
    scratch.run("delete from configuration")
    [_, last] = changes(scratch)
    assert last[:2] == ("3", None) and last[3] == "deleted by hand" and last[2] != "ann"


def test_a_change_that_is_undone_leaves_no_history(scratch):
    with pytest.raises(ZeroDivisionError), scratch.transaction() as tx:
        set_configuration(tx, "max_positions", 3, "ann", "a test", AT)
        unset_configuration(tx, "max_positions", "ann", "a test", AT)
        assert len(changes(tx)) == 2
        1 / 0
    assert changes(scratch) == []


@pytest.mark.parametrize("who, reason", [("", "a good reason"), (" ", "a good reason"), ("ann", "  a "), ("ann", "")])  # fmt: skip
def test_a_change_needs_a_name_and_a_reason(unset, who, reason):
    with pytest.raises(InputError, match="who|reason"):
        set_configuration(unset, "max_positions", 3, who, reason, AT)
    with pytest.raises(InputError, match="who|reason"):
        unset_configuration(unset, "max_positions", who, reason, AT)


def test_two_at_once_leave_a_chain_without_a_gap(scratch):
    def change(i):
        set_configuration(scratch, "max_positions", i, f"hand {i}", "a test", AT)

    threads = [threading.Thread(target=change, args=(i,)) for i in range(1, 9)]
    [t.start() for t in threads], [t.join() for t in threads]
    told = changes(scratch)
    assert len(told) == 8
    assert {b for b, *_ in told} - {None} <= {v for _, v, *_ in told}


# Flags

CYCLES = [f"{DAY + timedelta(days=i):%Y%m%d}-replay" for i in range(2000)]


@given(st.floats(0, 1), st.floats(0, 1), st.text(min_size=1, max_size=30))
def test_raising_a_share_never_switches_a_cycle_off(one, other, cycle_id):
    low, high = (Config({"feature_ageing": s}) for s in sorted((one, other)))
    assert flag_on(high, "feature_ageing", cycle_id) or not flag_on(low, "feature_ageing", cycle_id)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_a_share_is_a_share_of_the_cycles(share):
    config = Config({"feature_ageing": share})
    on = sum(flag_on(config, "feature_ageing", k) for k in CYCLES) / len(CYCLES)
    assert on == pytest.approx(share, abs=0.03)
    assert share not in (0.0, 1.0) or on == share


def test_the_choice_is_the_same_on_every_machine_and_differs_between_flags():
    "Written down, because a salted hash would pass every other test of this page"
    config = Config({"feature_ageing": 0.5, "feature_trading": 0.5})
    assert [flag_on(config, "feature_ageing", k) for k in CYCLES[:8]] == PLACES
    both = [[flag_on(config, f, k) for k in CYCLES] for f in ("feature_ageing", "feature_trading")]
    assert sum(a == b for a, b in zip(*both, strict=True)) / len(CYCLES) == pytest.approx(0.5, abs=0.05)  # fmt: skip


PLACES = [False, False, True, False, True, False, False, True]


@pytest.mark.parametrize("name", ["ageing", "feature_agening", "max_positions", ""])
def test_an_unknown_flag_is_an_error(name):
    with pytest.raises(InputError, match="flag: received .*allowed: feature_"):
        flag_on(Config(), name, "20250813-replay")


# Tables that every step writes


def at_once(n, work):
    "`work` in `n` threads that start together; what each returned, or the error it met"
    gate, told = threading.Barrier(n), [None] * n

    def go(i):
        gate.wait()
        try:
            told[i] = work(i)
        except Exception as e:
            told[i] = e

    threads = [threading.Thread(target=go, args=(i,)) for i in range(n)]
    [t.start() for t in threads], [t.join() for t in threads]
    return told


def test_db03_helpers_answer_many_at_once(scratch):
    "DB-3: select-then-insert raised under concurrency, and lower case made a second security"
    ask = "select get_or_create_security(:s)"
    ids = at_once(12, lambda i: scratch.value(ask, s=("zzmany", " ZZMANY ", "ZzMany")[i % 3]))
    assert len(set(ids)) == 1 and isinstance(ids[0], int)
    assert scratch.value("select symbol from securities where security_id = :i", i=ids[0]) == "ZZMANY"  # fmt: skip
    ids = at_once(12, lambda i: scratch.value("select get_or_create_time(:t)", t=AT))
    assert set(ids) == {int(AT.timestamp())}
    assert scratch.value("select count(*) from time_dimension") == 1


def test_db09_health_is_one_row_per_service_whoever_writes(scratch):
    "DB-9: the upsert named a key that the table lacked, failed, and returned False to nobody"

    def write(i):
        return update_service_health(scratch, "bars", "healthy" if i % 2 else "down", {"asof": AT})

    assert at_once(10, write) == [True] * 10
    [row] = scratch.rows("select requests_processed, errors_count from service_health")
    assert (row["requests_processed"], row["errors_count"]) == (10, 5)
    with pytest.raises(Exception, match="duplicate key"):
        scratch.run("insert into service_health (service_name, status, last_check) values ('bars', 'down', :t)", t=AT)  # fmt: skip
    with pytest.raises(InputError, match="health status: received 'ok'"):
        update_service_health(scratch, "bars", "ok", {"asof": AT})
