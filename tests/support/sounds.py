"""Sounds that are no speech, made from figures: the same for the same seed, as many seconds as wanted, at 16 kHz.

`KINDS` names the families of a telephone line and a room. Each is played in several variants and at several
levels, changing every few seconds, so that what a test hears is no single tone at one loudness.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

RATE = 16000
Sound = NDArray[np.float64]
Random = np.random.Generator
LEVELS_DBFS = (-45.0, -30.0, -18.0, -8.0)


def stretch(kind: str, seconds: float, seed: int = 0) -> NDArray[np.int16]:
    """`seconds` of one kind as 16-bit samples: its variants at every level in turn, with pauses between them."""
    random = np.random.default_rng([seed, *kind.encode()])
    variants, parts, count = KINDS[kind], [], 0
    for i, level in enumerate(_levels(random)):
        sound = variants[i % len(variants)](random, float(random.uniform(3.0, 12.0)))
        pause = np.zeros(round(float(random.choice((0.0, 0.4, 1.5))) * RATE))
        parts += [at_level(sound, level), pause]
        count += len(sound) + len(pause)
        if count >= seconds * RATE:
            break
    return as_samples(np.concatenate(parts)[: round(seconds * RATE)])


def _levels(random: Random) -> Iterator[float]:
    while True:
        yield from random.permutation(LEVELS_DBFS)


def at_level(sound: Sound, dbfs: float) -> Sound:
    """The sound with its loud half-seconds at that level (RMS)."""
    step = RATE // 2
    blocks = [float(np.sqrt(np.mean(sound[i : i + step] ** 2))) for i in range(0, len(sound), step)]
    return sound * (10 ** (dbfs / 20) / max(float(np.max(blocks)), 1e-9))


def as_samples(sound: Sound) -> NDArray[np.int16]:
    """16-bit samples, clipped."""
    return np.asarray(np.clip(sound * 32767, -32768, 32767), np.int16)


def telephone(sound: Sound) -> Sound:
    """What a telephone line leaves of a sound."""
    return np.asarray(sosfilt(butter(4, (300, 3400), "band", fs=RATE, output="sos"), sound))


def _times(seconds: float) -> Sound:
    return np.arange(round(seconds * RATE)) / RATE


def _sum(parts: Iterable[Sound]) -> Sound:
    return np.asarray(np.sum(list(parts), axis=0), np.float64)


def _wander(random: Random, seconds: float, step: float, low: float, high: float) -> Sound:
    """A curve through a random point each `step` seconds."""
    points = random.uniform(low, high, int(seconds / step) + 2)
    return np.interp(_times(seconds), np.arange(len(points)) * step, points)


def _band(random: Random, seconds: float, low: float, high: float) -> Sound:
    sos = butter(2, (low, high), "band", fs=RATE, output="sos")
    return np.asarray(sosfilt(sos, random.normal(size=round(seconds * RATE))))


def _resonances(sound: Sound, *formants: tuple[float, float]) -> Sound:
    """The sound through resonances in parallel: (hertz, bandwidth)."""
    out = np.zeros_like(sound)
    for hertz, width in formants:
        r = np.exp(-np.pi * width / RATE)
        out += lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * hertz / RATE), r * r], sound)
    return out


def _place(out: Sound, at: float, sound: Sound) -> None:
    begin = round(at * RATE)
    part = sound[: max(0, len(out) - begin)]
    out[begin : begin + len(part)] += part


# --- noise, hum -----------------------------------------------------------------------------------------


def white(random: Random, seconds: float) -> Sound:
    """A detuned radio."""
    return random.normal(size=round(seconds * RATE))


def pink(random: Random, seconds: float) -> Sound:
    """Rain, a fan."""
    return _coloured(random, seconds, 0.5)


def brown(random: Random, seconds: float) -> Sound:
    """Wind, a car from inside."""
    return _coloured(random, seconds, 1.0)


def _coloured(random: Random, seconds: float, power: float) -> Sound:
    count = round(seconds * RATE)
    spectrum = np.fft.rfft(random.normal(size=count))
    return np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20.0) ** power, count)


def gusts(random: Random, seconds: float) -> Sound:
    """Wind in a microphone: slow swells of low noise."""
    return _band(random, seconds, 60, 900) * _wander(random, seconds, 0.7, 0, 1) ** 2


def street(random: Random, seconds: float) -> Sound:
    """Cars that pass: noise that swells, its colour with it."""
    near = np.exp(-(((_times(seconds) % 4.0) - 2.0) ** 2))
    return _band(random, seconds, 80, 500) + near * _band(random, seconds, 200, 2500)


def keyboard(random: Random, seconds: float) -> Sound:
    """Typing: clicks in bursts over room noise."""
    out = 0.002 * random.normal(size=round(seconds * RATE))
    at = 0.0
    while at < seconds:
        click = random.normal(size=400) * np.exp(-np.arange(400) / random.uniform(20, 90))
        _place(out, at, click * random.uniform(0.2, 1.0))
        at += float(random.choice((0.09, 0.13, 0.2, 0.9)))
    return out


def crackle(random: Random, seconds: float) -> Sound:
    """A bad line: pops and crackles over hiss."""
    pops = (random.random(round(seconds * RATE)) < 6e-4) * random.normal(size=round(seconds * RATE)) * 20
    return telephone(pops + 0.2 * white(random, seconds))


def modem(random: Random, seconds: float) -> Sound:
    """Data over a line: two tones that alternate fast."""
    bits = np.repeat(random.integers(0, 2, int(seconds * 300) + 1), RATE // 300)[: round(seconds * RATE)]
    bits = np.pad(bits, (0, round(seconds * RATE) - len(bits)))
    return np.sin(np.cumsum(2 * np.pi * np.where(bits, 1180.0, 980.0) / RATE))


def _hum(hertz: float, *shares: float) -> Callable[[Random, float], Sound]:
    def hum(random: Random, seconds: float) -> Sound:
        t = _times(seconds)
        drift = 1 + 0.002 * np.sin(2 * np.pi * 0.3 * t)
        phase = 2 * np.pi * np.cumsum(hertz * drift) / RATE
        tones = sum(share * np.sin((k + 1) * phase) for k, share in enumerate(shares))
        return np.asarray(tones) + 0.03 * pink(random, seconds)

    return hum


def engine(random: Random, seconds: float) -> Sound:
    """A motor whose speed wanders: many harmonics of a low tone."""
    phase = np.cumsum(2 * np.pi * _wander(random, seconds, 1.0, 25, 70) / RATE)
    return _sum(np.sin(k * phase) / k for k in range(1, 16))


def vacuum(random: Random, seconds: float) -> Sound:
    """A vacuum cleaner: a whine in broad noise."""
    return 0.4 * np.sin(2 * np.pi * 620 * _times(seconds)) + _band(random, seconds, 300, 4000)


# --- music ----------------------------------------------------------------------------------------------

_SCALE = (0, 2, 4, 5, 7, 9, 11, 12, 14, 16)


def _note(semitone: float, base: float = 220.0) -> float:
    return float(base * 2 ** (semitone / 12))


def _tone(hertz: float, seconds: float, partials: tuple[float, ...], decay: float) -> Sound:
    t = _times(seconds)
    envelope = np.minimum(1, t / 0.01) * np.exp(-t / decay) * np.minimum(1, (seconds - t) / 0.02)
    return envelope * _sum((p * np.sin(2 * np.pi * hertz * (k + 1) * t) for k, p in enumerate(partials)))


def piano(random: Random, seconds: float) -> Sound:
    """A melody over broken chords."""
    out = np.zeros(round(seconds * RATE))
    for i in range(int(seconds * 4)):
        _place(out, i / 4, _tone(_note(random.choice(_SCALE)), 0.6, (1, 0.5, 0.25, 0.12), 0.4))
        if not i % 4:
            root = random.choice((0, 5, 7, 9))
            for step in (0, 4, 7):
                _place(out, i / 4, 0.6 * _tone(_note(root + step, 110), 1.2, (1, 0.6, 0.3), 0.8))
    return out


def strings(random: Random, seconds: float) -> Sound:
    """Held chords with vibrato: the nearest that music comes to a voice."""
    out = np.zeros(round(seconds * RATE))
    for i in range(int(seconds / 1.5) + 1):
        t = _times(1.7)
        vibrato = 1 + 0.006 * np.sin(2 * np.pi * 5.5 * t)
        for step in (0, 4, 7):
            phase = np.cumsum(2 * np.pi * _note(random.choice((0, 2, 5, 7)) + step, 196) * vibrato / RATE)
            saw = sum(np.sin(k * phase) / k for k in range(1, 12))
            _place(out, i * 1.5, np.asarray(saw) * np.minimum(1, np.minimum(t / 0.2, (1.7 - t) / 0.2)))
    return out


def guitar(random: Random, seconds: float) -> Sound:
    """Plucked strings (Karplus and Strong)."""
    out = np.zeros(round(seconds * RATE))
    for i in range(int(seconds * 3)):
        period = round(RATE / _note(random.choice(_SCALE), 165))
        burst = np.zeros(RATE)
        burst[:period] = random.uniform(-1, 1, period)
        feedback = np.zeros(period + 2)
        feedback[0], feedback[period], feedback[period + 1] = 1.0, -0.498, -0.498
        _place(out, i / 3, np.asarray(lfilter([1.0], feedback, burst)))
    return out


def band(random: Random, seconds: float) -> Sound:
    """Drums, a bass and an organ."""
    out = 0.7 * strings(random, seconds)
    for i in range(int(seconds * 4)):
        if i % 4 == 0:
            t = _times(0.25)
            _place(out, i / 4, 4 * np.sin(2 * np.pi * 60 * t * np.exp(-t * 4)) * np.exp(-t * 12))
        if i % 4 == 2:
            _place(out, i / 4, 3 * random.normal(size=3000) * np.exp(-np.arange(3000) / 700))
        _place(out, i / 4, random.normal(size=800) * np.exp(-np.arange(800) / 120))
        _place(out, i / 4, 2 * _tone(_note(random.choice((0, 5, 7)), 55), 0.24, (1, 0.5), 0.3))
    return out


def hummed(random: Random, seconds: float) -> Sound:
    """A voice that hums a tune: formants, but no word."""
    return _sung(random, seconds, ((250, 60), (1100, 120), (2300, 200)))


def choir(random: Random, seconds: float) -> Sound:
    """Three voices that sing on one vowel."""
    return _sum(_sung(random, seconds, ((700, 90), (1150, 110), (2600, 160))) for _ in range(3))


def _sung(random: Random, seconds: float, formants: tuple[tuple[float, float], ...]) -> Sound:
    t = _times(seconds)
    steps = np.repeat([_note(n, 130) for n in random.choice(_SCALE, int(seconds / 0.6) + 1)], round(0.6 * RATE))[
        : len(t)
    ]
    glide = lfilter([0.001], [1, -0.999], steps - steps[0]) + steps[0]
    phase = np.cumsum(2 * np.pi * glide * (1 + 0.008 * np.sin(2 * np.pi * 5 * t)) / RATE)
    pulses = _sum(np.sin(k * phase) / k**0.7 for k in range(1, 24))
    return _resonances(pulses, *formants)


# --- ring tones, DTMF -----------------------------------------------------------------------------------


def _ring(hertz: tuple[float, ...], *cadence: float) -> Callable[[Random, float], Sound]:
    """Tones that are on, off, on, off … for so many seconds."""

    def ring(random: Random, seconds: float) -> Sound:
        t = _times(seconds)
        tones = _sum(np.sin(2 * np.pi * f * t) for f in hertz)
        edges = np.cumsum(cadence)
        on = np.searchsorted(edges, t % edges[-1], side="right") % 2 == 0
        return np.asarray(tones * on + 0.003 * random.normal(size=len(t)))

    return ring


def bell(random: Random, seconds: float) -> Sound:
    """An old telephone's bell: two gongs struck 20 times a second, 2 s of every 4."""
    out = np.zeros(round(seconds * RATE))
    for i in range(int(seconds * 20)):
        if i / 20 % 4 < 2:
            _place(out, i / 20, _tone((1240.0, 1510.0)[i % 2], 0.3, (1, 0.4, 0.6, 0.2), 0.12))
    return out


def jingle(random: Random, seconds: float) -> Sound:
    """A mobile telephone's tune: square waves."""
    out = np.zeros(round(seconds * RATE))
    tune = random.choice(_SCALE, 8)
    for i in range(int(seconds * 7)):
        if i % 16 < 12:
            t = _times(0.13)
            _place(out, i / 7, np.sign(np.sin(2 * np.pi * _note(tune[i % 8], 660) * t)))
    return out


def marimba(random: Random, seconds: float) -> Sound:
    """A smartphone's ring."""
    out = np.zeros(round(seconds * RATE))
    tune = random.choice(_SCALE, 12)
    for i in range(int(seconds * 6)):
        _place(out, i / 6, _tone(_note(tune[i % 12], 440), 0.4, (1, 0, 0, 0.3), 0.12))
    return out


def alarm(random: Random, seconds: float) -> Sound:
    """A siren that goes up and down."""
    return np.sin(np.cumsum(2 * np.pi * (900 + 500 * np.sin(2 * np.pi * 0.8 * _times(seconds))) / RATE))


def _keys(on: float, off: float) -> Callable[[Random, float], Sound]:
    """DTMF: random digits, each `on` seconds long."""

    def keys(random: Random, seconds: float) -> Sound:
        out = 0.002 * random.normal(size=round(seconds * RATE))
        at = 0.0
        while at < seconds:
            t = _times(on)
            low, high = random.choice((697, 770, 852, 941)), random.choice((1209, 1336, 1477, 1633))
            _place(out, at, np.sin(2 * np.pi * low * t) + np.sin(2 * np.pi * high * t))
            at += on + off * float(random.uniform(0.5, 2.0))
        return out

    return keys


# --- people who say nothing -----------------------------------------------------------------------------


def _breaths(
    length: float, low: float, high: float, *formants: tuple[float, float]
) -> Callable[[Random, float], Sound]:
    """Air in and out: noise that swells and fades, coloured by mouth or nose."""

    def breaths(random: Random, seconds: float) -> Sound:
        out = 0.002 * random.normal(size=round(seconds * RATE))
        at = 0.0
        while at < seconds:
            span = length * float(random.uniform(0.7, 1.4))
            swell = np.sin(np.pi * _times(span) / span) ** float(random.uniform(0.7, 2.0))
            air = _band(random, span, low, high)
            air = air if not formants else air / air.std() + 12 * _resonances(air / air.std(), *formants)
            _place(out, at, swell[: len(air)] * air / air.std() * float(random.uniform(0.4, 1.0)))
            at += span + float(random.uniform(0.15, 1.2))
        return out

    return breaths


def _coughs(burst: float, voiced: float, *formants: tuple[float, float]) -> Callable[[Random, float], Sound]:
    """A burst of air, a noisy middle and sometimes a voiced end, one to four in a row."""

    def coughs(random: Random, seconds: float) -> Sound:
        out = 0.002 * random.normal(size=round(seconds * RATE))
        at = 0.0
        while at < seconds:
            for _ in range(random.integers(1, 5)):
                _place(out, at, _cough(random, burst, voiced, formants) * float(random.uniform(0.5, 1.0)))
                at += float(random.uniform(0.3, 0.55))
            at += float(random.uniform(0.8, 2.5))
        return out

    return coughs


def _cough(random: Random, burst: float, voiced: float, formants: tuple[tuple[float, float], ...]) -> Sound:
    t = _times(float(random.uniform(0.25, 0.4)))
    air = random.normal(size=len(t)) * (np.exp(-t / burst) + 0.25 * np.exp(-(((t - 0.12) / 0.08) ** 2)))
    pitch = np.cumsum(2 * np.pi * (random.uniform(110, 260) * (1 - 0.8 * t)) / RATE)
    voice = _sum(np.sin(k * pitch) / k**0.5 for k in range(1, 14)) * np.exp(-(((t - 0.18) / 0.06) ** 2))
    sound = _resonances(air + voiced * voice, *(formants or ((600, 200), (1400, 250), (2600, 300))))
    return np.asarray(sound / np.abs(sound).max())


KINDS: dict[str, tuple[Callable[[Random, float], Sound], ...]] = {
    "noise": (white, pink, brown, gusts, street, keyboard, crackle, modem),
    "hum": (
        _hum(50, 1, 0.5, 0.3, 0.2, 0.1),
        _hum(60, 0.3, 1, 0.2, 0.6),
        _hum(120, 1, 0.7, 0.5, 0.4, 0.3, 0.2, 0.2, 0.1),
        _hum(400, 1, 0.1),
        engine,
        vacuum,
    ),
    "music": (piano, strings, guitar, band, hummed, choir),
    "ring tones": (
        _ring((440, 480), 2, 4),
        _ring((400, 450), 0.4, 0.2, 0.4, 2),
        _ring((425,), 1, 4),
        _ring((480, 620), 0.5, 0.5),
        _ring((350, 440), 9, 0.5),
        _ring((950, 1400, 1800), 0.33, 0.03),
        bell,
        jingle,
        marimba,
        alarm,
    ),
    "dtmf": (_keys(0.05, 0.05), _keys(0.1, 0.1), _keys(0.25, 0.3), _keys(1.0, 0.5)),
    "breath": (
        _breaths(1.2, 200, 5000),
        _breaths(0.6, 400, 7000, (900, 300), (1800, 400)),
        _breaths(1.8, 100, 2500, (500, 150), (1500, 300), (2500, 300)),
        _breaths(0.35, 300, 6000, (700, 120), (1200, 150), (2600, 250)),
    ),
    "coughs": (
        _coughs(0.03, 0.25),
        _coughs(0.05, 0.0),
        _coughs(0.02, 0.1, (500, 90), (1500, 120), (2500, 160)),
        _coughs(0.04, 0.15, (800, 130), (1200, 150), (2900, 220)),
    ),
    "grunts": (
        _coughs(0.03, 0.6),
        _coughs(0.02, 1.5, (500, 90), (1500, 120), (2500, 160)),
        _coughs(0.04, 1.0, (800, 130), (1200, 150), (2900, 220)),
    ),
}
"""`grunts` are coughs with a voice in them, clearing one's throat: the nearest to a word without being one."""
