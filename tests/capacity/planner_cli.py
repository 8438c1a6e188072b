"""The command line in this process: what it prints and how it ends, without a second interpreter."""

from typing import Any, NamedTuple

import msgspec
import pytest

from whisper_ops import console
from whisper_ops.cli import run


class Done(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        return msgspec.json.decode(self.out)

    def sentence(self) -> str:
        """stderr, which must be one line of a user's error."""
        assert self.err.startswith("whisper-ops: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err


def whisper_ops(capsys: pytest.CaptureFixture[str], *arguments: str) -> Done:
    # The consoles hold on to the stdout of the test before.
    console.data.cache_clear()
    console.narration.cache_clear()
    with pytest.raises(SystemExit) as ended:
        run(list(arguments))
    out, err = capsys.readouterr()
    return Done(int(ended.value.code or 0), out, err)
