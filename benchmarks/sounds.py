"""Sounds in which nobody speaks, drawn from a seed: float32 ``(samples,)`` at 16 kHz."""

from collections.abc import Callable

import numpy as np
import torch
import torchaudio

from asr.noises import coloured_noise

RATE = 16_000
Draw = np.random.Generator
Sound = Callable[[int, Draw], np.ndarray]


def silence(samples: int, draw: Draw) -> np.ndarray:
    """Nothing at all."""
    return np.zeros(samples)


def dither(samples: int, draw: Draw) -> np.ndarray:
    """The lowest bit of 16."""
    return draw.integers(-1, 2, samples) / 32768


def white(samples: int, draw: Draw) -> np.ndarray:
    """Equal power at all frequencies."""
    return draw.standard_normal(samples)


def pink(samples: int, draw: Draw) -> np.ndarray:
    """Power falls as 1 / f."""
    return coloured_noise(samples, 1.0, draw).numpy()


def brown(samples: int, draw: Draw) -> np.ndarray:
    """Power falls as 1 / f²."""
    return coloured_noise(samples, 2.0, draw).numpy()


def blue(samples: int, draw: Draw) -> np.ndarray:
    """Power rises as f."""
    return coloured_noise(samples, -1.0, draw).numpy()


def band(samples: int, draw: Draw) -> np.ndarray:
    """Noise in a band of one octave or less."""
    return _resonance(draw.standard_normal(samples), draw.uniform(200, 5000), draw.uniform(1, 8))


def swelling(samples: int, draw: Draw) -> np.ndarray:
    """Pink noise that swells and ebbs 2 to 8 times a second, as syllables do."""
    return pink(samples, draw) * (1 + np.sin(2 * np.pi * draw.uniform(2, 8) * _time(samples)))


def wind(samples: int, draw: Draw) -> np.ndarray:
    """Brown noise in slow gusts."""
    return brown(samples, draw) * np.exp(1.5 * np.sin(2 * np.pi * draw.uniform(0.1, 0.7) * _time(samples)))


def clicks(samples: int, draw: Draw) -> np.ndarray:
    """Single samples now and then."""
    sound = np.zeros(samples)
    count = draw.poisson(draw.uniform(1, 12) * samples / RATE) + 1
    sound[draw.integers(0, samples, count)] = draw.uniform(-1, 1, count)
    return sound


def knocks(samples: int, draw: Draw) -> np.ndarray:
    """Short decaying resonances: keys, footsteps, a clock."""
    ring = _resonance(clicks(samples, draw), draw.uniform(150, 3000), draw.uniform(1, 10))
    return ring + 1e-4 * draw.standard_normal(samples)


def crackle(samples: int, draw: Draw) -> np.ndarray:
    """An old record: dense clicks over hiss."""
    return knocks(samples, draw) + clicks(samples, draw) + 0.01 * draw.standard_normal(samples)


def drums(samples: int, draw: Draw) -> np.ndarray:
    """Bursts of noise and thuds in a steady beat."""
    beat, sound, time = draw.uniform(0.15, 0.6), np.zeros(samples), _time(samples)
    for start in np.arange(0, samples / RATE, beat):
        age = np.clip(time - start, 0, None)
        thud = np.sin(2 * np.pi * draw.uniform(50, 120) * age) * np.exp(-age * 15)
        snare = draw.standard_normal(samples) * np.exp(-age * draw.uniform(10, 60))
        sound += (time >= start) * (thud if draw.random() < 0.5 else 0.4 * snare)
    return sound


def rain(samples: int, draw: Draw) -> np.ndarray:
    """Thousands of drops over hiss."""
    drops = draw.standard_normal(samples) * (draw.random(samples) < 0.02)
    return _resonance(drops, draw.uniform(1500, 5000), 1.0) + 0.05 * draw.standard_normal(samples)


def hum(samples: int, draw: Draw) -> np.ndarray:
    """Mains hum with harmonics and a little hiss."""
    tone = _harmonics(np.full(samples, draw.choice([50.0, 60.0])), draw.uniform(1, 3))
    return tone + 10 ** draw.uniform(-4, -1) * draw.standard_normal(samples)


def engine(samples: int, draw: Draw) -> np.ndarray:
    """A pitch that wanders between 30 and 200 Hz, through a muffler."""
    path = np.interp(_time(samples), np.arange(30), draw.uniform(30, 200, 30))
    return _resonance(_harmonics(path, 0.5), draw.uniform(100, 600), 0.7) + 0.01 * pink(samples, draw)


def sines(samples: int, draw: Draw) -> np.ndarray:
    """A melody of pure tones."""
    return _melody(samples, draw, lambda pitch, length: np.sin(2 * np.pi * pitch * _time(length)))


def organ(samples: int, draw: Draw) -> np.ndarray:
    """A melody of tones with harmonics, some of them chords."""

    def tone(pitch: float, length: int) -> np.ndarray:
        chord = [1.0, 1.26, 1.5][: int(draw.integers(1, 4))]
        return sum((_harmonics(np.full(length, pitch * each), 1.5) for each in chord), np.zeros(length))

    return _melody(samples, draw, tone)


def guitar(samples: int, draw: Draw) -> np.ndarray:
    """A melody of plucked strings (Karplus and Strong 1983)."""

    def tone(pitch: float, length: int) -> np.ndarray:
        period = round(RATE / pitch)
        rows = [draw.uniform(-1, 1, period)]
        for _ in range(length // period):
            rows.append(0.498 * (rows[-1] + np.roll(rows[-1], 1)))
        return np.concatenate(rows)[:length]

    return _melody(samples, draw, tone)


def beeps(samples: int, draw: Draw) -> np.ndarray:
    """A tone on and off."""
    period = draw.uniform(0.2, 1.5)
    on = _time(samples) % period < period * draw.uniform(0.2, 0.7)
    return on * np.sin(2 * np.pi * draw.uniform(300, 3500) * _time(samples))


def dialling(samples: int, draw: Draw) -> np.ndarray:
    """Touch tones."""
    sound = np.zeros(samples)
    step = round(draw.uniform(0.12, 0.3) * RATE)
    for start in range(0, samples, step):
        length = min(step // 2, samples - start)
        pair = (draw.choice([697, 770, 852, 941]), draw.choice([1209, 1336, 1477, 1633]))
        sound[start : start + length] = sum(np.sin(2 * np.pi * tone * _time(length)) for tone in pair)
    return sound


def siren(samples: int, draw: Draw) -> np.ndarray:
    """A tone with harmonics that glides up and down."""
    glide = np.sin(2 * np.pi * draw.uniform(0.2, 4) * _time(samples))
    return _harmonics(draw.uniform(500, 1200) * (1 + 0.3 * glide), 1.0)


def sweep(samples: int, draw: Draw) -> np.ndarray:
    """A pure tone that rises through the whole band, again and again."""
    phase = (_time(samples) / draw.uniform(0.5, 5)) % 1
    return np.sin(np.cumsum(2 * np.pi * 80 * 90**phase / RATE))


def birds(samples: int, draw: Draw) -> np.ndarray:
    """High chirps with pauses."""
    path = 3500 + 1500 * np.sin(2 * np.pi * draw.uniform(5, 15) * _time(samples))
    song = np.sin(2 * np.pi * draw.uniform(0.3, 1.5) * _time(samples)) > draw.uniform(-0.3, 0.7)
    return song * np.sin(np.cumsum(2 * np.pi * path / RATE)) + 0.003 * pink(samples, draw)


def nothing(samples: int, draw: Draw) -> np.ndarray:
    """A file with a valid header and no sample, or 10 ms of noise."""
    return draw.standard_normal(int(draw.choice([0, 160])))


FITTED: tuple[Sound, ...] = (
    *(silence, dither, white, pink, band, swelling),
    *(clicks, drums, hum, sines, beeps, siren, engine),
)
"""Kinds that thresholds are fitted on."""
HELD_OUT: tuple[Sound, ...] = (
    *(nothing, brown, blue, wind, knocks, crackle),
    *(rain, organ, guitar, dialling, sweep, birds),
)
"""Kinds that only check them. Training with ``augment.noise.alone`` draws noise much like brown and wind."""


def draw_sound(kind: Sound, draw: Draw, shortest: float = 1.0, longest: float = 20.0) -> np.ndarray:
    """A sound of drawn length (s) and level (peak from -50 to -3 dBFS); dither keeps its own level."""
    sound = kind(round(draw.uniform(shortest, longest) * RATE), draw)
    peak = np.abs(sound).max(initial=0.0)
    level = 10 ** (draw.uniform(-50, -3) / 20)
    if kind is not dither and peak:
        sound = sound * (level / peak)
    return sound.astype(np.float32)


def _time(samples: int) -> np.ndarray:
    return np.arange(samples) / RATE


def _harmonics(pitch: np.ndarray, tilt: float) -> np.ndarray:
    """A tone of ``pitch`` (Hz, sample by sample) with 12 harmonics, the n-th of amplitude n ** -tilt."""
    phase = np.cumsum(2 * np.pi * pitch / RATE)
    orders = (order for order in range(1, 13) if order * pitch.max(initial=0) < RATE / 2)
    return sum((np.sin(order * phase) / order**tilt for order in orders), np.zeros(len(pitch)))


def _melody(samples: int, draw: Draw, tone: Callable[[float, int], np.ndarray]) -> np.ndarray:
    """Notes of a major scale one after another, each with attack and decay."""
    notes: list[np.ndarray] = [np.zeros(0)]
    base, decay = draw.uniform(130, 500), draw.uniform(0, 8)
    while sum(map(len, notes)) < samples:
        length = round(draw.choice([0.12, 0.25, 0.5, 0.8]) * RATE)
        pitch = base * 2 ** (draw.choice([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
        envelope = np.minimum(1, _time(length) / 0.01) * np.exp(-decay * _time(length))
        notes.append(tone(float(pitch), length) * envelope)
    return np.concatenate(notes)[:samples]


def _resonance(sound: np.ndarray, frequency: float, quality: float) -> np.ndarray:
    """Pass a band around ``frequency`` (Hz), the narrower the higher ``quality``."""
    filtered = torchaudio.functional.bandpass_biquad(torch.from_numpy(sound), RATE, frequency, quality)
    return filtered.numpy()
