"""`python -m whisper_ops` is the command `whisper-ops`."""

from whisper_ops.cli import run

if __name__ == "__main__":
    run()
