"""The page at `/`: speak into the microphone, see the text and the server's figures. One file, nothing fetched."""

from pathlib import Path

PAGE = (Path(__file__).parent / "page.html").read_text("utf-8")
