"Followers: planted ones are found with their delays, dice give none, chance chooses as freely as the search, and the future changes no rule."

import numpy as np
import pandas as pd
import pytest

from catalyst.evidence import admit, correct
from catalyst.field import standardised
from catalyst.followers import (
    GROUP_WINDOWS, LAGS, WINDOWS, after_stories, ahead, breakouts, crossed, fire, gains, in_units, lagged,
    responses, third, triggers, try_all, try_cascade, try_lead_lag, try_sympathy,
)  # fmt: skip
from catalyst.nulls import CLASSES
from catalyst.planted import plant


def rng():
    return np.random.default_rng(11)


def believed(tried):
    return {(r.leader, f) for r in tried[tried.q <= 0.05].itertuples() for f in r.followers}


@pytest.fixture(scope="module")
def sympathy():
    field, truth = plant("catalyst_sympathy", 4, 21)
    return field, truth, correct(try_all(field, 2.0, rng(), draws=150))


def test_pd01_planted_sympathy_is_found_with_its_hour(sympathy):
    field, truth, tried = sympathy
    want = {(r.leader, f) for r in truth.itertuples() for f in r.followers}
    own = tried[tried.kind == "catalyst_sympathy"]
    assert want <= believed(own) and len(believed(own) - want) <= 1
    good = admit(own)
    hour = [d["window"] for d in good.detail]
    assert hour.count((0, 4)) >= len(good) - 1 and all(d["direction"] == 1 for d in good.detail)
    assert (good.effect_net > 0.002).all() and (good.effect_net < good.effect.abs()).all()


def test_pd07_every_pair_is_a_row_and_none_twice(sympathy):
    field, _, tried = sympathy
    pairs = tried[tried.kind == "lead_lag"]
    assert len(pairs) == 100 * 99 and not tried.key.duplicated().any()
    assert tried.p.notna().all() and (tried.p > 0).all() and (tried.q >= tried.p * 0.1).all()
    assert not any(r.leader in r.followers for r in tried.itertuples())


@pytest.mark.parametrize("reaction", [0.0, 3.0])
def test_pd07_dice_give_no_discovery(reaction):
    "Four small null markets; the long table is in benchmarks/discover.py"
    below = []
    for seed in range(300, 302):
        field, _ = plant(None, 0, seed, securities=60, sessions=50, reaction=reaction)
        tried = correct(try_all(field, 2.0, np.random.default_rng(seed), draws=100))
        assert not len(admit(tried)), tried.sort_values("q").head(3)
        below.append([(g.p <= 0.05).mean() for k, g in tried.groupby("kind") if len(g) > 500])
    assert 0.03 < np.mean(below) < 0.07


def test_lead_lag_finds_the_pair_its_lag_and_its_sign():
    field, truth = plant("lead_lag", 2, 21, securities=50, sessions=50)
    tried = correct(try_lead_lag(field, 2.0))
    want = {(r.leader, *r.followers) for r in truth.itertuples()}
    assert believed(tried) == want
    found = tried[tried.q <= 0.05]
    assert [d["window"] for d in found.detail] == [(1, 2)] * 3 and (found.statistic > 0).all()
    assert [r.followers[0] != r.leader for r in found.itertuples()] == [True] * 3


def test_lead_lag_equals_a_plain_loop():
    x = np.random.default_rng(5).normal(size=(312, 4))
    best, lag, pool = lagged(x)
    for a, b in [(0, 1), (2, 0), (3, 2)]:
        told = []
        for k in range(1, LAGS + 1):
            product = x[:, a] * np.roll(x[:, b], -k)
            told.append(product.sum() / np.sqrt((product**2).sum()))
        assert (
            abs(best[a, b]) == pytest.approx(np.abs(told).max())
            and lag[a, b] == np.abs(told).argmax() + 1
        )
    assert pool.n == 4 * 3 * ((312 - 104) // 8)


def test_cascade_is_found_with_its_members():
    field, truth = plant("momentum_cascade", 6, 21)
    tried = correct(try_cascade(field, 2.0, rng(), draws=400))
    sure = tried[tried.q <= 0.05].set_index("leader")
    assert set(sure.index) == set(truth.leader)
    for r in truth.itertuples():
        assert len(set(sure.followers[r.leader]) & set(r.followers)) >= 2


def test_cascade_needs_three():
    "One follower is a pair, not a cascade"
    z = np.zeros((1, 1, 6))
    z[0, 0, 1:3] = 50.0
    assert third(z, [np.arange(1, 6)])[0][0] == 0.0
    z[0, 0, 3] = 4.0
    assert third(z, [np.arange(1, 6)])[0][0] == 4.0
    assert third(-z, [np.arange(1, 6)])[2][0] == -1


def test_cascade_members_are_not_measured_where_they_were_chosen():
    luck = np.random.default_rng(3).normal(0, 1, (4000, 10, 9))
    assert abs(np.mean([crossed(g).mean() for g in luck])) < 0.03


def test_followers_responses_equal_a_plain_loop():
    draw = np.random.default_rng(6)
    x = draw.normal(size=(200, 5))
    units = in_units(ahead(x, WINDOWS[:2]))
    found = triggers(
        draw.integers(0, 190, 30), draw.integers(0, 3, 30), draw.choice([-1, 1], 30), 3
    )
    z = responses(units, found)
    for a in range(len(found.leaders)):
        own = found.i == found.leaders[a]
        for w in range(2):
            for b in range(5):
                total = sum(
                    units.values[t, w, b] * s
                    for t, s in zip(found.t[own], found.sign[own], strict=True)
                )
                n, stir = own.sum(), units.stir[found.t[own], w].mean()
                assert z[a, w, b] == pytest.approx(total / np.sqrt(n * stir), rel=1e-4)


def test_followers_the_row_of_the_trigger_is_not_what_follows():
    "A trigger is known at the end of its row; what happened in it cannot be traded"
    x = np.zeros((40, 2))
    x[10] = 9.0
    sums = ahead(x, WINDOWS + GROUP_WINDOWS)
    assert (sums[10][np.isfinite(sums[10])] == 0).all() and sums[9, 0, 0] == 9.0
    assert np.isnan(sums[39]).all()


def test_followers_restless_times_are_no_discovery():
    "All triggers lie in hours when everything moves five times as much, in any direction"
    draw = np.random.default_rng(8)
    x = draw.normal(size=(1040, 60))
    wild = draw.random(1040) < 0.1
    x[wild] *= 5
    t = np.flatnonzero(wild)[:-2] - 1
    found = triggers(t, draw.integers(0, 2, len(t)), draw.choice([-1, 1], len(t)))
    z = responses(in_units(ahead(x, [(0, 1)])), found)
    assert z.std() < 1.25 and np.abs(z).max() < 4.5


def test_followers_fewer_than_five_triggers_are_not_asked():
    found = triggers(np.arange(4), np.zeros(4, int), np.ones(4))
    assert not len(found.t) and CLASSES[0] == 5
    field, _ = plant(None, 0, 1, securities=30, sessions=30)
    early = field.until(field.instants[60])
    assert not len(try_sympathy(early, 2.0, rng())) and not len(try_lead_lag(early, 2.0))
    assert list(try_all(early, 2.0, rng()).columns)[:2] == ["kind", "key"]


def test_followers_the_same_seed_gives_the_same_rows():
    field, _ = plant("momentum_cascade", 2, 5, securities=50, sessions=40)
    a, b = (try_all(field, 2.0, np.random.default_rng(3), draws=30) for _ in range(2))
    pd.testing.assert_frame_equal(a, b)


def test_followers_costs_come_off(sympathy):
    field = sympathy[0]
    free, dear = (try_lead_lag(field, c) for c in (0.0, 10.0))
    np.testing.assert_allclose(free.effect_net - dear.effect_net, 0.002)
    np.testing.assert_array_equal(free.p, dear.p)


def test_followers_hits_and_means_are_of_the_same_cases(sympathy):
    field, truth, tried = sympathy
    row = admit(tried[tried.kind == "catalyst_sympathy"]).iloc[0]
    z, _ = standardised(field.abnormal, field.slot)
    found = after_stories(field, z)
    a = list(field.ids[found.leaders]).index(row.leader)
    w = WINDOWS.index(row.detail["window"])
    gain, _ = gains(ahead(field.abnormal, WINDOWS), found, a, w, row.followers[0] - 1)
    assert (len(gain), int((gain > 0).sum())) == (row.n, row.detail["hits"])
    assert gain.mean() == pytest.approx(row.effect)


# Predictions


def test_pd02_a_rule_fires_on_what_is_known_and_nothing_else(sympathy):
    field, truth, tried = sympathy
    rules = admit(tried[tried.kind == "catalyst_sympathy"])
    leader = truth.leader[0]
    own = field.events[(field.events.i == leader - 1) & (field.events.strength == 0.7)]
    fired = 0
    for t, tone in zip(own.t[-4:], own.tone[-4:], strict=True):
        now = field.instants[t]
        said = [f for f in fire(field, rules, now) if f.trigger["at"] == now.isoformat()]
        again = [
            f for f in fire(field.until(now), rules, now) if f.trigger["at"] == now.isoformat()
        ]
        assert said == again
        for f in said:
            if f.trigger["leader"] == leader:
                fired += 1
                assert f.direction == np.sign(tone) and f.discovered_at == now
                assert np.sign(f.expected) == f.direction and 0.5 < f.probability < 1
                assert f.tried == tried.p.notna().sum() and f.model_version and not f.adversarial
    assert fired >= 4


def test_followers_a_prediction_ends_when_its_window_does(sympathy):
    field, truth, tried = sympathy
    rules = admit(tried[tried.kind == "catalyst_sympathy"])
    leader, answered = (
        truth.leader[0],
        after_stories(field, standardised(field.abnormal, field.slot)[0]),
    )
    own = answered.t[
        (answered.i == leader - 1) & (field.slot[answered.t] < 15) & (answered.t > 1000)
    ]
    t = int(own[-1])
    at = field.instants[t].isoformat()
    left = [
        [
            f
            for f in fire(field, rules, field.instants[t + k])
            if f.trigger["at"] == at and f.features["rows"] <= 4
        ]
        for k in range(5)
    ]
    sizes = [abs(s[0].expected) if s else 0.0 for s in left]
    assert sizes[0] > sizes[1] > sizes[2] > sizes[3] > 0 and sizes[4] == 0
    assert [s[0].horizon for s in left[:4]] == [pd.Timedelta(minutes=15 * k) for k in (4, 3, 2, 1)]


def test_followers_no_trigger_no_prediction(sympathy):
    field, _, tried = sympathy
    assert fire(field, admit(tried).iloc[:0], field.asof) == []
    quiet = field.until(field.instants[5])
    assert fire(quiet, admit(tried), quiet.asof) == []


def test_followers_breakouts_are_first_bars_on_volume():
    field, truth = plant("momentum_cascade", 2, 21)
    z, _ = standardised(field.abnormal, field.slot)
    found = breakouts(field, z)
    for i in found.leaders:
        assert np.diff(found.t[found.i == i]).min(initial=99) > 4
    assert (
        np.nan_to_num(field.ratio)[found.t, found.i]
        + np.nan_to_num(field.ratio)[found.t - 1, found.i]
        >= 4
    ).all()
