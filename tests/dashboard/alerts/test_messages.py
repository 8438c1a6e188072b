"""The words of alerts are made of their figures, whatever stands in a name, and of older ones stay what they were."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from dashboard.alerts import AlertBook, AlertRule
from dashboard.alerts.messages import end_text, record_text, value_range
from dashboard.history.history_notes import HistoryNotes, alert_view
from tests.dashboard.alerts.test_rules import poll
from whisper_ops.history import AlertRecord, History

RULE = AlertRule(name="slots: too many", figure="slots_ratio", over=0.9, hold_seconds=0, clear_seconds=0)
OLD = AlertRecord(
    rule="lag", severity="warning", server="asr: fra", gpu_id=1, started_at=5.0, min_value=2.0, mean_value=3.0,
    max_value=4.0, sentence="asr: fra GPU 1: lag: 4 s, over 2 s",
)  # fmt: skip


def book_of(*used: int) -> AlertBook:
    book = AlertBook([RULE])
    for at, slots in enumerate(used):
        book.take(msgspec.structs.replace(poll(float(at), slots=100, slots_used=slots), server="asr: fra"))
    return book


def test_a_colon_in_a_name_cuts_no_sentence() -> None:
    (alert,) = book_of(95, 97).active
    assert alert.sentence == "asr: fra: slots: too many: 97 %, over 90 %"
    assert alert_view(alert).sentence == "slots: too many: 97 %, over 90 %"
    (over,) = book_of(95, 97, 50).ended
    assert end_text(over.record()) == "asr: fra: slots: too many after 2 s (min 95 %, avg 96 %, max 97 %)"


def test_what_is_stored_is_told_in_the_same_words(tmp_path: Path) -> None:
    (alert,) = book_of(95, 97).active
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(alerts=[alert.record()])
    with History.reading(tmp_path / "history.db") as history:
        (stored,) = history.polls.alerts(0.0, 10.0)
    assert (record_text(stored), value_range(stored)) == (alert_view(alert).sentence, alert_view(alert).spread)


def test_an_alert_of_an_older_version_keeps_its_words_without_the_place() -> None:
    assert record_text(OLD) == "lag: 4 s, over 2 s"
    assert value_range(OLD) == "min 2 avg 3 max 4"
    assert record_text(msgspec.structs.replace(OLD, sentence="anything else")) == "anything else"


@pytest.mark.parametrize(
    ("sentence", "figure"), [("a: no answer for 1 m 10 s", "silent_seconds"), ("a: lag: 3 s", None)]
)
def test_older_histories_learn_what_is_a_silence(tmp_path: Path, sentence: str, figure: str | None) -> None:
    path = tmp_path / "history.db"
    History.writing(path).close()
    with sqlite3.connect(path) as db:
        for column in ("figure", "last_value", "over_limit", "under_limit"):
            db.execute(f"ALTER TABLE alert DROP COLUMN {column}")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm007_alert_figures'")
        db.execute(
            "INSERT INTO alert (rule, severity, server, started_at, min_value, mean_value, max_value, sentence) "
            "VALUES ('r', 'warning', 'a', 1.0, 30.0, 50.0, 70.0, ?)", [sentence]
        )  # fmt: skip
    History.writing(path).close()
    with History.reading(path) as history:
        (found,) = history.polls.alerts(0.0, 10.0)
    assert found.figure == figure
    seen = HistoryNotes(path).read(10.0)
    assert seen is not None
    assert [(alert.sentence, alert.spread) for alert in seen.alerts] == [
        (sentence.removeprefix("a: "), "" if figure else "min 30 avg 50 max 70")
    ]
