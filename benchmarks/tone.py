"""Tone of headlines beside VADER and TextBlob on the same rows: accuracy, macro-F1, confusion, headlines a second.

    python benchmarks/tone.py [--data ../shared/data] [--part report|tune|all] [--ablate]

Four sets. Two have the labels of vendors, which are noisy (a feed calls "sales top estimates" negative); they are split by date, and
the rules were tuned on the earlier part only: finviz before 2025-08-09, stocknewsapi before 2025-11-01. Two are our own: headlines of
the real feeds labelled by hand before any output was seen (tests/data/tone_labels.csv: ids and labels, no text), and invented sentences
in the grammar of company reports (tests/data/tone_sentences.csv). Their halves "tune" and "report" were drawn at random.

Rules of the hand labels: what a headline tells is good, bad or neither for the company or market that it is about. (1) A price that
moved, a rating, an estimate beaten or missed decides; two of unlike sign are neutral unless the sentence leans. (2) Lists, advice without
a verdict, previews, transcripts, brochures, appointments, plain launches and routine sales by insiders are neutral. (3) A question is
neutral unless a statement stands beside it. (4) Contracts, approvals, buybacks are positive; suits, probes, recalls, lay-offs negative.

VADER and TextBlob are references only (`pip install vaderSentiment textblob`); one that is missing is left out. `--ablate` adds VADER's
general words to ours, where our rules find nothing, to see whether they would help.
"""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from catalyst.tone import plain_text, tone_of
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

HERE = Path(__file__).resolve().parents[1]
WORDS = ["negative", "neutral", "positive"]
CUTS = {"finviz": "2025-08-09", "stocknewsapi": "2025-11-01"}


def word_of(tone, edge=0.1):
    return "positive" if tone >= edge else "negative" if tone <= -edge else "neutral"


def vendor(data):
    "Name, rows with text, label and part"
    files = {
        "finviz": ("news/finviz_67_2025.parquet", "headline"),
        "stocknewsapi": ("news/stocknewsapi_mag7_2025.parquet", "title"),
    }
    for name, (file, text) in files.items():
        d = pd.read_parquet(data / file).dropna(subset=["sentiment", text])
        d = d.sort_values("ts").drop_duplicates(text)
        part = (d.ts >= pd.Timestamp(CUTS[name], tz="UTC")).map({True: "report", False: "tune"})
        yield name, pd.DataFrame({"text": d[text], "label": d.sentiment.str.lower(), "half": part})


def own(data):
    labels = pd.read_csv(HERE / "tests/data/tone_labels.csv")
    if data.is_dir():
        texts = pd.read_parquet(data / "real_news_2025.parquet", columns=["id", "headline"])
        yield (
            "hand-labelled headlines",
            labels.merge(texts.rename(columns={"headline": "text"}), on="id"),
        )
    yield "own sentences", pd.read_csv(HERE / "tests/data/tone_sentences.csv")


def judges(ablate):
    "Name to a function from text to tone"
    ours = lambda text: tone_of(plain_text(text))[0]
    yield "catalyst.tone", ours
    if find_spec("vaderSentiment"):
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        v = SentimentIntensityAnalyzer()
        general = lambda text: v.polarity_scores(text)["compound"]
        yield "VADER", general
        if ablate:

            def both(text):
                tone, words, _ = tone_of(plain_text(text))
                return tone if words else general(text) / 2

            yield "ours, else VADER / 2", both
    if find_spec("textblob"):
        from textblob import TextBlob

        yield "TextBlob", lambda text: TextBlob(text).sentiment.polarity


def report(name, d, said):
    print(f"\n{name}: {len(d)} rows, {d.label.value_counts().reindex(WORDS).to_dict()}")
    always = [d.label.mode()[0]] * len(d)
    print(
        f"  {'always ' + always[0]:<22} accuracy {accuracy_score(d.label, always):.3f}  macro-F1 {f1_score(d.label, always, average='macro'):.3f}"
    )
    for judge, tell in said:
        tell(d.text.iloc[0])
        start = time.process_time()
        tones = [tell(t) for t in d.text]
        rate = len(d) / (time.process_time() - start)
        got = [word_of(t) for t in tones]
        f1 = f1_score(d.label, got, average="macro", labels=WORDS, zero_division=0)
        matrix = confusion_matrix(d.label, got, labels=WORDS).tolist()
        print(
            f"  {judge:<22} accuracy {accuracy_score(d.label, got):.3f}  macro-F1 {f1:.3f}  {rate:>8,.0f}/s  rows true, columns said (neg, neu, pos): {matrix}"
        )


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data", type=Path, default=HERE.parent / "shared" / "data")
    p.add_argument("--part", choices=["report", "tune", "all"], default="report")
    p.add_argument("--ablate", action="store_true")
    a = p.parse_args()
    said = list(judges(a.ablate))
    sets = ([*vendor(a.data)] if a.data.is_dir() else []) + [*own(a.data)]
    for name, d in sets:
        report(f"{name} ({a.part})", d if a.part == "all" else d[d.half == a.part], said)


if __name__ == "__main__":
    main()
