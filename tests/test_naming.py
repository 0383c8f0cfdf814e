"Companies found by name: what must never match, what must, and how often it is right on real headlines"

import csv
import re
import time
from pathlib import Path

import pandas as pd
import pytest
from catalyst.naming import CLASSES, attach_names, build_matcher, name_pattern, names_in, spellings
from catalyst.ports import NEWS_COLUMNS

LABELS = Path(__file__).parent / "data" / "naming_labels.csv"
NAMES = {
    "AAPL": "Apple Inc.", "ALL": "Allstate", "IT": "Gartner", "ON": "ON Semiconductor", "NOW": "ServiceNow", "A": "Agilent Technologies",
    "TGT": "Target Corporation", "GAP": "Gap, Inc.", "V": "Visa Inc.", "F": "Ford Motor Company", "XYZ": "Block, Inc.", "MTCH": "Match Group",
    "META": "Meta Platforms", "GM": "General Motors", "GIS": "General Mills", "GE": "GE Aerospace", "GOOG": "Alphabet Class C",
    "GOOGL": "Alphabet Class A", "BRK.B": "Berkshire Hathaway", "MCD": "McDonald's", "T": "AT&T", "PG": "Procter & Gamble", "DOW": "Dow Inc.",
    "BBY": "Best Buy", "GS": "Goldman Sachs", "TRUE": "TrueCar", "AMZN": "Amazon", "NVDA": "NVIDIA Corporation", "USB": "U.S. Bancorp",
    "EXE": "Expand Energy", "QQQ": "Invesco QQQ", "ACM": "Acme", "WDG": "Widget Works",
}  # fmt: skip


@pytest.fixture(scope="module")
def matcher():
    return build_matcher(pd.DataFrame({"symbol": list(NAMES), "name": list(NAMES.values())}))


def said(text, matcher):
    return [m.symbol for m in names_in(text, matcher)]


NEVER = [
    "Is it all over for now? A look at what comes on", "ALL ON BOARD NOW: IT IS TRUE", "Price Target Raised At Last", "The Gap Between Rich And Poor Widens",
    "Student Visa Rules Tighten", "Visa Applicants Wait Longer", "Apple Pie Prices Rise", "apple growers and the general mood", "Harrison Ford Returns To The Screen",
    "Premier Ford Says Taxes Fall", "New Block Of Flats Opens", "Match Ends In A Draw", "Times Square Fills Up", "Meta-analysis finds little", "A General Retires",
    "Dow Jumps As Banks Rally", "Dow stocks slip", "3 Best Buy Rated Shares", "Best Buy Now", "Fires Spread In The Amazon Rainforest", "U.S. Growth Slows", "Dow Q3 gain is wide", "Best Buy Stock Ideas", "BBY AND THE REST", "x " * 400 + "Acme",
    "Market To Expand By 2030", "Acme Dividend ETF Opens", "Inflation Target Rises", "It's on: all eyes on rates", "Mind the GAP between a rock", "Nobody (IT) reads (ON) this",
]  # fmt: skip


@pytest.mark.parametrize("text", NEVER)
def test_words_with_a_life_of_their_own_never_match_alone(text, matcher):
    assert said(text, matcher) == []


ALWAYS = [
    ("$ALL slips after the storm", ["ALL"]), ("Insurer (NYSE: ALL) sees losses", ["ALL"]), ("Chips (NASDAQ: ON) and (Nasdaq:IT)", ["IT", "ON"]),
    ("Target Corp. shuts nine shops", ["TGT"]), ("Target’s Q2 profit falls", ["TGT"]), ("Shares of Visa climb", ["V"]), ("Visa (V) lifts its dividend", ["V"]),
    ("Ford recalls a van", ["F"]), ("Ford Motor names a head of sales", ["F"]), ("Block, Inc. buys back stock", ["XYZ"]), ("Gap Inc. beats estimates", ["GAP"]),
    ("Match Group cuts staff", ["MTCH"]), ("Meta shares fall", ["META"]), ("Apple Inc to open a plant", ["AAPL"]), ("General Motors and General Mills talk", ["GIS", "GM"]),
    ("General Electric’s old plant", ["GE"]), ("Google fined", ["GOOG", "GOOGL"]), ("GOOGL rises", ["GOOGL"]), ("BRK-B and $BRK.B", ["BRK.B"]),
    ("McDonald’s tests a menu", ["MCD"]), ("AT&amp;T sells a unit", ["T"]), ("Procter and Gamble raises prices", ["PG"]), ("Nvidia, NVIDIA, NVDA", ["NVDA"]),
    ("Acme, Apple and Target rally", ["AAPL", "ACM", "TGT"]), ("Should you own Invesco QQQ ETF?", ["QQQ"]), ("ACME UPS ITS OUTLOOK", ["ACM"]),
]  # fmt: skip


@pytest.mark.parametrize("text,symbols", ALWAYS)
def test_a_mark_of_a_company_makes_it_match(text, symbols, matcher):
    assert said(text, matcher) == symbols


def test_longest_match_wins_and_a_shared_name_decides_nothing(matcher):
    assert [m.words for m in names_in("General Electric grows", matcher)] == ["General Electric"]
    inner = build_matcher(
        pd.DataFrame({"symbol": ["WDG", "WRX"], "name": ["Widget Worksop", "Worksop"]})
    )
    assert said("Widget Worksop grows", inner) == ["WDG"]
    twins = build_matcher(
        pd.DataFrame({"symbol": ["ACM", "ACQ"], "name": ["Acme Inc", "Acme Ltd"]})
    )
    assert names_in("Acme grows", twins) == [] and said("$ACQ grows", twins) == ["ACQ"]


def test_the_house_that_rates_is_not_the_subject(matcher):
    assert said("Goldman Sachs upgrades Acme to buy", matcher) == ["ACM"]
    assert said("Acme Presents at Goldman Sachs Technology Conference", matcher) == ["ACM"]
    assert said("Goldman Sachs profit beats estimates", matcher) == ["GS"]


def test_spellings_and_pattern_are_for_attached_tickers_too():
    assert {s.words for s in spellings("ACM", "Acme Holdings, Inc.")} == {"Acme", "ACM"}
    assert name_pattern("TGT", "Target Corporation").search("Target to hire")
    assert not name_pattern("C", "Citigroup").search("Vitamin C sells")
    assert name_pattern(None, None) is None


def test_guard_13_odd_headlines_are_read_and_nothing_is_lost(matcher):
    at = pd.Timestamp("2025-08-13 12:00", tz="UTC")
    texts = [
        None,
        "",
        "Acme " * 50_000,
        "‫שלום‬ 🚀 Acme",
        float("nan"),
        "<script>Acme</script>",
        "$$$ (((",
        "\x00Acme",
    ]
    rows = [
        ["w", str(i), [] if i % 2 else None, t, "", "s", "", None, at, at, None]
        for i, t in enumerate(texts)
    ]
    items = pd.DataFrame(rows, columns=NEWS_COLUMNS, index=range(7, 7 + len(rows)))
    got = attach_names(items, matcher)
    assert list(got.index) == list(items.index) and got.columns.tolist() == [
        *NEWS_COLUMNS,
        "named_by",
    ]
    assert [s == ["ACM"] for s in got.symbols] == [
        False,
        False,
        True,
        True,
        False,
        True,
        False,
        True,
    ]


def test_attached_tickers_stay_and_the_filled_ones_are_told(matcher):
    at = pd.Timestamp("2025-08-13 12:00", tz="UTC")
    rows = [
        ["w", i, s, "Acme sues Widget Works", "", "s", "", None, at, at, None]
        for i, s in (("a", ["T"]), ("b", []))
    ]
    got = attach_names(pd.DataFrame(rows, columns=NEWS_COLUMNS), matcher)
    assert got.symbols.tolist() == [["T"], ["ACM", "WDG"]]
    assert got.named_by[0] is None and got.named_by[1] == {
        "ACM": ["Acme", 0.95],
        "WDG": ["Widget Works", 0.95],
    }


def universe(shared):
    listed = pd.read_csv(shared / "reference/sp500_constituents_gics.csv", keep_default_na=False)
    return listed.rename(columns={"Symbol": "symbol", "Security": "name"})[["symbol", "name"]]


def test_precision_and_recall_on_labelled_disagreements(shared):
    "Labels say whether a headline names a company where the matcher and the feed's own tickers disagree"
    matcher = build_matcher(
        pd.concat(
            [
                universe(shared),
                pd.DataFrame(
                    {
                        "symbol": ["BABA", "MELI", "SPY", "QQQ"],
                        "name": ["Alibaba", "MercadoLibre", None, "Invesco QQQ"],
                    }
                ),
            ]
        )
    )
    news = (
        pd.read_parquet(shared / "real_news_2025.parquet")
        .drop_duplicates("id")
        .set_index("id")
        .headline
    )
    rows = list(csv.DictReader(LABELS.open()))
    hit = [
        CLASSES.get(r["symbol"], r["symbol"])
        in {CLASSES.get(m.symbol, m.symbol) for m in names_in(news[r["id"]], matcher)}
        for r in rows
    ]
    told = [r["label"] == "named" for r in rows]
    assert len(rows) == 200 and sum(told) > 100
    assert sum(h for h, t in zip(hit, told) if not t) == 0, (
        "named nowhere, or only as the one who rates"
    )
    assert sum(h for h, t in zip(hit, told) if t) >= 0.92 * sum(told)


def test_a_hundred_thousand_headlines_take_seconds(shared):
    matcher = build_matcher(universe(shared))
    texts = pd.read_parquet(shared / "real_news_2025.parquet").headline.tolist()
    start = time.perf_counter()
    found = sum(bool(names_in(t, matcher)) for t in texts)
    spent = (time.perf_counter() - start) / len(texts) * 100_000
    assert found > len(texts) / 3 and spent < 60, f"{spent:.0f} s for 100,000"


def test_no_text_of_others_is_committed():
    assert re.fullmatch(r"[\w.,\n]+", LABELS.read_text())
