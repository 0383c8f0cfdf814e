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
        math.isnan(p[k])
        for k in (
            "win_rate",
            "sharpe",
            "sortino",
            "calmar",
            "profit_factor",
            "probabilistic_sharpe",
        )
    )


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
