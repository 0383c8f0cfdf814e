"Kinds: the tables hold together, each kind is found, filings speak by number, hostile text is cheap, labels by hand agree."

import csv
import re
from pathlib import Path

import pandas as pd
import pytest
from catalyst.clock import Stopwatch
from catalyst.core import CatalystType, InputError
from catalyst.kinds import (
    ITEMS,
    NOISE,
    RULES,
    items_in,
    name_pattern,
    named_factor,
    noise_in,
    rows_of,
    target_moved,
    type_of,
    type_of_items,
)

LABELS = Path(__file__).parent / "data" / "kind_labels.csv"

SAID = {
    "results": ["acme beats third-quarter estimates", "acme posts surprise profit", "widget q2 earnings miss as sales slump", "widget net loss widens", "acme takes $4 billion charge"],
    "guidance": ["acme cuts full-year guidance", "widget lifts annual profit outlook", "acme issues profit warning", "acme guides q3 revenue above street"],
    "fda": ["fda approves acme's heart pump", "acme reports phase 3 data", "widget gets complete response letter", "acme's sleeping pill meets goal in trial"],
    "merger": ["acme to acquire widget for $2 billion", "acme agrees to buy widget", "widget rejects hostile bid", "acme completes acquisition of gizmo", "acme to sell its gadget business"],
    "offering": ["acme announces $300 million public offering", "widget prices convertible senior notes", "widget raises $40 million"],
    "buyback": ["acme board approves $5 billion share repurchase program"],
    "dividend": ["acme declares quarterly dividend", "widget suspends dividend"],
    "split": ["acme announces 10-for-1 stock split"],
    "contract": ["acme wins $1.2 billion navy contract", "widget awarded order for 40 engines", "acme signs supply agreement", "acme to buy $2 billion of widget chips"],
    "product": ["acme unveils new robot", "widget launches cheaper gadget"],
    "partnership": ["acme partners with widget on batteries", "acme and widget form joint venture"],
    "litigation": ["acme sued over faulty gadgets", "jury finds for widget", "acme seeks dismissal of case"],
    "regulation": ["regulators open probe of acme", "acme recalls 40,000 gadgets", "us bans exports of widget chips", "us sets new tariffs on gadgets"],
    "management": ["acme ceo ann lee steps down", "widget names bo kim as cfo", "acme announces layoffs", "acme to cut 4,000 office jobs"],
    "analyst_up": ["broker upgrades acme to buy", "bank raises acme price target to $90", "bank starts acme at overweight", "bank raises acme works (acm) pt to $90, cites raised guidance", "bank adjusts acme price target to $9 from $8, maintains hold"],
    "analyst_down": ["broker downgrades widget", "bank cuts widget price target to $12", "bank adjusts acme price target to $8 from $9, maintains buy"],
    "insider": ["acme insiders sell $4 million of stock", "acme director sells 4,000 shares"],
    "index_change": ["acme to join s&p 500", "widget removed from nasdaq-100"],
    "short_report": ["short seller targets acme's accounts"],
    "halt": ["trading halted in acme pending news"],
    "general": ["acme holds its picnic by the river", "gadget makers sink after u.s. credit downgrade", "gadget makers calm despite tariffs", "state pension buys up acme and widget stock"],
}  # fmt: skip


def test_the_cases_cover_the_vocabulary():
    assert set(SAID) == set(CatalystType) == {kind for kind, _ in RULES}


@pytest.mark.parametrize("kind, text", [(k, t) for k, ts in SAID.items() for t in ts])
def test_type(kind, text):
    found, phrase = type_of(text)
    assert found == kind
    assert kind == "general" or phrase in text
    assert noise_in(text) is None


def test_each_row_is_a_whole_expression():
    for name, expression in [*RULES, *NOISE]:
        re.compile(expression)
        left = re.sub(r"\(\?<[!=]", "", expression)
        assert "<" not in left and ">" not in left, (name, expression)  # No part left unfilled


def test_nw04_no_row_can_speak_a_word_that_the_database_lacks():
    assert all(isinstance(kind, CatalystType) for kind, _ in RULES)
    assert set(ITEMS.values()) <= set(CatalystType)
    with pytest.raises(
        InputError
    ):  # The words of the earlier system are refused where the table is read
        from catalyst.core import word

        [word(CatalystType, k) for k, _ in rows_of("fda_approval\n  fda")]


@pytest.mark.parametrize(
    "text",
    [
        "3 stocks to watch",
        "why acme stock soared today",
        "is acme a buy?",
        "should you buy acme stock now?",
        "acme vs. widget: which is the better buy?",
        "jim cramer on acme: a great company",
        "acme shareholder alert: law firm announces class action",
        "global gadget market size to reach $9 billion",
        "acme to report second quarter results on tuesday",
        "stock market today: acme plunges on fda ban",
        "acme: cheap at last (rating upgrade)",
        "industrials up amid mixed earnings -- industrials roundup",
    ],
)
def test_noise(text):
    assert noise_in(text)


@pytest.mark.parametrize(
    "codes, kind",
    [
        (["2.02", "9.01"], "results"),
        (["9.01", "7.01", "2.02"], "results"),
        (["5.02", "9.01"], "management"),
        (["1.01", "9.01"], "contract"),
        (["2.01", "1.01"], "merger"),
        (["3.02"], "offering"),
        (["1.03", "2.04"], "litigation"),
        (["3.01"], "regulation"),
        (["4.02"], "results"),
        (["5.03"], "general"),
        (["8.01", "9.01"], "general"),
        (["12"], "results"),
        (["99.99", "", "<b>"], "general"),
        ([], "general"),
    ],
)
def test_filings_speak_by_number(codes, kind):
    assert type_of_items(codes)[0] == kind == type_of_items(reversed(codes))[0]
    assert (type_of_items(codes)[1] is None) == (kind == "general")


def test_items_are_read_from_a_summary_in_the_form_that_the_feed_gives():
    assert items_in("Item 2.02; Item 9.01") == ["2.02", "9.01"]
    assert items_in("ITEM 5.02") == ["5.02"]
    assert items_in(None) == items_in("an item of 2.02 percent") == []


def test_a_target_that_stays_says_nothing():
    assert target_moved("bank adjusts acme price target to $9 from $9") is None
    assert target_moved("acme price target moves") is None
    assert type_of("bank downgrades acme, price target to $9 from $8")[0] == "analyst_down"


def test_a_name_is_a_whole_word_in_its_own_case():
    assert named_factor("Visa rules change", "V", "Visa Inc.") == 1.0
    assert named_factor("A visa for Acme", "V", "Visa Inc.") == 0.4
    assert named_factor("VISA rises", "V", "Visa Inc.") == 1.0
    assert named_factor("Acmeville opens", "ACM", "Acme Corp") == 0.4
    assert not name_pattern("C", "Citigroup Inc.").search("Vitamin C is dear")
    assert name_pattern("C", "Citigroup Inc.").search("Bank (C) reports")


@pytest.mark.parametrize(
    "text",
    [
        "raises " * 80,
        "to buy " * 80,
        "names a " * 70,
        "beats a b c d " * 40,
        "$1 " * 170,
        "q1 " * 170,
        "(" * 500,
        "drug a a a a a a a " * 25,
        "chief a" * 70,
        "target to 1 from " * 30,
        "‮שלום" * 90,
        "sells a b c d e f g " * 25,
    ],
)
def test_hostile_text_is_cheap(text):
    text, watch = text[:500], Stopwatch()
    noise_in(text), type_of(text)
    assert watch.seconds < 0.25


def macro_f1(told, got):
    "Mean over the kinds that were labelled"
    scores = []
    for kind in sorted(set(told)):
        both = sum(t == g == kind for t, g in zip(told, got, strict=True))
        scores.append(2 * both / (told.count(kind) + got.count(kind)))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("half, least, least_f1", [("held", 0.82, 0.65), ("tune", 0.92, 0.90)])
def test_agrees_with_labels_by_hand(shared, half, least, least_f1):
    "Ids and labels of `kind_labels.csv`; the rules of labelling stand on the page `22_kinds`, the texts stay where they are"
    labels = [r for r in csv.DictReader(LABELS.open()) if r["half"] == half]
    assert {r["kind"] for r in labels} <= set(CatalystType) and len(labels) >= 150
    news = pd.read_parquet(shared / "real_news_2025.parquet", columns=["id", "headline"])
    texts = dict(zip(news.id, news.headline.str.lower().str.replace("’", "'"), strict=True))
    got = [("general" if noise_in(t := texts[r["id"]]) else str(type_of(t)[0])) for r in labels]
    told = [r["kind"] for r in labels]
    assert sum(a == b for a, b in zip(told, got, strict=True)) / len(told) >= least
    assert macro_f1(told, got) >= least_f1


def test_results_headlines_stand_beside_results_filings(shared):
    "Within hours of a filing under item 2.02, plain headlines that name the company speak of results"
    filed = pd.read_csv(shared / "edgar_8k_to_2025.csv", dtype=str).dropna(subset="symbol")
    filed = filed.assign(at=pd.to_datetime(filed.ts_as_stated_utc, utc=True))
    filed = filed[
        (filed["at"] >= "2025-01-01") & filed["items"].fillna("").str.contains("2.02", regex=False)
    ]
    news = pd.read_parquet(shared / "real_news_2025.parquet")
    news = news.assign(symbol=news.symbols.str.split(",")).explode("symbol")
    said = []
    for r in filed.itertuples():
        near = news[
            (news.symbol == r.symbol)
            & (news.published_at - r.at).between(pd.Timedelta("-2h"), pd.Timedelta("4h"))
        ]
        low = [h.lower() for h in near.headline if name_pattern(r.symbol, r.name).search(h)]
        said += [type_of(t)[0] for t in low if not noise_in(t)]
    share = sum(k in ("results", "guidance") for k in said) / len(said)
    assert len(said) >= 50 and share >= 0.45  # Of any plain headline that names a company: 0.08
