"""Start a detached program and print its process id: `python -m server.cluster.launch LOG PROGRAM …`.

Ray ends the children of its actors with them. A server has streams and must outlive its supervisor, so it must not be
a child of it.
"""

import subprocess
import sys
from pathlib import Path


def main(log: str, *command: str) -> None:
    """Start it in its own session; when this process ends its parent is the init process."""
    with Path(log).open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    sys.stdout.write(str(process.pid))
    sys.stdout.flush()
    # Else Popen would warn at exit that it was not waited for.
    process.returncode = 0


if __name__ == "__main__":
    main(*sys.argv[1:])
