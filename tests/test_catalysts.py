"Catalysts: every number can be worked out again, noise stays weak, one bad row stops nobody, unavailable is not neutral."

import json
import re
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from catalyst import catalysts
from catalyst.catalysts import (
    ALL_FAILED,
    ASKED,
    BASE,
    NOISE_CAP,
    TIER_FACTOR,
    TONE_SHARE,
    TRIES,
    judge,
    judge_news,
    unjudgeable,
)
from catalyst.core import CatalystError, CatalystType, InputError, ToneLabel
from catalyst.news import import_news
from catalyst.ports import NEWS_COLUMNS
from catalyst.tone import label_of

NOON = datetime(2025, 8, 13, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SAID = ["Acme beats third-quarter estimates", "Acme cuts full-year guidance", "FDA approves Acme's heart pump", "Acme to acquire Widget for $2 billion", "Acme announces $300 million public offering", "Acme declares quarterly dividend", "Broker downgrades Widget", "Acme holds its picnic by the river", "Will Acme beat estimates?", "3 stocks to watch", "Why Acme Stock Soared Today"]  # fmt: skip


def stored(store, *rows):
    full = [
        ["wire", f"{i}-{h}", s, h, "", "Reuters", "", None, at, at, None]
        for i, (s, h, at) in enumerate(rows)
    ]
    import_news(store, pd.DataFrame(full, columns=NEWS_COLUMNS))


def words_of(store, domain):
    "The words that the database takes"
    query = "select pg_get_constraintdef(c.oid) from pg_constraint c join pg_type t on c.contypid = t.oid where t.typname = :d"
    return re.findall(r"'(\w+)'::text", store.value(query, d=domain))


def test_nw04_label_words_are_the_database_s(scratch):
    assert words_of(scratch, "tone_label") == [t.value for t in ToneLabel]
    assert words_of(scratch, "catalyst_type") == [t.value for t in CatalystType]
    assert {label_of(t / 100) for t in range(-100, 101)} == set(ToneLabel)
    assert set(BASE) == set(CatalystType)
    stored(scratch, *[([], h, NOON) for h in SAID])  # And the table takes every one of them
    assert judge_news(scratch, NOON) == len(SAID)


@pytest.mark.parametrize("headline", SAID)
def test_strength_can_be_worked_out_again(headline):
    j = judge(headline, symbol="ACM", name="Acme Inc.", source_tier=2)
    t = j.decided_by["strength"]
    assert t["base"] == BASE[j.catalyst_type] and t["tier"] == TIER_FACTOR[2]
    assert t["tone"] == pytest.approx(TONE_SHARE * abs(j.tone), abs=1e-4)
    assert t["named"] == (1.0 if "Acme" in headline else 0.4)
    assert t["asked"] == (ASKED if headline.endswith("?") else 1.0)
    raw = (t["base"] + t["tone"]) * t["tier"] * t["named"] * t["asked"]
    assert j.catalyst_strength == t["strength"] == pytest.approx(min(t["cap"], raw), abs=5.1e-4)
    assert -1 <= j.tone <= 1 and 0 <= j.catalyst_strength <= 1 and j.tone_label == label_of(j.tone)


@pytest.mark.parametrize(
    "headline",
    [
        "3 stocks to watch as Acme soars",
        "Is Acme a buy?",
        "Stock market today: Acme plunges on FDA ban",
    ],
)
@pytest.mark.parametrize("tier", TIER_FACTOR)
def test_noise_is_general_and_weak(headline, tier):
    j = judge(headline, source_tier=tier)
    assert j.catalyst_type == "general" and j.catalyst_strength <= NOISE_CAP == 0.2
    assert "noise" in j.decided_by["type"]


def test_better_sources_and_named_companies_count_more():
    by_tier = [
        judge("Acme beats estimates", source_tier=t).catalyst_strength for t in (1, 2, 3, 4, 5)
    ]
    assert by_tier == sorted(by_tier, reverse=True) and len(set(by_tier)) == 5
    named = [
        judge("Acme beats estimates", symbol=s, name=n).catalyst_strength
        for s, n in (("ACM", "ACME CORP"), ("QQZ", None), ("WDG", "Widget plc"))
    ]
    assert named == sorted(named, reverse=True) and len(set(named)) == 3


def test_events_are_ordered_by_how_far_they_move_prices():
    said = ["Acme holds its picnic", "Acme declares quarterly dividend", "Broker starts Acme at overweight", "Acme reports third-quarter results", "FDA reviews Acme's pump"]  # fmt: skip
    strength = [judge(h).decided_by["strength"]["base"] for h in said]
    assert strength == sorted(strength) and len(set(strength)) == 5


def test_a_filing_speaks_by_its_items_and_a_headline_by_its_words():
    filed = judge("Acme Inc. files form 8-K", "Item 5.02; Item 9.01")
    assert (filed.catalyst_type, filed.decided_by["type"]) == ("management", {"item": "item 5.02"})
    other = judge("Acme wins navy contract", "Item 8.01; Item 9.01")
    assert other.catalyst_type == "contract"  # Items that say nothing leave it to the words
    prose = judge("Acme holds its picnic", "The paper mentions item 5.02 in passing")
    assert prose.catalyst_type == "general"


def test_each_company_of_a_headline_has_its_own_tone(scratch):
    stored(scratch, (["ACM", "WDG"], "ACM falls as WDG wins order", NOON))
    judge_news(scratch, NOON)
    got = {
        r["symbol"]: r
        for r in scratch.rows(
            "select symbol, tone, decided_by from news_sentiment join securities using (security_id)"
        )
    }
    assert got["ACM"]["tone"] < 0 < got["WDG"]["tone"]
    assert [got[s]["decided_by"]["tone"]["for"] for s in ("ACM", "WDG")] == ["ACM", "WDG"]


def test_the_summary_counts_half_and_only_when_the_headline_is_silent():
    assert judge("Acme speaks", "Acme beats estimates").tone == pytest.approx(
        judge("Acme beats estimates").tone / 2, abs=1e-3
    )
    assert (
        judge("Acme shares plunge", "Acme beats estimates").tone == judge("Acme shares plunge").tone
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00",
        "🚀" * 500,
        "<script>alert(1)</script>",
        "a" * 100_000,
        "(" * 100_000,
        "beats " * 20_000,
        "‮שלום",
    ],
)
def test_hostile_text_is_judged_and_cheap(text):
    from catalyst.clock import Stopwatch

    watch = Stopwatch()
    j = judge(text, text)
    assert -1 <= j.tone <= 1
    assert watch.seconds < 1
    json.dumps(j.decided_by)


def test_what_stands_beyond_the_bound_is_not_read():
    far = "gadget " * 80
    assert judge(far + "Acme beats estimates").tone == 0.0 != judge("Acme beats estimates").tone
    assert judge("Acme speaks", far + "Acme beats estimates").tone == 0.0


def test_judging_what_is_stored_once_and_only_by_asof(scratch):
    later = NOON + timedelta(minutes=30)
    stored(
        scratch,
        (["ACM", "WDG"], "Acme to acquire Widget", NOON),
        ([], "Rates fall", NOON),
        (["ACM"], "Acme CEO resigns", later),
    )
    assert judge_news(scratch, NOON - timedelta(seconds=1)) == 0
    assert (judge_news(scratch, NOON), judge_news(scratch, NOON)) == (3, 0)
    first = scratch.rows("select * from news_sentiment where tone is not null order by news_id")
    assert (judge_news(scratch, later), judge_news(scratch, later)) == (1, 0)
    assert (
        scratch.rows("select * from news_sentiment where received_at = :t order by news_id", t=NOON)
        == first
    )
    assert {r["decided_by"]["type"]["phrase"] for r in first if r["security_id"]} == {"to acquire"}
    assert (
        scratch.value("select count(*) from news_sentiment where price_impact_5min is not null")
        == 0
    )
    with pytest.raises(InputError, match="asof"):
        judge_news(scratch, datetime(2025, 8, 13))


def test_pages_do_not_show(scratch, monkeypatch):
    monkeypatch.setattr(catalysts, "PAGE", 2)
    stored(scratch, *[([], f"Acme opens plant {i}", NOON) for i in range(5)])
    assert (judge_news(scratch, NOON), judge_news(scratch, NOON)) == (5, 0)


@pytest.fixture
def poison(monkeypatch):
    "Headlines with the word make judging fail; returns how often each was tried"
    sound, tried = catalysts.tone_of, []

    def spoilt(text):
        if "poison" in text.lower():
            tried.append(text)
            raise TypeError("unsupported format string passed to NoneType")
        return sound(text)

    monkeypatch.setattr(catalysts, "tone_of", spoilt)
    return tried


def test_guard_14_a_poison_row_stops_nobody_and_is_not_tried_for_ever(scratch, poison):
    rows = [
        ([], h, NOON)
        for h in ("Acme opens a plant", "Poison", "Acme to acquire Widget", "Acme CEO resigns")
    ]
    stored(scratch, *rows)
    assert [judge_news(scratch, NOON + i * HOUR) for i in range(TRIES + 3)] == [3] + [0] * (
        TRIES + 2
    )
    assert len(poison) == TRIES
    (dead,) = unjudgeable(scratch, NOON + 9 * HOUR).to_dict("records")
    assert (dead["headline"], dead["tries"], dead["dead"]) == ("Poison", TRIES, True)
    assert "NoneType" in dead["error"]
    kept = scratch.rows("select reason, feed from quarantine")
    assert [(r["feed"], r["reason"][:16]) for r in kept] == [("wire", "cannot be judged")]


def test_guard_14_the_same_instant_is_no_second_try_and_a_mended_row_recovers(
    scratch, poison, monkeypatch
):
    stored(scratch, ([], "Poison for Acme", NOON), ([], "Acme opens", NOON))
    assert [judge_news(scratch, NOON) for _ in range(5)] == [1, 0, 0, 0, 0] and len(poison) == 1
    monkeypatch.undo()
    assert judge_news(scratch, NOON + HOUR) == 1
    assert unjudgeable(scratch, NOON + HOUR).empty
    assert scratch.value("select count(*) from news_sentiment where decided_by ? 'failed'") == 0


@pytest.mark.parametrize("spoilt", [float("nan"), 2.0])
def test_guard_14_a_number_that_the_table_refuses_stops_nobody(scratch, monkeypatch, spoilt):
    sound = catalysts.tone_of
    monkeypatch.setattr(
        catalysts, "tone_of", lambda t: (spoilt, {"x": 1}, 1.0) if "Poison" in t else sound(t)
    )
    stored(scratch, ([], "Poison", NOON), ([], "Acme opens", NOON))
    assert judge_news(scratch, NOON) == 1


def test_a_batch_of_which_nothing_can_be_judged_is_our_fault(scratch, monkeypatch):
    stored(scratch, *[([], f"Acme opens plant {i}", NOON) for i in range(ALL_FAILED)])
    sound = catalysts.tone_of
    monkeypatch.setattr(catalysts, "tone_of", lambda t: 1 / 0)
    for _ in range(TRIES + 1):
        with pytest.raises(CatalystError, match="none of 20 items"):
            judge_news(scratch, NOON)
    monkeypatch.setattr(catalysts, "tone_of", sound)
    assert judge_news(scratch, NOON) == ALL_FAILED  # No try was counted


def test_nw10_neutral_is_never_a_filler_for_not_judged(scratch, poison):
    stored(
        scratch,
        (["ACM"], "Poison", NOON),
        (["ACM"], "Acme holds its picnic", NOON),
        (["ACM"], "Acme rises", NOON + HOUR),
    )
    for i in range(TRIES):
        judge_news(scratch, NOON + timedelta(minutes=i))
    got = {
        r["headline"]: r
        for r in scratch.rows(
            "select headline, tone, tone_label, catalyst_type, catalyst_strength from news_sentiment"
        )
    }
    unknown = {"tone": None, "tone_label": None, "catalyst_type": None, "catalyst_strength": None}
    assert got["Poison"] == {"headline": "Poison"} | unknown  # Could not be judged
    assert got["Acme rises"] == {"headline": "Acme rises"} | unknown  # Not received yet
    looked = got["Acme holds its picnic"]  # Looked at, nothing found
    assert (looked["tone"], looked["tone_label"], looked["catalyst_type"]) == (
        0,
        "neutral",
        "general",
    )


def test_guard_18_a_judgement_does_not_depend_on_what_came_later(scratch):
    stored(scratch, (["ACM"], "Acme to acquire Widget", NOON))
    judge_news(scratch, NOON)
    query = "select tone, catalyst_type, catalyst_strength, decided_by from news_sentiment where received_at = :t"
    alone = scratch.rows(query, t=NOON)
    stored(
        scratch,
        (["ACM"], "Acme to acquire Widget", NOON),
        (["ACM"], "Acme drops its bid", NOON + HOUR),
    )
    judge_news(scratch, NOON + 2 * HOUR)
    assert scratch.rows(query, t=NOON) == alone


def test_the_real_day_has_catalysts(scratch, shared):
    d = pd.read_parquet(shared / "real_news_2025.parquet").rename(columns={"id": "item_id"})
    d = d[(d.published_at > "2025-08-12 20:00Z") & (d.published_at <= "2025-08-13 20:00Z")]
    d = d.assign(
        symbols=d.symbols.str.split(","), event_at=None, revised_at=None, received_at=d.published_at
    )
    bars = set(pd.read_parquet(shared / "ibkr_15min_101_2025.parquet", columns=["symbol"]).symbol)
    import_news(scratch, d)
    end = datetime(2025, 8, 13, 20, tzinfo=UTC)
    assert judge_news(scratch, end) > len(d) * 0.99
    assert unjudgeable(scratch, end).empty
    query = "select distinct symbol from news_sentiment join securities using (security_id) where catalyst_strength >= 0.3"
    strong = {r["symbol"] for r in scratch.rows(query)}
    assert 15 <= len(strong & bars) <= 80
