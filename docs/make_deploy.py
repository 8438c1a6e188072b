"""Write the files of deploy/ that are examples of what `plan --emit` prints; `--check`: are they current?"""

import sys
from pathlib import Path

from capacity.reports.kubernetes import KubernetesFigures, scaled_object, server_patch
from capacity.reports.nginx import Proxy, render

DEPLOY = Path(__file__).parents[1] / "deploy"
SERVERS = [f"127.0.0.1:{port}" for port in (8001, 8002, 8003)]
CLUSTER = KubernetesFigures(slots=64, gpus=1, lag_seconds=2)
HEAD = "# An example: {}. `whisper-ops plan --emit {}` writes it with the numbers of a plan.\n"
FILES = {
    "nginx/whisper-ops.conf": HEAD.format("three servers of 64 slots", "nginx")
    + render(Proxy(servers=SERVERS, slots=64)),
    "kubernetes/overlays/production/plan.yaml": HEAD.format("64 slots a GPU, one GPU a pod", "kubernetes")
    + server_patch(CLUSTER),
    "kubernetes/components/autoscaling/scaledobject.yaml": HEAD.format("64 slots a GPU, one GPU a pod", "keda")
    + scaled_object(CLUSTER),
}

if __name__ == "__main__":
    for name, text in FILES.items():
        file = DEPLOY / name
        if "--check" not in sys.argv:
            file.write_text(text, "utf-8")
        elif file.read_text("utf-8") != text:
            sys.exit(f"deploy/{name} is out of date: run `make docs`")
