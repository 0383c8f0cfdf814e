"Catalysts: every number can be worked out again, noise stays weak, negation turns the tone round."

import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from catalyst.catalysts import (
    ASKED,
    BASE,
    NOISE_CAP,
    TIER_FACTOR,
    TONE_SHARE,
    judge,
    judge_news,
    label_of,
)
from catalyst.core import CatalystType, InputError
from catalyst.news import import_news
from catalyst.ports import NEWS_COLUMNS

NOON = datetime(2025, 8, 13, 12, tzinfo=UTC)

TYPES = {
    "results": ["Acme beats third-quarter estimates", "Acme posts surprise profit", "Widget Q2 earnings miss as sales slump", "Widget net loss widens"],
    "guidance": ["Acme cuts full-year guidance", "Widget lifts annual profit outlook", "Acme issues profit warning"],
    "fda": ["FDA approves Acme's heart pump", "Acme reports Phase 3 data", "Widget gets complete response letter"],
    "merger": ["Acme to acquire Widget for $2 billion", "Acme agrees to buy Widget", "Widget rejects hostile bid", "Acme completes acquisition of Gizmo"],
    "offering": ["Acme announces $300 million public offering", "Widget prices convertible senior notes"],
    "buyback": ["Acme board approves $5 billion share repurchase program"],
    "dividend": ["Acme declares quarterly dividend", "Widget suspends dividend"],
    "split": ["Acme announces 10-for-1 stock split"],
    "contract": ["Acme wins $1.2 billion Navy contract", "Widget awarded order for 40 engines", "Acme signs supply agreement"],
    "product": ["Acme unveils new robot", "Widget launches cheaper gadget"],
    "partnership": ["Acme partners with Widget on batteries", "Acme and Widget form joint venture"],
    "litigation": ["Acme sued over faulty gadgets", "Jury finds for Widget"],
    "regulation": ["Regulators open probe of Acme", "Acme recalls 40,000 gadgets", "US bans exports of Widget chips"],
    "management": ["Acme CEO Ann Lee steps down", "Widget names Bo Kim as CFO", "Acme announces layoffs"],
    "analyst_up": ["Broker upgrades Acme to buy", "Bank raises Acme price target to $90", "Bank starts Acme at overweight"],
    "analyst_down": ["Broker downgrades Widget", "Bank cuts Widget price target to $12"],
    "insider": ["Acme insiders sell $4 million of stock", "Acme director sells 4,000 shares"],
    "index_change": ["Acme to join S&P 500", "Widget removed from Nasdaq-100"],
    "short_report": ["Short seller targets Acme's accounts"],
    "halt": ["Trading halted in Acme pending news"],
    "general": ["Acme holds its picnic by the river", "A quiet day for gadget makers"],
}  # fmt: skip


def test_the_cases_cover_the_vocabulary():
    assert set(TYPES) == set(CatalystType)


@pytest.mark.parametrize("kind, headline", [(k, h) for k, hs in TYPES.items() for h in hs])
def test_type(kind, headline):
    j = judge(headline)
    assert j.catalyst_type == kind
    phrase = j.decided_by["type"].get("phrase")
    assert (phrase in headline.lower()) if kind != "general" else (phrase is None)


GOOD = ["Acme beats estimates", "Acme reports narrower loss", "Acme raises guidance", "Broker upgrades Acme", "Acme shares surge", "Acme profit tops forecasts", "Acme wins approval", "Acme loss narrows", "Acme stock hits record high", "Results not as bad as feared at Acme"]  # fmt: skip
POOR = ["Acme misses estimates", "Acme fails to beat estimates", "Acme reports wider loss", "Acme cuts guidance", "Broker downgrades Acme", "Acme shares plunge", "Acme does not beat forecasts", "Acme revenue falls short of forecasts", "Acme recalls gadgets after fire", "Acme files for chapter 11"]  # fmt: skip


@pytest.mark.parametrize("sign, headline", [(1, h) for h in GOOD] + [(-1, h) for h in POOR])
def test_tone(sign, headline):
    assert judge(headline).tone * sign >= 0.1


def test_everyday_words_have_no_tone_here():
    for headline in (
        "Acme shares change hands",
        "Crude futures settle",
        "Acme Trust securities",
        "Motley Fool holds meeting",
        "Acme gross margin",
    ):
        j = judge(headline)
        assert (j.tone, j.tone_label, "none" in j.decided_by["tone"]) == (0.0, "neutral", True), (
            headline
        )


NOISY = ["3 stocks to watch", "Why Acme Stock Soared Today", "Is Acme a buy?", "Should you buy Acme stock now?", "Acme vs. Widget: Which is the better buy?", "Jim Cramer on Acme: a great company", "Acme shareholder alert: law firm announces class action", "Global Gadget Market Size to Reach $9 Billion", "Acme to report second quarter results on Tuesday", "Stock market today: Acme plunges on FDA ban"]  # fmt: skip


@pytest.mark.parametrize("headline", NOISY)
@pytest.mark.parametrize("tier", TIER_FACTOR)
def test_noise_is_general_and_weak(headline, tier):
    j = judge(headline, source_tier=tier)
    assert j.catalyst_type == "general" and j.catalyst_strength <= NOISE_CAP == 0.2
    assert "noise" in j.decided_by["type"]


@pytest.mark.parametrize(
    "headline", [h for hs in TYPES.values() for h in hs] + NOISY + ["Will Acme beat estimates?"]
)
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


def stored(store, *rows):
    full = [
        ["wire", str(i), s, h, "", "Reuters", "", None, at, at, None]
        for i, (s, h, at) in enumerate(rows)
    ]
    import_news(store, pd.DataFrame(full, columns=NEWS_COLUMNS))


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


def test_guard_18_a_judgement_does_not_depend_on_what_came_later(scratch):
    stored(scratch, (["ACM"], "Acme to acquire Widget", NOON))
    judge_news(scratch, NOON)
    query = "select tone, catalyst_type, catalyst_strength, decided_by from news_sentiment where received_at = :t"
    alone = scratch.rows(query, t=NOON)
    stored(
        scratch,
        (["ACM"], "Acme to acquire Widget", NOON),
        (["ACM"], "Acme drops its bid", NOON + timedelta(hours=1)),
    )
    judge_news(scratch, NOON + timedelta(hours=2))
    assert scratch.rows(query, t=NOON) == alone


def test_the_real_day_has_catalysts(scratch, shared):
    d = pd.read_parquet(shared / "real_news_2025.parquet").rename(columns={"id": "item_id"})
    d = d[(d.published_at > "2025-08-12 20:00Z") & (d.published_at <= "2025-08-13 20:00Z")]
    d = d.assign(
        symbols=d.symbols.str.split(","), event_at=None, revised_at=None, received_at=d.published_at
    )
    bars = set(pd.read_parquet(shared / "ibkr_15min_101_2025.parquet", columns=["symbol"]).symbol)
    import_news(scratch, d)
    assert judge_news(scratch, datetime(2025, 8, 13, 20, tzinfo=UTC)) > len(d) * 0.99
    strong = {
        r["symbol"]
        for r in scratch.rows(
            "select distinct symbol from news_sentiment join securities using (security_id) where catalyst_strength >= 0.3"
        )
    }
    assert 15 <= len(strong & bars) <= 80


def test_what_stands_beyond_the_bound_is_not_read():
    far = "gadget " * 80
    assert judge(far + "Acme beats estimates").tone == 0.0 != judge("Acme beats estimates").tone
    assert judge("Acme speaks", far + "Acme beats estimates").tone == 0.0


def test_events_are_ordered_by_how_far_they_move_prices():
    said = [
        "Acme holds its picnic",
        "Acme declares quarterly dividend",
        "Broker starts Acme at overweight",
        "Acme reports third-quarter results",
        "FDA reviews Acme's pump",
    ]
    strength = [judge(h).decided_by["strength"]["base"] for h in said]
    assert strength == sorted(strength) and len(set(strength)) == 5
