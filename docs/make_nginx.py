"""Write deploy/nginx/whisper-ops.conf, as `plan --emit nginx` for three servers; `--check`: is it current?"""

import sys
from pathlib import Path

from capacity.report.nginx import Proxy, render

FILE = Path(__file__).parents[1] / "deploy/nginx/whisper-ops.conf"
EXAMPLE = Proxy(servers=[f"127.0.0.1:{port}" for port in (8001, 8002, 8003)], slots=64)
HEAD = (
    "# An example: three servers of 64 slots. `whisper-ops plan --emit nginx` writes it with the numbers of a plan.\n"
)

if __name__ == "__main__":
    text = HEAD + render(EXAMPLE)
    if "--check" not in sys.argv:
        FILE.write_text(text, "utf-8")
    elif FILE.read_text("utf-8") != text:
        sys.exit("deploy/nginx/whisper-ops.conf is out of date: run `make docs`")
