"Tone: grammar turns it round, every sum can be done again, each company gets its own, nothing is slow or fetched."

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from catalyst.clock import Stopwatch
from catalyst.core import InputError, ToneLabel
from catalyst.tone import DEAD, HEDGED, LISTED, label_of, plain_text, tone_for, tone_of
from catalyst.tonewords import event_values, lexicon, phrases

DATA = Path(__file__).parent / "data"
WORDS = ["negative", "neutral", "positive"]


def word_of(tone):
    return WORDS[1 + (tone >= 0.1) - (tone <= -0.1)]


def macro_f1(pairs):
    "Mean over the three words of 2·hits / (said + true)"
    hits = {w: sum(t == s == w for t, s in pairs) for w in WORDS}
    sums = {w: sum((t == w) + (s == w) for t, s in pairs) for w in WORDS}
    return sum(2 * hits[w] / sums[w] for w in WORDS) / 3


PAIRS = [  # The same words, turned round
    ("Acme beats estimates", "Acme fails to beat estimates"),
    ("Acme reports narrower loss", "Acme reports wider loss"),
    ("Acme raises guidance", "Acme cuts guidance"),
    ("Acme cuts costs", "Acme cuts forecasts"),
    ("Unemployment fell in May", "Employment fell in May"),
    ("Results were better than feared", "Results were worse than feared"),
    ("Sales rose to EUR 13 mn from EUR 9 mn", "Costs rose to EUR 13 mn from EUR 9 mn"),
    ("Sales were EUR 13 mn, compared with EUR 9 mn", "Sales were EUR 9 mn, compared with EUR 13 mn"),
    ("Net loss was EUR 2 mn versus EUR 5 mn", "Net loss was EUR 5 mn versus EUR 2 mn"),
    ("Profit was $2 bn versus $900 mn", "Profit was $900 mn versus $2 bn"),
    ("Acme swung to a profit of 2 mn from a loss", "Acme swung to a loss of 2 mn from a profit"),
    ("Operating profit was 1 mn, compared to a loss of 4 mn", "Operating loss was 1 mn, compared to a profit of 4 mn"),
    ("Acme avoids strike", "Acme hit by strike"),
    ("Court dismisses lawsuit against Acme", "Court allows lawsuit against Acme"),
    ("Broker raises Acme price target", "Broker cuts Acme price target"),
    ("$ACM +4% after the open", "$ACM -4% after the open"),
    ("Acme to create 200 jobs", "Acme to cut 200 jobs"),
    ("A fall in costs helped", "A fall in orders hurt"),
    ("Acme does not expect a loss", "Acme expects a loss"),
    ("bullish on $ACM", "short $ACM"),
]  # fmt: skip


@pytest.mark.parametrize("good, poor", PAIRS)
def test_one_word_turns_the_tone(good, poor):
    assert tone_of(good)[0] >= 0.1 and tone_of(poor)[0] <= -0.1


NEUTRAL = ["Acme is based in Turku", "Acme has 400 employees", "Profit before tax was EUR 3 mn", "The value of the order was not disclosed", "Acme will publish its report on Tuesday", "Acme sets up a unit in Oslo", "Crude futures settle", "Acme shares change hands", "Will Acme beat estimates?", "Acme beats on earnings but misses on revenue", "The agreement is subject to approval", "The deal has no material effect", "Acme adds a director", "A stable outlook in the short term"]  # fmt: skip


@pytest.mark.parametrize("text", NEUTRAL)
def test_plain_facts_are_neutral(text):
    assert word_of(tone_of(text)[0]) == "neutral"


@pytest.mark.parametrize("text", [t for p in PAIRS for t in p] + NEUTRAL)
def test_the_sum_can_be_done_again(text):
    tone, words, hedge = tone_of(text)
    rest = max(0.0, abs(sum(words.values()) * hedge) - DEAD)
    assert abs(tone) == pytest.approx(rest / (rest**2 + 2) ** 0.5, abs=2e-3)
    assert tone * sum(words.values()) >= 0 and all(words.values())
    json.dumps(words)


def test_hedges_questions_and_lists_weaken():
    plain = tone_of("Acme beats estimates")[0]
    assert tone_of("Acme may have beaten estimates")[2] == HEDGED
    assert tone_of("3 stocks to watch as profit soars")[2] == LISTED
    assert 0 <= tone_of("Has Acme beaten estimates?")[0] < 0.1 < plain
    assert 0 < tone_of("Acme shares fall despite record profit")[1]["record"] < 1


def test_no_evidence_is_nothing():
    assert tone_of("") == tone_of("Acme holds its picnic") == (0.0, {}, 1.0)


FOR = [  # Headline, then who gets what
    ("Acme falls as Widget wins order", {"Acme": -1, "Widget": 1}),
    ("Acme surges, Widget slumps", {"Acme": 1, "Widget": -1}),
    ("Acme and Widget fall", {"Acme": -1, "Widget": -1}),
    ("Acme and Widget rally while Gizmo sinks", {"Acme": 1, "Widget": 1, "Gizmo": -1}),
    ("Gizmo raises Acme price target to $90", {"Acme": 1, "Gizmo": 0}),
    ("Acme PT raised to $90 at Gizmo", {"Acme": 1, "Gizmo": 0}),
    ("Acme upgraded by Gizmo", {"Acme": 1, "Gizmo": 0}),
    ("Gizmo downgrades Acme to sell", {"Acme": -1, "Gizmo": 0}),
    ("Gizmo says Acme profit will fall", {"Acme": -1, "Gizmo": 0}),
    ("Acme sues Widget over patents", {"Acme": 0, "Widget": -1}),
    ("Widget sued by Acme", {"Acme": 0, "Widget": -1}),
    ("Acme to acquire Widget for $2 billion", {"Acme": 0, "Widget": 1}),
    ("Shares to fall 20%: Gizmo", {"Gizmo": 0}),
    ("Acme loses market share to Widget", {"Acme": -1, "Widget": 1}),
    ("Acme partners with Widget on batteries", {"Acme": 1, "Widget": 1}),
    ("Acme stock soars, but Widget cuts guidance", {"Acme": 1, "Widget": -1}),
    ("Regulators fine Acme; Widget posts record profit", {"Acme": -1, "Widget": 1}),
]


@pytest.mark.parametrize("text, wanted", FOR)
def test_each_company_has_its_own_tone(text, wanted):
    got = tone_for(text, {n: n for n in ("Acme", "Widget", "Gizmo", "Absent")})
    assert {n: (t >= 0.1) - (t <= -0.1) for n, (t, _, _) in got.items()} == wanted


def test_a_clause_weighs_full_for_its_own_company():
    text = "Acme falls as Widget wins"
    assert tone_for(text, {"w": "Widget"})["w"][1]["wins"] == 1.2 > tone_of(text)[1]["wins"]


def test_names_are_spellings_or_expressions():
    assert tone_for("ACME falls", {"a": "Acme"}) == {}
    assert tone_for("Acme (NYSE: ACM) falls", {"a": re.compile(r"\bACM\b|Acme")})["a"][0] < 0
    assert tone_for("Acme's loss widens", {"a": "Acme"})["a"][:1] == tone_of("Acme's loss widens")[:1]  # fmt: skip
    with pytest.raises(InputError, match="pattern of a"):
        tone_for("Acme", {"a": None})


def test_labels_cut_at_a_tenth_and_a_half():
    cuts = {-1: "very_negative", -0.5: "very_negative", -0.49: "negative", -0.1: "negative", -0.09: "neutral", 0.09: "neutral", 0.1: "positive", 0.49: "positive", 0.5: "very_positive"}  # fmt: skip
    assert {t: str(label_of(t)) for t in cuts} == cuts
    assert {label_of(t) for t in cuts} == set(ToneLabel)


def test_the_tables_hold_together():
    values = event_values()
    assert all(abs(v) <= 2.2 for v in values.values())
    assert {role for role, _ in lexicon().values()} == set("fdtaenhrb") | {"but"}
    used = {w for rows in phrases().values() for steps, _, _ in rows for s, _ in steps for w in s}
    assert not {w for w in used | set(phrases()) if re.search(r"[A-Z|+@]", w)}


HOSTILE = ["", " ", "\x00", "🚀" * 500, "<script>alert(1)</script>", "a" * 100_000, "(" * 100_000, "1 from 2 " * 12_000, "beats " * 20_000, "not " * 20_000, "swung to a " * 9_000, "ﬁ İ ‮שלום" * 90, "?" * 9_000, "-" * 9_000, "$" * 9_000]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_read_and_cheap(text):
    watch = Stopwatch()
    tone, words, _ = tone_of(plain_text(text))
    got = tone_for(plain_text(text), {"a": "beats", "b": "a", "İ": "İ"})
    assert -1 <= tone <= 1 and all(-1 <= t <= 1 for t, _, _ in got.values())
    assert watch.seconds < 1
    json.dumps(words)


def test_a_letter_whose_small_form_is_two_moves_no_place():
    got = tone_for(
        "İ" * 40 + " Acme falls as Widget wins order", {"Acme": "Acme", "Widget": "Widget"}
    )
    assert got["Acme"][0] < -0.1 < 0.1 < got["Widget"][0]


def test_no_model_and_no_foreign_word_list_is_loaded():
    code = (
        "import sys; from catalyst.tone import tone_of; tone_of('Acme falls'); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # fmt: skip
    roots = {m.split(".")[0] for m in loaded.stdout.split()}
    assert not roots & {"vaderSentiment", "transformers", "torch", "requests", "httpx", "pandas"}


def sentences(half):
    rows = csv.DictReader((DATA / "tone_sentences.csv").open(encoding="utf-8"))
    return [(r["label"], word_of(tone_of(r["text"])[0])) for r in rows if r["half"] == half]


@pytest.mark.parametrize("half, least", [("tune", 0.95), ("report", 0.85)])
def test_own_sentences(half, least):
    pairs = sentences(half)
    assert len(pairs) == 78 and macro_f1(pairs) >= least


def test_hand_labelled_headlines(shared):
    import pandas as pd

    texts = pd.read_parquet(shared / "real_news_2025.parquet", columns=["id", "headline"])
    texts = texts.set_index("id").headline
    rows = list(csv.DictReader((DATA / "tone_labels.csv").open(encoding="utf-8")))
    assert len(rows) == 340 and {r["half"] for r in rows} == {"tune", "report"}
    pairs = [(r["label"], word_of(tone_of(plain_text(texts[r["id"]]))[0])) for r in rows]
    assert macro_f1(pairs) >= 0.65


def finbert_stub(calls):
    def judge(texts, **options):
        calls.append((len(texts), options))
        good = [0.8 if "rises" in t else 0.1 for t in texts]
        return [[{"label": "Positive", "score": g}, {"label": "Negative", "score": 0.9 - g}, {"label": "Neutral", "score": 0.1}] for g in good]  # fmt: skip

    return judge


def test_finbert_has_the_same_shape_and_works_in_batches():
    from catalyst import finbert

    calls = []
    got = finbert.tones_of(["Acme rises", " ", "Acme falls"] * 20, finbert_stub(calls), batch=16)
    assert [n for n, _ in calls] == [16, 16, 8] and calls[0][1]["truncation"] is True
    assert got[:3] == [(0.7, {"finbert positive": 0.8, "finbert negative": 0.1}, 1.0), (0.0, {}, 1.0), (-0.7, {"finbert positive": 0.1, "finbert negative": 0.8}, 1.0)]  # fmt: skip
    assert all(map(isinstance, got[0], map(type, tone_of("Acme rises"))))
    with pytest.raises(InputError, match="batch"):
        finbert.tones_of(["Acme"], finbert_stub([]), batch=0)


def test_finbert_says_in_one_line_what_is_missing(monkeypatch):
    from catalyst import finbert
    from catalyst.core import UnavailableError

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnavailableError, match=r"pip install 'catalyst\[finbert\]'") as e:
        finbert.load()
    assert "\n" not in str(e.value)


class NoModel:
    @staticmethod
    def from_pretrained(model, local_files_only):
        raise OSError(f"no {model} here, local only: {local_files_only}\nand more lines")


@pytest.mark.parametrize("download", [True, False])
def test_finbert_fetches_only_when_told(monkeypatch, download):
    from types import SimpleNamespace

    from catalyst import finbert
    from catalyst.core import UnavailableError

    fake = SimpleNamespace(AutoModelForSequenceClassification=NoModel, AutoTokenizer=NoModel, pipeline=None)  # fmt: skip
    monkeypatch.setitem(sys.modules, "transformers", fake)
    with pytest.raises(UnavailableError, match=f"local only: {not download}") as e:
        finbert.load(download=download)
    assert "\n" not in str(e.value)
