"""Recordings joined into stretches of one speaker, what a stream says of them, and the share of pauses."""

import gzip
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from capacity.corpus import maker
from capacity.corpus.audio_files import Samples, write_wav
from capacity.corpus.clips import RATE, Clip, Corpus, Token, load
from capacity.corpus.pauses import quiet_runs, silent_share, trimmed
from capacity.corpus.playlist import make_playlist
from capacity.corpus.recordings import Recording, recordings
from capacity.corpus.stretches import stretches
from capacity.corpus.word_times import OfflinePass
from capacity.loadtest.output_checks import check_lengths
from capacity.planner.key import differences, key_of
from tests.capacity.double import coded_corpus
from whisper_ops.errors import UserError
from whisper_ops.history import SweepRecord


def voiced(seconds: float, rate: int = RATE) -> Samples:
    return (8000 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


def rest(seconds: float, rate: int = RATE) -> Samples:
    return np.zeros(round(seconds * rate), np.int16)


def recorded(folder: Path, name: str, seconds: float, text: str, rate: int = 8000) -> None:
    path = folder / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, np.concatenate([rest(0.5, rate), voiced(seconds, rate), rest(0.7, rate)]), rate)
    path.with_suffix(".txt").write_text(text + "\n")


def test_a_folder_of_wav_and_text_becomes_stretches_of_each_speaker(tmp_path: Path) -> None:
    for speaker in ("anna", "ben"):
        for k in range(10):
            recorded(tmp_path / speaker, f"{k:02}", 5.0, f"{speaker} says {k}")
    recorded(tmp_path / "short", "00", 5.0, "too little for a stretch")
    made = list(stretches(recordings(tmp_path), 600, pytest.fail))
    assert {stretch.name.split("-")[1] for stretch in made} == {"anna", "ben"}
    for stretch in made:
        assert 30 <= len(stretch.samples) / RATE <= 120
        assert len({word for word in stretch.text.split() if word in ("anna", "ben")}) == 1
        # Silence around the recordings is cut off: between two of them are 0.1 to 0.3 s, and what trimming keeps.
        pauses = [(run.end - run.start) / RATE for run in quiet_runs(stretch.samples, RATE, 0.06)]
        assert len(pauses) == stretch.text.count("says") - 1
        assert all(0.1 <= pause <= 0.36 for pause in pauses)
    assert [s.text for s in made] == [s.text for s in stretches(recordings(tmp_path), 600, pytest.fail)]


def test_asterisk_s_prompts_take_their_texts_from_debian_s_list(tmp_path: Path) -> None:
    sounds = tmp_path / "sounds" / "en_US_f_Allison"
    lines = ["; a comment", "beep: [a tone]", "yes: Yes.", "../outside: not of this folder", "gone: there is no sound"]
    for k in range(12):
        recorded(sounds, f"prompt-{k:02}", 4.0, "another text than the list's")
        lines.append(f"prompt-{k:02}: This is prompt {k}.")
    recorded(sounds, "vm-login", 1.0, "")
    for name in ("beep", "yes"):
        recorded(sounds, name, 0.5, "")
    recorded(tmp_path / "sounds", "outside", 1.0, "not of this folder")
    listing = tmp_path / "doc" / "asterisk-core-sounds-en" / "core-sounds-en.txt.gz"
    listing.parent.mkdir(parents=True)
    listing.write_bytes(gzip.compress("\n".join(lines).encode()))
    found = recordings(sounds, tmp_path / "doc")
    assert [one.text for one in found] == [f"This is prompt {k}." for k in range(12)]
    listing.write_bytes(b"no gzip")
    with pytest.raises(UserError, match="cannot read the list of texts"):
        recordings(sounds, tmp_path / "doc")


def test_what_cannot_be_used_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    for k in range(10):
        recorded(tmp_path, f"{k:02}", 5.0, f"number {k}")
    (tmp_path / "05.wav").write_bytes(b"RIFFnonsense")
    recorded(tmp_path, "06", 130.0, "a whole chapter", 1000)
    told: list[str] = []
    (made,) = stretches(recordings(tmp_path), 600, told.append)
    assert "number 4 number 7" in made.text
    assert len(told) == 2
    assert "05.wav" in told[0]
    assert "06.wav lasts longer than 120 s; cut it" in told[1]


@pytest.mark.parametrize(
    ("fill", "complaint"),
    [
        (lambda folder: folder.rmdir(), "there is no folder"),
        (lambda folder: recorded(folder, "a", 5.0, "[music]"), "has a text that can be used"),
        (lambda folder: recorded(folder, "a", 5.0, "five seconds"), "less than 30 s of any speaker"),
    ],
)
def test_a_source_without_a_stretch_is_an_error_and_leaves_nothing(
    tmp_path: Path, fill: Callable[[Path], None], complaint: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    fill(source)
    with pytest.raises(UserError, match=complaint):
        maker.make_from(tmp_path / "made", source, 60, OfflinePass(), lambda *_: None, lambda _: None)
    assert not (tmp_path / "made").exists()
    assert not list(tmp_path.glob(".making-*"))


def test_trimming_keeps_the_speech_whole() -> None:
    sound = trimmed(np.concatenate([rest(0.5), voiced(1.0), rest(0.2), voiced(1.0), rest(1.0)]), RATE)
    assert len(sound) / RATE == pytest.approx(2.24, abs=0.05)
    assert len(trimmed(rest(1.0), RATE)) <= RATE
    assert len(trimmed(rest(0.0), RATE)) == 0


def stretch_clip(seconds: float = 60.0) -> Clip:
    """A word a second: 0.8 s of voice, 0.2 s of silence, and before each tenth word 0.5 s more."""
    parts, tokens, at = [], [], 0.0
    for k in range(round(seconds)):
        if k % 10 == 0 and k:
            parts.append(rest(0.5))
            at += 0.5
        parts += [voiced(0.8), rest(0.2)]
        tokens.append(Token(f"w{k}", at + 0.8))
        at += 1.0
    return Clip("stretch", " ".join(t.word for t in tokens), np.concatenate(parts), tuple(tokens))


@pytest.mark.parametrize("room", [12.0, 20.0, 45.0])
def test_of_a_stretch_that_is_too_long_a_stream_says_what_fits_up_to_a_pause(room: float) -> None:
    clip = stretch_clip()
    playlist = make_playlist((clip,), 0, room)
    part = playlist.parts[0]
    assert part.clip is clip
    assert room - 9 <= part.length / RATE <= room
    assert not part.clip.samples[part.length - 800 : part.length].any(), "cut in a word"
    said = playlist.spoken(0.0, 0.1)
    fit = [token.word for token in clip.tokens if token.end <= part.length / RATE]
    assert [word.word for word in said] == fit
    assert playlist.samples == room * RATE


def test_no_room_for_a_part_of_a_stretch_is_said_as_before() -> None:
    clip = stretch_clip()
    assert [part.clip for part in make_playlist((clip,), 0, 8.0).parts] == [None]
    speech = Corpus(Path("x"), (clip,), "0")
    assert check_lengths(speech, 30.0) is None
    with pytest.raises(UserError, match="the shortest clip"):
        check_lengths(speech, 8.0)


def test_the_pause_share_counts_pauses_in_clips_and_after_them() -> None:
    assert silent_share([(np.concatenate([voiced(1.5), rest(0.5)]), 0.5)], RATE) == pytest.approx(0.4, abs=0.02)
    assert silent_share([(np.concatenate([voiced(0.5), rest(0.1), voiced(0.4)]), 0.0)], RATE) == pytest.approx(0.0)
    assert silent_share([], RATE) is None


def test_less_duty_is_more_pause(tmp_path: Path) -> None:
    speech = load(coded_corpus(tmp_path / "speech"))
    always, rarely = speech.pause_share(), speech.pause_share(0.2)
    assert always is not None
    assert rarely is not None
    assert rarely is not None
    assert rarely == pytest.approx(0.8, abs=0.05)
    assert always < rarely


def test_levels_of_speech_with_another_share_of_pauses_are_not_mixed() -> None:
    sweep = SweepRecord(server="s", started_at=0.0, chunk_seconds=0.1, corpus="c@1", objective="o", pause_share=0.08)
    other = msgspec.structs.replace(sweep, pause_share=0.31)
    assert key_of(sweep) != key_of(other)
    assert "pause_share 0.08 / 0.31" in differences(key_of(sweep), key_of(other))
    assert "pauses 8%" in key_of(sweep).conditions


def test_the_passages_that_ship_are_paragraphs_of_most_of_a_minute() -> None:
    texts = maker.sentences("passages")
    assert len(texts) == len(set(texts)) >= 10
    assert all(70 <= len(text.split()) <= 140 for text in texts)


@pytest.mark.speech
def test_recordings_in_another_language_than_the_model_s_are_refused(tmp_path: Path) -> None:
    recorded(tmp_path / "source", "a", 40.0, "eins zwei drei vier fünf sechs sieben acht neun zehn")
    with pytest.raises(UserError, match=r"heard \d+ of 10 words .* --model"):
        maker.make_from(tmp_path / "made", tmp_path / "source", 60, OfflinePass(), lambda *_: None, lambda _: None)
    with pytest.raises(UserError, match="hears English alone"):
        maker.make_from(
            tmp_path / "made", tmp_path / "source", 60, OfflinePass(language="de"), lambda *_: None, lambda _: None
        )


def test_recording_is_read_at_the_corpus_s_rate(tmp_path: Path) -> None:
    recorded(tmp_path, "a", 1.0, "one second")
    assert len(Recording("", "", tmp_path / "a.wav").samples()) == pytest.approx(2.2 * RATE, abs=2)
