"Tracking: a rank is no collection, every slot leaves its rows, tiers move for reasons"

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from catalyst.clock import get_session, slots
from catalyst.config import Config
from catalyst.core import InputError, Tier
from catalyst.rows import feature_rows
from catalyst.track import (
    POINT_COLUMNS,
    STATE_COLUMNS,
    collect,
    due,
    empty_state,
    metrics,
    retier,
)

OPEN = datetime(2025, 8, 13, 13, 30, tzinfo=UTC)
CONFIG = Config()
HOUR = timedelta(hours=1)


def scanned(n: int = 100, selected: int = 5, **change) -> pd.DataFrame:
    rows = [
        {"security_id": i, "rank": i, "tracked": True, "selected_for_trading": i <= selected, "relative_volume": None,
         "catalyst_score": None, "scan_metadata": {"news_count": 0}}
        for i in range(1, n + 1)
    ]  # fmt: skip
    return pd.DataFrame([r | change for r in rows]).astype(
        {"relative_volume": float, "catalyst_score": float}
    )


def market(asof: datetime, n: int = 100, **change) -> pd.DataFrame:
    rows = [
        {"asof": asof, "bar_ts": asof - timedelta(minutes=15), "bar_age_minutes": 0.0, "close": 10.0 + i + asof.minute / 15,
         "volume": 100 * i, "volatility_15min": 0.001 * i, "relative_volume": 1.0, "catalyst_score": i / 1000, "null_reason": {}}
        | change
        for i in range(1, n + 1)
    ]  # fmt: skip
    return pd.DataFrame(rows, index=pd.RangeIndex(1, n + 1, name="security_id"))


def tier_of(state: pd.DataFrame, security_id: int) -> str:
    return state.set_index("security_id").loc[security_id, "tier"]


def table_columns(table: str) -> list[str]:
    "As the migrations leave them: `sql/schema.json` is compared with a database in test_sql"
    told = json.loads((Path(__file__).parents[1] / "sql" / "schema.json").read_text("utf-8"))
    return [c.partition(".")[2] for c in told["columns"] if c.partition(".")[0] == table]


# TR-1 and guard 29


def test_tr_1_ranking_is_not_collecting():
    state = retier(empty_state(), scanned(), OPEN, CONFIG)
    assert state["last_collected_at"].isna().all() and (state["last_ranked_at"] == OPEN).all()
    assert len(due(state, OPEN, CONFIG)) == 100
    _, state, _ = collect(market(OPEN), None, {}, state, OPEN, CONFIG)
    later = OPEN + timedelta(minutes=15)
    ranked = retier(state, scanned(), later, CONFIG)
    assert (ranked["last_collected_at"] == OPEN).all()
    assert len(due(ranked, later, CONFIG)) == 100


def test_guard_29_after_four_ticks_every_slot_has_rows_for_the_hundred():
    state, points = empty_state(), []
    for asof in slots(get_session("2025-08-13"))[1:5]:
        state = retier(state, scanned(), asof, CONFIG)
        found, state, report = collect(market(asof), None, {}, state, asof, CONFIG)
        assert len(report["due"]) == len(report["collected"]) == 100 and not report["missing"]
        points.append(found)
    rows = pd.concat(points)
    assert (rows.groupby("time_id").size() == 100).all() and rows["time_id"].nunique() == 4
    assert not rows.duplicated(["security_id", "time_id"]).any()
    assert (state["data_points_collected"] == 4).all()


def test_tr_5_each_security_gets_its_own_values():
    state = retier(empty_state(), scanned(), OPEN, CONFIG)
    points, *_ = collect(market(OPEN), None, {7: 3}, state, OPEN, CONFIG)
    row = points.set_index("security_id").loc[7]
    assert (
        row["volume"],
        row["volatility_15min"],
        row["catalyst_score"],
        row["news_mentions"],
    ) == (700, 0.007, 0.007, 3)
    assert points["catalyst_score"].nunique() == 100 and points["news_mentions"].sum() == 3


# Once, and the same


def test_the_same_slot_twice_is_the_same_slot_once():
    state = retier(empty_state(), scanned(), OPEN, CONFIG)
    points, first, report = collect(market(OPEN), None, {}, state, OPEN, CONFIG)
    again, second, report_again = collect(market(OPEN), None, {}, first, OPEN, CONFIG)
    pd.testing.assert_frame_equal(again, points)
    pd.testing.assert_frame_equal(second, first)
    assert report_again == report
    pd.testing.assert_frame_equal(retier(first, scanned(), OPEN, CONFIG), first)


def test_a_day_that_is_run_again_changes_nothing():
    state = empty_state()
    instants = [OPEN + timedelta(minutes=15 * i) for i in range(1, 9)]
    for asof in instants:
        state = retier(state, scanned(), asof, CONFIG)
        _, state, _ = collect(market(asof), None, {}, state, asof, CONFIG)
    end = state
    for asof in instants[:-1]:
        state = retier(state, scanned(40), asof, CONFIG)
        points, state, report = collect(market(asof), None, {}, state, asof, CONFIG)
        assert points.empty and not report["due"]
    pd.testing.assert_frame_equal(state, end)


def test_state_survives_the_types_of_a_database():
    state = retier(empty_state(), scanned(3), OPEN, CONFIG)
    _, state, _ = collect(market(OPEN, 3), None, {}, state, OPEN, CONFIG)
    loose = state.astype({"tracking_rank": float, "last_volume": float}).sample(
        frac=1, random_state=3
    )
    pd.testing.assert_frame_equal(retier(loose, scanned(3), OPEN, CONFIG), state)
    assert all(type(v) is int for v in retier(loose, scanned(3), OPEN, CONFIG)["last_volume"])


def test_columns_are_those_of_the_tables():
    assert sorted(STATE_COLUMNS) == sorted(table_columns("security_tracking_state"))
    assert sorted(POINT_COLUMNS) == sorted(table_columns("security_data_high_freq"))


# Missing, with a reason


def test_due_is_collected_plus_missing():
    state = retier(empty_state(), scanned(), OPEN, CONFIG)
    features = market(OPEN).drop(index=4)
    features.loc[5, "bar_age_minutes"] = 390.0
    features.loc[6, "close"] = float("nan")
    features.at[6, "null_reason"] = {"close": "no bar"}
    points, after, report = collect(features, None, {}, state, OPEN, CONFIG)
    assert {m["security_id"]: m["reason"] for m in report["missing"]} == {
        4: "no features", 5: "last bar is 390 minutes old, limit 45", 6: "no price: no bar"}  # fmt: skip
    assert (
        sorted(report["collected"] + [m["security_id"] for m in report["missing"]]) == report["due"]
    )
    assert set(points["security_id"]).isdisjoint({4, 5, 6})
    assert due(after, OPEN, CONFIG) == [4, 5, 6]
    assert after.set_index("security_id").loc[5, "data_points_collected"] == 0


def test_nulls_have_reasons_and_zero_is_a_count():
    state = retier(empty_state(), scanned(2), OPEN, CONFIG)
    features = market(
        OPEN,
        2,
        relative_volume=None,
        volume=None,
        null_reason={"relative_volume": "2 sessions of 5"},
    )
    dark, *_ = collect(features, None, None, state, OPEN, CONFIG)
    lit, *_ = collect(features, None, {}, state, OPEN, CONFIG)
    nulls = dark["null_reason"][0]
    assert nulls["news_mentions"] == "news unavailable" and nulls["bid"] == "no quotes"
    assert nulls["relative_volume"] == "2 sessions of 5" and nulls["volume"] == "not computed"
    assert lit["news_mentions"].tolist() == [0, 0] and "news_mentions" not in lit["null_reason"][0]
    for point in dark.to_dict("records"):
        empty = {k for k, v in point.items() if k != "null_reason" and pd.isna(v)}
        assert empty == set(point["null_reason"])


def test_quotes_from_the_future_old_or_crossed_are_not_used():
    state = retier(empty_state(), scanned(4), OPEN, CONFIG)
    minutes, bids = [1, -50, 0, -1], [9.9, 9.9, 10.2, 9.99]
    quotes = pd.DataFrame(
        {"security_id": [1, 2, 3, 4], "bid": bids, "ask": [10.0, 10.0, 10.1, 10.01]}
    )
    quotes["ts"] = [OPEN + timedelta(minutes=m) for m in minutes]
    points, *_ = collect(market(OPEN, 4), quotes, {}, state, OPEN, CONFIG)
    assert points["bid"].isna().tolist() == [True, True, True, False]
    assert [r.get("spread", "")[:12] for r in points["null_reason"]] == [
        "no quote",
        "quote is 50 ",
        "quote is unu",
        "",
    ]
    assert points["spread"][3] == pytest.approx(0.002)


def test_the_future_is_refused():
    state = retier(empty_state(), scanned(3), OPEN, CONFIG)
    with pytest.raises(InputError, match="what was known at"):
        collect(market(OPEN + HOUR, 3, bar_ts=OPEN - HOUR), None, {}, state, OPEN, CONFIG)
    with pytest.raises(InputError, match="what was known at"):
        feature_rows(market(OPEN, 1, bar_ts=OPEN), ["close"], OPEN)
    with pytest.raises(InputError, match="rsi_14"):
        feature_rows(market(OPEN, 1), ["rsi_14"], OPEN)


# Tiers


def test_selected_are_ultra_high_newcomers_high_and_the_five_change():
    state = retier(empty_state(), scanned(), OPEN, CONFIG)
    assert state["tier"].value_counts().to_dict() == {"high": 95, "ultra_high": 5}
    later = scanned(selected=0).assign(selected_for_trading=lambda f: f["security_id"] == 9)
    state = retier(state, later, OPEN + HOUR / 4, CONFIG)
    assert (tier_of(state, 9), tier_of(state, 1)) == ("ultra_high", "high")
    assert state["tracking_reason"][0] == "no longer among the selected"


def test_quiet_securities_step_down_slowly_and_active_ones_come_back():
    state, seen = retier(empty_state(), scanned(1, 0), OPEN, CONFIG), {}
    for i in range(1, 30):
        asof = OPEN + HOUR / 4 * i
        _, state, _ = collect(market(asof, 1, relative_volume=0.2), None, {}, state, asof, CONFIG)
        state = retier(state, scanned(1, 0, relative_volume=0.2), asof, CONFIG)
        seen.setdefault(tier_of(state, 1), i)
    assert seen == {"high": 1, "medium": 4, "low": 20}
    assert "relative volume 0.20 below 0.5" in state["tracking_reason"][0]
    for i, expected in ((30, "medium"), (31, "high"), (32, "high")):
        state = retier(state, scanned(1, 0, relative_volume=2.5), OPEN + HOUR / 4 * i, CONFIG)
        assert tier_of(state, 1) == expected
    assert state["tracking_reason"][0] == "relative volume 2.5 above 2"


def test_a_collector_that_stands_still_makes_nobody_quiet():
    state = retier(empty_state(), scanned(1, 0), OPEN, CONFIG)
    for i in range(1, 20):
        state = retier(state, scanned(1, 0, relative_volume=0.2), OPEN + HOUR * i, CONFIG)
    assert tier_of(state, 1) == "high"


def test_a_scan_that_is_repeated_moves_nobody_twice():
    state = retier(empty_state(), scanned(1, 0), OPEN - HOUR, CONFIG).assign(tier="low")
    once = retier(state, scanned(1, 0, relative_volume=9.0), OPEN, CONFIG)
    assert tier_of(once, 1) == "medium"
    pd.testing.assert_frame_equal(
        retier(once, scanned(1, 0, relative_volume=9.0), OPEN, CONFIG), once
    )


def test_low_sleeps_a_month_before_it_is_archived():
    state = retier(empty_state(), scanned(1, 0), OPEN, CONFIG).assign(tier="low")
    for days, tier in ((29, "low"), (30, "archive"), (31, "archive")):
        state = retier(state, scanned(1, 0), OPEN + timedelta(days=days), CONFIG)
        assert tier_of(state, 1) == tier


@pytest.mark.parametrize(
    ("scan_change", "state_change", "tier"),
    [
        ({}, {}, "medium"),  # nothing known to be cooling, nothing active
        ({"scan_metadata": {"news_count": 6}}, {}, "high"),
        ({"scan_metadata": {"news_count": 5}}, {}, "medium"),
        ({}, {"price_volatility": 0.021}, "high"),
        ({}, {"relative_volume": 2.01}, "high"),
        ({}, {"flatline_periods": 5}, "low"),
        ({}, {"flatline_periods": 4}, "medium"),
        ({}, {"relative_volume": 0.49}, "low"),
        ({}, {"relative_volume": 0.49, "price_volatility": 0.03}, "high"),
        ({}, {"first_seen": OPEN - 49 * HOUR}, "low"),
        ({}, {"first_seen": OPEN - 49 * HOUR, "last_catalyst_at": pd.Timestamp(OPEN)}, "medium"),
    ],
)  # fmt: skip
def test_one_step_for_one_reason(scan_change, state_change, tier):
    state = retier(empty_state(), scanned(1, 0), OPEN - 6 * HOUR, CONFIG).assign(
        tier="medium", data_points_collected=4
    )
    for name, value in state_change.items():
        state[name] = [value]
    scan_frame = scanned(1, 0)
    for name, value in scan_change.items():
        scan_frame[name] = [value]
    assert tier_of(retier(state, scan_frame, OPEN, CONFIG), 1) == tier


def test_out_of_the_hundred_is_archived_after_two_days_and_comes_back():
    state = retier(empty_state(), scanned(100), OPEN, CONFIG)
    rest = scanned(99)
    for hours, tier in ((1, "high"), (47, "high"), (49, "high"), (50, "archive")):
        state = retier(state, rest, OPEN + hours * HOUR, CONFIG)
        assert tier_of(state, 100) == tier, hours
    assert pd.isna(state["tracking_rank"].iloc[-1]) and 100 not in due(
        state, OPEN + 1000 * HOUR, CONFIG
    )
    assert state["tracking_reason"].iloc[-1] == "not among the tracked for 49 h, limit 48 h"
    assert tier_of(retier(state, scanned(100), OPEN + 51 * HOUR, CONFIG), 100) == "high"


def test_a_scan_that_tracked_nobody_changes_nothing():
    state = retier(empty_state(), scanned(), OPEN, CONFIG)
    for nobody in (scanned().assign(tracked=False), scanned()[:0]):
        pd.testing.assert_frame_equal(retier(state, nobody, OPEN + HOUR, CONFIG), state)


def test_flat_looks_are_counted_and_a_move_ends_them():
    state, flat = retier(empty_state(), scanned(1, 0), OPEN, CONFIG), []
    for i, price in enumerate((20.0, 20.01, 20.0, 20.5, 20.5)):
        asof = OPEN + HOUR / 4 * i
        _, state, _ = collect(market(asof, 1, close=price), None, {}, state, asof, CONFIG)
        flat.append(int(state["flatline_periods"][0]))
    assert flat == [0, 1, 2, 0, 1]


def test_intervals_decide_who_is_due():
    state = retier(empty_state(), scanned(5, 0), OPEN, CONFIG).assign(
        tier=list(Tier), last_collected_at=OPEN
    )
    waits = {60: [1], 900: [1, 2], 3600: [1, 2, 3], 86400: [1, 2, 3, 4]}
    for seconds, who in waits.items():
        assert due(state, OPEN + timedelta(seconds=seconds), CONFIG) == who
        assert due(state, OPEN + timedelta(seconds=seconds - 1), CONFIG) == who[:-1]


def test_metrics_count_every_security_once():
    state = retier(empty_state(), scanned(), OPEN, CONFIG)
    _, state, _ = collect(market(OPEN), None, {}, state, OPEN, CONFIG)
    table = metrics(state, OPEN + HOUR, CONFIG)
    assert (
        table["securities"].sum() == 100
        and table["due"].sum() == 100
        and table["never_collected"].sum() == 0
    )
    assert table.loc["high", "longest_silence_minutes"] == 60


def test_an_unknown_tier_is_refused():
    state = retier(empty_state(), scanned(1), OPEN, CONFIG).assign(tier="hot")
    with pytest.raises(InputError, match="tier: received 'hot'"):
        due(state, OPEN, CONFIG)


def test_tr11_a_dear_share_is_no_livelier_than_a_cheap_one():
    "Candidates were chosen by the dispersion of prices in dollars, so expensive shares always qualified"
    instants = [OPEN + timedelta(minutes=15 * i) for i in range(1, 30)]

    def tiers(factor: float) -> list[tuple]:
        state = empty_state()
        for asof in instants:
            features = market(asof)
            features["close"] *= factor
            state = retier(state, scanned(selected=3), asof, CONFIG)
            _, state, _ = collect(features, None, {}, state, asof, CONFIG)
        return list(zip(state["tier"], state["flatline_periods"], state["tracking_reason"]))

    assert tiers(1) == tiers(250)
    assert len({t for t, _, _ in tiers(1)}) > 1
