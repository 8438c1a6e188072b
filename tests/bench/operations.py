"""How many operations a window costs; needs no torch."""

from server.engines.torch.shapes import Shape


def encoder_flop(shape: Shape, context_s: float) -> float:
    """Floating-point operations of encoding one window, the decoder's keys and values of it included."""
    frames, d = context_s * 100, shape.width
    positions = frames / 2
    layer = positions * 24 * d * d + 4 * positions * positions * d
    convolutions = 2 * 3 * d * (frames * shape.mels + positions * d)
    return shape.encoder_layers * layer + convolutions + shape.decoder_layers * positions * 4 * d * d
