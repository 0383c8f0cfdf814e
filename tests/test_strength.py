"Strength of stories: the sum is shown and right, nothing knows the future, unknown is not neutral, a day takes a blink."

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from catalyst.catalysts import NOISE_CAP, judge, judge_news
from catalyst.clock import NEW_YORK, Stopwatch, market_phase, sessions_between
from catalyst.core import CatalystType, InputError, UnavailableError
from catalyst.factors import HALF_LIVES, LIFE_HOURS, phases, surprise_in, trading_hours
from catalyst.news import import_news
from catalyst.ports import NEWS_COLUMNS
from catalyst.strength import FACTORS, explain, explain_text, known_terms, strengths, terms, top

HOUR = timedelta(hours=1)
TEN = datetime(2025, 8, 13, 10, tzinfo=NEW_YORK).astimezone(UTC)


def ny(text):
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


def frame(*rows):
    "A judged news frame: (story, security, headline, source, tier, when)"
    out = []
    for i, (story, security, headline, source, tier, when) in enumerate(rows, 1):
        j = judge(headline, source_tier=tier)
        row = [
            i,
            story,
            security,
            headline,
            source,
            tier,
            tier,
            when,
            when,
            j.tone,
            str(j.tone_label),
        ]
        out.append([*row, str(j.catalyst_type), j.catalyst_strength])
    columns = [
        "news_id",
        "story_id",
        "security_id",
        "headline",
        "source_name",
        "source_tier",
        "source_id",
        "published_at",
    ]
    columns += ["received_at", "tone", "tone_label", "catalyst_type", "catalyst_strength"]
    got = pd.DataFrame(out, columns=columns)
    clocks = {c: "datetime64[us, UTC]" for c in ("published_at", "received_at")}
    return got.astype(clocks | {"story_id": "Int64", "security_id": "Int64"})


DAY = frame(
    (1, 7, "Acme reports second-quarter results", "Reuters", 1, ny("2025-08-11T07:00")),
    (2, 7, "Acme shocks with surprise loss in third quarter", "A blog", 5, ny("2025-08-13T08:00")),
    (2, 7, "Acme posts unexpected quarterly loss", "Reuters", 1, ny("2025-08-13T08:10")),
    (2, 8, "Acme posts unexpected quarterly loss", "Reuters", 1, ny("2025-08-13T08:10")),
    (3, 8, "3 record gadget stocks to watch: shocking upside", "A blog", 5, ny("2025-08-13T09:00")),
    (4, None, "Regulators set new tariffs on gadgets", "Reuters", 1, ny("2025-08-12T21:00")),
    (5, 7, "Acme to acquire Widget", "Reuters", 1, ny("2025-08-13T10:30")),
)


def stored(store, *rows):
    full = [[f, i, s, h, "", source, "", None, at, at, None] for f, i, s, h, source, at in rows]
    import_news(store, pd.DataFrame(full, columns=NEWS_COLUMNS))


STORED = [
    (
        "wire",
        "a",
        ["ACM", "WDG"],
        "Acme to acquire Widget for $2 billion",
        "Reuters",
        ny("2025-08-13T08:00"),
    ),
    ("wire", "b", ["WDG"], "Widget opens a canteen", "A blog", ny("2025-08-13T09:00")),
    (
        "wire",
        "c",
        ["ACM"],
        "Regulators open a surprise probe of Acme",
        "Reuters",
        ny("2025-08-13T12:00"),
    ),
    ("wire", "d", [], "Regulators set new tariffs on gadgets", "CNBC", ny("2025-08-12T21:00")),
    ("wire", "e", ["WDG"], "3 stocks to watch as Widget soars", "Zacks", ny("2025-08-13T09:10")),
]


def test_the_terms_reproduce_every_strength_exactly():
    got = terms(DAY, TEN, scores=pd.DataFrame({"factor": [0.37]}, index=[2]))
    for row in got.itertuples():
        product = 1.0
        for factor in FACTORS:
            product *= getattr(row, factor)
        assert min(row.cap, product) == row.strength
    assert got.strength.between(0, 1).all() and len(got) == 5
    assert (got.set_index("story_id").coordination.loc[[2]] == 0.37).all()


def test_explain_shows_a_sum_that_holds(scratch):
    stored(scratch, *STORED)
    judge_news(scratch, TEN + 8 * HOUR)
    for asof in (TEN, TEN + 3 * HOUR):
        known = known_terms(scratch, asof)
        for story in known.story_id.unique():
            why = explain(scratch, int(story), asof)
            for part in why["securities"]:
                product, said = 1.0, part["item"]["decided_by"]["strength"]
                for value in part["factors"].values():
                    product *= value
                assert min(part["cap"], product) == part["strength"]
                raw = (said["base"] + said["tone"]) * said["tier"] * said["named"] * said["asked"]
                assert (
                    part["factors"]["item"] == said["strength"] == round(min(said["cap"], raw), 3)
                )
            text = explain_text(why)
            assert all(f"  {f}" in text for f in FACTORS) and f"story {story} as of" in text
    with pytest.raises(InputError, match="story_id"):
        explain(scratch, 10**9, TEN)


def test_guard_18_the_future_changes_nothing():
    want = terms(DAY, TEN)
    later = DAY.received_at > pd.Timestamp(TEN)
    assert later.any()
    more = frame(
        *[(s, 7, "Acme soars on FDA approval", f"Source {s}", 1, TEN + HOUR) for s in (1, 2, 3, 9)]
    )
    for altered in (
        DAY[~later],
        DAY.assign(catalyst_strength=DAY.catalyst_strength.where(~later, 0.99)),
        pd.concat([DAY, more.assign(news_id=more.news_id + 100)], ignore_index=True),
    ):
        pd.testing.assert_frame_equal(terms(altered, TEN), want)


def test_guard_18_the_store_answers_as_it_would_have_then(scratch):
    early = [r for r in STORED if r[-1] <= TEN]
    stored(scratch, *early)
    judge_news(scratch, TEN)
    want = known_terms(scratch, TEN).drop(columns=["news_id", "story_id"], errors="ignore")
    stored(
        scratch,
        *STORED,
        (
            "wire",
            "a2",
            ["ACM"],
            "Acme to acquire Widget for $2 billion in cash",
            "CNBC",
            TEN + HOUR,
        ),
    )
    scratch.run(
        "insert into source_reliability select source_id, :t, 80, 79, 0.99 from news_sources",
        t=TEN + HOUR,
    )
    judge_news(scratch, TEN + 3 * HOUR)
    got = known_terms(scratch, TEN)
    pd.testing.assert_series_equal(got.strength, want.strength)
    after = known_terms(scratch, TEN + 2 * HOUR)
    assert (after.reliability > 1).all() and (
        got.reliability == 1
    ).all()  # The record is used, from its instant on


def test_the_order_of_rows_does_not_matter():
    want = terms(DAY, TEN)
    for seed in range(5):
        pd.testing.assert_frame_equal(terms(DAY.sample(frac=1, random_state=seed), TEN), want)


def test_one_source_more_never_weakens_and_a_repeat_never_strengthens():
    one = DAY[DAY.news_id != 2]
    both, alone = strengths(DAY, TEN), strengths(one, TEN)
    assert both[2, 7] > alone[2, 7]
    first = strengths(DAY[DAY.story_id != 1], TEN)
    assert first[2, 7] > both[2, 7] and first[2, 8] == both[2, 8]  # Widget had no results before


def test_copies_are_one_source():
    text = "Acme wins navy contract"
    copies = frame(
        *[
            (1, 7, f"{text.upper()}!" if i % 2 else text, f"Paper {i}", 3, TEN - HOUR)
            for i in range(6)
        ]
    )
    house = frame(*[(1, 7, f"{text} {i}", "One house", 3, TEN - HOUR) for i in range(6)])
    own = frame(*[(1, 7, f"{text} {i}", f"Paper {i}", 3, TEN - HOUR) for i in range(6)])
    assert [terms(f, TEN).independent.item() for f in (copies, house, own)] == [1, 1, 6]


def test_noise_stays_capped_whatever_joins_it():
    many = [
        (
            1,
            7,
            "3 record stocks to watch: shock upside for gadgets",
            f"Paper {i}",
            1,
            ny("2025-08-13T08:00"),
        )
        for i in range(9)
    ]
    many += [
        (
            1,
            7,
            f"Why this gadget stock soared, a shock record {i}",
            "Reuters",
            1,
            ny("2025-08-13T08:00"),
        )
        for i in range(9)
    ]
    got = terms(frame(*many), TEN)
    assert got[FACTORS].prod(axis=1).item() > NOISE_CAP == got.strength.item()


@pytest.mark.parametrize("kind", CatalystType)
def test_age_halves_and_ends(kind):
    hours, half = LIFE_HOURS[kind], LIFE_HOURS[kind] / HALF_LIVES
    start = ny("2025-08-13T10:00")
    one = frame((1, 7, "Acme", "Reuters", 1, start)).assign(
        catalyst_type=str(kind), catalyst_strength=0.5
    )
    at = lambda h: next(
        t
        for t in (start + timedelta(minutes=30 * i) for i in range(10**5))
        if trading_hours(one.received_at, t)[0] >= h
    )
    age = [terms(one, at(h)).age.item() for h in (0, half, hours)]
    assert age == pytest.approx([1.0, 0.5, 0.0], abs=1e-9)


def test_hours_and_phases_agree_with_the_calendar():
    "Against the plain definitions, at 2,000 instants of a year with its holidays, half days and changes of clock"
    rng = np.random.default_rng(4)
    base = pd.Timestamp("2025-01-01", tz="UTC")
    at = pd.Series(base + pd.to_timedelta(rng.integers(0, 364 * 86400, 2000), unit="s")).dt.as_unit(
        "us"
    )
    assert phases(at) == [market_phase(t.to_pydatetime()) for t in at]
    days = {s.day for s in sessions_between(at.min().date(), at.max().date())}
    asof = datetime(2025, 12, 30, 18, tzinfo=UTC)
    for t, got in list(zip(at, trading_hours(at, asof), strict=True))[:60]:
        minutes = pd.date_range(t.ceil("h"), asof, freq="h")
        want = sum(m.tz_convert(NEW_YORK).date() in days for m in minutes)
        assert got == pytest.approx(want, abs=2.1)


def test_nw10_what_is_not_judged_has_no_strength():
    silent = DAY.assign(catalyst_strength=np.nan, catalyst_type=None, tone=np.nan, tone_label=None)
    assert strengths(silent, TEN).isna().all() and len(strengths(silent, TEN)) == 5
    some = DAY.copy()
    some.loc[some.story_id == 1, ["catalyst_strength", "catalyst_type"]] = [np.nan, None]
    assert strengths(some, TEN).isna().sum() == 1
    assert strengths(DAY.assign(catalyst_strength=np.nan), TEN).isna().all()


def test_nw10_an_item_that_is_not_judged_does_not_speak_for_its_story():
    weak = DAY.copy()
    weak.loc[weak.news_id == 2, ["catalyst_strength", "catalyst_type"]] = [np.nan, None]
    weak.loc[weak.news_id == 3, "catalyst_strength"] = 0.1
    row = terms(weak, TEN).set_index(["story_id", "security_id"]).loc[(2, 7)]
    assert (row["news_id"], row["item"]) == (3, 0.1)


def test_nw10_no_news_and_unavailable_are_different_answers(scratch):
    health = "insert into service_health (service_name, status, last_check, error_message) values ('news', :s, :t, :e) on conflict (service_name) do update set status = excluded.status, last_check = excluded.last_check, error_message = excluded.error_message"
    for ask in (known_terms, top):
        with pytest.raises(UnavailableError, match="no feed has ever answered"):
            ask(scratch, TEN)
    scratch.run(health, s="healthy", t=TEN - HOUR, e=None)
    assert known_terms(scratch, TEN).empty and top(scratch, TEN).empty
    with pytest.raises(UnavailableError):  # Before anybody had asked
        top(scratch, TEN - 2 * HOUR)
    scratch.run(health, s="degraded", t=TEN, e="no route to the wire")
    with pytest.raises(UnavailableError, match="no route to the wire"):
        top(scratch, TEN)


def test_top_is_ranked_limited_and_one_row_per_story(scratch):
    stored(scratch, *STORED)
    judge_news(scratch, TEN)
    got = top(scratch, TEN)
    assert got.strength.is_monotonic_decreasing and got.story_id.is_unique and len(got) == 4
    assert (got.symbol[0], got.symbols[0]) == ("ACM", "ACM, WDG")
    assert got.catalyst_type.tolist()[0] == "merger" and len(top(scratch, TEN, limit=2)) == 2
    assert top(scratch, TEN, symbols=["wdg"]).symbol.eq("WDG").all()
    assert len(top(scratch, TEN + 3 * HOUR)) == 4  # The probe of noon is not judged yet
    with pytest.raises(InputError, match="symbols"):
        top(scratch, TEN, symbols=["ACM", "NOPE"])
    with pytest.raises(InputError, match="asof"):
        top(scratch, datetime(2025, 8, 13))


def test_a_revised_item_does_not_become_young_again(scratch):
    stored(
        scratch, ("wire", "a", ["ACM"], "Acme to acquire Widget", "Reuters", ny("2025-08-12T10:00"))
    )
    stored(
        scratch,
        ("wire", "a", ["ACM"], "Acme to acquire Widget Corp", "Reuters", ny("2025-08-13T09:00")),
    )
    judge_news(scratch, TEN)
    assert known_terms(scratch, TEN).age_hours.item() == pytest.approx(24.0)


@pytest.mark.parametrize(
    "text", ["", "\x00", "record " * 2000, "(" * 9000, "<script>shock</script>", "שלום 🚀"]
)
def test_hostile_headlines_are_cheap(text):
    watch = Stopwatch()
    assert len(surprise_in(text)) <= 2 and watch.seconds < 0.1


def test_a_day_takes_a_blink(shared):
    "1,200 items of the densest day, with the five sessions before them, in the time of one slot's call"
    d = pd.read_parquet(shared / "real_news_2025.parquet")
    d = d[d.published_at.between("2025-08-06 12:00Z", "2025-08-13 20:00Z")]
    d = d.assign(symbol=d.symbols.str.split(",")).explode("symbol").reset_index(drop=True)
    story = d.groupby(d.headline.str.casefold().str[:40]).ngroup()
    rows = zip(
        story,
        d.symbol.fillna("-").astype("category").cat.codes,
        d.headline,
        d.source,
        d.published_at,
        strict=True,
    )
    news = frame(*[(s, c, h, n or "?", 3, t) for s, c, h, n, t in rows])
    asof, last_day = (
        datetime(2025, 8, 13, 20, tzinfo=UTC),
        news[news.received_at > "2025-08-12 20:00Z"],
    )
    strengths(news[:50], asof)
    for part, limit in ((last_day, 0.1), (news, 0.35)):
        watch = Stopwatch()
        got = strengths(part, asof)
        assert watch.seconds < 4 * limit, (
            len(part),
            watch.seconds,
        )  # Four times, for a busy machine
        assert got.between(0, 1).all() and len(got) > 500
