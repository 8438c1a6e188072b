"""What a load over several GPUs says of one."""


def carried(streams: int, gpus: int) -> int:
    """Connections that a level shows one GPU to carry: an even share, rounded down, and one where it is less."""
    return max(streams // gpus, 1)
