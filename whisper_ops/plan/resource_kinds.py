"""Kinds of resources that can run out, by which plans are decided, and what people call them."""

LATENCY = "latency"
POLLED_LAG = "polled_lag"
STEP_TIME = "step_time"
GPU_BUSY = "gpu_busy"
GPU_MEMORY = "gpu_memory"
SERVER_CORE = "server_core"
HOST_CPU = "host_cpu"
HOST_MEMORY = "host_memory"
SETUP_TIME = "setup_time"
DESCRIPTORS = "descriptors"
PORTS = "ports"
CONNECTION_TRACKING = "connection_tracking"
NETWORK = "network"
SPEED = "speed"
TITLES = {
    LATENCY: "latency objective",
    POLLED_LAG: "lag p95 (polls)",
    STEP_TIME: "GPU step time",
    GPU_BUSY: "GPU busy",
    GPU_MEMORY: "GPU memory",
    SERVER_CORE: "server core",
    HOST_CPU: "host CPU",
    HOST_MEMORY: "host memory",
    SETUP_TIME: "set-up time",
    DESCRIPTORS: "descriptors",
    PORTS: "ports at a proxy",
    CONNECTION_TRACKING: "connection tracking",
    NETWORK: "network",
    SPEED: "latency objective, by speed",
}
"""Kinds of resources, and what people call them."""
ON_A_PROCESSOR = {GPU_BUSY: "worker busy", STEP_TIME: "step time"}
"""The same of a processor that stands in for a GPU."""
KINDS_BY_TITLE = {title: kind for kind, title in TITLES.items()}
"""Of documents that were stored before resources had kinds."""
