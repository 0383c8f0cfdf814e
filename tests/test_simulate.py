"The simulated market has the facts of a real one, keeps its promises, and cannot see ahead"

import hashlib
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from catalyst.clock import NEW_YORK, Stopwatch, get_session
from catalyst.core import CatalystType, InputError, Timeframe
from catalyst.market import SECTORS
from catalyst.ports import ASSET_COLUMNS, BAR_COLUMNS, NEWS_COLUMNS, QUOTE_COLUMNS, Feed
from catalyst.simulate import TRUTH_COLUMNS, SimulatedFeed

PAST, FAR = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
DAY = get_session("2025-08-13")


def everything(feed, timeframe=Timeframe.MIN15, asof=FAR, symbols=None):
    return feed.bars(symbols, timeframe, PAST, FAR, asof)


@pytest.fixture(scope="module")
def feed():
    return SimulatedFeed(history_sessions=20)


@pytest.fixture(scope="module")
def minutes(feed):
    return everything(feed, Timeframe.MIN1)


@pytest.fixture(scope="module")
def returns(feed):
    "15-minute log returns within sessions, instants × companies, events left in"
    close = everything(feed).pivot(index="ts", columns="symbol", values="close")
    r = np.log(close).diff()
    inside = r.index.to_series().diff() == pd.Timedelta("15min")
    return r.loc[inside.to_numpy(), [c for c in r if not c.startswith("SIM")]]


def test_shape_of_the_answers(feed, minutes):
    assert isinstance(feed, Feed) and feed.simulated and feed.name == "simulated:7"
    assert minutes.columns.tolist() == BAR_COLUMNS and len(minutes) == 122 * 21 * 390
    assert minutes.equals(minutes.sort_values(["symbol", "ts"], ignore_index=True))
    assert not minutes.duplicated(["symbol", "ts"]).any() and not minutes.isna().any().any()
    assert str(minutes.ts.dtype) == str(minutes.available_at.dtype) == "datetime64[us, UTC]"
    assert (minutes.available_at - minutes.ts).eq(pd.Timedelta("1min")).all()
    items = feed.news(PAST, FAR)
    assert (
        items.columns.tolist() == NEWS_COLUMNS and not items.duplicated(["feed", "item_id"]).any()
    )
    assert items.equals(items.sort_values(["received_at", "feed", "item_id"], ignore_index=True))
    assert (items.published_at < items.received_at).all()


def test_who_is_traded(feed):
    assets = feed.assets()
    assert (
        assets.columns.tolist() == ASSET_COLUMNS
        and assets.symbol.is_unique
        and assets.name.is_unique
    )
    assert (
        assets.symbol.str.fullmatch(r"[A-Z]{6}").all()
        and assets.name.str.endswith("(simulated)").all()
    )
    stocks, funds = (assets[assets.asset_type == k] for k in ("stock", "etf"))
    assert len(stocks) >= 100 and len(funds) == 12 and funds.sector.isna().sum() == 1
    assert stocks.sector.value_counts().eq(10).all() and set(stocks.sector) == {
        s[1] for s in SECTORS
    }
    assert len(SECTORS) == 11 and assets.tradable.all()
    assert SimulatedFeed(securities=550, history_sessions=0).assets().symbol.is_unique


def test_sector_names_are_those_of_the_database(feed):
    from catalyst.core import resource_dir

    text = (resource_dir("sql") / "007_sectors.sql").read_text("utf-8")
    assert all(f"('{s[1]}'" in text for s in SECTORS)


def test_bars_do_not_contradict_themselves(minutes):
    m = minutes
    assert (m.high >= m[["open", "close"]].max(axis=1)).all() and (
        m.low <= m[["open", "close"]].min(axis=1)
    ).all()
    assert (m.low > 1).all() and (m.volume >= 100).all()
    cents = m[["open", "high", "low", "close"]] * 100
    assert np.abs(cents - cents.round()).max().max() < 1e-6


def test_volume_is_a_u(minutes):
    local = minutes.ts.dt.tz_convert(NEW_YORK)
    slot = (local.dt.hour * 60 + local.dt.minute - 570) // 30
    v = minutes.volume.groupby(slot).mean()
    assert len(v) == 13 and v.idxmax() == 0 and v.iloc[0] > 2 * v.iloc[5:8].mean()
    assert v.iloc[-1] > 1.3 * v.iloc[5:8].mean()


def test_tails_are_fat(returns, feed):
    "Excess over the normal, whose is 0; also without the planted jumps, which the fund has none of"
    assert returns.kurt().median() > 1.5
    close = everything(feed, Timeframe.MIN1, symbols=["SIMKET"]).set_index("ts").close
    r = np.log(close).diff()[close.index.to_series().diff() == pd.Timedelta("1min")]
    assert r.kurt() > 1.5 and abs(r.skew()) < 1


def test_sectors_move_together(returns, feed):
    sector = feed.assets().set_index("symbol").sector[returns.columns].to_numpy()
    c = returns.clip(-0.01, 0.01).corr().to_numpy()  # Clipped: jumps are nobody's factor
    same, other = sector[:, None] == sector, ~np.eye(len(c), dtype=bool)
    assert c[same & other].mean() > c[~same].mean() + 0.08 > 0.15


def test_a_fund_follows_its_sector(returns, feed):
    close = everything(feed, symbols=["SIMTEK"]).set_index("ts").close
    fund = np.log(close).diff().reindex(returns.index)
    by_sector = feed.assets().set_index("symbol").sector[returns.columns]
    with_fund = returns.T.groupby(by_sector).mean().T.corrwith(fund)
    assert with_fund.idxmax() == "Technology" and with_fund["Technology"] > 0.6


def test_nights_have_gaps(feed):
    d = everything(feed, Timeframe.DAY1)
    gap = np.log(d.open / d.groupby("symbol").close.shift()).dropna().abs()
    assert 0.003 < gap.median() < 0.02 and gap.max() > 0.04


def test_one_seed_is_one_market():
    "In this process, in another one, and after other questions"
    code = (
        "import hashlib,datetime as d;from catalyst.simulate import SimulatedFeed as S;f=S(history_sessions=1);"
        "u=d.timezone.utc;a=(d.datetime(1990,1,1,tzinfo=u),d.datetime(2100,1,1,tzinfo=u));"
        "b=f.bars(None,'5min',*a,a[1]);n=f.news(*a);"
        "print(hashlib.sha256((b.to_csv()+n.to_csv()+f.truth().to_csv()).encode()).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    f = SimulatedFeed(history_sessions=1)
    f.quotes(["SIMKET"], FAR)
    text = everything(f, Timeframe.MIN5).to_csv() + f.news(PAST, FAR).to_csv() + f.truth().to_csv()
    assert hashlib.sha256(text.encode()).hexdigest() == run.stdout.strip()


def test_another_seed_is_another_market():
    a, b = (SimulatedFeed(seed=s, history_sessions=1) for s in (7, 8))
    x, y = (everything(f) for f in (a, b))
    assert not np.isclose(x.close, y.close).any() or np.isclose(x.close, y.close).mean() < 0.01
    assert set(a.truth().item_id.dropna()).isdisjoint(b.truth().item_id.dropna())


@pytest.mark.parametrize(
    "session, history", [("2025-08-14", 21), ("2025-09-02", 40), ("2025-08-13", 3)]
)
def test_another_window_changes_nothing(feed, session, history):
    other = SimulatedFeed(session=session, history_sessions=history)
    first = max(feed.window[0], other.window[0], key=lambda s: s.day)
    ask = (None, Timeframe.MIN1, first.opens, DAY.ends, FAR)
    pd.testing.assert_frame_equal(feed.bars(*ask), other.bars(*ask))
    pd.testing.assert_frame_equal(
        feed.news(first.starts, DAY.ends), other.news(first.starts, DAY.ends)
    )


@pytest.mark.parametrize(
    "asof",
    [
        "2025-08-13T10:07:30",
        "2025-08-13T09:30",
        "2025-08-12T16:00",
        "2025-08-13T08:00",
        "1999-01-01",
    ],
)
def test_nothing_is_known_early(feed, asof):
    asof = datetime.fromisoformat(asof).replace(tzinfo=NEW_YORK)
    for tf in (Timeframe.MIN1, Timeframe.MIN15, Timeframe.DAY1):
        full = everything(feed, tf)
        then = full[full.available_at <= asof].reset_index(drop=True)
        pd.testing.assert_frame_equal(everything(feed, tf, asof), then)
    items = feed.news(PAST, FAR)
    pd.testing.assert_frame_equal(
        feed.news(PAST, asof), items[items.received_at <= asof].reset_index(drop=True)
    )
    quotes = feed.quotes(feed.assets().symbol, asof)
    assert quotes.columns.tolist() == QUOTE_COLUMNS and (quotes.ts <= asof).all()


def test_start_and_end_are_fences(feed, minutes):
    first, last = (datetime(2025, 8, 13, h, m, tzinfo=NEW_YORK) for h, m in ((10, 0), (10, 30)))
    got = feed.bars(["TEKBAN"], Timeframe.MIN1, first, last, FAR)
    want = minutes[(minutes.symbol == "TEKBAN") & (minutes.ts >= first) & (minutes.ts < last)]
    pd.testing.assert_frame_equal(got, want.reset_index(drop=True))
    assert len(got) == 30


def test_quotes_stand_around_the_last_close(feed, minutes):
    asof = datetime(2025, 8, 13, 10, 0, 30, tzinfo=NEW_YORK)
    q = feed.quotes(["TEKBAN", "SIMKET", "NOSUCH"], asof).set_index("symbol")
    last = minutes[minutes.available_at <= asof].groupby("symbol").close.last()[q.index]
    assert (
        q.index.tolist() == ["SIMKET", "TEKBAN"]
        and q.ts.eq(datetime(2025, 8, 13, 14, tzinfo=UTC)).all()
    )
    assert ((q.bid <= last) & (last <= q.ask) & (q.ask - q.bid > 0.009)).all()
    assert ((q.ask - q.bid) / last < 0.005).all()


@pytest.mark.parametrize(
    "timeframe, step", [("5min", "5min"), ("15min", "15min"), ("1hour", "60min")]
)
def test_longer_bars_are_their_minutes(feed, minutes, timeframe, step):
    m = minutes[minutes.symbol.isin(["TEKBAN", "SIMKET"])]
    day = m.ts.dt.tz_convert(NEW_YORK).dt.date
    rule = dict(
        open="first", high="max", low="min", close="last", volume="sum", available_at="last"
    )
    parts = [
        g.resample(step, on="ts", origin="start").agg(rule).assign(symbol=k[0])
        for k, g in m.groupby(["symbol", day])
    ]
    want = pd.concat(parts).reset_index()[BAR_COLUMNS]
    got = feed.bars(["TEKBAN", "SIMKET"], Timeframe(timeframe), PAST, FAR, FAR)
    pd.testing.assert_frame_equal(got, want.sort_values(["symbol", "ts"], ignore_index=True))


def test_a_day_is_its_minutes(feed, minutes):
    d = everything(feed, Timeframe.DAY1).set_index(["symbol", "ts"])
    assert d.volume.groupby("symbol").sum().equals(minutes.volume.groupby(minutes.symbol).sum())
    assert set(d.available_at) == {pd.Timestamp(s.closes) for s in feed.window}


def test_a_half_day_is_short():
    f = SimulatedFeed(session="2025-11-28", history_sessions=1)
    b = everything(f, symbols=["SIMKET"])
    by_day = b.groupby(b.ts.dt.tz_convert(NEW_YORK).dt.date)
    assert by_day.size().to_dict() == {date(2025, 11, 26): 26, date(2025, 11, 28): 14}
    assert b.available_at.max() == get_session("2025-11-28").closes
    t = f.truth()
    day = t[t["at"].dt.tz_convert(NEW_YORK).dt.date == date(2025, 11, 28)]
    assert day[day.kind.isin(["rumour", "denial", "unexplained"])]["at"].max() < f.window[-1].closes


def test_over_a_change_of_clocks():
    b = everything(SimulatedFeed(session="2025-11-03", history_sessions=1), symbols=["SIMKET"])
    assert (
        b.ts.dt.tz_convert(NEW_YORK).dt.strftime("%H:%M").tolist()
        == b.ts.dt.tz_convert(NEW_YORK).dt.strftime("%H:%M").tolist()[:26] * 2
    )


def test_what_is_planted(feed):
    t = feed.truth()
    assert t.columns.tolist() == TRUTH_COLUMNS
    assert set(t.kind) == {
        "news",
        "overreaction",
        "ignored",
        "routine",
        "rumour",
        "denial",
        "unexplained",
    }
    silent = t.kind == "unexplained"
    assert (
        t.item_id[silent].isna().all()
        and t.tone[silent].isna().all()
        and t.item_id[~silent].notna().all()
    )
    assert t["size"][t.kind.isin(["ignored", "routine"])].eq(0).all()
    assert t.tone[t.kind == "routine"].eq(0).all() and t.tone[t.kind == "ignored"].ne(0).all()
    assert set(t.catalyst_type.dropna()) <= set(CatalystType)
    moved = t[~silent & t["size"].ne(0)]
    assert (np.sign(moved.tone) == np.sign(moved["size"])).all()
    assert set(t.item_id.dropna()) == set(feed.news(PAST, FAR).item_id)
    later = t[t.kind == "denial"].merge(t[t.kind == "rumour"], on="symbol", suffixes=("", "_r"))
    pairs = later[(later["at"] - later.at_r).between(pd.Timedelta(0), pd.Timedelta("6h"))]
    assert (
        len(pairs) == len(t[t.kind == "rumour"])
        and (pairs["size"] / pairs.size_r).round(6).eq(-0.9).all()
    )


def test_every_morning_has_candidates(feed):
    t = feed.truth()
    local = t["at"].dt.tz_convert(NEW_YORK)
    minute = local.dt.hour * 60 + local.dt.minute
    strong = t[(minute >= 240) & (minute < 565) & t.tone.abs().ge(0.9)]
    by_day = strong.groupby(local.dt.date).tone
    assert len(by_day) == 21 and by_day.apply(lambda x: (x > 0).sum()).min() >= 4
    assert by_day.apply(lambda x: (x < 0).sum()).min() >= 2
    final = feed.news(DAY.starts, DAY.opens)
    assert set(strong[local[strong.index].dt.date == DAY.day].item_id) <= set(final.item_id)


def event_paths(feed, minutes, kinds, before=30, after=60):
    "Log price against the last close before the effect, in the direction of the event; events in regular hours"
    price = {s: g.set_index("ts").close for s, g in minutes.groupby("symbol")}
    out = {}
    for e in feed.truth().itertuples():
        start = e.at.floor("1min") + pd.Timedelta("1min")  # The minute after the receipt
        if e.kind in kinds and e.symbol in price and pd.Timestamp(e.at).strftime("%H%M") > "1415":
            p = price[e.symbol].loc[
                start - pd.Timedelta(minutes=before + 1) : start + pd.Timedelta(minutes=after - 1)
            ]
            if len(p) == before + after + 1:
                out[e.Index] = np.log(p.to_numpy() / p.iloc[before])
    return pd.DataFrame(out).T, feed.truth()["size"]


def test_a_planted_jump_is_in_the_prices_and_not_before(feed, minutes):
    path, size = event_paths(feed, minutes, ["news", "unexplained"])
    size = size[path.index]
    assert len(path) > 100
    signed = path.mul(np.sign(size), axis=0)
    assert abs(signed[0].mean()) < 0.002  # Thirty minutes before: nothing
    first = signed[31].mean() / size.abs().mean()
    assert 0.25 < first < 0.5 and signed[90].mean() / size.abs().mean() > 0.85
    assert np.corrcoef(path[90], size)[0, 1] > 0.9


def test_ignored_news_moves_nothing(feed, minutes):
    path, _ = event_paths(feed, minutes, ["ignored"])
    tone = feed.truth().tone[path.index]
    assert len(path) > 20 and abs(path[90].mul(np.sign(tone)).mean()) < 0.002


def test_some_mornings_go_on_and_some_turn(feed):
    d = everything(feed, Timeframe.DAY1).set_index(["symbol", "ts"])
    day = np.log(d.close / d.open)
    t = feed.truth()
    moves = {k: [] for k in ("news", "overreaction")}
    for s in feed.window:
        pre = t[t["at"].between(s.starts, s.opens) & t.tone.eq(0.9) & t.kind.isin(list(moves))]
        for e in pre.itertuples():
            moves[e.kind].append(day[(e.symbol, pd.Timestamp(s.opens))])
    assert np.mean(moves["news"]) > 0.02 and np.mean(moves["overreaction"]) < -0.02
    assert min(moves["news"]) < 0 < max(moves["news"])


def test_prices_stay_sane_for_years():
    for session in ("1995-06-01", "2019-03-01", "2035-11-01"):
        d = everything(
            SimulatedFeed(session=session, history_sessions=0, securities=44), Timeframe.DAY1
        )
        assert d.close.between(3, 900).all()


def test_answers_cannot_be_used_to_change_the_market(feed):
    f = SimulatedFeed(history_sessions=0)
    b, t = everything(f, Timeframe.MIN1), f.truth()
    b.loc[:, "close"], t.loc[:, "size"] = 0.0, 9.0
    f.news(PAST, FAR).symbols[0].append("XX")
    assert everything(f, Timeframe.MIN1).close.min() > 0 and f.truth()["size"].max() < 1
    assert f.news(PAST, FAR).symbols.str.len().max() == 1


@pytest.mark.parametrize(
    "wrong, says",
    [
        (dict(seed=-1), "seed: received -1"),
        (dict(seed=1.5), "seed: received 1.5"),
        (dict(securities=10), "allowed: a whole number from 44 to 550"),
        (dict(history_sessions=-1), "history_sessions"),
        (dict(session="2025-12-25"), "exchange holiday"),
        (dict(session="1990-06-01"), "sessions after 1990"),
        (dict(session="2035-12-31"), "before 2036"),
    ],
)
def test_wrong_orders_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        SimulatedFeed(**wrong)


def test_naive_instants_and_weeks_are_refused(feed):
    for ask in ((Timeframe.MIN1, datetime(2025, 8, 13)), (Timeframe.WEEK1, FAR), ("9min", FAR)):
        with pytest.raises(InputError):
            everything(feed, *ask)
    assert len(everything(feed, symbols=["NOSUCH"])) == 0
    assert len(feed.news(FAR - timedelta(1), FAR)) == 0


def test_it_is_fast():
    "Aim: 1.2 million minutes in 3 s on two cores, quarters of an hour in 2 s; a busy machine gets three times that"
    watch = Stopwatch()
    assert len(everything(SimulatedFeed(seed=11))) == 122 * 26 * 26
    assert watch.seconds < 6
    assert len(everything(SimulatedFeed(seed=12), Timeframe.MIN1)) == 122 * 26 * 390
    assert watch.seconds < 15
