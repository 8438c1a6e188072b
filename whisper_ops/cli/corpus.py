"""`whisper-ops corpus`: the speech that a load test plays."""

from pathlib import Path

import click

from whisper_ops import console
from whisper_ops.cli.clip_progress import ClipProgress
from whisper_ops.cli.combinations import Excludes, combinations
from whisper_ops.cli.options import json_option

_FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)


@click.group()
def command() -> None:
    """Make or show the speech that a load test plays.

    A corpus is a folder of sound with a transcript beside each file: NAME.wav (or flac, mp3, ogg …) and NAME.txt, an
    LJSpeech folder (metadata.csv) or a LibriSpeech one (.trans.txt). The default folder is in the user's cache;
    WHISPER_OPS_CORPUS moves it.
    """


@command.command()
@_FOLDER
@click.option("--sentences", type=click.Path(path_type=Path, dir_okay=False), help="A text of your own, one a line.")
@click.option("--times", is_flag=True, help="Only find the word times that are missing in an existing folder.")
@click.option("--again", is_flag=True, help="Make it anew even where it is there already.")
@combinations(Excludes("times", ("sentences", "again"), "it finds the times of the speech that is there"))
def make(folder: Path | None, sentences: Path | None, times: bool, again: bool) -> None:
    """Make a corpus in FOLDER: sentences spoken by piper, word times from an offline pass of tiny.en.

    Takes about 20 s on two cores and is done once; needs whisper-ops[speech]. A stopped run leaves nothing behind.
    """
    from capacity.speech import corpus, maker

    folder = folder or corpus.default_folder()
    with ClipProgress() as progress:
        if times:
            missing = [s for s in corpus.find_sources(folder) if not s.times_path.exists()]
            maker.add_times(missing, progress.show)
        else:
            texts = maker.sentences() if sentences is None else _lines(sentences)
            if again or not maker.is_made(folder, texts):
                maker.make(folder, texts, progress.show)
    _print(folder, as_json=False)


@command.command()
@_FOLDER
@json_option
def show(folder: Path | None, as_json: bool) -> None:
    """Show what a corpus holds, and name the files that cannot be used."""
    from capacity.speech import corpus

    _print(folder or corpus.default_folder(), as_json=as_json)


def _lines(path: Path) -> list[str]:
    from whisper_ops.errors import UserError
    from whisper_ops.files import read_text

    lines = [line.strip() for line in read_text(path, "the sentences ").splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} holds no sentence; write one a line")
    return lines


def _print(folder: Path, *, as_json: bool) -> None:
    from capacity.speech import corpus

    found = corpus.load(folder)
    seconds, words = sum(c.seconds for c in found.clips), sum(len(c.tokens) for c in found.clips)
    for complaint in found.unreadable:
        console.narration().print(f"left out: {complaint}", soft_wrap=True)
    if as_json:
        body = {
            "folder": str(found.folder),
            "content": found.content,
            "clips": [
                {"name": c.name, "seconds": c.seconds, "words": len(c.tokens), "text": c.text} for c in found.clips
            ],
            "unreadable": list(found.unreadable),
        }
        console.print_json("corpus", body)
        return
    console.data().print(
        f"{found.folder}: {len(found.clips)} clips, {seconds:.0f} s, {words} words, content {found.content}"
    )
