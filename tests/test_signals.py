"Signals: levels on their sides, no number made up, one decision whatever the order"

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst.calibration import Calibration, Curve
from catalyst.config import Config
from catalyst.core import SIGN, InputError, PositionSide
from catalyst.plans import plans_frame, switched_on
from catalyst.signals import (
    CONFIDENCE,
    SETUPS,
    SIGNAL_FEATURES,
    Account,
    Idea,
    Plan,
    Setup,
    decide,
    decide_with_reasons,
    setup,
)

ASOF = datetime(2025, 8, 13, 14, 15, tzinfo=UTC)
CONFIG = Config()
ANY = Config({"min_confidence": 0.0, "min_catalyst_score": 0.0})
GOOD = {
    "asof": ASOF, "bar_ts": ASOF - timedelta(minutes=15), "bar_age_minutes": 0.0, "close": 20.0, "atr_14": 0.06,
    "prev_close": 19.2, "day_open": 19.7, "vwap": 19.91, "catalyst_score": 0.7, "tone": 0.6, "news_id": 11, "story_id": 5,
    "relative_volume": 2.4, "rsi_14": 61.0, "sma_20": 19.8, "ema_9": 19.95, "ema_21": 19.85, "macd_histogram": 0.01,
    "support_level": 19.5, "resistance_level": 20.4, "change_pct": 0.04, "day_volume": 9e5, "mean_volume_20d": 2e6,
    "news_count": 1, "news_age_minutes": 30.0, "pattern_type": None, "pattern_bias": None, "pattern_confidence": None,
    "pattern_at": None, "pattern_stop": None, "null_reason": {},
}  # fmt: skip
CALM = {"catalyst_score": None, "tone": None, "news_id": None, "story_id": None, "news_count": 0}
FOLLOW = CALM | {
    "peer_catalyst_score": 0.8, "peer_tone": 0.7, "peer_news_id": 44.0, "peer_story_id": 9.0, "peer_change_pct": 0.06,
    "sector_change_pct": 0.02, "change_pct": 0.006,
}  # fmt: skip
BREAK = {
    "pattern_type": "opening_range_breakout", "pattern_bias": "bullish", "pattern_confidence": 0.9, "pattern_stop": 19.89,
    "pattern_at": ASOF - timedelta(minutes=15),
}  # fmt: skip


def frame(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(
        [GOOD | r for r in rows], index=pd.RangeIndex(1, len(rows) + 1, name="security_id")
    )


def mirrored(row: dict) -> dict:
    "The same picture upside down, around a price of 20"
    prices = ("prev_close", "day_open", "vwap", "sma_20", "ema_9", "ema_21")
    moves = "tone change_pct macd_histogram peer_tone peer_change_pct sector_change_pct gap_pct"
    turned = {k: 40.0 - row[k] for k in prices}
    turned |= {k: -row[k] for k in moves.split() if row.get(k) is not None}
    for a, b in (("support_level", "resistance_level"), ("day_low", "day_high")):
        values = {x: row[y] for x, y in ((a, b), (b, a)) if y in row}
        turned |= {k: None if v is None else 40.0 - v for k, v in values.items()}
    return row | turned | {"rsi_14": 100.0 - row["rsi_14"]}


def only(row: dict, config: Config = CONFIG) -> Plan | str:
    plans, refusals = decide_with_reasons(frame(row), config)
    return plans[0] if plans else refusals[1]


# Levels

near = st.floats(0.9, 1.1)
maybe = st.one_of(st.none(), near)


@st.composite
def pictures(draw):
    close = draw(st.floats(1.0, 500.0))
    row = {
        "close": close,
        "atr_14": close * draw(st.floats(0.0005, 0.06)),
        "tone": draw(st.floats(-1, 1)),
    }
    row |= {
        k: close * draw(near)
        for k in ("prev_close", "day_open", "vwap", "ema_9", "ema_21", "sma_20")
    }
    for name in ("support_level", "resistance_level", "pattern_stop"):
        share = draw(maybe)
        row[name] = None if share is None else close * share
    row |= {
        "catalyst_score": draw(st.floats(0, 1)),
        "relative_volume": draw(st.one_of(st.none(), st.floats(0, 50))),
    }
    row |= {"change_pct": draw(st.floats(-0.2, 0.2)), "rsi_14": draw(st.floats(0, 100))}
    if draw(st.booleans()):
        bias = draw(st.sampled_from(["bullish", "bearish", "neutral"]))
        row |= {
            "pattern_type": "opening_range_breakout",
            "pattern_bias": bias,
            "pattern_confidence": draw(st.floats(0, 1)),
        }
    return row


@settings(max_examples=150, deadline=None)
@given(st.lists(pictures(), min_size=1, max_size=4))
def test_levels_stand_on_their_sides(rows):
    plans, refusals = decide_with_reasons(frame(*rows), ANY)
    assert sorted([p.security_id for p in plans] + list(refusals)) == list(range(1, len(rows) + 1))
    for p in plans:
        row, way = rows[p.security_id - 1], SIGN[p.side]
        away = way * (p.entry_price - p.stop_price)
        assert 0 < away <= ANY.max_stop_distance_pct * p.entry_price * (1 + 1e-9)
        assert away >= ANY.stop_atr_multiple * row["atr_14"] * (1 - 1e-6)
        assert way * (p.target_price - p.entry_price) == pytest.approx(
            ANY.target_atr_multiple * row["atr_14"], rel=1e-6
        )
        assert p.reward_risk >= ANY.min_reward_risk
        assert way * row["tone"] >= ANY.min_tone  # short only on bad news, long only on good
        assert abs(p.entry_price / row["close"] - 1) <= ANY.entry_offset_pct * (1 + 1e-9)
        assert 0 <= p.confidence <= 1 and not p.calibrated
        json.dumps(p.terms)


FADE = CALM | {
    "gap_pct": 20.2 / 19.2 - 1, "day_open": 20.2, "day_high": 20.25, "day_low": 19.95, "vwap": 20.08, "support_level": None,
}  # fmt: skip
FIRES = {"news_breakout": {}, "opening_range_catalyst": BREAK, "pullback_to_vwap": {"vwap": 19.99}}
FIRES |= {"sympathy_follower": FOLLOW, "gap_fade": FADE}


def test_every_setup_fires_both_ways():
    seen = set()
    for name, change in FIRES.items():
        for row in (GOOD | change, mirrored(GOOD | change)):
            if row["pattern_bias"] and row["tone"] < 0:
                row |= {"pattern_bias": "bearish", "pattern_stop": 20.11}
            plans, _ = decide_with_reasons(frame(row), ANY, setups={name: SETUPS[name]})
            seen |= {(p.setup, str(p.side)) for p in plans}
    assert seen == {(name, side) for name in SETUPS for side in ("long", "short")}


def test_up_and_down_are_the_same_picture():
    up, down = only(GOOD), only(mirrored(GOOD))
    assert (up.side, down.side) == ("long", "short")
    assert up.confidence == down.confidence
    assert up.entry_price - up.stop_price == pytest.approx(down.stop_price - down.entry_price)


def test_a_stop_moves_behind_a_near_support_and_never_nearer():
    plain = only({"support_level": None}).stop_price
    assert only({"support_level": 19.905}).stop_price == pytest.approx(19.905 - 0.25 * 0.06)
    assert plain == pytest.approx(20.02 - 0.12)
    for level in (19.0, 19.85, 19.95, 20.5):
        assert only({"support_level": level}).stop_price == plain


def test_a_moved_stop_respects_the_farthest():
    wide = {"atr_14": 0.48, "resistance_level": None}
    assert only(wide | {"support_level": 19.165}).terms["stop_rule"] == "behind 19.1650"
    assert only(wide | {"support_level": 19.11}).terms["stop_rule"] == "2 ATR"


@pytest.mark.parametrize("stop", [20.0, 20.5, 0.0, -1.0])
def test_a_plan_with_a_stop_on_the_wrong_side_cannot_be_made(stop):
    plan = asdict(only(GOOD))
    with pytest.raises(InputError, match="long plan"):
        Plan(**plan | {"entry_price": 20.0, "stop_price": stop})


# Missing


@pytest.mark.parametrize("name", ["close", "bar_age_minutes", "atr_14"])
def test_without_what_every_plan_needs_there_is_a_reason(name):
    assert (
        only({name: None, "null_reason": {name: "9 bars of 14"}}) == f"{name} unknown: 9 bars of 14"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tone": 0.05}, "weaker than 0.10, no direction"),
        ({"tone": None, "null_reason": {"tone": "not judged"}}, "tone unknown: not judged"),
        ({"catalyst_score": 0.2}, "catalyst score 0.200 below 0.300"),
        ({"catalyst_score": None, "null_reason": {"catalyst_score": "no news"}}, "no catalyst: no news"),
        ({"bar_age_minutes": 40.0}, "last bar 40 minutes old, limit 30"),
        ({"atr_14": 0.6}, "stop 6.00% away, limit 5.00%"),
        ({"atr_14": 0.0}, "must be positive"),
        ({"vwap": None, "null_reason": {"vwap": "before the open"}}, "vwap unknown: before the open"),
        ({"close": 19.6}, "price 19.60 not beyond day_open 19.70 for a long"),
        ({"catalyst_score": 0.3, "relative_volume": 0.1, "vwap": 19.7}, "below 0.500 (uncalibrated)"),
    ],
)  # fmt: skip
def test_a_refusal_says_why(change, reason):
    assert reason in only(change)


def test_missing_is_not_neutral_in_confidence():
    whole, part = only(GOOD), only({"relative_volume": None})
    assert part.terms["volume"] is None
    rest = {k: whole.terms[k] for k in CONFIDENCE if k != "volume"}
    expected = sum(CONFIDENCE[k] * v for k, v in rest.items()) / sum(CONFIDENCE[k] for k in rest)
    assert part.confidence == pytest.approx(expected, abs=0.001)
    assert part.confidence not in (
        only({"relative_volume": 1.5}).confidence,
        only({"relative_volume": 0.0}).confidence,
    )


# One decision


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_rows_decides_nothing(order):
    rows = frame({}, {"tone": 0.9}, {"catalyst_score": 0.9}, mirrored(GOOD), {"tone": 0.0}, BREAK)
    assert decide_with_reasons(rows.iloc[order], CONFIG) == decide_with_reasons(rows, CONFIG)


def test_the_best_setup_wins_and_ties_go_to_the_first_name():
    idea = lambda row, config: Idea(PositionSide.LONG, row["close"], fit=1.0)
    poor = lambda row, config: Idea(PositionSide.LONG, row["close"], fit=0.2)
    rules = {n: Setup(n, (), r) for n, r in {"b": idea, "c": idea, "a": poor}.items()}
    plans, _ = decide_with_reasons(frame(GOOD), CONFIG, setups=rules)
    assert [p.setup for p in plans] == ["b"]
    assert only(BREAK | {"vwap": 19.7}).setup == "opening_range_catalyst"


def test_the_best_plan_comes_first():
    plans = decide(frame({}, {"catalyst_score": 0.9}, {"catalyst_score": 0.8}), CONFIG)
    assert [p.security_id for p in plans] == [2, 3, 1]


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("opening_range_catalyst", BREAK | {"pattern_bias": "bearish"}, "the break is bearish, the news is for a long"),
        ("opening_range_catalyst", BREAK | {"pattern_type": "double_top"}, "is double_top, not a break"),
        ("pullback_to_vwap", {"vwap": 19.99, "change_pct": -0.01}, "no trend for a long: change -1.00%"),
        ("pullback_to_vwap", {"vwap": 19.99, "ema_9": 19.8}, "no trend for a long"),
        ("pullback_to_vwap", {"vwap": 20.01}, "price -0.17 ATR from the VWAP"),
        ("news_breakout", {"prev_close": 20.1}, "not beyond prev_close 20.10"),
        ("news_breakout", {"vwap": 20.0}, "not beyond vwap 20.00"),
    ],
)  # fmt: skip
def test_a_setup_says_what_it_does_not_see(name, change, reason):
    _, refusals = decide_with_reasons(frame(change), CONFIG, setups={name: SETUPS[name]})
    assert reason in refusals[1]


def test_a_setup_is_added_by_writing_a_function():
    mine = {}

    @setup("gap_and_go", need=("gap_pct",), into=mine)
    def gap_and_go(row, config):
        return Idea(PositionSide.LONG, row["close"], fit=1.0) if row["gap_pct"] > 0.02 else "no gap"

    plans, refusals = decide_with_reasons(
        frame({"gap_pct": 0.03}, {"gap_pct": 0.0}, {"gap_pct": None}), CONFIG, setups=mine
    )
    assert [p.setup for p in plans] == ["gap_and_go"]
    assert refusals == {2: "gap_and_go: no gap", 3: "gap_and_go: gap_pct unknown: not computed"}
    with pytest.raises(InputError, match="gap_pct"):
        decide_with_reasons(frame(GOOD), CONFIG, setups=mine)
    assert "gap_and_go" not in SETUPS


def test_a_plan_carries_its_origin_and_expires():
    p = only(BREAK)
    assert (p.news_id, p.story_id, p.pattern_type) == (11, 5, "opening_range_breakout")
    assert (p.decided_at, p.expires_at, p.pattern_at) == (
        ASOF,
        ASOF + timedelta(hours=1),
        BREAK["pattern_at"],
    )
    assert only(BREAK | {"pattern_bias": "bearish"}).pattern_type is None
    late = datetime(2025, 8, 13, 19, 30, tzinfo=UTC)
    assert only({"asof": late}).expires_at == late + timedelta(minutes=30)


def test_what_comes_later_changes_nothing_or_is_refused():
    rows = frame(GOOD, mirrored(GOOD))
    told = rows.assign(next_close=99.0, outcome="won")
    assert decide(told, CONFIG) == decide(rows, CONFIG)
    with pytest.raises(InputError, match="what was known at"):
        decide(rows.assign(bar_ts=ASOF), CONFIG)
    with pytest.raises(InputError, match="atr_14"):
        decide(rows.drop(columns="atr_14"), CONFIG)


def test_deciding_does_not_touch_its_input():
    rows = frame(GOOD, BREAK)
    before = rows.copy(deep=True)
    assert decide(rows, CONFIG) == decide(rows, CONFIG)
    pd.testing.assert_frame_equal(rows, before)
    assert set(SIGNAL_FEATURES) <= set(rows.columns)


# Only what has evidence is on


GAPS = dict.fromkeys(n for s in SETUPS.values() for n in s.need if n not in GOOD)
EASY = Config({"min_confidence": 0.0})


def test_the_new_setups_are_registered_and_off():
    assert set(SETUPS) - set(switched_on(CONFIG)) == {"sympathy_follower", "gap_fade"}
    for name in ("sympathy_follower", "gap_fade"):
        row = frame(GAPS | FIRES[name])
        assert decide(row, CONFIG) == []
        assert [p.setup for p in decide(row, ANY, setups=SETUPS)] == [name]
        assert list(switched_on({f"setup_{name}": True}, {name: SETUPS[name]})) == [name]
    assert not switched_on(
        {"setup_news_breakout": False}, {"news_breakout": SETUPS["news_breakout"]}
    )


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("sympathy_follower", {"catalyst_score": 0.7}, "own news: catalyst score 0.700"),
        ("sympathy_follower", {"news_count": 2, "null_reason": {"catalyst_score": "no strength"}}, "own news not judged: no strength"),
        ("sympathy_follower", {"peer_catalyst_score": 0.1}, "of the peer: catalyst score 0.100 below"),
        ("sympathy_follower", {"peer_tone": -0.7}, "nothing to follow for a short: peer +6.00%"),
        ("sympathy_follower", {"peer_change_pct": 0.01}, "nothing to follow for a long: peer +1.00%"),
        ("sympathy_follower", {"sector_change_pct": -0.01}, "sector -1.00%"),
        ("sympathy_follower", {"change_pct": 0.05}, "change +5.00% is no lag behind"),
        ("sympathy_follower", {"change_pct": -0.01}, "change -1.00% is no lag behind"),
        ("sympathy_follower", {"vwap": 20.01}, "not beyond vwap 20.01"),
        ("sympathy_follower", {"peer_tone": None, "null_reason": {"peer_tone": "alone"}}, "peer_tone unknown: alone"),
        ("gap_fade", {"gap_pct": 0.01}, "gap +1.00%, 2% to 8% can be faded"),
        ("gap_fade", {"gap_pct": 0.12}, "gap +12.00%"),
        ("gap_fade", {"catalyst_score": 0.7}, "the gap has a reason, own news"),
        ("gap_fade", {"news_count": 1}, "the gap has a reason, own news not judged"),
        ("gap_fade", {"news_count": None}, "news_count unknown"),
        ("gap_fade", {"day_open": 19.9}, "not turned: price 20.00 not beyond day_open 19.90"),
        ("gap_fade", {"vwap": 19.9}, "not turned: price 20.00 not beyond vwap 19.90"),
        ("gap_fade", {"prev_close": 19.9}, "ATR of the gap left, the target needs 3.5"),
    ],
)  # fmt: skip
def test_a_new_setup_says_what_it_does_not_see(name, change, reason):
    rows = frame(FIRES[name] | change)
    plans, refusals = decide_with_reasons(rows, EASY, setups={name: SETUPS[name]})
    assert plans == [] and reason in refusals[1]


def test_a_follower_rests_on_the_story_of_its_peer():
    (p,) = decide(frame(FOLLOW), ANY, setups={"s": SETUPS["sympathy_follower"]})
    assert (p.news_id, p.story_id, p.terms["catalyst"]) == (44, 9, 0.8)
    weak = {"catalyst_score": 0.1, "news_id": 11, "story_id": 5, "news_count": 1}
    (p,) = decide(frame(FADE | weak), EASY, setups={"s": SETUPS["gap_fade"]})
    assert (p.news_id, p.terms["catalyst"], str(p.side)) == (None, None, "short")
    assert p.terms["technical"] < 0.5  # the trend of the row points up, the idea down


# A stranger's mistake is one line


@pytest.mark.parametrize(
    ("need", "rule", "line"),
    [
        (("vwapp",), lambda row, config: "no", "setup mine: received 'vwapp'; allowed: a column of the feature frame; did you mean 'vwap'?"),
        ((), lambda row, config: row["catalyst_scor"], "received 'catalyst_scor'; .*did you mean 'catalyst_score'"),
        ((), lambda row, config: Idea(PositionSide.LONG, row["close"], fit=float("nan")), "idea: received .*; allowed: a price above 0 and a fit from 0 to 1"),
        ((), lambda row, config: None, "setup mine: received None; allowed: an Idea, or a sentence"),
        ((), lambda row, config: row["pattern_stop"] > 1, "setup mine: .*name the features it cannot do without in need="),
    ],
)  # fmt: skip
def test_a_typo_in_a_setup_is_one_clear_line(need, rule, line):
    with pytest.raises(InputError, match=line) as e:
        decide(frame({}), CONFIG, setups={"mine": Setup("mine", need, rule)})
    assert "\n" not in str(e.value)


def test_a_wide_pullback_has_no_fit_below_zero():
    wide = Config({"pullback_atr": 5.0, "min_confidence": 0.0})
    rows = frame({"vwap": 19.8})
    (p,) = decide(rows, wide, setups={"p": SETUPS["pullback_to_vwap"]})
    assert p.terms["setup"] == 0.0


def test_a_typo_is_told_even_when_no_row_gets_that_far():
    with pytest.raises(InputError, match="vwapp"):
        decide(
            frame({"close": None}), CONFIG, setups={"m": Setup("m", ("vwapp",), lambda r, c: "no")}
        )


# Rank, then cut


def test_guard28_all_are_ranked_before_any_is_cut():
    weak = {"catalyst_score": 0.3, "relative_volume": 0.1, "vwap": 19.7}
    rows = frame(weak, {}, {"catalyst_score": 0.9}, {}, {"tone": 0.0})
    plans, refusals = decide_with_reasons(rows, CONFIG)
    told = [(p.security_id, p.terms["rank"], p.terms["of"], p.terms["ties"]) for p in plans]
    tie = "broken by security_id among 2"
    assert told == [(3, 1, 4, "none"), (2, 2, 4, tie), (4, 3, 4, tie)]
    assert "news_breakout: confidence 0.323 below 0.500 (uncalibrated)" in refusals[1]
    assert refusals[1].endswith("0 to 0.5 is a pullback; ranked 4 of 4")
    assert set(refusals) == {1, 5} and "ranked" not in refusals[5]


def test_ranks_are_counted_within_an_instant():
    later = ASOF + timedelta(minutes=15)
    rows = [
        frame({}, {"catalyst_score": 0.9}),
        frame({"asof": later}, {"asof": later, "tone": 0.0}),
    ]
    panel = pd.concat(dict(zip((ASOF, later), rows, strict=True)), names=["asof", "security_id"])
    plans, refusals = decide_with_reasons(panel, CONFIG)
    assert [(p.decided_at, p.security_id, p.terms["of"]) for p in plans] == [
        (ASOF, 2, 2),
        (ASOF, 1, 2),
        (later, 1, 1),
    ]
    assert list(refusals) == [(later, 2)]
    alone = [p for r in rows for p in decide(r, CONFIG)]
    assert alone == plans == decide(panel.drop(columns="asof"), CONFIG)


# What a score has been worth


def known(setup="news_breakout", usable_from=ASOF, low=0.5, high=0.6, **more):
    points = ((0.4, low, 60, 24), (0.9, high, 60, 30))
    same = {"count": 120, "hits": 54, "base_rate": 0.45, "points": points}
    return Curve(subject=f"setup:{setup}", usable_from=usable_from, **same | more)


def test_guard23_a_calibrated_confidence_is_the_frequency():
    plain = only({})
    (p,) = decide(frame({}), CONFIG, Calibration([known()]))
    assert (p.calibrated, p.score, p.terms["score"]) == (True, plain.confidence, plain.confidence)
    assert p.confidence == pytest.approx(0.5 + 0.1 * (plain.confidence - 0.4) / 0.5, abs=0.0006)
    assert p.terms["outcomes"] == 120


@pytest.mark.parametrize(
    "curve",
    [
        known(setup="gap_fade"),
        known(reason="no skill"),
        known(usable_from=ASOF + timedelta(seconds=1)),
    ],
    ids=["another setup", "no skill", "learned later"],
)
def test_guard18_what_is_not_known_then_is_uncalibrated(curve):
    (p,) = decide(frame({}), CONFIG, Calibration([curve]))
    assert (p.calibrated, p.confidence) == (False, only({}).confidence)


def test_the_cut_asks_the_score_and_not_the_frequency():
    assert len(decide(frame({}), CONFIG, Calibration([known(low=0.1, high=0.1)]))) == 1
    weak = {"catalyst_score": 0.3, "relative_volume": 0.1, "vwap": 19.7}
    assert decide(frame(weak), CONFIG, Calibration([known(low=0.9, high=0.9)])) == []


def test_a_plan_that_would_be_cut_does_not_displace_one_that_would_not():
    strict = Config({"min_confidence": 0.6})
    rule = lambda fit: lambda row, config: Idea(PositionSide.LONG, row["close"], fit=fit)
    rules = {n: Setup(n, (), rule(fit)) for n, fit in {"poor": 0.0, "fine": 1.0}.items()}
    pays = Calibration([known(setup="poor", low=0.9, high=0.9)])
    assert [p.setup for p in decide(frame({}), strict, pays, rules)] == ["fine"]


def test_what_pays_comes_before_what_nobody_knows_before_what_does_not_pay():
    order = lambda low: [
        p.setup
        for p in decide(
            frame(BREAK | {"catalyst_score": 0.95}, {}),
            CONFIG,
            Calibration([known(low=low, high=low)]),
        )
    ]
    assert order(0.5) == ["news_breakout", "news_breakout"]
    assert order(0.2) == ["opening_range_catalyst", "news_breakout"]


def test_plans_as_a_frame_lead_back_to_the_plans():
    plans = decide(frame({}, mirrored(GOOD)), CONFIG)
    table = plans_frame(plans)
    assert (
        list(table.columns)
        == (
            "plan_id security_id setup side entry_type entry_price stop_price target_price confidence calibrated decided_at expires_at score stop_rule"
        ).split()
    )
    assert [plans[i].security_id for i in table.plan_id] == table.security_id.tolist()
    assert str(table.decided_at.dtype) == "datetime64[us, UTC]" and table.calibrated.dtype == bool
    assert sorted(table.side) == ["long", "short"]
    assert len(plans_frame([])) == 0


# What a stranger found


def asked_alone(rule, config=ANY, need=(), change=None):
    return decide(frame(change or {}), config, setups={"mine": Setup("mine", need, rule)})


@pytest.mark.parametrize(
    ("name", "said"),
    [("volume_ratio", "did you mean 'relative_volume'"), ("rvol", "'relative_volume'"), ("sentiment", "'tone'"), ("adx_14", "an indicator that features do not carry")],
)  # fmt: skip
def test_idea09_a_hint_goes_by_meaning_and_not_by_letters(name, said):
    with pytest.raises(InputError, match=said) as e:
        asked_alone(lambda row, config: "no", need=(name,))
    assert "'volume'?" not in str(e.value)
    with pytest.raises(InputError, match=said):
        asked_alone(lambda row, config: row[name] > 2)


def test_idea12_levels_on_the_wrong_side_are_refused_and_not_replaced():
    for side, level in ((PositionSide.LONG, 21.0), (PositionSide.SHORT, 19.0)):
        with pytest.raises(InputError, match=f"mine: idea: received 'wrong_at {level:.4f}'"):
            asked_alone(lambda row, c, s=side, x=level: Idea(s, row["close"], fit=0.5, wrong_at=x))
    with pytest.raises(InputError, match="mine: received 'entry_price 40.0000'; allowed: within"):
        asked_alone(lambda row, c: Idea(PositionSide.LONG, row["close"] * 2, fit=0.5))


def test_idea12_a_break_whose_level_was_passed_keeps_its_plain_stop():
    p = only({**BREAK, "pattern_stop": 20.5, "support_level": 19.905}, ANY)
    (p,) = decide(
        frame({**BREAK, "pattern_stop": 20.5, "support_level": 19.905}),
        ANY,
        setups={"o": SETUPS["opening_range_catalyst"]},
    )
    assert p.terms["stop_rule"] == "2 ATR"
    assert p.entry_price - p.stop_price == pytest.approx(2 * GOOD["atr_14"])


@pytest.mark.parametrize(
    ("error", "said"),
    [(ZeroDivisionError("x"), "ZeroDivisionError: x"), (AttributeError("y"), "AttributeError: y"), (ValueError("z"), "ValueError: z"), (KeyError("close"), "KeyError: 'close'")],
)  # fmt: skip
def test_idea16_a_rule_that_raises_is_named_with_security_and_instant(error, said):
    def rule(row, config):
        raise error

    with pytest.raises(
        InputError, match=f"setup mine: {said}; security 1 at 20..-..-.. ..:.. UTC"
    ) as e:
        asked_alone(rule)
    assert "\n" not in str(e.value)


def test_idea16_an_account_counts_failures_and_goes_on():
    def rule(row, config):
        if row["security_id"] == 2:
            raise ZeroDivisionError("none")
        return Idea(PositionSide.LONG, row["close"], fit=0.5)

    account = Account()
    rows = frame({}, {}, {})
    plans = decide(rows, ANY, setups={"mine": Setup("mine", (), rule)}, account=account)
    assert [p.security_id for p in plans] == [1, 3]
    assert (account.calls["mine"], account.failed["mine"]) == (3, 1)
    assert "security 2 at" in account.first["mine"]


def test_idea23_a_rule_says_its_stop_and_target_exactly():
    near = {"support_level": 19.905}  # Would move a plain stop
    idea = lambda **levels: lambda row, c: Idea(PositionSide.LONG, row["close"], fit=0.5, **levels)
    (p,) = asked_alone(idea(stop_atr=1.5, target_r=2.0), change=near)
    assert p.entry_price - p.stop_price == pytest.approx(1.5 * GOOD["atr_14"])
    assert p.reward_risk == pytest.approx(2.0) and p.stop_rule == "1.5 ATR"
    (p,) = asked_alone(idea(target_atr=5.0), change={"support_level": None})
    assert p.target_price - p.entry_price == pytest.approx(5 * GOOD["atr_14"])
    assert plans_frame([p]).stop_rule.tolist() == ["2 ATR"]
    for wrong in ({"stop_atr": -1.0}, {"stop_atr": 1.0, "wrong_at": 19.0}, {"target_r": 1.0, "target_atr": 1.0}):  # fmt: skip
        with pytest.raises(InputError, match="idea: received"):
            asked_alone(idea(**wrong))


def test_idea23_what_min_confidence_drops_is_counted():
    account = Account()
    weak = frame({}, {})
    rule = {"mine": Setup("mine", (), lambda row, c: Idea(PositionSide.LONG, row["close"], 0.0))}
    assert decide(weak, Config({"min_confidence": 0.99}), setups=rule, account=account) == []
    assert {(i, s) for _, i, s in account.weak} == {(1, "mine"), (2, "mine")}


def test_idea29_a_rule_of_ours_is_replaced_only_when_asked():
    mine = lambda row, config: "no"
    known = {"news_breakout": SETUPS["news_breakout"]}
    with pytest.raises(InputError, match="setup news_breakout: .*replace=True"):
        setup("news_breakout", into=known)(mine)
    assert known["news_breakout"] is SETUPS["news_breakout"]
    setup("news_breakout", into=known, replace=True)(mine)
    assert known["news_breakout"].rule is mine
    setup("news_breakout", into=known)(mine)  # One's own is replaced, as rerunning a cell should


def test_idea05_a_plan_without_a_zone_or_a_side_is_refused():
    (p,) = asked_alone(lambda row, c: Idea(PositionSide.LONG, row["close"], fit=0.5))
    for wrong, said in (
        ({"decided_at": p.decided_at.replace(tzinfo=None)}, "decided_at: received"),
        ({"expires_at": p.decided_at.replace(year=2020)}, "plan: received 'expires_at"),
        ({"side": "buy"}, "position side: received 'buy'"),
    ):
        with pytest.raises(InputError, match=said):
            replace(p, **wrong)
    with pytest.raises(InputError, match="setups: received"):
        decide(frame({}), ANY, setups=["news_breakout"])
