"""Write docs/history.md from the migrations; `--check` only says whether it is current."""

import sys
from pathlib import Path

from whisper_ops.history.describe import page

PAGE = Path(__file__).with_name("history.md")

if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        sys.exit("docs/history.md is out of date: run `make docs`")
