"""Folders of speech as people have them, files that cannot be used, and word times."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest

from capacity.corpus import clips, maker, word_times
from capacity.corpus.audio_files import read_audio, resample, write_wav
from capacity.corpus.clips import RATE, ClipWord, CorpusSource, WordTimes, find_sources, load, tokens_of
from tests.capacity.double import coded_corpus
from whisper_ops.errors import UserError


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def timed(audio: Path, *words: str) -> None:
    times = tuple(ClipWord(word, k * 0.2, k * 0.2 + 0.2) for k, word in enumerate(words))
    audio.with_suffix(".words.json").write_bytes(msgspec.json.encode(WordTimes("by hand", times)))


def test_a_folder_of_wav_and_txt_is_read_in_order_with_its_hash(tmp_path: Path) -> None:
    folder = coded_corpus(tmp_path / "speech", clips=3, words=4)
    first, again = load(folder), load(folder)
    assert [clip.name for clip in first.clips] == ["00", "01", "02"]
    assert first.name == again.name
    assert first.name.startswith("speech@")
    assert [token.end for token in first.clips[0].tokens] == pytest.approx([0.3, 0.65, 1.0, 1.35])
    (folder / "00.txt").write_text("another text\n")
    assert load(folder).content != first.content


def test_ljspeech_and_librispeech_folders_are_read(tmp_path: Path) -> None:
    wavs = tmp_path / "lj" / "wavs"
    wavs.mkdir(parents=True)
    write_wav(wavs / "LJ001.wav", tone(0.5), RATE)
    (tmp_path / "lj" / "metadata.csv").write_text("LJ001|In 1810 it|In eighteen ten it\nLJ404|gone|gone\n")
    (source,) = find_sources(tmp_path / "lj")
    assert (source.audio.name, source.text) == ("LJ001.wav", "In eighteen ten it")
    chapter = tmp_path / "libri" / "84" / "121"
    chapter.mkdir(parents=True)
    write_wav(chapter / "84-121-0000.wav", tone(0.5), RATE)
    (chapter / "84-121.trans.txt").write_text("84-121-0000 GO ON\n84-121-0001 NOT THERE\n")
    (source,) = find_sources(tmp_path / "libri")
    assert (source.audio.name, source.text) == ("84-121-0000.wav", "GO ON")


@pytest.mark.parametrize(("suffix", "codec", "rate"), [("flac", "flac", 44100), ("mp3", "libmp3lame", 22050)])
def test_any_rate_and_container_is_read(tmp_path: Path, suffix: str, codec: str, rate: int) -> None:
    path = tmp_path / f"sound.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(tone(1.0, rate)[None, :], format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate)
        for part in resampler.resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    samples = read_audio(path, RATE)
    assert len(samples) == pytest.approx(RATE, rel=0.15)
    assert np.abs(samples).max() > 4000


def test_resampling_keeps_the_tone() -> None:
    samples = resample(tone(1.0, 48000), 48000, RATE)
    spectrum = np.abs(np.fft.rfft(samples.astype(float)))
    assert int(spectrum.argmax()) == 440


def test_a_file_that_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = coded_corpus(tmp_path / "speech", clips=2)
    (folder / "broken.wav").write_bytes(b"RIFFnonsense")
    (folder / "broken.txt").write_text("broken\n")
    timed(folder / "broken.wav", "broken")
    write_wav(folder / "untimed.wav", tone(0.5), RATE)
    (folder / "untimed.txt").write_text("untimed\n")
    found = load(folder)
    assert len(found.clips) == 2
    assert [name for name in ("broken.wav", "untimed.wav") if any(name in said for said in found.unreadable)] == [
        "broken.wav",
        "untimed.wav",
    ]
    assert any("corpus make --times" in said for said in found.unreadable)


def silent(folder: Path) -> None:
    write_wav(folder / "bad.wav", np.zeros(RATE, dtype=np.int16), RATE)


def no_file(folder: Path) -> None:
    (folder / "bad.txt").unlink()
    (folder / "bad.txt").mkdir()


def times(*words: ClipWord) -> bytes:
    return msgspec.json.encode(WordTimes("by hand", words))


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no words": (lambda folder: (folder / "bad.txt").write_text("\n"), "bad.txt has no words"),
    "marks only": (lambda folder: (folder / "bad.txt").write_text("[music] ...\n"), "bad.txt has no words"),
    "another encoding": (
        lambda folder: (folder / "bad.txt").write_bytes("café".encode("latin-1")),
        "bad.txt: it is not UTF-8 at byte 3; convert it",
    ),
    "no text": (lambda folder: (folder / "bad.txt").unlink(), "bad.wav has no transcript; put bad.txt beside it"),
    "text is a folder": (
        no_file,
        "bad.txt: Is a directory",
    ),
    "silence": (silent, "bad.wav holds only silence, and its text 2 words"),
    "empty times": (
        lambda folder: (folder / "bad.words.json").write_bytes(times()),
        "not one word in the word times",
    ),
    "times beyond the sound": (
        lambda folder: (folder / "bad.words.json").write_bytes(times(ClipWord("bad", 0, 9))),
        "end 'bad' at 9 s, and the sound lasts 1.0 s; delete the file and run `whisper-ops corpus make --times",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_could_only_be_measured_wrongly_is_left_out_with_the_reason(name: str, tmp_path: Path) -> None:
    spoil, complaint = UNUSABLE[name]
    folder = coded_corpus(tmp_path / "speech", clips=2)
    before = load(folder).content
    write_wav(folder / "bad.wav", tone(1.0), RATE)
    (folder / "bad.txt").write_text("bad words\n")
    timed(folder / "bad.wav", "bad", "words")
    assert load(folder).content != before
    spoil(folder)
    found = load(folder)
    assert found.content == before
    (said,) = found.unreadable
    assert complaint in said


def test_text_that_cannot_be_used_gets_no_word_times(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(0.5), RATE)
    (tmp_path / "a.txt").write_text("")

    def make(sources: Sequence[CorpusSource]) -> None:
        assert not sources

    with pytest.raises(UserError, match="has no words"):
        load(tmp_path, on_times=make)


def test_a_list_of_transcripts_in_another_encoding_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes("LJ001|café|café\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"metadata\.csv: it is not UTF-8 at byte 9; convert it"):
        load(tmp_path)


def test_a_mark_that_an_editor_put_before_the_text_is_no_part_of_it(tmp_path: Path) -> None:
    folder = coded_corpus(tmp_path / "speech", clips=1)
    before = load(folder)
    path = folder / "00.txt"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert load(folder).content == before.content


@pytest.mark.parametrize(
    ("prepare", "complaint"),
    [(lambda folder: None, "no corpus at"), (lambda folder: folder.mkdir(), "no sound with a transcript")],
)
def test_no_corpus_is_said_with_the_way_out(tmp_path: Path, prepare: object, complaint: str) -> None:
    folder = tmp_path / "none"
    assert callable(prepare)
    prepare(folder)
    with pytest.raises(UserError, match=complaint) as caught:
        load(folder)
    assert "corpus make" in str(caught.value)


def test_missing_times_are_made_when_somebody_can(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(0.5), RATE)
    (tmp_path / "a.txt").write_text("hello there\n")

    def make(sources: Sequence[CorpusSource]) -> None:
        for source in sources:
            timed(source.audio, *source.text.split())

    assert len(load(tmp_path, on_times=make).clips) == 1


def test_the_default_folder_is_the_user_s_cache_or_what_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_OPS_CORPUS", "/somewhere/else")
    assert clips.default_folder() == Path("/somewhere/else")
    monkeypatch.delenv("WHISPER_OPS_CORPUS")
    assert clips.default_folder().name == "speech"


@pytest.mark.speech
def test_the_default_corpus_is_made_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHISPER_OPS_CORPUS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(maker, "sentences", lambda _: ["Hello, this is a test."])
    said: list[str] = []
    folder = maker.make_default(lambda what, done, total: said.append(what))
    assert len(load(folder).clips) == 1
    assert "speaking" in said
    before = (folder / "001-hello-this-is-a.wav").stat().st_mtime_ns
    assert maker.make_default(lambda *_: pytest.fail("made again")) == folder
    assert (folder / "001-hello-this-is-a.wav").stat().st_mtime_ns == before


def test_a_folder_that_the_environment_names_is_never_made_by_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPER_OPS_CORPUS", str(tmp_path / "mine"))
    folder = maker.make_default(lambda *_: pytest.fail("made"))
    assert not folder.exists()
    with pytest.raises(UserError, match="no corpus at"):
        load(folder)


def test_tokens_take_the_time_of_the_words_they_come_from() -> None:
    words = (ClipWord("I'm", 0.0, 0.2), ClipWord("twenty", 0.2, 0.5), ClipWord("five.", 0.5, 0.9))
    tokens = tokens_of("I'm twenty five.", words)
    assert [token.word for token in tokens] == ["i", "am", "25"]
    assert [token.end for token in tokens] == pytest.approx([0.2, 0.2, 0.9])


def test_words_heard_otherwise_share_the_time_between_their_neighbours() -> None:
    heard = [ClipWord("the", 0.0, 0.2), ClipWord("end", 0.2, 0.5), ClipWord("call", 1.0, 1.4)]
    words = word_times.align("The invoice number call.", heard, seconds=1.5)
    assert [word.word for word in words] == ["The", "invoice", "number", "call."]
    assert [word.end for word in words] == pytest.approx([0.2, 0.6, 1.0, 1.4])
    assert all(a.end <= b.end for a, b in pairwise(words))


def test_the_sentences_that_ship_are_a_few_hundred_different_words() -> None:
    texts = maker.sentences()
    words = [word for text in texts for word in text.split()]
    assert len(texts) == len(set(texts)) >= 40
    assert len(words) >= 500


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.doc"):
        maker.make(tmp_path, ["Hello."], lambda *_: None)
    assert (tmp_path / "thesis.doc").exists()


@pytest.mark.speech
def test_speech_is_made_with_believable_word_times(tmp_path: Path) -> None:
    texts = maker.sentences()[:3]
    steps: list[str] = []
    maker.make(tmp_path / "made", texts, lambda what, done, total: steps.append(what))
    found = load(tmp_path / "made")
    assert not found.unreadable
    assert [clip.text for clip in found.clips] == texts
    assert {"speaking", "timing words"} == set(steps)
    assert maker.is_made(tmp_path / "made", texts)
    for clip in found.clips:
        ends = [token.end for token in clip.tokens]
        assert ends == sorted(ends)
        # People say between two and six words a second; the last one ends with the sound.
        assert 1.5 <= len(ends) / clip.seconds <= 6
        assert ends[-1] == pytest.approx(clip.seconds, abs=0.8)
    assert not list(tmp_path.glob(".making-*"))
