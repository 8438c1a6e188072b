"""Start a program that belongs to nobody and print its process id: `python -m server.cluster.launch LOG PROGRAM …`.

What supervises a server may end, and what it runs in (Ray) ends the children of its processes with them. A server has
streams, and must not be a child of that.
"""

import subprocess
import sys
from pathlib import Path


def main(log: str, *command: str) -> None:
    """Start it in a session of its own; it outlives us, so its parent will be the init process."""
    with Path(log).open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    sys.stdout.write(str(process.pid))
    sys.stdout.flush()
    # We end at once: waiting for it is the business of whoever comes after.
    process.returncode = 0


if __name__ == "__main__":
    main(*sys.argv[1:])
