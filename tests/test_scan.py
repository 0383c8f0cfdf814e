"Scan: rank then cut, a reason for every drop, missing is not neutral"

import random
import re
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst.config import Config
from catalyst.core import InputError, ScanStage, resource_dir
from catalyst.scan import (
    SCAN_COLUMNS,
    composite,
    funnel,
    momentum_score,
    scan,
    technical_score,
    volume_score,
)

OPEN = datetime(2025, 8, 13, 13, 30, tzinfo=UTC)
ASOF = OPEN + timedelta(minutes=45)
EARLY = OPEN - timedelta(minutes=90)
CONFIG = Config()


def features_of(n: int = 101, asof: datetime = ASOF, seed: int = 7) -> pd.DataFrame:
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        close = draw.uniform(10, 400)
        told = i % 7 == 0
        rows.append(
            {
                "asof": asof, "close": close, "bar_ts": asof - timedelta(minutes=15), "bar_age_minutes": 0.0,
                "change_pct": draw.gauss(0, 0.02), "day_volume": draw.randrange(10**4, 10**6),
                "relative_volume": draw.uniform(0.3, 4), "mean_volume_20d": draw.uniform(6e5, 5e6), "atr_14": close * 0.003,
                "rsi_14": draw.uniform(25, 75), "ema_9": close * draw.uniform(0.99, 1.01), "ema_21": close,
                "sma_20": close * draw.uniform(0.99, 1.01), "vwap": close * draw.uniform(0.99, 1.01),
                "macd_histogram": draw.gauss(0, 1), "support_level": close * 0.99, "resistance_level": close * 1.01,
                "news_id": 100 + i if told else None, "story_id": 200 + i if told else None,
                "catalyst_score": draw.uniform(0.35, 1) if told else None, "tone": draw.choice([-0.6, 0.7]) if told else None,
                "news_count": 2 if told else 0, "news_age_minutes": 50.0 if told else None, "null_reason": {},
            }
        )  # fmt: skip
    return pd.DataFrame(rows, index=pd.RangeIndex(1, n + 1, name="security_id"))


def universe_of(n: int = 101) -> pd.DataFrame:
    index = pd.RangeIndex(1, n + 1, name="security_id")
    return pd.DataFrame(
        {"symbol": [f"S{(i * 37) % n:03d}" for i in range(n)], "is_tradeable": True}, index=index
    )


def one(**change) -> pd.Series:
    features = features_of(1)
    for name, value in change.items():
        features[name] = pd.Series([value], index=features.index, dtype=object)
    return scan(features, universe_of(1), ASOF, CONFIG).iloc[0]


# The acceptance of the reconciliation plan


@pytest.mark.parametrize("asof", [EARLY, OPEN, ASOF])
def test_tracks_100_securities(asof):
    features = features_of(asof=asof)
    if asof <= OPEN:
        features = features.assign(
            bar_ts=OPEN - timedelta(hours=18), bar_age_minutes=1065.0, vwap=None
        )
    found = scan(features, universe_of(), asof, CONFIG)
    assert len(found) == 101 and found["tracked"].sum() == 100
    assert found["selected_for_trading"].sum() == 5
    assert found["reason"].str.len().min() > 0
    assert list(found["rank"]) == list(range(1, 102))
    assert found["composite_score"].is_monotonic_decreasing


def test_the_numbers_to_keep_are_configured():
    found = scan(
        features_of(),
        universe_of(),
        ASOF,
        Config({"top_candidates_to_track": 30, "top_candidates_to_trade": 2}),
    )
    assert (found["tracked"].sum(), found["selected_for_trading"].sum()) == (30, 2)


# Guard 28: rank, then cut


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(40)), st.permutations(range(40)))
def test_guard_28_input_order_does_not_matter(rows, names):
    features, universe = features_of(40), universe_of(40)
    config = Config({"top_candidates_to_track": 20, "top_candidates_to_trade": 2})
    expected = scan(features, universe, ASOF, config)
    pd.testing.assert_frame_equal(
        scan(features.iloc[rows], universe.iloc[names], ASOF, config), expected
    )


def test_guard_28_the_best_is_chosen_wherever_it_stands():
    for place in (1, 50, 101):
        features = features_of()
        best = {
            "catalyst_score": 1.0,
            "relative_volume": 5.0,
            "change_pct": 0.07,
            "tone": None,
            "news_age_minutes": 5.0,
        }
        level = features.loc[place, "close"]
        best |= {
            "vwap": level * 0.9,
            "sma_20": level * 0.9,
            "ema_9": level * 1.1,
            "ema_21": level,
            "macd_histogram": 1.0,
        }
        best |= {"rsi_14": 60.0, "resistance_level": level * 1.5}
        for name, value in best.items():
            features[name] = features[name].astype(object)
            features.at[place, name] = value
        found = scan(features, universe_of(), ASOF, CONFIG)
        assert found["security_id"][0] == place and found["rank"][0] == 1
        assert found["selected_for_trading"][0]


def test_ties_are_broken_by_symbol_and_written_down():
    features = pd.concat([features_of(1)] * 3).set_axis([1, 2, 3])
    universe = pd.DataFrame({"symbol": ["C", "A", "B"], "is_tradeable": True}, index=[1, 2, 3])
    found = scan(features, universe, ASOF, CONFIG)
    assert list(found["security_id"]) == [2, 3, 1]
    assert all("3 share this composite" in m["tie"] for m in found["scan_metadata"])


# Every drop has a reason, with its number and the limit


@pytest.mark.parametrize(
    ("change", "stage", "reason"),
    [
        ({"close": None, "null_reason": {"close": "no bar"}}, "universe", "no price: no bar"),
        ({"bar_age_minutes": 90.0, "asof": ASOF}, "selected", "place 1"),  # only 45 minutes have been traded
        ({"mean_volume_20d": 312_000.0}, "tracked", "mean volume 312,000 below 500,000"),
        ({"mean_volume_20d": None, "null_reason": {"mean_volume_20d": "3 sessions of 20"}}, "tracked", "mean volume unknown: 3 sessions of 20"),
        ({"close": 0.8}, "tracked", "price 0.80 below 1.00"),
        ({"close": 612.5}, "tracked", "price 612.50 above 500.00"),
        ({"catalyst_score": None, "news_count": 0}, "liquid", "no catalyst"),
        ({"catalyst_score": None, "null_reason": {"catalyst_score": "tone not judged"}}, "liquid", "catalyst not judged: tone not judged"),
        ({"catalyst_score": 0.12}, "liquid", "catalyst score 0.120 below 0.300"),
        ({"news_age_minutes": 1800.0}, "liquid", "news 30.0 h old, limit 24 h"),
    ],
)  # fmt: skip
def test_reasons_carry_number_and_limit(change, stage, reason):
    found = one(**change)
    assert found["stage"] == stage
    assert reason in found["reason"]


def test_an_old_bar_is_no_price_in_regular_hours():
    later = ASOF + timedelta(hours=2)
    features = features_of(1).assign(asof=later, bar_age_minutes=120.0)
    found = scan(features, universe_of(1), later, CONFIG).iloc[0]
    assert (found["stage"], found["reason"]) == ("universe", "last bar 120 minutes old, limit 45")
    assert pd.isna(found["rank"]) and not found["tracked"]


def test_no_features_not_tradeable_and_beyond_the_tracked():
    features, universe = features_of(3), universe_of(4)
    universe.loc[universe.index[0], "is_tradeable"] = False
    found = scan(features, universe, ASOF, Config({"top_candidates_to_track": 2})).set_index(
        "security_id"
    )
    assert found.loc[4, "reason"].startswith("no features")
    beyond = found[found["stage"] == "priced"].iloc[0]
    assert re.fullmatch(r"rank 3 beyond the 2 tracked, composite 0\.\d{3}", beyond["reason"])
    alone = scan(features_of(1), universe[:1], ASOF, CONFIG)
    assert alone["reason"][0] == "not tradeable at the broker"


def test_all_failures_of_a_gate_are_told():
    assert (
        one(close=0.8, mean_volume_20d=1000.0)["reason"]
        == "mean volume 1,000 below 500,000; price 0.80 below 1.00"
    )


def test_news_unavailable_is_not_no_catalyst():
    features, universe = features_of(), universe_of()
    blind = scan(features, universe, ASOF, CONFIG, news_available=False)
    assert blind["selected_for_trading"].sum() == 0 and blind["tracked"].sum() == 100
    assert set(blind["reason"][blind["stage"] == "liquid"]) == {"news unavailable"}
    assert blind["catalyst_score"].isna().all() and blind["news_id"].isna().all()
    quiet = scan(features.assign(catalyst_score=None, news_count=0), universe, ASOF, CONFIG)
    assert set(quiet["reason"][quiet["stage"] == "liquid"]) == {"no catalyst"}
    assert (quiet["catalyst_score"] == 0).all()


def test_one_term_alone_is_not_ranked_among_candidates():
    unknown = dict.fromkeys(
        ("relative_volume", "change_pct", "vwap", "sma_20", "ema_9", "macd_histogram")
    )
    found = one(**unknown)
    assert found["stage"] == "catalyst"
    assert found["reason"] == "composite rests on 40% of the weight, at least 50% is needed"


# Missing is not neutral


@pytest.mark.parametrize(
    ("column", "term"), [("relative_volume", "volume"), ("change_pct", "momentum")]
)
def test_a_missing_term_is_null_named_and_left_out(column, term):
    whole, part = one(), one(**{column: None, "null_reason": {column: "2 sessions of 5"}})
    assert pd.isna(part[f"{term}_score"])
    assert part["scan_metadata"]["missing"] == {term: "2 sessions of 5"}
    rest = {
        t: whole[f"{t}_score"] for t in ("catalyst", "volume", "momentum", "technical") if t != term
    }
    weight = {t: CONFIG[f"{t}_weight"] for t in rest}
    expected = sum(weight[t] * rest[t] for t in rest) / sum(weight.values())
    assert part["composite_score"] == pytest.approx(expected, abs=1e-5)
    neutral = composite(rest | {term: 0.5}, CONFIG)[0]
    assert part["composite_score"] != pytest.approx(neutral, abs=1e-4)


def test_before_the_open_yesterday_does_not_stand_in():
    features = features_of(asof=EARLY).assign(
        bar_ts=OPEN - timedelta(hours=18), bar_age_minutes=990.0
    )
    found = scan(features, universe_of(), EARLY, CONFIG)
    for column in ("volume", "relative_volume", "change_pct", "volume_score", "momentum_score"):
        assert found[column].isna().all()
    assert set(found["scan_metadata"][0]["missing"]) == {"volume", "momentum"}
    assert found["selected_for_trading"].sum() == 5


numbers = st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False))
prices = st.one_of(st.none(), st.floats(0.01, 1e4))


@settings(max_examples=60, deadline=None)
@given(
    numbers,
    st.lists(prices, min_size=8, max_size=8),
    st.one_of(st.none(), st.floats(-1, 1)),
    st.one_of(st.none(), st.floats(0, 100)),
)
def test_scores_lie_between_zero_and_one_or_are_null(number, levels, tone, rsi):
    names = (
        "vwap",
        "sma_20",
        "ema_9",
        "ema_21",
        "atr_14",
        "support_level",
        "resistance_level",
        "macd_histogram",
    )
    row = dict(zip(names, levels, strict=True)) | {"close": 20.0, "tone": tone, "rsi_14": rsi}
    technical = technical_score(row, CONFIG)
    for value in (volume_score(number), momentum_score(number), technical):
        assert value is None or 0 <= value <= 1
    votes = [row["vwap"], row["sma_20"], row["macd_histogram"], row["ema_9"] and row["ema_21"]]
    assert (technical is None) == all(v is None for v in votes)


def test_momentum_is_not_monotone():
    assert momentum_score(0.07) > momentum_score(0.04) > momentum_score(0.30)
    assert momentum_score(-0.07) == momentum_score(0.07) == 1


# Doors


def test_columns_are_those_of_the_table():
    sql = (resource_dir("sql") / "004_trading.sql").read_text()
    body = re.search(r"create table scan_results \((.*?)\n\);", sql, re.S)[1]
    for column in SCAN_COLUMNS:
        assert re.search(rf"\b{column}\b", body), column
    assert set(features_of(1).pipe(scan, universe_of(1), ASOF, CONFIG)) == set(SCAN_COLUMNS)


def test_the_future_is_refused():
    with pytest.raises(InputError, match="what was known at"):
        scan(features_of(), universe_of(), ASOF - timedelta(minutes=15), CONFIG)
    with pytest.raises(InputError, match="same one twice"):
        scan(pd.concat([features_of(2)] * 2), universe_of(2), ASOF, CONFIG)
    with pytest.raises(InputError, match="time zone"):
        scan(features_of(), universe_of(), ASOF.replace(tzinfo=None), CONFIG)


def test_the_funnel_adds_up():
    features = features_of()
    features.loc[[3, 9], "mean_volume_20d"] = 1000.0
    found = scan(features, universe_of(), ASOF, CONFIG)
    counts = funnel(found)
    assert list(counts.index) == list(ScanStage)
    assert counts["reached"].iloc[0] == 101 and counts["reached"].iloc[-1] == 5
    assert list((counts["reached"] - counts["dropped"])[:-1]) == list(counts["reached"][1:])
    assert counts["dropped"].tolist() == [sum(r.values()) for r in counts["reasons"]]
    assert counts.loc["priced", "reasons"] == {"beyond the tracked": 1}
    empty = funnel(scan(features[:0], universe_of(), ASOF, CONFIG))
    assert empty.loc["universe", "reasons"] == {"no features": 101}
