"News on its whole way: from a file or a feed through stories to decisions, commands and the page"

import csv
import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pandas as pd
import pytest

from catalyst.arrivals import take_news
from catalyst.clock import get_session, parse_instant
from catalyst.core import Settings, World
from catalyst.desk import _news, open_desk
from catalyst.newsfiles import NewsFile
from catalyst.newspage import news_section
from catalyst.record import read_stories_of
from catalyst.sources import source_table
from catalyst.dealing import _campaign
from catalyst.steps import collect_news
from catalyst.strength import explain, top

AT = parse_instant("2025-08-13T10:00:00-04:00")
SETTINGS = Settings(world=World.SIMULATED, simulate_session="2025-08-13")
EVIL = "Acme <script>alert(1)</script> agrees to buy Widget for $2 billion"


def a_file(path, rows):
    with path.open("w", newline="") as f:
        out = csv.writer(f)
        out.writerow(["id", "symbols", "headline", "source", "url", "published_at"])
        out.writerows(rows)
    return path


def row(i, headline, source="Reuters", symbols="ACM", minutes=60, url=""):
    return [i, symbols, headline, source, url, (AT - timedelta(minutes=minutes)).isoformat()]


def test_nw01_news_goes_the_whole_way_or_says_where_it_stopped(scratch, tmp_path):
    "A helper was missing, every item was lost, and nobody was told. Each row of this file is counted, and the sound one is read back"
    path = a_file(tmp_path / "n.csv", [row("1", EVIL), row("2", ""), row("3", "Odd", minutes=-600)])
    tally, _, judged = take_news(scratch, NewsFile(path).frames(), AT)
    assert (tally.accepted, tally.quarantined, judged) == (1, 2, 1)
    assert scratch.value("select count(*) from quarantine where kind = 'news'") == 2
    best = top(scratch, AT).iloc[0]
    assert (best.symbol, best.headline, best.catalyst_type) == ("ACM", EVIL, "merger")
    assert explain(scratch, best.story_id, AT)["securities"][0]["item"]["decided_by"]


def test_a_script_in_a_headline_is_text_on_the_news_page(scratch, tmp_path):
    path = a_file(tmp_path / "n.csv", [row("1", EVIL, source="<b>Blog</b>")])
    take_news(scratch, NewsFile(path).frames(), AT)
    stories, error = read_stories_of(scratch, AT)
    day = SimpleNamespace(
        session=get_session("2025-08-13"),
        asof=AT,
        stories=stories,
        news_error=error,
        sources=source_table(scratch, AT),
    )
    page = "".join(news_section(day))
    assert "&lt;script&gt;alert(1)" in page and "&lt;b&gt;Blog" in page
    assert "<script" not in page and "<b>Blog" not in page


def test_nw10_a_page_without_news_says_which_of_the_two_it_is(scratch):
    stories, error = read_stories_of(scratch, AT)
    assert stories.empty and "no feed has ever answered" in error
    scratch.run(
        "insert into service_health (service_name, status, last_check) values ('news', 'healthy', :t)",
        t=AT,
    )
    stories, error = read_stories_of(scratch, AT)
    assert stories.empty and error is None


def test_guard12_one_feed_down_is_told_and_empties_nobody_elses_news(scratch, tmp_path):
    a_file(tmp_path / "a.csv", [row("1", EVIL)])
    declared = replace(SETTINGS, news_feeds=f"file:{tmp_path}/a.csv, file:{tmp_path}/b.csv")
    told = collect_news(open_desk(AT, declared, scratch))
    rows = scratch.rows(
        "select service_name, status, error_message from service_health where service_name like 'news:%'"
    )
    assert told["accepted"] == 1
    assert {r["service_name"]: r["status"] for r in rows} == {
        "news:file:a.csv": "healthy",
        "news:file:b.csv": "down",
    }
    assert all((r["error_message"] is None) == (r["status"] == "healthy") for r in rows)


def test_a_feed_whose_rows_were_undone_is_asked_again(scratch, tmp_path, monkeypatch):
    from catalyst import steps

    a_file(tmp_path / "a.csv", [row("1", EVIL)])
    declared = replace(SETTINGS, news_feeds=f"file:{tmp_path}/a.csv")
    with monkeypatch.context() as m, pytest.raises(KeyError):
        m.setattr(steps, "judge_news", lambda *asked: {}["x"])
        collect_news(open_desk(AT, declared, scratch))
    assert (
        scratch.value("select count(*) from service_health where service_name like 'news:%'") == 0
    )
    assert collect_news(open_desk(AT + timedelta(minutes=15), declared, scratch))["accepted"] == 1


def test_an_item_without_tickers_is_attached_by_name(scratch, tmp_path):
    from catalyst.dims import security_ids

    ids = security_ids(scratch, ["NVDA"])
    scratch.run(
        "update securities set name = 'NVIDIA Corporation' where security_id = :i", i=ids["NVDA"]
    )
    a_file(tmp_path / "a.csv", [row("1", "Nvidia wins a $2 billion order", symbols="")])
    collect_news(open_desk(AT, replace(SETTINGS, news_feeds=f"file:{tmp_path}/a.csv"), scratch))
    assert scratch.value("select security_id from news_sentiment") == ids["NVDA"]


def test_a_source_with_a_broken_clock_does_not_decide(scratch, tmp_path):
    path = a_file(
        tmp_path / "n.csv",
        [row("1", EVIL), row("2", "Widget opens a canteen", "A blog", "WDG", 30)],
    )
    take_news(scratch, NewsFile(path).frames(), AT)
    desk = open_desk(AT, SETTINGS, scratch)
    assert sorted(_news(desk, scratch).source_name) == ["A blog", "Reuters"]
    fault = """insert into news_clock_audits (source_id, checked_at, items, pairs, fault, late_hours, confidence, evidence)
        select source_id, :t, 100, 100, '8 h late', 8, 0.9, 'made up' from news_sources where source_name = 'A blog'"""
    scratch.run(fault, t=AT - timedelta(minutes=1))
    assert _news(desk, scratch).source_name.tolist() == ["Reuters"]
    earlier = replace(desk, asof=AT - timedelta(minutes=2))
    assert sorted(_news(earlier, scratch).source_name) == ["A blog", "Reuters"]
    off = replace(desk, config=replace_flag(desk.config, "feature_clock_faults", 0))
    assert len(_news(off, scratch)) == 2


def replace_flag(config, name, value):
    from catalyst.config import Config

    return (
        Config({**{k: config[k] for k in config}, name: value})
        if hasattr(config, "__iter__")
        else Config({name: value})
    )


def test_nw11_a_campaign_reaches_risk_with_its_plan():
    view = SimpleNamespace(
        news=pd.DataFrame({"story_id": [7, 7, 8], "coordination": [0.2, 0.65, None]})
    )
    plan = SimpleNamespace(story_id=7)
    assert _campaign(view, plan) == Decimal("0.65")
    for nothing in (None, 8, 9):
        assert _campaign(view, SimpleNamespace(story_id=nothing)) is None


def test_a_collector_of_links_is_not_the_source(scratch, tmp_path):
    link = "https://finance.yahoo.com/news/a"
    path = a_file(tmp_path / "n.csv", [row("1", EVIL, source="", url=link)])
    take_news(scratch, NewsFile(path).frames(), AT)
    told = source_table(scratch, AT)
    assert (told.source_name.tolist(), told.source_tier.tolist()) == (["yahoo.com"], [3])


def test_the_commands_agree_with_the_library(scratch, tmp_path, capsys, monkeypatch):
    import argparse

    from catalyst import newsdesk

    path = a_file(tmp_path / "n.csv", [row("1", EVIL)])
    take_news(scratch, NewsFile(path).frames(), AT)
    monkeypatch.setattr(newsdesk, "open_home", lambda a: scratch)
    asked = dict(home=None, json=True, asof=AT.isoformat())
    assert newsdesk.news_top(argparse.Namespace(**asked, limit=3, symbol=[])) == 0
    shown = json.loads(capsys.readouterr().out)
    assert newsdesk.news_explain(argparse.Namespace(**asked, id=shown[0]["story_id"])) == 0
    why = json.loads(capsys.readouterr().out)
    assert why["securities"][0]["strength"] == pytest.approx(shown[0]["strength"])
    assert newsdesk.news_top(argparse.Namespace(**asked | {"json": False}, limit=3, symbol=[])) == 0
    assert "ACM" in capsys.readouterr().out


def asked(scratch, monkeypatch, call, **options):
    import argparse

    from catalyst import newsdesk

    monkeypatch.setattr(newsdesk, "open_home", lambda a: scratch)
    told = dict(home=None, json=False, asof=AT.isoformat()) | options
    return getattr(newsdesk, call)(argparse.Namespace(**told))


def test_a_span_that_is_none_is_refused(scratch, monkeypatch):
    from catalyst.core import InputError

    for call in ("news_sources", "news_clocks"):
        for days in (800000, 0, -1):
            with pytest.raises(InputError, match="--days: received .* from 1 to 36500"):
                asked(scratch, monkeypatch, call, days=days)
        assert asked(scratch, monkeypatch, call, days=36500) == 0
    with pytest.raises(InputError, match="--limit: received 0"):
        asked(scratch, monkeypatch, "news_top", limit=0, symbol=[])


def test_an_empty_answer_says_why(scratch, tmp_path, monkeypatch, capsys):
    said = lambda call, **o: (asked(scratch, monkeypatch, call, **o), capsys.readouterr().out)[1]
    assert "no news is stored" in said("news_clocks", days=30)
    take_news(scratch, NewsFile(a_file(tmp_path / "n.csv", [row("1", EVIL)])).frames(), AT)
    later = (AT + timedelta(days=90)).isoformat()
    text = said("news_top", limit=3, symbol=[], asof=later)
    assert "no feed has ever answered; the newest item stored is of 2025-08-13" in text
    for call in ("news_sources", "news_clocks"):
        text = said(call, days=30, asof=later)
        assert "no items between 2025-10-12" in text and "newest stored is of 2025-08-13" in text
        assert "use --asof" in text and "nothing" not in text
    assert said("news_sources", days=30, asof=later, json=True).strip() == "[]"


def test_rows_items_and_pairs_add_up(scratch, tmp_path):
    rows = [row("1", EVIL), row("1", EVIL), row("1", EVIL, symbols="WDG"), row("2", "")]
    file = a_file(tmp_path / "n.csv", rows)
    first, again = (take_news(scratch, NewsFile(file).frames(), AT)[0].as_dict() for _ in range(2))
    parts = ("accepted", "repaired", "equal", "quarantined")
    assert [first[p] for p in parts] == [2, 0, 1, 1] and first["rows"] == 4
    assert (first["items"], first["pairs"], first["new"]) == (1, 2, 1)
    assert (again["items"], again["pairs"], again["new"]) == (1, 2, 0)
    small = NewsFile(file, chunk_rows=1).frames()
    assert take_news(scratch, small, AT)[0].as_dict()["equal"] == 1


def test_no_source_is_first_more_often_than_it_tells(scratch, tmp_path):
    told = [row("1", EVIL), row("2", "Widget opens a canteen in Ohio", minutes=1500)]
    take_news(scratch, NewsFile(a_file(tmp_path / "a.csv", told)).frames(), AT)
    again = [row("3", EVIL, minutes=30), row("4", "Widget opens a canteen in Ohio", minutes=20)]
    take_news(scratch, NewsFile(a_file(tmp_path / "b.csv", again)).frames(), AT)
    table = source_table(scratch, AT, days=1).set_index("feed")
    assert table["first"].to_dict() == {"file:a.csv": 1, "file:b.csv": 0}
    assert (table["first"] <= table["stories"]).all()


def test_impacts_count_market_news_and_teach_the_records(scratch, tmp_path, monkeypatch, capsys):
    from catalyst import reliability

    rows = [row("1", EVIL), row("2", "Rain is expected on Tuesday", symbols="")]
    take_news(scratch, NewsFile(a_file(tmp_path / "n.csv", rows)).frames(), AT)
    seen = []
    learned = reliability.learn
    monkeypatch.setattr(reliability, "learn", lambda *a: seen.append(a[1]) or learned(*a))
    assert asked(scratch, monkeypatch, "news_impacts", again=False, json=True) == 0
    assert json.loads(capsys.readouterr().out)["without_a_security"] == 1 and seen == [AT]
