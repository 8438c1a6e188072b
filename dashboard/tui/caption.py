"""A line under the title that another program writes, to say what is going on: the demo does. Imports no textual."""

from pathlib import Path

from whisper_ops.untrusted_text import printable

_MOST_BYTES = 1000


class Caption:
    """The first line of a file, as it is now; empty where there is none to read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> str:
        """Read it."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""
        return printable(text.partition("\n")[0].strip())
