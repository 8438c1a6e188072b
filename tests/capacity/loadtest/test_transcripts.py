"""Which text belongs to which utterance, and where transcripts are found by sound file."""

from pathlib import Path

import pytest

from capacity.corpus.clips import load
from capacity.corpus.normalization import normalise
from capacity.corpus.playlist import SpokenWord
from capacity.loadgen.messages import StreamResult
from capacity.loadgen.utterance_text import UtteranceText, utterance_texts
from capacity.loadtest.transcripts import by_file, transcripts
from capacity.reports.transcript_files import write_transcripts
from tests.capacity.double import coded_corpus

ONE, TWO = "It's twenty-five past nine.", "The cat sat there, all day long."


def said(*texts: str) -> list[SpokenWord]:
    return [SpokenWord(word, 0.0, f"clip {turn}", turn) for turn, text in enumerate(texts) for word in normalise(text)]


@pytest.mark.parametrize(
    ("shown", "parts"),
    [
        (f"{ONE} {TWO}", (ONE, TWO)),
        ("it is 25 past nine the cat sat there all day long", ("it is 25 past nine", "the cat sat there all day long")),
        ("It's twenty-five past nine. The hat", ("It's twenty-five past nine.", "The hat")),
        ("The cat sat there, all day long.", ("", TWO)),
        (f"{ONE} Thank you for watching. {TWO}", (f"{ONE} Thank you for watching.", TWO)),
        (f"Um, {ONE} — {TWO}", (f"Um, {ONE} —", TWO)),
        ("", ("", "")),
    ],
)
def test_text_is_cut_where_the_utterances_meet(shown: str, parts: tuple[str, str]) -> None:
    found = utterance_texts(said(ONE, TWO), shown)
    assert tuple(one.shown for one in found) == parts
    assert [one.clip for one in found] == ["clip 0", "clip 1"]
    assert [one.words for one in found] == [len(normalise(ONE)), len(normalise(TWO))]


def test_an_utterance_that_is_said_twice_in_a_row_is_two() -> None:
    spoken = [SpokenWord(word, 0.0, "same", turn) for turn in (0, 1) for word in ("all", "day")]
    assert [one.shown for one in utterance_texts(spoken, "all day All night")] == ["all day", "All night"]
    assert utterance_texts([], "invented") == ()


def test_transcripts_are_keyed_by_the_sound_file_with_the_text_as_it_is_written(tmp_path: Path) -> None:
    corpus = load(coded_corpus(tmp_path / "coded", clips=2, words=3))
    first, second = corpus.clips
    whole = UtteranceText(first.name, 3, first.text, "something else")
    cut = UtteranceText(second.name, 1, second.tokens[0].word, "")
    result = StreamResult(
        number=4, outcome="cut", utterances=(whole, cut), text="something else", reference="all of it"
    )
    found = transcripts(9, 1, [result], corpus)
    where = {"streams": 9, "repeat": 1, "stream": 4, "outcome": "cut"}
    assert by_file(found) == {
        "00.wav": [{**where, "said": first.text, "shown": "something else"}],
        "01.wav": [{**where, "said": second.tokens[0].word, "shown": ""}],
    }
    write_transcripts(found, tmp_path / "texts")
    page = (tmp_path / "texts" / "0009-1-0004.txt").read_text()
    assert "outcome: cut" in page
    assert f"00.wav\n  said: {first.text}\n  shown: something else\n" in page
