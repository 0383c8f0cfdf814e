"Chance: draws keep what they must, p-values are counted and fair, overfit probability agrees with a plain loop, impossible numbers raise."

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from test_indicators import walk

from catalyst.chance import (
    Comparison, ImpossibleError, entries, holding, impossible, permute_within, permuted_labels,
    probability_of_overfit, random_entries, shuffle_news, shuffled_news,
)  # fmt: skip
from catalyst.core import InputError
from catalyst.slots import sessions_and_slots


def trades_of(bars, n=40, seed=2, length=4, pick=None):
    "Trades held for `length` bars within one session; `pick` may look ahead"
    draw, rows = np.random.default_rng(seed), []
    ts, ids = bars.index.get_level_values(1), bars.index.get_level_values(0)
    able = np.flatnonzero(np.arange(len(bars)) % 26 + length <= 26)
    chosen = draw.choice(able, n, replace=False) if pick is None else pick(able)
    for i in chosen:
        rows.append((ids[i], "long", ts[i], ts[i + length - 1] + pd.Timedelta("15min")))
    return pd.DataFrame(rows, columns=["security_id", "side", "entry_at", "exit_at"])


@pytest.fixture(scope="module")
def bars():
    return walk(26 * 10, seed=5, ids=(1, 2, 3))


def test_chance_p_values_are_never_zero():
    best = Comparison("x", 9.0, np.arange(99) / 99)
    assert best.p_value == 1 / 100 and "0 of 99" in best.text()
    assert Comparison("x", -1.0, np.arange(99.0)).p_value == 1.0
    with pytest.raises(InputError, match="no number"):
        Comparison("x", float("nan"), np.arange(3.0))


@pytest.mark.parametrize("name", ["deflated_sharpe", "probabilistic_sharpe"])
def test_chance_a_sharpe_beyond_all_luck_raises(name):
    with pytest.raises(ImpossibleError, match=f"{name}: 1.0 is impossible"):
        impossible({"sharpe": 9.0, name: 1.0})
    assert impossible({name: 0.999999})


@pytest.mark.parametrize("statistics", [
    {"overfit_probability": 0.0}, {"p_value": 0.0}, {"win_rate": 1.2}, {"win_rate": float("nan")}, {"max_drawdown": -1.5}, {"deflated_sharpe": -0.1},
])  # fmt: skip
def test_chance_impossible_statistics_raise(statistics):
    with pytest.raises(ImpossibleError, match="impossible"):
        impossible(statistics)


def news(n=80, seed=1):
    draw = np.random.default_rng(seed)
    received = pd.Timestamp("2025-08-01", tz="UTC").as_unit("us") + pd.to_timedelta(
        draw.integers(0, 20_000, n), unit="min"
    )
    rows = pd.DataFrame(
        {
            "feed": "a",
            "item_id": draw.integers(0, n // 2, n),
            "security_id": draw.integers(1, 9, n),
            "tone": draw.uniform(-1, 1, n),
        }
    )
    at = pd.Series(received).groupby(rows.item_id).transform("min")
    return rows.assign(
        received_at=at, published_at=at - pd.Timedelta("7min"), news_id=range(n), headline="x"
    )


def test_chance_shuffled_news_keeps_everything_but_the_times():
    whole = news()
    moved = shuffle_news(whole, seed=3)
    same = ["news_id", "item_id", "security_id", "tone"]
    pd.testing.assert_frame_equal(
        moved.sort_values("news_id", ignore_index=True)[same], whole[same]
    )
    assert (moved.received_at - moved.published_at == pd.Timedelta("7min")).all()
    assert moved.groupby("item_id").received_at.nunique().eq(1).all()
    per_item = lambda f: sorted(f.groupby("item_id").received_at.first())
    assert per_item(moved) == per_item(whole) and moved.received_at.is_monotonic_increasing
    assert (
        moved.sort_values("news_id").received_at.to_numpy() != whole.received_at.to_numpy()
    ).mean() > 0.8
    pd.testing.assert_frame_equal(shuffle_news(whole, seed=3), moved)


def test_chance_news_that_matters_beats_shuffled_news():
    "Prices that rise in the hour after good news, and a judge that buys it"
    whole = news(60)
    good = {(r.security_id, r.received_at) for r in whole.itertuples() if r.tone > 0}
    earn = lambda f: float(
        np.mean([(r.security_id, r.received_at) in good for r in f[f.tone > 0].itertuples()])
    )
    luck = shuffled_news(earn, whole, draws=39)
    assert luck.observed == 1.0 and luck.p_value == 1 / 40


def test_chance_entries_keep_security_length_and_session(bars):
    trades = trades_of(bars)
    held = holding(trades, bars)
    assert (held["last"] - held["first"] == 3).all()
    ids, ts = (bars.index.get_level_values(i) for i in (0, 1))
    day = sessions_and_slots(ts)[0]
    for t, p in zip(held.itertuples(), entries(held, bars, day), strict=True):
        assert t.first in p and len(p) == 10 * 23
        assert (ids[p] == ids[t.first]).all() and (day[p + 3] == day[p]).all()
    for t, p in zip(held.itertuples(), entries(held, bars, day, same_session=True), strict=True):
        assert t.first == p.min() and (day[p] == day[t.first]).all()
        assert p.max() % 26 == 22  # The last bar from which four are left


def dips(bars, fall=-0.006, length=4):
    "A rule without skill that chooses its sessions by their fall: one trade at the first bar after it"
    ids, ts = (bars.index.get_level_values(i) for i in (0, 1))
    day, rows = sessions_and_slots(ts)[0], []
    close, open_ = bars.close.to_numpy(), bars.open.to_numpy()
    starts = np.flatnonzero(np.r_[True, (ids[1:] != ids[:-1]) | (day[1:] != day[:-1])])
    for a in starts:
        low = np.flatnonzero(close[a : a + 26 - length - 4] / open_[a] - 1 < fall)
        if len(low):
            i = a + low[0] + 1
            rows.append((ids[i], "long", ts[i], ts[i + length - 1] + pd.Timedelta("15min")))
    return pd.DataFrame(rows, columns=["security_id", "side", "entry_at", "exit_at"])


def test_chance_a_session_chosen_by_its_fall_gives_no_advantage():
    "guard: a rule that buys dips and loses had p = 0.001, because its doubles bought before the dip"
    found = []
    for seed in range(16):
        market = walk(26 * 12, seed=100 + seed, ids=(1, 2, 3))
        luck = random_entries(dips(market), market, draws=99, seed=seed, same_session=True)
        found.append(luck.p_value)
        assert "trades" in luck.text()
    assert 0.3 < np.mean(found) < 0.7 and np.mean(np.array(found) <= 0.1) < 0.35, found


def test_chance_says_on_how_many_trades_and_refuses_those_without_a_choice(bars):
    assert "(40 trades)" in random_entries(trades_of(bars), bars, draws=9).text()
    late = trades_of(bars, pick=lambda able: [22, 48])
    with pytest.raises(InputError, match="2 that leave no other entry"):
        random_entries(late, bars, draws=9, same_session=True)
    mixed = trades_of(bars, pick=lambda able: [22, 30])
    assert (
        "2 trades, 1 of them without another entry"
        in random_entries(mixed, bars, draws=9, same_session=True).text()
    )
    with pytest.raises(InputError, match="trades.entry_at"):
        random_entries(mixed.assign(entry_at=mixed.entry_at.dt.tz_localize(None)), bars)


def test_chance_an_overnight_trade_has_overnight_doubles(bars):
    ts = bars.loc[1].index
    trade = pd.DataFrame(
        {"security_id": [1], "side": ["short"], "entry_at": [ts[20]], "exit_at": [ts[30]]}
    )
    held = holding(trade, bars)
    assert held.iloc[0].tolist() == [20, 29, -1]
    [places] = entries(held, bars, sessions_and_slots(bars.index.get_level_values(1))[0])
    assert places.max() == 260 - 10 and len(places) == 251


def test_chance_random_entries_by_a_plain_loop(bars):
    "The draws are returns that trades of the same length really had"
    trades = trades_of(bars, n=1)
    held = holding(trades, bars).iloc[0]
    luck = random_entries(trades, bars, draws=200)
    opened, closed = bars.open.to_numpy(), bars.close.to_numpy()
    assert luck.observed == pytest.approx(closed[held["last"]] / opened[held["first"]] - 1)
    day = sessions_and_slots(bars.index.get_level_values(1))[0]
    [places] = entries(holding(trades, bars), bars, day)
    possible = closed[places + 3] / opened[places] - 1
    assert np.isclose(luck.draws[:, None], possible).any(axis=1).all() and len(set(luck.draws)) > 80


def test_chance_a_prophet_is_told_from_luck(bars):
    ahead = bars.close.shift(-3).to_numpy() / bars.open.to_numpy() - 1
    prophet = trades_of(bars, pick=lambda able: able[np.argsort(ahead[able])[-40:]])
    assert random_entries(prophet, bars, draws=199).p_value == 1 / 200
    short = prophet.assign(side="short")
    assert random_entries(short, bars, draws=199).p_value > 0.9
    both = [random_entries(t, bars, draws=50) for t in (prophet, short)]
    np.testing.assert_allclose(
        both[0].draws, -both[1].draws
    )  # a double is on the side of its trade
    assert random_entries(trades_of(bars), bars, draws=199).p_value > 0.02


def test_chance_p_values_of_luck_are_fair(bars):
    "Forty traders without skill: about a tenth of their p-values lie below a tenth"
    p = [
        random_entries(trades_of(bars, 20, seed=s), bars, draws=99, seed=s).p_value
        for s in range(40)
    ]
    assert 0.3 < np.mean(p) < 0.7 and np.mean(np.array(p) <= 0.1) < 0.3


def test_chance_permutations_stay_in_their_session():
    draw = np.random.default_rng(1)
    session = draw.integers(0, 7, 50)
    dealt = permute_within(session, 20)
    assert dealt.shape == (20, 50) and (session[dealt] == session).all()
    assert (np.sort(dealt, axis=1) == np.arange(50)).all() and len({tuple(d) for d in dealt}) == 20


def test_chance_a_score_that_only_knows_the_day_gains_nothing():
    draw = np.random.default_rng(2)
    session = np.repeat(np.arange(20), 10)
    mood = draw.normal(size=20)[session]
    outcome = mood + draw.normal(size=200) * 0.3
    assert permuted_labels(mood + draw.normal(size=200) * 0.3, outcome, session).p_value > 0.05
    plain = permuted_labels(mood + draw.normal(size=200) * 0.3, outcome, np.zeros(200))
    assert plain.p_value == 1 / 1000  # without sessions the day passes for skill
    assert permuted_labels(outcome + draw.normal(size=200), outcome, session).p_value == 1 / 1000


def slow_overfit(r, blocks):
    "Bailey and others 2015, step by step"
    parts, below = np.array_split(np.arange(len(r)), blocks), []
    for c in combinations(range(blocks), blocks // 2):
        mine = np.concatenate([parts[i] for i in c])
        rest = np.concatenate([parts[i] for i in range(blocks) if i not in c])
        sharpe = lambda rows: r[rows].mean(axis=0) / r[rows].std(axis=0, ddof=1)
        best = sharpe(mine).argmax()
        omega = pd.Series(sharpe(rest)).rank()[best] / (r.shape[1] + 1)
        below.append(np.log(omega / (1 - omega)))
    return np.array(below)


def test_chance_overfit_probability_by_a_plain_loop():
    r = np.random.default_rng(8).normal(0.01, 1, (97, 7))
    fast = probability_of_overfit(r, 6)
    np.testing.assert_allclose(fast.logits, slow_overfit(r, 6), rtol=1e-9)
    assert fast.probability == (slow_overfit(r, 6) <= 0).mean() and len(fast.logits) == 20


def test_chance_overfit_probability_of_luck_is_about_a_half():
    p = [
        probability_of_overfit(np.random.default_rng(s).normal(size=(160, 30)), 8).probability
        for s in range(30)
    ]
    assert 0.35 < np.mean(p) < 0.65


def test_chance_overfit_probability_zero_raises():
    r = np.random.default_rng(1).normal(size=(160, 10))
    r[:, 4] += 3
    with pytest.raises(ImpossibleError, match="overfit_probability: 0.0"):
        probability_of_overfit(r, 8)


def test_chance_twins_among_the_trials_share_their_rank():
    "Ten copies of one trial: none is better than another, so the chosen one is in the middle"
    one = np.random.default_rng(1).normal(size=(64, 1))
    assert probability_of_overfit(np.repeat(one, 10, axis=1), 4).probability == 1.0


@pytest.mark.parametrize(
    ("shape", "blocks"), [((64, 1), 4), ((64, 5), 5), ((6, 5), 4), ((64, 5), 22)]
)
def test_chance_overfit_refusals(shape, blocks):
    with pytest.raises(InputError):
        probability_of_overfit(np.random.default_rng(1).normal(size=shape), blocks)


def test_chance_other_refusals(bars):
    empty = trades_of(bars, 2).assign(entry_at=pd.NaT)
    with pytest.raises(InputError, match="none that was filled"):
        random_entries(empty, bars)
    with pytest.raises(InputError, match="security 99"):
        holding(trades_of(bars, 2).assign(security_id=99), bars)
