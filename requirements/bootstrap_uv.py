"""Put one version of uv into a local folder, with nothing but the Python that runs this.

Usage: bootstrap_uv.py FOLDER VERSION. Debian splits `venv` off its Python, so a virtual environment is tried
first and pip's `--target` second.
"""

import shutil
import subprocess
import sys
from pathlib import Path


def main(folder: Path, version: str) -> int:
    """Install uv below FOLDER/bin; returns an exit status."""
    wanted = f"uv=={version}"
    attempts = (
        [
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin/python"), "-m", "pip", "install", "-q", wanted],
        ],
        [[sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), wanted]],
    )
    for commands in attempts:
        if all(subprocess.run(command, check=False).returncode == 0 for command in commands):
            return 0
        shutil.rmtree(folder, ignore_errors=True)
    sys.stderr.write(
        f"setup: could not install {wanted}: this Python has neither venv nor pip. Install uv or python3-venv.\n"
    )
    return 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2]))
