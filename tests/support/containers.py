"""podman with settings and storage of its own, a base image of Debian's packages, and what an image is built from.

What takes long to make lies in the user's cache: the base image's tar, the wheels, the layers of the images. Everything
else is gone when the block that started it ends.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from platformdirs import user_cache_path

ROOT = Path(__file__).parents[2]
CACHE = user_cache_path("whisper-ops") / "containers"
BASE = "localhost/whisper-ops-base"
PARTS = "localhost/whisper-ops-parts"
PARTS_FILE = f"""\
FROM {BASE}
RUN apt-get update && apt-get install -y --no-install-recommends nginx-light prometheus
RUN install --directory --owner 65534 --group 65534 /prometheus
"""
"""What stands in for the images `nginx` and `prom/prometheus`, which no registry hands out here."""
PYTHON = "3.11"
"""Of Debian bookworm, which the base image is."""
NEEDED = ("podman", "runc", "mmdebstrap", "iptables")
CONTAINERS_CONF = """\
# Limits cannot be raised on machines that are containers themselves, and crun needs cgroups version 2 there.
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{run}/libpod"
[network]
network_backend = "netavark"
network_config_dir = "{run}/networks"
"""
STORAGE_CONF = '[storage]\ndriver = "overlay"\ngraphroot = "{cache}/storage"\nrunroot = "{run}/storage"\n'


class CommandError(AssertionError):
    """A command ended with another code than 0; the text holds what it said."""


class Podman:
    """The commands, with settings, storage and networks apart from everybody else's on this machine."""

    def __init__(self, run: Path) -> None:
        """`run`: a folder for what lives as long as the containers do."""
        CACHE.mkdir(parents=True, exist_ok=True)
        run.mkdir(parents=True, exist_ok=True)
        for name, text in (("containers.conf", CONTAINERS_CONF), ("storage.conf", STORAGE_CONF)):
            (run / name).write_text(text.format(run=run, cache=CACHE))
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(run / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(run / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
        }

    def __call__(self, *arguments: str, timeout: float = 120) -> str:
        """`podman ARGUMENTS`: what it prints."""
        return self.run(["podman", *arguments], timeout=timeout)

    def run(self, command: Sequence[str], *, timeout: float, cwd: Path | None = None) -> str:
        """A command in this environment: what it prints; raises `CommandError`."""
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=timeout, env=self.environment, cwd=cwd
            )
        except subprocess.TimeoutExpired as error:
            parts = [part.decode("utf-8", "replace") for part in (error.stdout, error.stderr) if part]
            raise CommandError(f"{' '.join(command)}: no end after {timeout:g} s\n{' '.join(parts)[-4000:]}") from error
        if done.returncode:
            said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            raise CommandError(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
        return done.stdout

    def has(self, image: str) -> bool:
        """Whether there is such an image."""
        with contextlib.suppress(CommandError):
            self("image", "exists", image)
            return True
        return False

    def clear(self) -> None:
        """No container, pod, network and volume of ours; images stay, and for a week what a build goes on from."""
        self("pod", "rm", "--all", "--force")
        # Also those of a build that was stopped.
        left = self("ps", "--all", "--external", "--quiet").split()
        if left:
            self("rm", "--force", "--time", "1", *left)
        self("network", "prune", "--force")
        self("volume", "rm", "--all", "--force")
        self("image", "prune", "--force", "--filter", "until=168h")


@contextlib.contextmanager
def podman(run: Path) -> Iterator[Podman]:
    """Ours alone while the block runs: a second test run waits, and what one that was killed left is cleared first."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ours = Podman(run)
        ours.clear()
        try:
            yield ours
        finally:
            ours.clear()


def make_base(ours: Podman) -> None:
    """The base image, and the one that nginx and Prometheus are started from."""
    script = ROOT / "deploy/base-image.sh"
    mark = hashlib.sha256(script.read_bytes()).hexdigest()[:12]
    tar = CACHE / f"base-{mark}.tar"
    if not tar.exists():
        ours.run(["sh", str(script), str(tar)], timeout=900)
    if not ours.has(f"{BASE}:{mark}"):
        ours("import", str(tar), f"{BASE}:{mark}", timeout=300)
    ours("tag", f"{BASE}:{mark}", f"{BASE}:latest")
    recipe = CACHE / "parts"
    recipe.mkdir(exist_ok=True)
    (recipe / "Containerfile").write_text(PARTS_FILE)
    ours("build", "--network", "host", "--tag", PARTS, str(recipe), timeout=600)


def fresh_clone(folder: Path) -> Path:
    """What a clone holds."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def fetch_wheels(tree: Path, *requirements: str) -> None:
    """The wheels of these files of pins, for the Python of the base image, where the Dockerfile looks for them."""
    folder = CACHE / "wheels"
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(5, 37)]
    platforms += [f"manylinux{name}_x86_64" for name in (1, 2010, 2014)]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", str(folder)),
        *("--python-version", PYTHON, "--implementation", "cp", "hatchling"),
        *(word for platform in platforms for word in ("--platform", platform)),
        *(word for file in requirements for word in ("--requirement", str(ROOT / "requirements" / file))),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise CommandError(done.stderr[-4000:])
    for wheel in folder.glob("*.whl"):
        _linked(wheel, tree / "deploy/wheels" / wheel.name)


def _linked(file: Path, name: Path) -> None:
    """The same file under another name; no symbolic link, which leads nowhere inside a build."""
    if name.exists():
        return
    try:
        name.hardlink_to(file)
    except OSError:  # on another file system
        shutil.copy2(file, name)
