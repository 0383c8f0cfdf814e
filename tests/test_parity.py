"Parity: every decision of either side is one row with one cause; the query reads a day's books; fills by the paper broker's rules agree."

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from catalyst.core import InputError
from catalyst.parity import (
    CAUSES,
    DAY_COLUMNS,
    KEY,
    LEVELS,
    PLANS,
    QUERY,
    Tolerance,
    compare,
    summary,
    text,
)

AT = pd.Timestamp("2025-08-13 14:00", tz="UTC").as_unit("us")


def one(sid=1, **more):
    "A decision that was entered a minute on and taken out at its target two hours later"
    row = dict(security_id=sid, setup="news_breakout", side="long", decided_at=AT, plan_entry=20.0, plan_stop=19.0, plan_target=22.0,
               verdict="approved", refused_for=None, order_status="filled", status_reason=None, quantity=100.0, entry_at=AT + pd.Timedelta("15min"),
               entry_price=20.0, exit_at=AT + pd.Timedelta("2h"), exit_price=22.0, exit_reason="target", pnl=200.0)  # fmt: skip
    return row | more


NONE = dict(
    entry_at=pd.NaT,
    entry_price=np.nan,
    exit_at=pd.NaT,
    exit_price=np.nan,
    exit_reason=None,
    pnl=np.nan,
    quantity=np.nan,
)
frame = lambda *rows: pd.DataFrame(list(rows), columns=DAY_COLUMNS)
CASES = {
    "same": (one(), one()),
    "a cent of slippage": (one(), one(entry_price=20.005)),
    "dated at the end of the bar": (one(), one(exit_at=AT + pd.Timedelta("135min"))),
    "neither filled": (one(**NONE), one(**{**NONE, "exit_reason": "no fill"})),
    "both refused": (one(**NONE, verdict="refused"), one(**{**NONE, "exit_reason": "no cash"})),
}
DIFFERENT = {
    "data": [(one(), one(plan_stop=18.9)), (one(), one(plan_stop=18.9, entry_price=21.0, exit_at=AT + pd.Timedelta("5h")))],
    "refused": [
        (one(**NONE, verdict="refused", refused_for="positions, sector_exposure"), one()),
        (one(**{**NONE, "order_status": "rejected", "status_reason": "not shortable"}), one()),
        (one(), one(**{**NONE, "exit_reason": "no cash"})),
    ],
    "timing": [(one(), one(exit_at=AT + pd.Timedelta("135min"), exit_price=21.5)), (one(), one(entry_at=AT + pd.Timedelta("31min"))), (one(), one(exit_at=AT + pd.Timedelta("3h"), exit_price=21.0))],
    "fill": [
        (one(), one(entry_price=20.02)), (one(), one(quantity=99.0)), (one(), one(exit_price=19.0, exit_reason="stop")),
        (one(**NONE), one()), (one(), one(**NONE)), (one(exit_reason="session over: close"), one(exit_reason="stop")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_parity_within_the_stated_differences(name):
    day, test = CASES[name]
    table = compare(frame(day), frame(test))
    assert table.cause.tolist() == ["same"], table.detail[0]


@pytest.mark.parametrize(
    ("cause", "pair"), [(c, p) for c, pairs in DIFFERENT.items() for p in pairs]
)
def test_parity_every_difference_has_its_cause(cause, pair):
    table = compare(frame(pair[0]), frame(pair[1]))
    assert table.cause.tolist() == [cause] and table.detail[0]


def test_parity_a_refusal_says_who_and_why():
    [day, test] = DIFFERENT["refused"][0]
    assert (
        compare(frame(day), frame(test))
        .detail[0]
        .startswith("risk refused: positions, sector_exposure")
    )


def test_parity_tolerances_are_used():
    slip = (
        frame(one()),
        frame(one(entry_price=20.02, entry_at=AT + pd.Timedelta("40min"), quantity=95.0)),
    )
    assert compare(*slip).cause[0] == "timing"
    assert compare(*slip, Tolerance(minutes=30)).cause[0] == "timing"  # other prices at other times
    assert compare(*slip, Tolerance(minutes=30, price_bps=10.1)).cause[0] == "fill"  # the shares
    assert compare(*slip, Tolerance(minutes=30, price_bps=10.1, quantity=0.05)).cause[0] == "same"


def test_parity_no_row_is_ever_dropped():
    "Random halves of random decisions, some told twice, in any order: the rows are the union, and profits add up"
    draw = np.random.default_rng(4)
    for _ in range(20):
        sides = []
        for _ in range(2):
            rows = [
                one(
                    int(s),
                    decided_at=AT + pd.Timedelta(minutes=15 * int(m)),
                    pnl=float(draw.normal()),
                )
                for s, m in draw.integers(0, 6, (draw.integers(0, 30), 2))
            ]
            sides.append(frame(*rows).sample(frac=1, random_state=1) if rows else frame())
        table = compare(*sides)
        count = lambda f: f.groupby(KEY).size() if len(f) else pd.Series(dtype=int)
        union = pd.concat([count(f) for f in sides], axis=1).max(axis=1).sum()
        assert len(table) == union and summary(table).decisions.sum() == union
        assert list(summary(table).index) == CAUSES
        gain = [f.pnl.sum() if len(f) else 0.0 for f in sides]
        assert table.pnl_difference.sum() == pytest.approx(gain[1] - gain[0])


def test_parity_missing_names_the_side():
    table = compare(frame(one(1)), frame(one(2)))
    assert table.cause.tolist() == ["missing", "missing"]
    assert table.detail.tolist() == ["only the day has it", "only the backtest has it"]
    assert "2 missing (0 traded)" in text(table) and "4 bps" in text(table)


def test_parity_levels_come_from_the_plans():
    trades = frame(one()).drop(columns=LEVELS).assign(plan_id=7)
    plans = pd.DataFrame(
        {
            "plan_id": [3, 7],
            "entry_price": [9.0, 20.5],
            "stop_price": [8.0, 19.0],
            "target_price": [10.0, 22.0],
        }
    )
    table = compare(frame(one()), trades, plans=plans)
    assert table.cause[0] == "data" and "plan_entry 20.0000 and 20.5000" in table.detail[0]
    assert (
        compare(frame(one()), trades).cause[0] == "same"
    )  # levels that are not given are compared with nothing


def test_parity_says_what_each_cause_is_worth_and_names_holes():
    "guard: a profit that differed by 837 dollars, nearly all of it from refused repeats, was one number"
    day = frame(one(1), one(2, **NONE, verdict="refused", refused_for="positions"))
    test = frame(one(1, exit_price=21.0, pnl=100.0), one(2, pnl=837.0)).assign(holes=[3, 0])
    told = text(compare(day, test))
    assert "profit differs by +737.00 dollars: +837.00 refused, -100.00 fill" in told
    assert "3 bars were missing" in told and told.count("were missing") == 1
    with pytest.raises(InputError, match="day.decided_at: received"):
        compare(day.assign(decided_at=day.decided_at.dt.tz_localize(None)), test)


def test_parity_enums_categories_and_refusals():
    from catalyst.core import PositionSide

    test = frame(one(side=PositionSide.LONG)).assign(exit_reason=pd.Categorical(["target"]))
    assert compare(frame(one()), test).cause[0] == "same"
    with pytest.raises(InputError, match="decided_at is missing"):
        compare(frame(one()).drop(columns="decided_at"), test)
    assert len(compare(frame(), frame())) == 0 and "0 decisions" in text(compare(frame(), frame()))


def test_parity_query_reads_a_days_books(scratch):
    "Four signals: one closed at its target, one open, one never filled, one refused; one row each"
    from day_rows import CYCLE, Day

    Day(scratch).fill()
    day = scratch.frame(QUERY, c=CYCLE)
    assert len(day) == 4 == scratch.value("select count(*) from signals")
    assert set(day.columns) == set(DAY_COLUMNS)
    refused = day[day.verdict == "refused"].iloc[0]
    assert refused.refused_for == "positions, sector_exposure" and pd.isna(refused.entry_price)
    closed = day[day.exit_at.notna()]
    assert (
        len(closed) == 1
        and closed.exit_reason.iloc[0]
        and closed.quantity.iloc[0] == 40
        and closed.pnl.notna().all()
    )
    assert (day.entry_at.notna()).sum() == 2 and (day.verdict == "approved").sum() == 3
    assert compare(day, day).cause.eq("same").all()
    plans = scratch.frame(PLANS, c=CYCLE)
    assert len(plans) == 4 and set(plans.quantity) == {25, 40, 50, 60} and plans.plan_id.is_unique
    pd.testing.assert_frame_equal(plans[KEY], day[KEY])


@pytest.mark.skipif(
    not os.environ.get("CATALYST_LONG"),
    reason="a whole day, two minutes or more: set CATALYST_LONG=1",
)
def test_parity_the_day_and_the_backtest_of_its_decisions(shared, tmp_path):
    "2025-08-13 as it was traded, and the same decisions through vectorbt: what both traded agrees but for the close"
    from catalyst.backtest import backtest
    from catalyst.clock import parse_instant
    from catalyst.core import load_settings
    from catalyst.history import read_bars
    from catalyst.schema import open_store

    files = (
        "--bars",
        shared / "ibkr_15min_101_2025.parquet",
        "--news",
        shared / "real_news_2025.parquet",
    )
    run = [
        sys.executable,
        "-m",
        "catalyst",
        "day",
        "--home",
        tmp_path,
        "--session",
        "2025-08-13",
        *files,
        "--fast",
    ]
    subprocess.run(list(map(str, run)), check=True, capture_output=True)
    store = open_store(load_settings(home=tmp_path))
    day, plans = (store.frame(q, c="20250813-replay") for q in (QUERY, PLANS))
    asof, start = (parse_instant(f"2025-08-{d}T00:00:00+00:00") for d in (14, 12))
    bars = read_bars(store, asof, "15min", start=start)
    result = backtest(plans, bars, quantities=plans.quantity.to_numpy(float), own_bar_stop=False)
    table = compare(day, result.trades, plans=plans)
    counts = summary(table)
    assert len(table) == len(day) == len(plans) > 10, text(table)
    assert counts.decisions[["missing", "data", "fill"]].sum() == 0, text(table)
    traded = table[table.day_entry_at.notna()]
    assert len(traded) >= 3 and (traded.cause == "same").sum() >= 3, text(table)
    assert traded[traded.cause == "timing"].detail.str.contains("exit at 19:45 and 20:00").all(), (
        text(table)
    )
