"Published values, and statistics that cannot be."

import math

import numpy as np
import pandas as pd
import pytest

from catalyst.core import InputError
from catalyst.performance import (
    deflated_sharpe,
    expected_best,
    monthly,
    performance,
    possible,
    probabilistic_sharpe,
    sortino,
)
from catalyst.shares import wilson


@pytest.mark.parametrize(
    "wins, n, low, high",
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_newcombe_1998_prints_it(wins, n, low, high):
    assert wilson(wins, n) == pytest.approx((low, high), abs=5e-5)


def test_deflated_sharpe_as_bailey_and_lopez_de_prado_2014_print_it():
    day, spread = 2.5 / math.sqrt(250), 0.5 / 250
    assert expected_best(100, spread) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(day, 1250, 100, spread, -3, 10) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(day, 1250, 46, spread, -3, 10) == pytest.approx(0.9505, abs=5e-5)
    assert deflated_sharpe(day, 1250, 88, spread) == pytest.approx(0.9505, abs=5e-5)


def test_probabilistic_sharpe_as_bailey_and_lopez_de_prado_2012_print_it():
    assert probabilistic_sharpe(0.457, 24, -2.448, 10.164) == pytest.approx(0.913, abs=5e-4)


def test_sortino_as_rollinger_and_hoffman_2013_print_it():
    assert sortino([0.17, 0.15, 0.23, -0.05, 0.12, 0.09, 0.13, -0.04], 1) == pytest.approx(
        4.417, abs=5e-4
    )


def test_certainty_is_refused():
    with pytest.raises(InputError, match="leak"):
        deflated_sharpe(3.0, 1250, 100, 0.5 / 250)
    with pytest.raises(InputError, match="overfit"):
        possible("probability of overfitting", 0.0, never=0.0)


def test_no_trades_and_flat_equity_give_no_ratio():
    empty = pd.DataFrame(
        dict(quantity=[0.0], pnl=[np.nan], r_multiple=[np.nan], fees=[np.nan], slippage=[np.nan])
    )
    flat = pd.Series(1e5, pd.date_range("2025-01-02 21:00", periods=9, freq="B", tz="UTC"))
    p = performance(trades=empty, equity=flat, cash=1e5)
    assert all(
        p[k] is None and p["null_reason"][k]
        for k in (
            "win_rate",
            "sharpe",
            "sortino",
            "calmar",
            "profit_factor",
            "probabilistic_sharpe",
        )
    )


def trades(n, r=1.0):
    return pd.DataFrame(
        dict(quantity=10.0, pnl=r, r_multiple=r, fees=0.0, slippage=0.0), index=range(n)
    )


def test_padding_before_and_after_the_span_changes_no_ratio():
    "guard: bars that were read to warm up made 27 sessions of July's 22"
    from catalyst.clock import get_session, sessions_between

    july = (get_session("2025-07-01").day, get_session("2025-07-31").day)
    inside = [pd.Timestamp(s.closes) for s in sessions_between(*july)]
    before = [
        pd.Timestamp(s.closes) for s in sessions_between(get_session("2025-06-20").day, july[0])
    ][:-1]
    value = 1e5 * np.cumprod(1 + np.random.default_rng(3).normal(0.001, 0.01, len(inside)))
    bare = pd.Series(value, pd.DatetimeIndex(inside))
    padded = pd.concat([pd.Series(1e5, pd.DatetimeIndex(before)), bare])
    one, two = (
        performance(trades=trades(30), equity=e, cash=1e5, span=july) for e in (bare, padded)
    )
    assert one == two and one["sessions"] == 22 and one["sharpe"] is not None
    assert one["sharpe"] == pytest.approx(
        performance(trades=trades(30), equity=bare, cash=1e5)["sharpe"]
    )
    cut = performance(trades=trades(30), equity=padded[:-5], cash=1e5, span=july)
    assert (cut["sessions"], cut["sessions_without_bars"]) == (17, 5)  # A zero is not made up
    idle = pd.concat([bare[:17], pd.Series(bare.iloc[16], bare.index[17:])])
    assert performance(trades=trades(30), equity=idle, cash=1e5, span=july)["sessions"] == 22


def test_ratios_from_too_little_are_null_with_a_reason():
    "guard: one trade on one day had a Sharpe ratio of 6.48"
    days = pd.date_range("2025-01-02 21:00", periods=40, freq="B", tz="UTC")
    value = pd.Series(1e5 + np.arange(40) + 3.0 * (np.arange(40) % 3), days)
    few = performance(trades=trades(40), equity=value[:19], cash=1e5)
    assert few["sharpe"] is None and few["null_reason"]["sharpe"] == "19 sessions, 20 are needed"
    thin = performance(trades=trades(9), equity=value, cash=1e5)
    assert thin["calmar"] is None and "9 trades" in thin["null_reason"]["calmar"]
    enough = performance(trades=trades(10), equity=value[:20], cash=1e5)
    assert enough["sharpe"] is not None and "sharpe" not in enough["null_reason"]
    import json

    json.dumps(thin, allow_nan=False)


def test_the_interval_of_mean_r_knows_that_a_day_is_shared():
    from catalyst.performance import mean_interval

    r, day = np.repeat([1.0, -1.0, 1.0, -1.0], 25), np.repeat(range(4), 25)
    alone, shared = (np.ptp(mean_interval(r, g)) for g in (None, day))
    assert shared > 4 * alone and np.isnan(mean_interval([1.0, 2.0], [1, 1])).all()


def test_months_compound_to_the_year():
    r = pd.Series(
        np.random.default_rng(1).normal(0, 0.01, 300),
        pd.date_range("2024-11-01", periods=300, freq="B").date,
    )
    table = monthly(r)
    assert np.nanprod(1 + table[list(range(1, 13))].to_numpy(), axis=1) - 1 == pytest.approx(
        table.year.to_numpy()
    )
    assert np.prod(1 + table.year) == pytest.approx(np.prod(1 + r))


def test_the_sheet_says_what_its_numbers_rest_on(tmp_path):
    from types import SimpleNamespace

    from catalyst.core import InputError
    from catalyst.costs import Costs
    from catalyst.tearsheet import page_path, tearsheet

    open_ = pd.offsets.CustomBusinessDay(holidays=["2025-07-04", "2025-09-01"])
    days = pd.date_range("2025-06-20 20:00", periods=60, freq=open_, tz="UTC")
    draw = np.random.default_rng(5).normal(0.001, 0.01, 60)
    value = pd.Series(np.r_[np.full(10, 1e5), 1e5 * np.cumprod(1 + draw[10:])], days, name="equity")
    t = trades(12).assign(
        r_multiple=np.tile([1.0, -1.1], 6),
        pnl=5.0,
        side="long",
        exit_reason="target",
        exit_price=1.0,
    )
    t = t.assign(decided_at=days[20:32], security_id=1, setup="x", entry_price=1.0, holes=1)
    result = SimpleNamespace(trades=t, equity=value, exposure=value * 0, cash=1e5, costs=Costs(), span=(days[10].date(), days[-1].date()), account="account: cash $100,000")  # fmt: skip
    cells = pd.DataFrame([[0.5]], index=pd.Index([1], name="a"), columns=pd.Index([2], name="b"))
    page = tearsheet(
        result, tmp_path / "s.html", heat=cells, heat_counts=cells * 0 + 7, trials=12, spread=0.002
    )
    text = page.read_text("utf-8").split("<script>")[0]
    for told in ("mean R of 12, 95 %:", "Deflated Sharpe, the best of 12 trials", "n = 7", "Decided, New York",
                 "account: cash $100,000", "met holes: 12 bars were missing", "2025-07-07 to 2025-09-15"):  # fmt: skip
        assert told in text, told
    assert ">Jun<" in text and "+0.00" not in text
    for wrong in ("nowhere/x.html", tmp_path):
        with pytest.raises(InputError, match="a folder that exists"):
            page_path(wrong)
