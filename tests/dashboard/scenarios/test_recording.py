"""The moving picture of the README: every frame has its second, and nothing in it is fetched or runs."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.dashboard.recording import FRAMES, animated

PICTURES = Path(__file__).parents[3] / "docs/pictures"


def test_frames_are_shown_in_turn_and_share_no_name() -> None:
    frame = (
        '<svg viewBox="0 0 1 1"><style>.terminal-7-r1 { fill: red }</style><g clip-path="url(#terminal-7-c)"/></svg>'
    )
    whole = animated([frame, frame, frame])
    root = ET.fromstring(whole)
    delays = [group.get("style") for group in root if group.get("class") == "frame"]
    assert delays == ["animation-delay: -3s", "animation-delay: -2s", "animation-delay: -1s"]
    assert set(re.findall(r"frame-\d", whole)) == {"frame-0", "frame-1", "frame-2"}


def test_what_the_readme_shows_is_whole_and_asks_nobody() -> None:
    for name in ("run-sweep", "run-plan"):
        text = (PICTURES / f"{name}.svg").read_text("utf-8")
        ET.fromstring(text)
        assert "simulated" in text
        assert not re.search(r"<script|@import|url\((?!#)|(href|src)=\"http", text)
    assert (PICTURES / "run-sweep.svg").read_text("utf-8").count('<g class="frame"') == FRAMES
