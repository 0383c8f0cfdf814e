"Correlations are computed from what both sides have, equal pandas, and see no future"

import ast
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalyst.clock import Stopwatch, get_session, sessions_between, slots
from catalyst.config import Config
from catalyst.correlate import (
    WINDOWS,
    against,
    bar_returns,
    matrix,
    pairs,
    pairwise,
    peers,
    sector_correlations,
    sector_momentum,
    session_tables,
    strength,
)

DAYS = sessions_between(
    get_session("2025-06-23").day, get_session("2025-08-13").day
)  # 36, two of them around July 4th
CLOSE, CONFIG = DAYS[-1].closes, Config()
NAMES = [
    "SPY",
    "QQQ",
    "IWM",
    "XLK",
    "XLE",
    *[f"T{i}" for i in range(5)],
    *[f"E{i}" for i in range(5)],
    "LONE",
    "NONE",
]
SECTOR = [None, None, None, "Tech", "Energy", *["Tech"] * 5, *["Energy"] * 5, "Utilities", None]
TABLE = pd.DataFrame(
    {"symbol": NAMES, "sector_name": SECTOR},
    index=pd.RangeIndex(11, 11 + len(NAMES), name="security_id"),
)
TABLE["sector_etf_symbol"] = TABLE.sector_name.map(
    {"Tech": "XLK", "Energy": "XLE", "Utilities": "XLU"}
)
TABLE["asset_type"] = ["etf"] * 5 + ["stock"] * 12
IDS = TABLE.index.tolist()


def market(seed=7, days=DAYS, minutes=15, holes=0.0):
    "Every security follows the market, its sector and chance; a share of the bars is missing"
    draw = np.random.default_rng(seed)
    ts = pd.DatetimeIndex([t for s in days for t in slots(s, minutes)[:-1]]).as_unit("us")
    whole, sectors = draw.normal(0, 0.002, len(ts)), {}
    frames = []
    for sid, row in TABLE.iterrows():
        own = sectors.setdefault(row.sector_name, draw.normal(0, 0.002, len(ts)))
        close = 50 * np.exp(np.cumsum(whole * (sid % 3) / 2 + own + draw.normal(0, 0.001, len(ts))))
        volume = draw.integers(100, 9000, len(ts)).astype(float)
        frame = pd.DataFrame(
            {"open": close, "high": close, "low": close, "close": close, "volume": volume}
        )
        frame = frame.assign(
            security_id=sid, ts=ts, available_at=ts + pd.Timedelta(minutes=minutes)
        )
        frames.append(frame[draw.uniform(size=len(ts)) >= holes])
    return pd.concat(frames).set_index(["security_id", "ts"])


BARS = market(holes=0.1)


def daily(bars=BARS):
    "Closes by session, the plain way"
    flat = bars.reset_index()
    return flat.groupby([flat.ts.dt.date, "security_id"]).close.last().unstack()


def test_tr08_correlations_are_computed_not_constant():
    "TR-8: a function that returned 0.0 and a strength that was always 0.5 drove decisions"
    rows = sector_correlations(BARS, TABLE, CLOSE, CONFIG)
    other = sector_correlations(market(seed=8), TABLE, CLOSE, CONFIG)
    for column in ("correlation_spy", "correlation_qqq", "correlation_iwm", "correlation_sector", "correlation_rolling_30d",
                   "beta_spy", "sector_relative_strength"):  # fmt: skip
        known = rows[column].dropna()
        assert len(known) >= 10 and known.nunique() > len(known) / 2, column
        assert (rows[column] - other[column]).abs().max() > 0.01, column
    every = pairwise(BARS, IDS, CLOSE, CONFIG)
    assert every[every.correlation_window == "5day"].correlation.nunique() > 100


def test_market_columns_equal_pandas():
    rows, r = (
        sector_correlations(BARS, TABLE, CLOSE, CONFIG),
        daily().pct_change(fill_method=None).tail(30),
    )
    symbol = dict(zip(TABLE.symbol, TABLE.index, strict=True))
    for sid in IDS:
        for name, fund in (("spy", "SPY"), ("qqq", "QQQ"), ("iwm", "IWM")):
            assert rows.loc[sid, f"correlation_{name}"] == pytest.approx(
                r[sid].corr(r[symbol[fund]]), abs=1e-12
            )
        cov = r[[sid, symbol["SPY"]]].cov() if sid != symbol["SPY"] else None
        beta = 1.0 if cov is None else cov.iloc[0, 1] / cov.iloc[1, 1]
        assert rows.loc[sid, "beta_spy"] == pytest.approx(beta, rel=1e-9)
    techs = TABLE.index[(TABLE.sector_name == "Tech") & (TABLE.asset_type == "stock")]
    for sid in techs:
        assert rows.loc[sid, "correlation_sector"] == pytest.approx(
            r[sid].corr(r[symbol["XLK"]]), abs=1e-12
        )
        others = r[techs.drop(sid)].mean(axis=1)
        assert rows.loc[sid, "correlation_rolling_30d"] == pytest.approx(
            r[sid].corr(others), abs=1e-12
        )


@pytest.mark.parametrize("least", [3, 10, 60])
def test_all_pairs_equal_pandas_with_holes(least):
    draw = np.random.default_rng(5)
    frame = pd.DataFrame(draw.normal(size=(90, 25)) * 1e-3 + 5e-4).mask(
        draw.uniform(size=(90, 25)) < 0.3
    )
    found, n = matrix(frame.to_numpy(), least)
    np.testing.assert_allclose(found, frame.corr(min_periods=least), atol=1e-10)
    known = frame.notna().astype(int)
    assert (n == known.T @ known).to_numpy().all()


def test_4950_pairs_on_three_windows_are_quick():
    draw = np.random.default_rng(2)
    watch = Stopwatch()
    for rows in (60, 25, 125):
        assert len(pairs(draw.normal(size=(rows, 100)), list(range(100)), "1day", 10)) == 4950
    assert watch.seconds < 0.5


def test_windows_are_the_last_hour_session_and_five_sessions():
    finer = market(seed=9, days=DAYS[-1:], minutes=1)
    got = pairwise(BARS, IDS, CLOSE, CONFIG, finer).set_index(
        ["correlation_window", "security_id", "other_id"]
    )
    r = daily()  # only its index of sessions
    quarter = BARS.close.unstack(0)
    moves = quarter.pct_change(fill_method=None)[
        quarter.index.to_series().dt.date.diff() == timedelta(0)
    ]
    by_window = {
        "1day": moves[moves.index.date == r.index[-1]],
        "5day": moves[np.isin(moves.index.date, r.index[-5:])],
    }
    minute = finer.close.unstack(0).pct_change()
    by_window["1hour"] = minute[minute.index >= CLOSE - timedelta(hours=1)]
    assert (
        len(by_window["1hour"]) == 60
        and len(by_window["1day"]) == 25
        and len(by_window["5day"]) == 125
    )
    assert set(got.index.get_level_values(0)) == set(WINDOWS)
    for window, frame in by_window.items():
        wanted = frame.corr(min_periods=10)
        for a, b in ((IDS[0], IDS[1]), (IDS[5], IDS[9]), (IDS[3], IDS[-1])):
            row = got.loc[(window, a, b)]
            assert row.observations == frame[[a, b]].dropna().shape[0]
            assert row.correlation == pytest.approx(wanted.loc[a, b], abs=1e-12)


def test_too_few_common_returns_are_null_with_their_count():
    got = pairwise(BARS, [*IDS[:3], 999], CLOSE, CONFIG)
    hour = got[got.correlation_window == "1hour"]
    assert hour.correlation.isna().all() and hour.observations.between(0, 4).all()
    nobody = got[got.other_id == 999]
    assert nobody.correlation.isna().all() and (nobody.observations == 0).all()
    assert (got.security_id < got.other_id).all() and len(got) == 3 * 6
    exact = Config({"correlation_min_observations": 25})
    full = pairwise(market(), IDS[:2], CLOSE, exact)
    assert full.correlation.notna().tolist() == [False, True, True]
    full = pairwise(market(), IDS[:2], CLOSE, Config({"correlation_min_observations": 26}))
    assert full.correlation.notna().tolist() == [False, False, True]


@pytest.mark.parametrize("back", [0, 3])
def test_the_future_changes_nothing(back):
    asof = DAYS[-1 - back].closes - timedelta(hours=2 * (back > 0))
    late = (BARS.available_at > asof).to_numpy()
    after = BARS.copy()
    after.loc[late, ["open", "high", "low", "close", "volume"]] *= np.random.default_rng(1).uniform(
        0.2, 9, (late.sum(), 5)
    )
    shuffled = pd.concat([after[~late], after[late].sample(frac=0.7, random_state=3)])
    for bars in (after, shuffled, BARS[~late]):
        pd.testing.assert_frame_equal(
            sector_correlations(bars, TABLE, asof, CONFIG),
            sector_correlations(BARS, TABLE, asof, CONFIG),
        )
        pd.testing.assert_frame_equal(
            pairwise(bars, IDS, asof, CONFIG, bars), pairwise(BARS, IDS, asof, CONFIG, BARS)
        )


def test_every_null_has_a_reason_and_every_reason_a_null():
    few = TABLE.drop(TABLE.index[[1, 4]])  # QQQ and XLE are unknown
    rows = sector_correlations(BARS[BARS.index.get_level_values(0) != IDS[2]], few, CLOSE, CONFIG)
    for sid, row in rows.iterrows():
        assert set(row.null_reason) == {c for c in rows.columns[:-1] if pd.isna(row[c])}, sid
    told = rows.null_reason
    assert told[IDS[5]] == {
        "correlation_qqq": "QQQ has no bars",
        "correlation_iwm": "IWM has no bars",
    }
    assert told[IDS[-2]]["sector_rank"] == "nobody else in its sector"
    assert told[IDS[-2]]["correlation_sector"] == "XLU has no bars"
    assert told[IDS[-1]]["sector_momentum"] == "no sector"
    assert told[IDS[3]]["sector_rank"] == "a fund is no member of a sector"
    short = sector_correlations(market(days=DAYS[-6:]), TABLE, CLOSE, CONFIG)
    assert short.null_reason[IDS[5]]["correlation_spy"] == "needs 10 common returns, has 5"
    assert short.null_reason[IDS[5]]["sector_rank"] == "no prices 20 sessions apart"


def test_a_price_that_stands_still_correlates_with_nothing():
    flat = BARS.copy()
    flat.loc[IDS[5], "close"] = 20.0
    rows = sector_correlations(flat, TABLE, CLOSE, CONFIG)
    assert rows.null_reason[IDS[5]]["correlation_spy"] == "one side does not move"
    assert against(np.full((30, 1), 0.01), np.random.default_rng(1).normal(size=(30, 1)), 10)[
        0
    ].tolist() == [pytest.approx(np.nan, nan_ok=True)]
    assert (
        pairwise(flat, IDS[4:7], CLOSE, CONFIG)
        .query("security_id == @IDS[5] or other_id == @IDS[5]")
        .correlation.isna()
        .all()
    )


def test_nobody_moves_with_himself_in_the_mean_of_his_sector():
    r = daily().pct_change(fill_method=None).tail(5)
    got = peers(r, TABLE)
    members = TABLE.index[(TABLE.sector_name == "Energy") & (TABLE.asset_type == "stock")]
    at = r.columns.get_indexer(members)
    for i, sid in zip(at, members, strict=True):
        np.testing.assert_allclose(got[:, i], r[members.drop(sid)].mean(axis=1))


def test_strength_ranks_and_ties():
    closes, _ = session_tables(market(), CLOSE)
    rows, _ = strength(closes, TABLE)
    move = closes.iloc[-1] / closes.iloc[-21] - 1
    members = TABLE.index[(TABLE.sector_name == "Tech") & (TABLE.asset_type == "stock")]
    assert (
        rows.sector_rank[move[members].idxmax()] == 1 and (rows.total_in_sector[members] == 5).all()
    )
    np.testing.assert_allclose(
        rows.sector_relative_strength[members], move[members] - move[members].mean()
    )
    even = closes.copy()
    even[members] = 10.0
    assert strength(even, TABLE)[0].sector_rank[members].tolist() == [1, 2, 3, 4, 5]  # by id
    assert (strength(even, TABLE)[0].sector_relative_strength[members] == 0).all()


@pytest.mark.parametrize(
    ("move", "volume", "word"),
    [
        (1.02, 1.5, "accumulating"),
        (0.98, 1.5, "distributing"),
        (1.005, 1.5, "neutral"),
        (1.02, 0.9, "neutral"),
        (0.98, 0.9, "neutral"),
    ],
)
def test_momentum_needs_a_move_and_volume(move, volume, word):
    sessions, members = range(30), TABLE.index[5:10]
    closes = pd.DataFrame(10.0, index=sessions, columns=members)
    volumes = pd.DataFrame(1000.0, index=sessions, columns=members)
    closes.iloc[-1] *= move
    volumes.iloc[-5:] *= volume
    assert sector_momentum(closes, volumes, TABLE).to_dict() == {"Tech": word}


def test_a_session_counts_when_it_has_closed():
    before, at = (session_tables(BARS, CLOSE - timedelta(minutes=m))[0] for m in (1, 0))
    assert len(at) == len(before) + 1
    pd.testing.assert_frame_equal(before, at.iloc[:-1])


def test_sessions_are_the_exchanges_and_closes_are_regular():
    evening = BARS[BARS.index.get_level_values(1) == DAYS[-2].closes - timedelta(minutes=15)]
    evening = evening.rename(index=lambda t: t + pd.Timedelta("2h"), level=1)
    evening = evening.assign(close=999.0, available_at=evening.available_at + pd.Timedelta("2h"))
    both = pd.concat([BARS, evening]).sort_index()
    pd.testing.assert_frame_equal(session_tables(both, CLOSE)[0], session_tables(BARS, CLOSE)[0])
    missing = BARS[BARS.index.get_level_values(1).date != DAYS[10].day]
    closes, _ = session_tables(missing, CLOSE)
    assert len(closes) == len(DAYS) and closes.iloc[10].isna().all()
    quarter = bar_returns(market(), IDS[:1], CLOSE)
    assert len(quarter) - quarter.notna().sum().iloc[0] == len(
        DAYS
    )  # the first of each session has none


def test_an_empty_market_gives_no_rows():
    none = BARS[:0]
    assert sector_correlations(none, TABLE, CLOSE, CONFIG).empty
    assert pairwise(none, IDS[:3], CLOSE, CONFIG).correlation.isna().all()


def test_it_takes_frames_only():
    source = Path(__file__).parents[1] / "catalyst" / "correlate.py"
    names = {
        n.module
        for n in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(n, ast.ImportFrom)
    }
    assert not {
        n for n in names if n and n.split(".")[-1] in ("store", "dims", "bars", "history", "ports")
    }
