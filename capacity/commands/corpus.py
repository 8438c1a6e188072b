"""`whisper-ops corpus`: the speech that a load test plays."""

from pathlib import Path
from typing import Any

import click

from capacity.commands.clip_progress import ClipProgress
from whisper_ops import console
from whisper_ops.cli.option_rules import Excludes, Needs, combinations
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
@click.option(
    "--style",
    type=click.Choice(["sentences", "passages"]),
    default="sentences",
    show_default=True,
    help="What piper reads: sentences, or paragraphs of most of a minute that hardly pause.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path, file_okay=False),
    help="Recordings of people with their texts, to be joined into stretches of 30 to 120 s.",
)
@click.option("--minutes", type=click.FloatRange(0.5, 600), default=15, show_default=True, help="With --source: of it.")
@click.option("--language", default="en", show_default=True, help="What is spoken, for the word times.")
@click.option(
    "--model",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the model that finds the word times; tiny.en where none is named.",
)
@click.option("--times", is_flag=True, help="Only find the word times that are missing in an existing folder.")
@click.option("--again", is_flag=True, help="Make it anew even where it is there already.")
@combinations(
    Excludes("times", ("sentences", "again", "style", "source"), "it finds the times of the speech that is there"),
    Excludes("source", ("sentences", "style"), "people say what they said"),
    Excludes("sentences", ("style",), "it is a text of its own"),
    Needs("minutes", ("source",)),
)
def make(folder: Path | None, **given: Any) -> None:  # noqa: ANN401  # click's options
    """Make a corpus in FOLDER: sentences spoken by piper, word times from an offline pass of tiny.en.

    Takes about 20 s on two cores and is done once; needs whisper-ops[speech]. A stopped run leaves nothing behind.

    With --source, recordings of people are joined instead, one speaker after the other, with 0.1 to 0.3 s between two:
    a folder of NAME.wav and NAME.txt (a folder in it is one speaker), of LJSpeech or LibriSpeech, or of Asterisk's
    recorded prompts, as Debian's asterisk-core-sounds-en-wav has them in /usr/share/asterisk/sounds/en.
    """
    from capacity.corpus import clips, maker
    from capacity.corpus.word_times import OfflinePass, add_times

    if folder is None and given["source"] is not None:
        raise click.UsageError("name the FOLDER that the corpus is made in: --source only says where it is taken from")
    folder = folder or maker.style_folder(given["style"])
    offline = OfflinePass(given["model"], given["language"])
    with ClipProgress() as progress:
        if given["times"]:
            missing = [s for s in clips.find_sources(folder) if not s.times_path.exists()]
            add_times(missing, progress.show, offline)
        elif given["source"] is not None:
            seconds = 60 * given["minutes"]
            maker.make_from(folder, given["source"], seconds, offline, progress.show, _left_out)
        else:
            texts = maker.sentences(given["style"]) if given["sentences"] is None else _lines(given["sentences"])
            if given["again"] or not maker.is_made(folder, texts):
                maker.make(folder, texts, progress.show, offline)
    _print(folder, as_json=False)


def _left_out(complaint: str) -> None:
    console.narration().print(f"left out: {complaint}", soft_wrap=True)


@command.command()
@_FOLDER
@json_option
def show(folder: Path | None, as_json: bool) -> None:
    """Show what a corpus holds, and name the files that cannot be used."""
    from capacity.corpus import clips

    _print(folder or clips.default_folder(), as_json=as_json)


def _lines(path: Path) -> list[str]:
    from whisper_ops.errors import UserError
    from whisper_ops.user_files import read_text

    lines = [line.strip() for line in read_text(path, "the sentences ").splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} holds no sentence; write one a line")
    return lines


def _print(folder: Path, *, as_json: bool) -> None:
    from capacity.corpus import clips

    found = clips.load(folder)
    seconds, words = sum(c.seconds for c in found.clips), sum(len(c.tokens) for c in found.clips)
    for complaint in found.unreadable:
        _left_out(complaint)
    if as_json:
        body = {
            "folder": str(found.folder),
            "content": found.content,
            "pause_share": found.pause_share(),
            "clips": [
                {"name": c.name, "seconds": c.seconds, "words": len(c.tokens), "text": c.text} for c in found.clips
            ],
            "unreadable": list(found.unreadable),
        }
        console.print_json("corpus", body)
        return
    share = found.pause_share()
    pauses = "" if share is None else f", pauses {share:.0%} of the time as a load test plays it"
    console.data().print(
        f"{found.folder}: {len(found.clips)} clips, {seconds:.0f} s, {words} words{pauses}, content {found.content}"
    )
