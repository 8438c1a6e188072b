"""Media files of the tones' language, made with FFmpeg's encoders."""

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from whisper_ops.tone_language import track


@dataclass(frozen=True)
class Form:
    """A container with sound in it."""

    container: str
    codec: str
    rate: int = 16000
    layout: str = "mono"

    def __str__(self) -> str:
        return f"{self.container}-{self.codec}-{self.rate}-{self.layout}"


FORMS = [
    Form("wav", "pcm_s16le"),
    Form("wav", "pcm_s24le", 48000, "stereo"),
    Form("wav", "pcm_f32le", 44100),
    Form("wav", "pcm_mulaw", 8000),
    Form("flac", "flac", 44100, "stereo"),
    Form("mp3", "libmp3lame", 44100, "stereo"),
    Form("ipod", "aac", 44100, "stereo"),
    Form("mov", "alac", 44100),
    Form("ogg", "libopus", 48000),
    Form("ogg", "flac"),
    Form("webm", "libopus", 48000, "stereo"),
    Form("adts", "aac", 44100),
    Form("aiff", "pcm_s16be", 44100),
    Form("amr", "libopencore_amrnb", 8000),
    Form("mpeg", "mp2", 44100, "stereo"),
]
"""What is taken; FFmpeg calls m4a ipod."""


def media(form: Form, seconds: float = 3.0, **tags: str) -> bytes:
    """So much speech in a form."""
    import av

    spoken = track(0, round(seconds * 16000))
    places = np.arange(round(seconds * form.rate)) * 16000 / form.rate
    sound = np.interp(places, np.arange(len(spoken)), spoken).astype("<i2")
    out = io.BytesIO()
    with av.open(out, "w", format=form.container) as container:
        container.metadata.update(tags)
        stream: Any = container.add_stream(form.codec, rate=form.rate)
        stream.layout = form.layout
        context = stream.codec_context
        context.open()
        channels = 2 if form.layout == "stereo" else 1
        frame = av.AudioFrame.from_ndarray(np.repeat(sound, channels)[None, :], format="s16", layout=form.layout)
        frame.sample_rate = form.rate
        resampler = av.AudioResampler(context.format.name, form.layout, form.rate, context.frame_size or 1024)
        at = 0
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            part.pts, part.time_base = at, Fraction(1, form.rate)
            at += part.samples
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return out.getvalue()
