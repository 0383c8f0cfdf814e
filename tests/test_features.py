"The leak test (guard-18): nothing after asof reaches a feature row; and a planted leak is caught."

import numpy as np
import pandas as pd
import pytest
from test_indicators import OHLCV, bars_frame, walk

import catalyst.features as page
from catalyst.clock import NEW_YORK, Stopwatch, parse_instant
from catalyst.config import Config
from catalyst.core import InputError
from catalyst.features import COLUMNS, FROM_INDICATORS, features
from catalyst.indicators import indicators
from catalyst.patterns import detect
from catalyst.peers import PEER_COLUMNS, TAKEN, peer_features

ASOF = parse_instant("2025-07-22T11:00:00-04:00")  # In the last session of the walk
SECTORS = pd.Series({1: 45, 2: 45, 3: 45, 4: 20}, dtype="Int64")


def items(asof, ids, seed=4, n=120):
    "News around `asof`, half of it received later, some of it published earlier than it was received"
    draw = np.random.default_rng(seed)
    received = pd.Timestamp(asof).as_unit("us") + pd.to_timedelta(
        draw.integers(-30 * 60, 30 * 60, n), unit="min"
    )
    received = received.as_unit("us")
    strength = np.where(np.arange(n) % 7, draw.uniform(0, 1, n), np.nan)
    return pd.DataFrame(
        {
            "news_id": np.arange(n), "story_id": np.arange(n) // 3, "security_id": draw.choice(ids, n),
            "headline": [f"item {i}" for i in range(n)], "source_name": "wire", "source_tier": 1,
            "published_at": received - pd.to_timedelta(draw.integers(0, 600, n), unit="min"), "received_at": received,
            "tone": draw.uniform(-1, 1, n), "tone_label": "neutral", "catalyst_type": "general",
            "catalyst_strength": strength, "story_strength": strength * draw.uniform(0, 1, n),
        }
    )  # fmt: skip


def world(bars, asof):
    return bars, indicators(bars, "15min"), detect(bars, "15min"), items(asof, bars.index.unique(0))


def look(data, asof):
    bars, ind, patterns, news = data
    return features(bars, asof, ind, patterns, news, sectors=SECTORS)


def altered(data, asof, seed):
    "The same past and another future: bars, indicators, patterns and news after `asof` rewritten and shuffled"
    bars, ind, patterns, news = (x.copy() for x in data)
    draw = np.random.default_rng(seed)
    late = (bars.available_at > asof).to_numpy()
    bars.loc[late, OHLCV] = draw.uniform(1, 999, (late.sum(), 5))
    ind.loc[late, FROM_INDICATORS] = draw.uniform(1, 999, (late.sum(), len(FROM_INDICATORS)))
    after = patterns.confirmed_at > asof
    patterns.loc[after, "confidence_score"] = 1.0
    patterns.loc[after, "security_id"] = draw.permutation(
        patterns.security_id[after].to_numpy(copy=True)
    )
    future = news.received_at > asof
    news.loc[future, ["catalyst_strength", "story_strength"]] = 1.0
    news.loc[future, "published_at"] = pd.Timestamp(asof).as_unit("us") - pd.Timedelta("1h")
    news = pd.concat([news, news[future].assign(news_id=lambda f: f.news_id + 1000)])
    order = draw.permutation(late.sum())  # even their order must not matter
    bars = pd.concat([bars[~late].sort_index(), bars[late].iloc[order]])
    return (
        bars,
        ind,
        patterns.sample(frac=1, random_state=seed),
        news.sample(frac=1, random_state=seed),
    )


def check_wall(data, asof):
    expected = look(data, asof)
    for seed in range(3):
        pd.testing.assert_frame_equal(look(altered(data, asof, seed), asof), expected)
    bars, ind, patterns, news = data
    past = bars[bars.available_at <= asof]
    past = (
        past,
        ind[ind.index.isin(past.index)],
        patterns[patterns.confirmed_at <= asof],
        news[news.received_at <= asof],
    )
    pd.testing.assert_frame_equal(look(past, asof), expected)
    return expected


@pytest.fixture(scope="module")
def data():
    return world(walk(26 * 22, seed=9, ids=(1, 2, 3, 4)), ASOF)


def test_the_future_changes_nothing(data):
    rows = check_wall(data, ASOF)
    assert (
        rows.pattern_type.notna().any()
        and rows.news_id.notna().any()
        and rows.change_pct.notna().all()
    )


@pytest.mark.parametrize("minutes", [-180, -75, 0, 1, 14, 15, 290, 700])
def test_the_wall_stands_at_every_hour(data, minutes):
    check_wall(data, ASOF + pd.Timedelta(minutes=minutes).to_pytimedelta())


@pytest.mark.parametrize("name", ["known_bars", "known_patterns", "known_news"])
def test_a_planted_leak_is_caught(data, monkeypatch, name):
    "The leak test can fail: with any of the three filters taken out it does"
    leaks = {
        "known_bars": lambda bars, asof: bars.sort_index(),
        "known_patterns": lambda patterns, asof: patterns,
        "known_news": lambda news, asof, hours: news.assign(
            age_hours=(pd.Timestamp(asof) - news.published_at).dt.total_seconds()
            / 3600  # by the printed time
        ),
    }
    monkeypatch.setattr(page, name, leaks[name])
    with pytest.raises(AssertionError):
        check_wall(data, ASOF)


@pytest.mark.parametrize("security_id", [1, 2, 3, 4])
def test_by_hand(data, security_id):
    "Every price and volume feature of one security, from a plain loop"
    row, one = look(data, ASOF).loc[security_id], data[0].loc[security_id]
    one = one[one.available_at <= ASOF]
    local, date = one.index.tz_convert(NEW_YORK), ASOF.astimezone(NEW_YORK).date()
    today, before = one[local.date == date], one[local.date < date]
    assert row.close == today.close.iloc[-1] and row.bar_ts == today.index[-1]
    assert row.bar_age_minutes == 0 and row.volume == today.volume.iloc[-1]
    assert row.prev_close == before.close.iloc[-1] and row.day_open == today.open.iloc[0]
    assert row.change_pct == pytest.approx(row.close / row.prev_close - 1)
    assert row.gap_pct == pytest.approx(today.open.iloc[0] / row.prev_close - 1)
    range_and_volume = today.high.max(), today.low.min(), today.volume.sum()
    assert (row.day_high, row.day_low, row.day_volume) == range_and_volume
    days = before.groupby(before.index.tz_convert(NEW_YORK).date)
    assert row.mean_volume_20d == pytest.approx(days.volume.sum().tail(20).mean())
    reached = today.index.tz_convert(NEW_YORK).time[-1]
    early = before[before.index.tz_convert(NEW_YORK).time <= reached]
    so_far = early.groupby(early.index.tz_convert(NEW_YORK).date).volume.sum()
    assert row.relative_volume == pytest.approx(today.volume.sum() / so_far.tail(20).mean())
    for name in FROM_INDICATORS:
        np.testing.assert_equal(row[name], data[1].loc[(security_id, row.bar_ts), name])


def test_the_strongest_story_speaks(data):
    config = Config({"max_news_age_hours": 6.0})
    news = data[3]
    rows = features(data[0], ASOF, news=news, config=config)
    age = (pd.Timestamp(ASOF) - news.received_at).dt.total_seconds() / 3600
    for sid, row in rows.iterrows():
        mine = news[(news.security_id == sid) & (age >= 0) & (age < 6)]
        score = mine.story_strength
        assert row.news_count == len(mine)
        if score.notna().any():
            assert row.catalyst_score == pytest.approx(score.max())
            assert row.news_id == mine.news_id[score.idxmax()]
            assert row.news_age_minutes == pytest.approx(age[score.idxmax()] * 60)


def test_ties_between_items():
    bars = walk(60, ids=(1,))
    asof = bars.available_at.iloc[-1].to_pydatetime()
    news = items(asof, [1], n=3).assign(
        received_at=pd.Timestamp(asof), story_strength=0.5, news_id=[12, 11, 13]
    )
    assert features(bars, asof, news=news).news_id[1] == 11
    older = pd.Timestamp(asof) - pd.to_timedelta([0, 60, 0], unit="min")
    flat = news.assign(received_at=older, story_strength=[0.0, 0.0, 0.0])
    assert features(bars, asof, news=flat).news_id[1] == 12


def test_before_the_open(data):
    asof = parse_instant("2025-07-22T08:30:00-04:00")
    rows = look(data, asof)
    today = [
        "change_pct",
        "gap_pct",
        "day_open",
        "day_high",
        "day_low",
        "day_volume",
        "relative_volume",
        "vwap",
    ]
    assert rows[today].isna().all(axis=None) and rows.pattern_type.isna().all()
    assert all(r[name] == "no bar in this session yet" for r in rows.null_reason for name in today)
    assert rows.close.notna().all() and (rows.bar_age_minutes == 16.5 * 60).all()
    assert rows[["prev_close", "atr_14", "rsi_14", "mean_volume_20d"]].notna().all(axis=None)
    assert (rows.prev_close == rows.close).all()  # yesterday's close is both


def test_yesterdays_pattern_is_not_todays(data):
    patterns = data[2]
    day = patterns.confirmed_at.dt.tz_convert(NEW_YORK).dt.date
    yesterday = patterns[day < ASOF.astimezone(NEW_YORK).date()]
    assert len(yesterday) and features(data[0], ASOF, patterns=yesterday).pattern_type.isna().all()


def test_every_null_has_a_reason_and_nothing_else_has(data):
    for args in (
        {},
        {"patterns": data[2].head(0)},
        {"news": data[3].head(0)},
        dict(zip(("indicators", "patterns", "news"), data[1:])),
    ):
        for asof in (
            ASOF,
            parse_instant("2025-06-23T10:00:00-04:00"),
            parse_instant("2025-07-22T08:30:00-04:00"),
        ):
            rows = features(data[0], asof, **args)
            assert list(rows.columns) == COLUMNS
            for _, row in rows.iterrows():
                assert set(row.null_reason) == {n for n in COLUMNS[:-1] if pd.isna(row[n])}


def test_not_given_is_not_none(data):
    "failed is not empty: absent news and no news read differently"
    without = features(data[0], ASOF)
    empty = features(data[0], ASOF, patterns=data[2].head(0), news=data[3].head(0))
    assert without.news_count.isna().all() and (empty.news_count == 0).all()
    assert without.null_reason[1]["headline"] == "news was not given"
    assert empty.null_reason[1]["headline"] == "no news in the last 24 hours"
    assert without.null_reason[1]["pattern_type"] == "patterns were not given"
    assert empty.null_reason[1]["pattern_type"] == "no pattern confirmed in this session"
    assert (without.dtypes.drop("null_reason") == empty.dtypes.drop("null_reason")).all()


def test_few_sessions(data):
    asof = parse_instant("2025-06-26T11:00:00-04:00")  # The fourth session
    rows = features(data[0], asof)
    assert rows[["relative_volume", "mean_volume_20d"]].isna().all(axis=None)
    assert rows.null_reason[1]["relative_volume"] == "needs 5 earlier sessions, has 3"
    first = features(data[0], parse_instant("2025-06-23T11:00:00-04:00"))
    assert first.prev_close.isna().all() and first.null_reason[1]["gap_pct"] == "no earlier session"


def test_holes_and_strangers(data):
    bars = data[0].copy()
    now = bars.loc[2][bars.loc[2].available_at <= ASOF].index[-1]
    bars.loc[(2, now), "close"] = np.nan
    assert features(bars, ASOF).bar_ts[2] == now - pd.Timedelta("15min")
    strange = data[3].assign(security_id=99)
    assert 99 not in features(data[0], ASOF, news=strange).index
    assert len(features(data[0], parse_instant("2025-01-02T12:00:00-05:00"))) == 0
    with pytest.raises(InputError, match="asof"):
        features(data[0], ASOF.replace(tzinfo=None))
    with pytest.raises(InputError, match="volume is missing"):
        features(data[0].drop(columns="volume"), ASOF)


@pytest.mark.parametrize("seed", range(5))
def test_peers_by_hand(seed):
    "Random sectors, ties, unknown scores and changes at two instants, from a plain loop"
    draw, n = np.random.default_rng(seed), 30
    sectors = pd.Series(draw.integers(1, 5, n), dtype="Int64").mask(draw.random(n) < 0.1)
    index = pd.MultiIndex.from_product([[1, 2], sectors.index], names=["asof", "security_id"])
    rows = pd.DataFrame({c: draw.uniform(0, 1, 2 * n) for c in TAKEN}, index=index)
    rows["catalyst_score"] = (rows.catalyst_score * 4).round() / 4
    unknown = draw.random(rows.shape) < 0.3
    rows = rows.mask(unknown)
    found = peer_features(rows, sectors)
    assert list(found.columns) == PEER_COLUMNS
    for (t, sid), got in found.iterrows():
        mine = sectors[sid]
        others = rows.loc[t][
            ((sectors == mine) & (sectors.index != sid)).fillna(False).to_numpy(bool)
        ]
        if pd.isna(mine):
            others = others.head(0)
        mean = others.change_pct.mean()
        assert got.sector_change_pct == pytest.approx(mean, rel=1e-9, nan_ok=True)
        able = others[others.catalyst_score.notna()]
        if able.empty:
            assert pd.isna(got.peer_security_id) and pd.isna(got.peer_catalyst_score)
            continue
        best = able[able.catalyst_score == able.catalyst_score.max()].index.min()
        assert got.peer_security_id == best
        for name, peer in TAKEN.items():
            np.testing.assert_equal(float(got[peer]), float(rows.loc[(t, best), name]))


def test_peers_that_cannot_be_known_say_why(data):
    bars, _, _, news = data
    none = features(bars, ASOF, news=news)
    assert none[PEER_COLUMNS].isna().all(axis=None)
    assert none.null_reason[1]["peer_tone"] == "sectors were not given"
    rows = features(bars, ASOF, news=news, sectors=SECTORS)
    assert rows.peer_security_id[:3].notna().all() and rows.sector_id.tolist() == [45, 45, 45, 20]
    assert all(rows.peer_security_id[i] != i for i in (1, 2, 3))
    assert rows.null_reason[4]["peer_tone"] == "no other security of its sector has a catalyst"
    assert (
        rows.null_reason[4]["sector_change_pct"] == "no other security of its sector has a change"
    )
    stranger = features(bars, ASOF, news=news, sectors=SECTORS.drop(2))
    assert stranger.null_reason[2]["peer_news_id"] == "its sector is not known"
    assert 2 not in stranger.peer_security_id.tolist()
    unheard = features(bars, ASOF, sectors=SECTORS)
    assert unheard.null_reason[1]["peer_news_id"] == "news was not given"
    assert unheard.sector_change_pct.notna()[:3].all()


def test_real_session(shared):
    "101 securities, 25 sessions: the wall stands and a slot costs little"
    asof = parse_instant("2025-08-13T10:00:00-04:00")
    bars = bars_frame(pd.read_parquet(shared / "ibkr_15min_101_2025.parquet"))
    ends = bars.available_at
    bars = bars[
        (ends > pd.Timestamp(asof) - pd.Timedelta("36D"))
        & (ends < pd.Timestamp(asof) + pd.Timedelta("6h"))
    ]
    data = world(bars, asof)
    rows = check_wall(data, asof)
    assert len(rows) == 101 and rows[
        ["relative_volume", "atr_14", "vwap", "change_pct"]
    ].notna().all(axis=None)
    watch = Stopwatch()
    look(data, asof)
    assert watch.seconds < 3  # measured 0.06 s; the margin is for a busy machine


def test_idea05_naive_bars_are_one_line_and_not_some_other_hour():
    from catalyst.indicators import indicators

    naive = naive_bars()
    with pytest.raises(InputError, match="bars: received 'ts without a time zone'"):
        indicators(naive, "15min")


def naive_bars():
    ts = pd.date_range("2025-08-13 09:30", periods=4, freq="15min")
    index = pd.MultiIndex.from_product([[1], ts], names=["security_id", "ts"])
    out = pd.DataFrame(20.0, index, ["open", "high", "low", "close", "volume"])
    return out.assign(available_at=ts + pd.Timedelta("15min"))
