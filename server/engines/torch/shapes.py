"""The sizes of a Whisper model, and those of the published ones."""

from dataclasses import dataclass

AUDIO_POSITIONS = 1500
"""Encoder positions of 30 s; each stands for two mel frames."""
TEXT_POSITIONS = 448


@dataclass(frozen=True)
class Shape:
    """All sizes of a model."""

    mels: int
    width: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    vocabulary: int

    @property
    def head(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def multilingual(self) -> bool:
        """Whether it knows languages other than English."""
        return self.vocabulary >= 51865

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        d, layers = self.width, self.encoder_layers + self.decoder_layers
        convolutions = 3 * d * (self.mels + d) + 2 * d
        block, cross = 12 * d * d + 13 * d, 4 * d * d + 6 * d
        positions = (AUDIO_POSITIONS + TEXT_POSITIONS) * d
        return layers * block + self.decoder_layers * cross + convolutions + positions + self.vocabulary * d + 4 * d


PUBLISHED: dict[str, Shape] = {
    "tiny": Shape(80, 384, 6, 4, 4, 51865),
    "base": Shape(80, 512, 8, 6, 6, 51865),
    "small": Shape(80, 768, 12, 12, 12, 51865),
    "medium": Shape(80, 1024, 16, 24, 24, 51865),
    "large-v2": Shape(80, 1280, 20, 32, 32, 51865),
    "large-v3": Shape(128, 1280, 20, 32, 32, 51866),
    "large-v3-turbo": Shape(128, 1280, 20, 32, 4, 51866),
}
