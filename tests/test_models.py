"Models that learn from the past alone, folds that survive a crash, and the view of features against the pure functions"

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from catalyst import models
from catalyst.chance import ImpossibleError
from catalyst.clock import get_session, sessions_between, slots
from catalyst.config import Config
from catalyst.core import InputError, Timeframe
from catalyst.folds import overlaps
from catalyst.lessons import EMBARGO, Aim, clustered, folds_of, labels, rows_of
from catalyst.models import card, promoted, train

AIM, NAMES = Aim(bars=4, costs_bps=1.0), ("change_pct", "relative_volume", "rsi_14")
DAYS = sessions_between(
    get_session("2025-09-22").day, get_session("2025-11-25").day
)  # Clocks change on November 2
END = DAYS[-1].ends


def made(size, seed=1, n=8):
    "Bars and feature rows; for an hour after each instant prices go the way of the product of two columns"
    draw = np.random.default_rng(seed)
    ts = pd.DatetimeIndex([t for d in DAYS for t in slots(d)[:-1]]).as_unit("us")
    when = pd.DatetimeIndex([t for d in DAYS for t in slots(d)[4:22:4]]).as_unit("us")
    moves, (a, b) = draw.normal(0, 0.002, (len(ts), n)), draw.normal(size=(2, len(when), n))
    for k, at in enumerate(np.searchsorted(ts, when)):
        moves[at : at + 4] += size / 4 * np.sign(a[k] * b[k])
    close = 50 * np.exp(moves.cumsum(axis=0))
    before = np.vstack([np.full(n, 50.0), close[:-1]])
    index = pd.MultiIndex.from_product([range(1, n + 1), ts], names=["security_id", "ts"])
    bars = pd.DataFrame({"open": before.T.ravel(), "close": close.T.ravel()}, index)
    bars = bars.assign(high=bars.close, low=bars.close, volume=1e3)
    bars["available_at"] = index.get_level_values(1) + pd.Timedelta("15min")
    rows = pd.MultiIndex.from_product([when, range(1, n + 1)], names=["asof", "security_id"])
    panel = pd.DataFrame({"change_pct": a.ravel(), "relative_volume": b.ravel()}, rows)
    return bars, panel.assign(rsi_14=draw.normal(50, 9, len(rows)))


def labelled(bars, panel, asof=END, aim=AIM):
    return labels(bars, panel.index.get_level_values("asof"), aim, asof)


BARS, PANEL = made(0.002)
LABELS = labelled(BARS, PANEL)
ROWS = rows_of(PANEL, LABELS, END, NAMES)


@pytest.fixture
def quick(monkeypatch):
    "Only the two yardsticks and boosting: what is tested here is the walk and not the forest"
    monkeypatch.setattr(models, "MODELS", ("base_rate", "logistic", "gradient_boosting"))
    monkeypatch.setattr(models, "CANDIDATES", ("gradient_boosting",))
    whole_, steps = models.pipeline, {"histgradientboostingclassifier__max_iter": 30}
    few = lambda name, seed: whole_(name, seed).set_params(
        **steps if name == "gradient_boosting" else {}
    )
    monkeypatch.setattr(models, "pipeline", few)


def walk(bars=BARS, panel=PANEL, asof=END, **asked):
    asked = {"inputs": NAMES, "folds": 3, "draws": 0} | asked
    return train(panel, labelled(bars, panel, asof), asof, AIM, **asked)


@pytest.fixture
def whole(quick):
    "One plain run, for all tests"
    if not WHOLE:
        WHOLE.append(walk())
    return WHOLE[0]


WHOLE = []

# What may be learned from


@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("hours", [1, 20, 100])
def test_pd02_validation_sessions_lie_outside_of_the_training_window(n, hours):
    "PD-2: the validation week lay inside the training window"
    rows = replace(ROWS, ends=ROWS.times + pd.Timedelta(hours=hours))
    folds = folds_of(rows, n)
    assert len(folds) == n
    for f in folds:
        assert overlaps(f.train, f.test, rows.times, rows.ends) == 0
        assert rows.ends[f.train].max() + EMBARGO <= rows.times[f.test].min()
        assert rows.day[f.train].max() < rows.day[f.test].min()
    tested = np.concatenate([f.test for f in folds])
    assert len(set(tested)) == len(tested) and tested.max() == len(rows.up) - 1


def test_pd02_every_result_says_that_its_test_came_after_its_lessons(whole):
    for r in whole.results:
        assert r.train_from < r.train_to and r.train_to + EMBARGO <= r.test_from < r.test_to
        first = pd.Timestamp(r.sessions[0][0], unit="D", tz="UTC")
        assert pd.Timestamp(r.train_to).normalize() < first


def test_pd02_the_future_changes_nothing(whole):
    "Prices and features after an instant are turned round: what was known by then, and every earlier fold, stays"
    done = whole
    cut = pd.Timestamp(done.results[3].test_to)  # Of the second window
    bars, panel = BARS.copy(), PANEL.copy()
    late = bars["available_at"] > cut
    bars.loc[late, ["open", "close"]] = bars.loc[late, ["open", "close"]].to_numpy()[::-1]
    panel.loc[panel.index.get_level_values("asof") > cut] *= -9
    told = labelled(bars, panel)
    pd.testing.assert_frame_equal(told[told.known_at <= cut], LABELS[LABELS.known_at <= cut])
    pd.testing.assert_frame_equal(labelled(bars, panel, cut), LABELS[LABELS.known_at <= cut])
    assert rows_of(panel, told, cut, NAMES).digest == rows_of(PANEL, LABELS, cut, NAMES).digest
    noon = cut - pd.Timedelta("30min")  # Between an instant and the end of its label
    assert (
        rows_of(PANEL, LABELS, noon, NAMES).ends.max()
        < noon
        < rows_of(PANEL, LABELS, cut, NAMES).ends.max()
    )
    again = walk(bars, panel)
    same = [
        replace(r, run="") == replace(s, run="")
        for r, s in zip(done.results, again.results, strict=True)
    ]
    assert same == [True] * 6 + [False] * 3


def test_pd03_folds_follow_time_and_not_the_order_or_number_of_rows():
    "PD-3: purging by row positions; rows in any order, and a day with five times the rows, move no border"
    mixed = PANEL.sample(frac=1, random_state=3)
    assert rows_of(mixed, LABELS, END, NAMES).digest == ROWS.digest
    day = ROWS.day == ROWS.day[len(ROWS.up) // 2]
    many = np.sort(np.r_[np.arange(len(day)), np.repeat(np.flatnonzero(day), 4)])
    parts = ("x", "up", "excess", "times", "ends", "ids", "day")
    crowded = replace(ROWS, **{c: getattr(ROWS, c)[many] for c in parts})
    for f, g in zip(folds_of(ROWS), folds_of(crowded), strict=True):
        assert f.test_from == g.test_from and set(ROWS.day[f.train]) == set(crowded.day[g.train])


def test_pd03_a_model_that_knows_the_answer_is_refused(quick):
    "PD-3: impossible values were accepted at first"
    leak = PANEL.join(LABELS["excess"]).assign(rsi_14=lambda t: t.excess).drop(columns="excess")
    kept = []
    with pytest.raises(
        ImpossibleError, match=r"skill 0\.\d\d in fold 0 is impossible.*holds the future"
    ):
        walk(panel=leak, keep=kept.append)
    assert [r.model for r in kept] == ["base_rate"]  # What could not be was not kept


def test_pd03_labels_of_an_effect_that_is_there_are_known_when_their_last_bar_is():
    "A bar of one security that comes an hour late makes everybody's label late, because everybody is compared with it"
    when = PANEL.index.get_level_values("asof")[0]
    bars = BARS.copy()
    bars.loc[(3, when + pd.Timedelta("45min")), "available_at"] += pd.Timedelta("1h")
    on_time = when + AIM.horizon
    assert (labelled(BARS, PANEL).loc[when, "known_at"] == on_time).all()
    assert (labelled(bars, PANEL).loc[when, "known_at"] == on_time + pd.Timedelta("1h")).all()
    assert 3 not in labelled(bars, PANEL, on_time).index.get_level_values("security_id")


def test_only_numbers_of_the_feature_row_are_learned_from():
    panel = PANEL.assign(tomorrow=1.0, news_id=1.0)
    for strange in ("tomorrow", "news_id", "headline", "asof", "excess"):
        with pytest.raises(InputError, match=f"inputs: received '{strange}'"):
            walk(panel=panel, inputs=(*NAMES, strange))


def test_pd06_what_somebody_made_is_neither_learned_from_nor_tested_on():
    begin, end = DAYS[5].opens, DAYS[9].closes
    away = pd.DataFrame({"security_id": [2, 3], "begin": [begin, begin], "end": [end, None]})
    told, poison = rows_of(PANEL, LABELS, END, NAMES, away), PANEL.copy()
    at, who = (poison.index.get_level_values(c) for c in ("asof", "security_id"))
    inside = (at > begin) & ((who == 3) | ((who == 2) & (at < end)))
    poison.loc[inside] = 1e6
    assert rows_of(poison, LABELS, END, NAMES, away).digest == told.digest
    assert told.counts["excluded"] == inside.sum() > 100
    before = begin - timedelta(days=2)
    short = pd.DataFrame(
        {"security_id": [2], "begin": [before], "end": [before + timedelta(hours=1)]}
    )
    assert rows_of(PANEL, LABELS, END, NAMES, short).counts["excluded"] <= 3


# Crashes


def test_pd05_a_crash_loses_no_fold_that_ended(whole, monkeypatch):
    "PD-5: an exception before results were saved lost a run of 39 hours"
    kept, made_ = [], []
    one = models.one_fold

    def dies(run, name, number, *rest):
        if (name, number) == ("logistic", 1):
            raise MemoryError
        return one(run, name, number, *rest)

    monkeypatch.setattr(models, "one_fold", dies)
    with pytest.raises(MemoryError):
        walk(keep=kept.append)
    assert [(r.model, r.fold) for r in kept] == [(r.model, r.fold) for r in whole.results[:4]]
    monkeypatch.setattr(models, "one_fold", lambda *a: made_.append(a[1:3]) or one(*a))
    again = walk(known=lambda run: [r for r in kept if r.run == run], keep=kept.append)
    assert made_ == [(r.model, r.fold) for r in whole.results[4:]] and tuple(kept) == whole.results
    assert card(again) == card(whole)
    made_.clear()
    other = models.run_key(ROWS, NAMES, AIM, 7, 3)  # Another seed: nothing of the old run counts
    assert other != whole.card["run"] and not list(
        models.walked(ROWS, [], other, AIM, 7, kept.append, kept)
    )
    anew = []
    next(models.walked(ROWS, folds_of(ROWS, 3), other, AIM, 7, anew.append, kept))
    assert [r.run for r in anew] == [other]


# Promotion


def test_a_plain_effect_passes_all_but_chance_and_noise_does_not(whole):
    good, dull = whole, walk(*made(0.0))
    assert promoted(good) == (False, "gradient_boosting: 0 walks on permuted labels are too few")
    assert not promoted(dull)[0] and "against the base rate it saves -" in promoted(dull)[1]
    told = good.card["models"]["gradient_boosting"]
    assert told["over_logistic"]["low"] > good.card["margin"] and told["firm"]["mean"] > 0
    assert abs(good.card["models"]["logistic"]["over_base"]["mean"]) < 0.01


def test_a_session_counts_once_however_many_rows_it_has():
    draw = np.random.default_rng(1).normal(size=40)
    few, many = clustered(draw * 10, np.full(40, 10)), clustered(draw * 1000, np.full(40, 1000))
    assert few["low"] == pytest.approx(many["low"]) and few["sessions"] == many["sessions"] == 40
    inside = [
        abs(c["mean"]) < c["high"] - c["mean"]
        for s in range(400)
        if (c := clustered(np.random.default_rng(s).normal(size=25), np.ones(25)))
    ]
    assert 0.92 <= np.mean(inside) <= 0.98


def test_permuted_labels_keep_what_overlaps_together():
    "A security's labels of a session move as one, so neighbours that overlap stay neighbours"
    up = models.permuted(ROWS, 3)
    frame = pd.DataFrame({"day": ROWS.day, "id": ROWS.ids, "up": up, "own": ROWS.up})
    path = lambda c: frame.groupby(["day", "id"])[c].apply(lambda v: tuple(v.fillna(9)))
    for day in np.unique(ROWS.day)[:10]:
        assert sorted(path("up")[day]) == sorted(path("own")[day])


# The view of features

INDICATORS = ["vwap", "rsi_14", "macd", "vpoc", "bid_ask_spread", "order_flow_imbalance"]
OF_SECTOR = ["sector_relative_strength", "sector_rank", "correlation_spy", "beta_spy"]
NEWS = ["news_count_1h", "max_catalyst_strength", "avg_tone"]
DAY = get_session("2025-08-13")
NAMED = {"SIMKET": "SPY"}
STEPS = slots(DAY)[2::4]  # Instants at which the day is looked at; the last is the close
ANALYSED = STEPS[::3]


def item(key, symbol, headline, minutes):
    at = pd.Timestamp(DAY.opens + timedelta(minutes=minutes)).as_unit("us")
    told = {
        "feed": "lesson",
        "item_id": key,
        "symbols": [symbol],
        "headline": headline,
        "source": "wire",
    }
    return told | {"published_at": pd.Timestamp(DAY.opens).as_unit("us"), "received_at": at}


@pytest.fixture(scope="module")
def replayed():
    "A simulated day as it came, slot by slot; what the view said at each instant, and the store at the end"
    from catalyst.arrivals import take_news
    from catalyst.bars import import_bars
    from catalyst.history import read_bars
    from catalyst.indicators import indicators
    from catalyst.night import store_correlations
    from catalyst.ports import NEWS_COLUMNS
    from catalyst.schema import scratch_store
    from catalyst.simulate import SimulatedFeed
    from catalyst.steps import _newest_indicators

    feed = SimulatedFeed(seed=5, session=DAY.day)
    news = feed.news(DAY.starts, DAY.ends)
    names = [
        "SIMKET",
        *news.symbols.explode()
        .value_counts(sort=False)
        .sort_index()
        .sort_values(kind="stable")
        .index[-8:],
    ]
    bars = feed.bars(names, "15min", DAY.opens - timedelta(32), DAY.ends, DAY.ends).assign(
        symbol=lambda t: t.symbol.replace(NAMED)
    )
    extra = [
        item("twice", names[1], f"{names[1]} wins a contract", 35), item("twice", names[1], f"{names[1]} loses the contract", 65),
        item("moved", names[2], f"{names[2]} recalls its product", 95), item("moved", names[3], f"{names[3]} recalls its product", 110),
    ]  # fmt: skip
    news = pd.concat([news, pd.DataFrame(extra).reindex(columns=NEWS_COLUMNS)])
    with scratch_store() as store:
        desk = lambda day, asof: SimpleNamespace(
            session=day, asof=asof, timeframe=Timeframe.MIN15, config=Config()
        )
        yesterday, seen, then = get_session("2025-08-12"), pd.Timestamp(DAY.starts), {}
        for at in [DAY.opens, *STEPS]:
            part = bars[
                (bars.available_at <= at) & ((bars.available_at > seen) | (at == DAY.opens))
            ]
            import_bars(store, part, "15min", feed.name, at)
            if at == DAY.opens:
                for code, mine in (("TECH", names[1:5]), ("INDUSTRIALS", names[5:])):
                    sql = "update securities set sector_id = (select sector_id from sectors where sector_code = :c), asset_type = 'stock' where symbol = any(:m)"
                    store.run(sql, c=code, m=mine)
                store.run("update securities set asset_type = 'etf' where symbol = 'SPY'")
                store_correlations(store, desk(yesterday, yesterday.closes))
            few = news[(news.received_at <= at) & (news.received_at > seen)]
            take_news(store, [few] if len(few) else [], at)
            if at in ANALYSED:
                known = read_bars(store, at)
                view = SimpleNamespace(
                    indicators=indicators(known, "15min", last_only=True), bars=known
                )
                rows = _newest_indicators(view, desk(DAY, at), set(known.index.levels[0]))
                store.upsert(
                    "technical_indicators", rows, keys=["security_id", "timeframe", "time_id"]
                )
            then[at], seen = told(store, at), pd.Timestamp(at)
        store_correlations(store, desk(DAY, DAY.closes))
        yield store, then


def told(store, at):
    sql = "select * from v_ml_features where timeframe = '15min' and available_at = :t order by security_id"
    return store.frame(sql, t=at).set_index("security_id")


def expected(store, at):
    "What the pure functions say at an instant"
    from catalyst.correlate import sector_correlations
    from catalyst.dims import securities
    from catalyst.history import read_bars
    from catalyst.indicators import indicators
    from catalyst.news import read_news

    bars = read_bars(store, at)
    out = bars.groupby(level=0).tail(1).reset_index("ts")[["ts", "close", "volume"]]
    own = indicators(bars, "15min", last_only=True).reset_index("ts")[
        [*INDICATORS, "unusual_volume_flag"]
    ]
    close = DAY.closes if at >= DAY.closes else get_session("2025-08-12").closes
    sector = sector_correlations(bars, securities(store), close, Config())[OF_SECTOR]
    news = read_news(store, at, since=at - timedelta(hours=1)).dropna(subset="security_id")
    said = news.astype({"security_id": "int64"}).groupby("security_id").agg(
        news_count_1h=("news_id", "size"), max_catalyst_strength=("catalyst_strength", "max"), avg_tone=("tone", "mean")
    )  # fmt: skip
    out = out.join(own).join(sector).join(said)
    return out.fillna({"news_count_1h": 0})


def test_v_ml_features_equals_the_pure_functions_at_each_instant(replayed):
    store, _ = replayed
    counts = 0
    for at in STEPS:
        row, want = told(store, at), expected(store, at)
        assert row.index.tolist() == want.index.tolist() and (row.ts == want.ts).all()
        exact = ["close", "volume", *OF_SECTOR, *NEWS]
        pd.testing.assert_frame_equal(
            row[exact].astype(float),
            want[exact].astype(float),
            rtol=0,
            atol=6e-5,
            check_names=False,
        )
        if at in ANALYSED:
            pd.testing.assert_frame_equal(
                row[INDICATORS].astype(float),
                want[INDICATORS].astype(float),
                rtol=0,
                atol=6e-4,
                check_names=False,
            )
            assert row.unusual_volume_flag.tolist() == want.unusual_volume_flag.tolist()
        else:
            assert (
                row[INDICATORS].isna().all(axis=None)
            )  # Not computed then: null, and no other number in its place
        counts += int(row.news_count_1h.sum())
        assert row.rsi_14.notna().all() == (at in ANALYSED) and row.correlation_spy.notna().all()
    assert counts > 6  # Of them four versions of two items that were sent on purpose


def test_db06_v_ml_features_of_an_instant_is_the_same_the_day_after(replayed):
    "What the view said live it says for ever; the correlations of a close belong to the bar that ended with it"
    store, then = replayed
    for at in STEPS[:-1]:
        pd.testing.assert_frame_equal(told(store, at), then[at])
    last = DAY.closes
    changed = told(store, last).compare(then[last]).columns.get_level_values(0)
    assert set(changed) <= set(OF_SECTOR)


def test_db06_a_revised_item_counts_once_and_a_dropped_security_not_at_all(replayed):
    store, _ = replayed
    ids = dict(store.frame("select symbol, security_id from securities").to_numpy())
    count = lambda at, who: int(told(store, at).news_count_1h[who])
    own = store.frame(
        "select n.security_id, n.received_at, r.item_id from news_sentiment n join news_revisions r using (revision_id) where r.feed = 'lesson' order by 2"
    )
    twice, lost, won = (int(own.security_id[k]) for k in (0, 2, 3))
    assert set(own.security_id) <= set(ids.values())
    base = lambda at, who: store.value(
        "select count(*) from news_sentiment n join news_revisions r using (revision_id) where r.feed <> 'lesson' and security_id = :s "
        "and n.received_at <= :t and n.received_at > cast(:t as timestamptz) - interval '1 hour'", s=who, t=at,
    )  # fmt: skip
    at = slots(DAY)[5]  # 75 minutes: both versions came within the hour
    assert count(at, twice) - base(at, twice) == 1
    at = slots(DAY)[8]  # 120 minutes
    assert count(at, lost) - base(at, lost) == 0 and count(at, won) - base(at, won) == 1
