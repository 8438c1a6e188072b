"""Load tests of simulated servers: their own language, and figures that mean something."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from capacity.corpus.clips import load
from capacity.corpus.tone_corpus import make_tones
from tests.support.servers import running_server, whisper_ops
from whisper_ops import tone_language
from whisper_ops.errors import UserError

LAW = ("--engine", "simulated", "--devices", "sim:2", "--sim-law", "a=0.02,b=0.005", "--max-connections-per-gpu", "4")


def test_the_corpus_is_always_the_same_and_heard_as_written(tmp_path: Path) -> None:
    first, second = load(make_tones(tmp_path / "a", clips=5)), load(make_tones(tmp_path / "b", clips=5))
    assert first.content == second.content
    for clip in first.clips:
        found = tone_language.heard((clip.samples / 32768).astype("float32"))
        assert [word.word for word in found] == clip.text.split()
        assert [word.end for word in found] == pytest.approx([token.end for token in clip.tokens], abs=0.011)


def test_an_interrupted_corpus_is_made_again(tmp_path: Path) -> None:
    folder = make_tones(tmp_path, clips=3)
    (folder / "01.words.json").unlink()
    assert len(load(make_tones(folder, clips=3)).clips) == 3


def test_sweeps_that_begin_at_once_read_the_same_whole_corpus(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load(make_tones(tmp_path / "tones", clips=12)), range(4)))
    assert {(len(corpus.clips), corpus.content, corpus.unreadable) for corpus in found} == {
        (12, found[0].content, ()),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["tones"]


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"file/tones: Not a directory; name a folder of speech with --corpus"):
        make_tones(tmp_path / "file" / "tones")


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_a_simulated_server_is_swept_and_says_that_it_is_simulated(tmp_path: Path) -> None:
    history = str(tmp_path / "history.db")
    with running_server(tmp_path, *LAW) as server:
        swept = whisper_ops("sweep", server.url, "--levels", "4", "--duration", "8", "--history", history, "--json")
    assert swept.returncode == 0, swept.stderr
    said = json.loads(swept.stdout)
    level = said["levels"][-1]
    assert level["wer_ratio"] == 0
    assert level["missing_words"] == 0
    assert level["stable_p95_seconds"] < 3
    plan = whisper_ops("plan", "--history", history)
    assert "simulated" in plan.stdout
