"""TOML files that users write: what is wrong in them is said with its line."""

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from whisper_ops.errors import UserError
from whisper_ops.text_bounds import LINE
from whisper_ops.user_files import parse_toml, read_text

S = TypeVar("S", bound=msgspec.Struct)

_HEADER = re.compile(r"\s*\[{1,2}\s*([^\]#]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+|\"[^\"]+\"|'[^']+')\s*(?:=|\.)")
_PATH = re.compile(r"`\$\.?([^`]*)`")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")


class TomlFile:
    """A parsed file that still knows where everything stands in it.

    Raises:
        UserError: it cannot be read or is no TOML.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = read_text(path)
        self.tables: dict[str, Any] = parse_toml(self.text, path)

    def struct(self, value: object, kind: type[S], table: str, number: int = 0) -> S:
        """`value`, the `number`-th table of that name, as a struct.

        Raises:
            UserError: a field is unknown, missing or of another type; with its line.
        """
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            unknown, path = _UNKNOWN.search(str(error)), _PATH.search(str(error))
            key = unknown.group(1) if unknown else path.group(1).split(".")[0].split("[")[0] if path else ""
            what = re.sub(r"Object (contains|missing)", rf"[{table}] \1", str(error).split(" - at ")[0])
            raise self.wrong(what, table, number, key) from error

    def wrong(self, what: str, table: str, number: int = 0, key: str = "") -> UserError:
        """The error about `key` of the `number`-th table of that name, with its line."""
        about = f" ({key})" if key and key not in what else ""
        return UserError(f"{self.path}, line {self.line(table, number, key)}: {what}{about}")

    def line(self, table: str, number: int = 0, key: str = "") -> int:
        """Where a key stands; where its table begins when the key is not there."""
        found, seen, inside = 1, -1, False
        for at, text in enumerate((line[:LINE] for line in self.text.splitlines()), 1):
            header = _HEADER.match(text)
            if header:
                # A table may be written [alert.full] or as the nth [[server]].
                if header.group(1).strip("\"'") == table:
                    seen += 1
                    inside = seen == number
                    found = at if inside else found
                else:
                    inside = False
            elif inside and key:
                name = _KEY.match(text)
                if name and name.group(1).strip("\"'") == key:
                    return at
        return found
