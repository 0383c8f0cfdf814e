"Flows, responses, promotions: planted ones are found and said ahead, dice and decoys give none, chance is fair, and the future changes nothing."

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from catalyst import flows, partings, promotions, responses, wholedays
from catalyst.afterwards import against_market
from catalyst.evidence import TRIED, admit, correct
from catalyst.field import ARRAYS, standardised
from catalyst.planted import plant
from catalyst.sheet import blank, grown, move, story

SMALL = {"securities": 40, "sessions": 40}
ROOM = dict.fromkeys(["sector_rotation", "accumulation", "distribution"], flows)
ROOM |= {"news_arbitrage": responses, "correlation_break": responses, "pump_and_dump": promotions}
KINDS = list(ROOM)
MADE = {}


def made(kind, size=4):
    "Field, truth, everything tried, what was admitted; each market is made once"
    if (kind, size) not in MADE:
        field, truth = plant(kind, size, 3, **SMALL)
        tried = correct(ROOM[kind].try_all(field, 2.0, np.random.default_rng(1)))
        MADE[kind, size] = field, truth, tried, admit(tried)
    return MADE[kind, size]


def everything(field, seed, **more):
    rng = np.random.default_rng(seed)
    return correct([m.try_all(field, 2.0, rng, **more) for m in (flows, responses, promotions)])


def named(rows):
    return {
        f
        for r in rows.itertuples()
        for f in (*r.followers, *([r.leader] if pd.notna(r.leader) else []))
    }


def other_future(field, t):
    "The same field up to row t, and nonsense after it"
    draw, out = np.random.default_rng(8), {}
    for a in ARRAYS:
        x = getattr(field, a).copy()
        x[t + 1 :] = draw.normal(5, 3, x[t + 1 :].shape)
        out[a] = x
    events = field.events.copy()
    late = (events["t"] > t).to_numpy()
    events.loc[late, ["strength", "tone", "coordination", "tier"]] = [1.0, 1.0, 1.0, 5.0]
    return replace(field, events=events, **out)


# What is planted is found, and what is said of it


@pytest.mark.parametrize("kind", KINDS)
def test_pd01_a_large_planted_effect_is_admitted(kind):
    field, truth, tried, good = made(kind)
    own = good[good.kind == kind]
    assert len(own) and set(good.kind) == {kind}, tried.sort_values("q").head(3)
    want = {f for fs in truth.followers for f in fs}
    assert len(named(own) & want) >= 0.5 * len(want)
    assert (own.effect_net > 0).all() and (own.effect_net < own.effect.abs() + 1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_pd07_all_that_was_tried_is_told_and_counted(kind):
    _, _, tried, _ = made(kind)
    assert [c for c in tried if c != "tried"] == TRIED and not tried.key.duplicated().any()
    assert (tried.tried == tried.p.notna().sum()).all()
    assert ((tried.p > 0) | tried.p.isna()).all() and tried.q[tried.p.notna()].notna().all()
    assert tried.p[tried.n < 5].isna().all()


def moments(kind):
    "An instant at which a rule of the kind should speak"
    field, truth, _, _ = made(kind)
    if kind == "news_arbitrage":
        cases = responses.disagreements(field)
        own = (
            (cases.mode == "under")
            & (cases.about == "guidance")
            & (cases.t < len(field.instants) - 30)
        )
        return field.instants[cases.t[own][-1]]
    if kind == "correlation_break":
        z, _ = standardised(field.abnormal, field.slot)
        found = partings.breaks(field, z, *partings.stable_pairs(z)[:2])
        return field.instants[int(max(found.t[(found.story < 0) & (found.t < len(z) - 60)]))]
    if kind in ("accumulation", "distribution"):
        closes = [field.instants[k] for k in wholedays.by_session(field).last[20:38]]
        return next(c for c in closes[::-1] if flows.fire(field.until(c), made(kind)[3], c))
    if kind == "pump_and_dump":  # Not the last pump: after this one there is a future
        return field.instants[truth.ends[truth.ends < len(field.instants) - 60].max() - 1]
    return field.asof


@pytest.mark.parametrize("kind", KINDS)
def test_pd02_a_prediction_is_whole_and_the_future_changes_nothing_of_it(kind):
    "failure 18: whatever comes after `asof` may be anything"
    field, _, _, good = made(kind)
    at = moments(kind)
    t = int(np.searchsorted(field.instants, at))
    said = ROOM[kind].fire(field, good, at)
    assert said and {f.kind for f in said} == {kind}
    assert (
        said
        == ROOM[kind].fire(field.until(at), good, at)
        == ROOM[kind].fire(other_future(field, t), good, at)
    )
    for f in said:
        assert (
            f.discovered_at == at and f.direction in (1, -1) and np.sign(f.expected) == f.direction
        )
        assert pd.Timedelta(0) < f.horizon < pd.Timedelta(days=10) and 0.5 < f.probability < 1
        assert (
            f.n >= 5
            and f.p <= f.q <= 0.05
            and f.tried >= 1
            and f.effect_net > 0
            and f.model_version
        )
        assert f.adversarial == (kind == "pump_and_dump") and pd.Timestamp(f.trigger["at"]) <= at


@pytest.mark.parametrize("kind", KINDS)
def test_no_rule_no_prediction_and_no_past_no_question(kind):
    field, _, _, good = made(kind)
    assert ROOM[kind].fire(field, good.iloc[:0], field.asof) == []
    assert ROOM[kind].fire(field, good.assign(kind="other"), field.asof) == []
    early = field.until(field.instants[20])
    assert not len(ROOM[kind].try_all(early, 2.0, np.random.default_rng(1)))
    assert ROOM[kind].fire(early, good, early.asof) == []


@pytest.mark.parametrize(
    "kind", ["sector_rotation", "news_arbitrage", "correlation_break", "pump_and_dump"]
)
def test_probability_is_the_past_share_drawn_to_one_half(kind):
    field, _, _, good = made(kind)
    for f in ROOM[kind].fire(field, good, moments(kind)):
        row = good.set_index("key").loc[f.key]
        assert f.probability == pytest.approx((row.detail["hits"] + 1) / (row.n + 2))


@pytest.mark.parametrize(
    "kind", ["sector_rotation", "accumulation", "correlation_break", "pump_and_dump"]
)
def test_costs_come_off_twice_and_the_same_seed_gives_the_same_rows(kind):
    field, _, _, _ = made(kind)
    free, dear, again = (
        ROOM[kind].try_all(field, c, np.random.default_rng(2), draws=200) for c in (0.0, 10.0, 10.0)
    )
    np.testing.assert_allclose((free.effect_net - dear.effect_net).dropna(), 0.002)
    pd.testing.assert_frame_equal(dear, again)


# Where nothing is, nothing is found


def test_pd07_dice_give_no_discovery(monkeypatch):
    "Ten small null markets, in half of them stories move their own stock; then traces that are easily seen, so that chance is asked often"
    fields = [
        plant(None, 0, n, securities=30, sessions=30, reaction=3.0 * (n % 2))[0]
        for n in range(500, 510)
    ]
    for n, field in enumerate(fields):
        tried = everything(field, n)
        assert not len(admit(tried)), tried.sort_values("q").head(3)
    for room, name, value in [
        (flows, "STRONG", 1.0), (flows, "TRACE", 0.15), (flows, "PART", -0.3), (responses, "STRONG", 0.25), (responses, "SOME", 8),
        (responses, "MUCH", 2.0), (promotions, "ROSE", 1.0), (promotions, "HEAVY", 1.2), (promotions, "SEVERAL", 1), (promotions, "PUSHED", -1.0),
    ]:  # fmt: skip
        monkeypatch.setattr(room, name, value)
    easy = [everything(f, n, draws=500) for n, f in enumerate(fields)]
    every = pd.concat([e[e.p.notna()] for e in easy])
    assert sum(len(admit(e)) > 0 for e in easy) <= 1
    assert len(every) > 60 and set(every.kind) >= set(KINDS) - {"correlation_break"}
    assert (every.p <= 0.05).mean() < 0.12 and (every.p <= 0.5).mean() < 0.65


def test_pairs_that_stay_parted_are_no_discovery():
    for seed in range(3):
        field, _ = plant("correlation_break", 0, seed, **SMALL)
        tried = correct(responses.try_breaks(field, 2.0, np.random.default_rng(seed)))
        assert len(tried) >= 4 and not len(admit(tried)), tried


def pushed(seed=1, falling=0.0, stories=3, **more):
    "Five stocks rise twice on volume while pages praise them, and fall by a part of it"
    sheet = blank(seed, **SMALL)
    sheet.stories.clear()
    for k, i in enumerate(range(5)):
        for start in (5 + k, 22 + 2 * k):
            t = sheet.first(start)
            for n in range(stories):
                story(
                    sheet, i, t + 1 + 3 * n, 0.9, 0.3, **{"tier": 5.0, "coordination": 0.9} | more
                )
            move(sheet, i, t + 1, 25, 8.0, busy=9)
            move(sheet, i, t + 26, 52, -8.0 * falling * np.sqrt(25 / 52), busy=3)
    story(sheet, 39, 40, 0.1, 0.1)
    return grown(sheet, 40)


def test_pd06_a_promotion_is_found_when_it_falls_and_only_then():
    rows = [
        correct(promotions.try_all(pushed(falling=f), 2.0, np.random.default_rng(1)))
        for f in (0.0, 1.0)
    ]
    assert [("pump_and_dump:pushed" in set(admit(r).key)) for r in rows] == [False, True]
    assert rows[0].set_index("key").n["pump_and_dump:pushed"] >= 8


@pytest.mark.parametrize(
    ("more", "question"),
    [
        ({"filing": True}, None), ({"coordination": 0.1}, "praised"), ({"tier": 1.0}, None), ({"stories": 1}, None), ({"stories": 0}, "silent"), ({}, "pushed"),
    ],
)  # fmt: skip
def test_pd06_a_spike_with_a_filing_or_a_good_source_is_no_promotion(more, question):
    on = promotions.present(pushed(**more))
    at_height = {k: v[:, :5].any() for k, v in on.items()}
    assert {k for k, v in at_height.items() if v} >= ({question} if question else set())
    assert at_height["pushed"] == (question == "pushed")
    assert sum(v.astype(int) for v in on.values()).max() <= 1  # One question at a time


def test_pd06_a_spike_that_comes_back_without_a_push_accuses_nobody():
    tried = correct(
        promotions.try_all(pushed(falling=1.0, stories=0), 2.0, np.random.default_rng(1))
    )
    row = tried.set_index("key").loc["pump_and_dump:silent"]
    assert row.n >= 8 and row.q <= 0.05 and row.effect < -0.02 and np.isnan(row.effect_net)
    assert not len(admit(tried)) and "pump_and_dump:pushed" not in set(tried.key)


def test_pd06_a_filing_beside_the_praise_explains_the_spike():
    field = pushed()
    own = field.events[field.events.i < 5].groupby("i").head(1)
    filed = own.assign(tier=1.0, filing=True, coordination=0.0, tone=0.2)
    beside = replace(
        field, events=pd.concat([field.events, filed]).sort_values("received_at", ignore_index=True)
    )
    before, after = (
        promotions.first_rows(promotions.present(f)["pushed"])[0] for f in (field, beside)
    )
    assert len(before) == 10 and len(after) == 5  # The second rise of each has no filing near it


def test_pd06_a_push_is_known_when_its_copies_are_counted_and_not_before():
    field = pushed()
    full = promotions.told_lately(field)
    own = field.events[field.events.coordination >= 0.5].iloc[0]
    assert (
        full.pushed[own.t, own.i] == 0
        and full.pushed[own.t + 4, own.i] == 1
        and full.low[own.t, own.i] == 1
    )
    for t in (own.t, own.t + 3, own.t + 4, own.t + 9, 700):
        cut = promotions.told_lately(field.until(field.instants[t]))
        for a, b in zip(full, cut, strict=True):
            np.testing.assert_array_equal(a[: t + 1][-1], b[-1])


def test_pd06_no_warning_without_a_spike_now():
    field, _, _, good = made("pump_and_dump")
    said = promotions.fire(field, good, field.asof)
    assert all(f.adversarial and f.direction == -1 and f.features["filings"] == 0 for f in said)
    calm = replace(field, ratio=np.ones_like(field.ratio))
    assert promotions.fire(calm, good, field.asof) == []


# Flows


def test_rotation_names_the_sector_and_its_stage():
    field, truth, _, good = made("sector_rotation")
    out, into = truth.note[0].split(" to ")
    rows = good.set_index("key")
    assert (
        f"sector_rotation:{out}>{into}" in rows.index
        and (rows.detail.map(lambda d: d["into"]) == into).mean() >= 0.5
    )
    said = [f for f in flows.fire(field, good, field.asof) if f.trigger["into"] == into]
    assert said and said[0].securities == truth.followers[2] and said[0].trigger["stage"] >= 2
    before = field.instants[truth.begins[2] - 1]
    assert not [f for f in flows.fire(field, good, before) if f.trigger["into"] == into]


def test_flows_a_session_counts_when_it_is_over():
    field, *_ = made("sector_rotation")
    last = wholedays.by_session(field).last
    for k, want in ((-1, 40), (-2, 39), (-26, 39), (-27, 39), (-28, 38)):
        assert wholedays.complete(field.until(field.instants[k])) == want, k
    half = np.flatnonzero(np.diff(last, prepend=-1) == 14)
    assert (
        len(half) == 1
        and wholedays.complete(field.until(field.instants[last[half[0]]])) == half[0] + 1
    )
    assert wholedays.complete(field.until(field.instants[last[half[0]] - 1])) == half[0]


def test_flows_sessions_are_sums_of_their_rows():
    field, *_ = made("accumulation")
    days = wholedays.by_session(field)
    own = field.day == 9
    np.testing.assert_allclose(days.own_share[9], field.abnormal[own].sum(axis=0))
    np.testing.assert_allclose(days.share[9], against_market(field)[own].sum(axis=0))
    assert (
        abs(np.median(days.busy[9])) < 1e-9
        and field.day[days.last[9]] == 9
        and field.day[days.last[9] + 1] == 10
    )
    lone = wholedays.following(days.own_share, 3)
    np.testing.assert_allclose(lone[9], days.own_share[10:13].sum(axis=0))
    assert np.isnan(lone[-3:]).all() and np.isfinite(lone[-4]).all()


def test_flows_chance_deals_sectors_within_their_day():
    later = np.random.default_rng(2).normal(size=(30, 4))
    dealt = flows.dealt_sectors(30, 4, np.random.default_rng(1), 20)
    off = np.flatnonzero(~np.eye(4, dtype=bool).ravel())
    for day in range(30):
        when = np.full(12, day)
        true, told = flows.gained(later, when, off), flows.gained(later, when, off, dealt)
        for d in range(20):
            assert sorted(dealt[d, day]) == [0, 1, 2, 3]
            for k in (0, 1):
                np.testing.assert_allclose(sorted(told[k, d]), sorted(true[k]))
    assert len({tuple(d.ravel()) for d in dealt}) == 20


def test_rotation_the_sector_has_to_gain_on_the_market_too():
    "When one sector falls everybody gains on it; nobody is named for that"
    sheet = blank(4, 40, 40)
    for start in (5, 12, 19, 26, 33):
        begins, ends = sheet.first(start), sheet.first(start + 4)
        for i in range(10):
            move(sheet, i, begins, ends - begins, -3.0, busy=0.4)
    tried = correct(flows.try_rotation(grown(sheet, 40), 2.0, np.random.default_rng(1)))
    assert len(tried) and not len(admit(tried)), tried.sort_values("q").head(3)


def test_accumulation_and_distribution_are_mirrors():
    field, *_ = made("accumulation")
    days = wholedays.by_session(field)
    mirror = days._replace(place=-days.place)
    np.testing.assert_allclose(flows.traces(days, 1), flows.traces(mirror, -1))
    for kind, way in (("accumulation", 1), ("distribution", -1)):
        _, _, tried, good = made(kind)
        assert (np.sign(good.effect) == way).all() and (good.statistic > 0).all()


def test_accumulation_one_loud_day_is_not_silence():
    n = 20
    quiet = np.full((n, 8), 0.0)
    loud = quiet.copy()
    loud[10, 0] = 30.0
    other = np.random.default_rng(2).normal(0, 0.3, (n, 8))
    days = wholedays.Sessions(np.arange(n), *[quiet] * 4, loud + other, other, other)
    assert not (np.nan_to_num(flows.traces(days, 1)[:, 0]) >= flows.TRACE).any()
    lasting = other.copy()
    lasting[5:13, 0], lasting[4, 0], lasting[13:, 0] = 2.0, -0.5, -0.5
    days = wholedays.Sessions(np.arange(n), *[quiet] * 4, lasting, lasting, lasting)
    assert np.flatnonzero(np.nan_to_num(flows.traces(days, 1)[:, 0]) >= flows.TRACE).tolist() == [
        10,
        11,
        12,
    ]


# Responses


def said_at(tone, strength, moved, others=0.0, tier=2.0):
    "One story about stock 0 at row 300, its own move and that of its peers, in usual bars"
    draw = np.random.default_rng(6)
    field, _ = plant(None, 0, 2, securities=30, sessions=30)
    x = draw.normal(0, 0.002, field.returns.shape)
    x[300] = others * 0.002
    x[300, 0] = moved * 0.002
    events = field.events.iloc[:1].assign(t=300, i=0, strength=strength, tone=tone, tier=tier)
    return replace(field, abnormal=x, returns=x, events=events)


@pytest.mark.parametrize(
    ("tone", "strength", "moved", "want"),
    [
        (0.9, 0.8, 0.1, {("under", 1)}), (-0.9, 0.8, 0.1, {("under", -1)}), (0.9, 0.8, -2.0, {("under", 1)}), (0.9, 0.1, 4.5, {("over", -1)}),
        (-0.9, 0.1, 4.5, {("over", -1)}), (0.1, 0.8, 0.1, set()), (0.9, 0.3, 0.1, set()), (0.9, 0.8, 3.0, {("peers", 1)}), (-0.9, 0.8, -3.0, {("peers", -1)}),
    ],
)  # fmt: skip
def test_news_which_way_a_disagreement_should_close(tone, strength, moved, want):
    field = said_at(tone, strength, moved)
    cases = responses.disagreements(field)
    assert {(str(m), int(s)) for m, s in zip(cases.mode, cases.sign, strict=True)} == want
    for m, who in zip(cases.mode, cases.who, strict=True):
        assert set(who) == (set(range(1, 10)) if m == "peers" else {0})


def test_news_pages_of_the_lowest_standing_are_not_listened_to():
    assert not len(responses.disagreements(said_at(0.9, 0.8, 0.1, tier=5.0)).t)


def test_news_the_bar_of_the_story_is_not_what_follows():
    field = said_at(0.9, 0.8, 0.1)
    field.abnormal[300, 0], field.abnormal[301:305, 0] = 0.0001, 0.01
    cases = responses.disagreements(field)
    _, shares = responses.answers(field, cases)
    assert shares[0, 0] == pytest.approx(0.04)


def test_news_a_prediction_ends_when_its_span_does():
    field, _, _, good = made("news_arbitrage")
    at = moments("news_arbitrage")
    t = int(np.searchsorted(field.instants, at))
    sizes = []
    for k in range(5):
        now = field.instants[t + k]
        said = [f for f in responses.fire(field, good, now) if f.trigger["at"] == at.isoformat()]
        sizes.append(abs(said[0].expected) if said else 0.0)
    assert sizes[0] > sizes[1] > sizes[2] > sizes[3] > 0 == sizes[4]


def test_news_chance_keeps_times_and_deals_signs():
    draw = np.random.default_rng(4)
    sign, week = draw.choice([-1.0, 1.0], 200), np.repeat(np.arange(20), 10)
    common = np.repeat(draw.normal(0, 3, 20), 10)[:, None] + draw.normal(0, 0.1, (200, 1))
    z, _, chance = responses.dealt_signs(common * sign[:, None], sign, week, draw, 400)
    assert z < np.quantile(chance, 0.999)  # Good weeks for all are no skill
    z, _, chance = responses.dealt_signs(np.ones((200, 1)), sign, week, draw, 400)
    assert z > chance.max()


def test_news_signs_are_dealt_among_cases_of_the_same_sessions(monkeypatch):
    field, *_ = made("news_arbitrage")
    asked, true = [], responses.permute_labels
    monkeypatch.setattr(
        responses, "permute_labels", lambda week, *rest: asked.append(week) or true(week, *rest)
    )
    responses.try_news(field, 2.0, np.random.default_rng(1), draws=10)
    cases = responses.disagreements(field)
    want = field.day[cases.t[cases.mode == "under"]] // 5
    assert len(asked) >= 2 and any(np.array_equal(w, want) for w in asked) and len(set(want)) == 8


def test_break_with_a_reason_is_no_case_and_no_prediction():
    field, _, _, good = made("correlation_break")
    at = moments("correlation_break")
    t = int(np.searchsorted(field.instants, at))
    said = responses.fire(field, good, at)
    left = said[0].trigger["left"]
    one = field.events.iloc[:1].assign(
        t=t, i=left - 1, strength=0.9, received_at=at - pd.Timedelta("5min")
    )
    told = replace(
        field, events=pd.concat([field.events, one]).sort_values("received_at", ignore_index=True)
    )
    assert not [f for f in responses.fire(told, good, at) if f.trigger["left"] == left]
    z, _ = standardised(field.abnormal, field.slot)
    a, b, _ = partings.stable_pairs(z)
    assert (partings.breaks(told, z, a, b).story >= 0).sum() > (
        partings.breaks(field, z, a, b).story >= 0
    ).sum()


def test_break_home_and_turn_are_of_the_past():
    field, *_ = made("correlation_break")
    z, _ = standardised(field.abnormal, field.slot)
    a, b, _ = partings.stable_pairs(z)
    other = z.copy()
    other[700:] = np.random.default_rng(1).normal(size=other[700:].shape)
    (far, turned), (far2, turned2) = (partings.parted(x, a, b) for x in (z, other))
    np.testing.assert_array_equal(turned[:700], turned2[:700])
    scale = np.nanmax(np.abs(far[100:700]), axis=0) / np.nanmax(np.abs(far2[100:700]), axis=0)
    np.testing.assert_allclose(far[100:700], far2[100:700] * scale, rtol=1e-6, atol=1e-9)


def test_break_pairs_have_to_be_stable_in_both_halves():
    draw = np.random.default_rng(3)
    z = draw.normal(size=(800, 4))
    z[:, 1] = z[:, 0] + 0.3 * z[:, 1]
    z[:560, 3] = z[:560, 2]
    a, b, r = partings.stable_pairs(z)
    assert (a.tolist(), b.tolist()) == ([0], [1]) and r[0] > 0.9
    assert np.corrcoef(z[:, 2], z[:, 3])[0, 1] > partings.STABLE


def test_break_the_one_that_left_is_expected_back():
    field, truth, tried, _ = made("correlation_break")
    z, _ = standardised(field.abnormal, field.slot)
    a, b, _ = partings.stable_pairs(z)
    found = partings.breaks(field, z, a, b)
    right = []
    for r in truth.itertuples():
        for k in np.flatnonzero(abs(found.t - r.begins - 24) <= 4):
            if {a[found.pair[k]], b[found.pair[k]]} == {r.leader - 1, r.followers[0] - 1}:
                right.append((found.left[k], found.back[k]) == (r.followers[0] - 1, r.direction))
    assert len(right) >= 8 and np.mean(right) >= 0.8
    assert {"cointegrated", "explained", "correlation"} <= set(
        tried[tried.kind == "correlation_break"].detail.iloc[0]
    )


def test_cointegration_knows_a_pull_from_a_walk():
    draw, own, false = np.random.default_rng(7), 0, 0
    for _ in range(40):
        x, y = draw.normal(size=(2, 500)).cumsum(axis=1)
        false += partings.cointegration(x, y) < partings.COINTEGRATED
        own += partings.cointegration(x, 0.5 * x + draw.normal(size=500)) < partings.COINTEGRATED
    assert own == 40 and false <= 6
