"""The front end of a recording that is still going on, whose mean and variance nobody knows yet.

What comes first is often a room without a voice. Normalised by itself it would look like speech, and the
first words, normalised by the room, like none. So a stream begins as if it had heard a moment of
somebody reading, as loud as a voice in this room must be to be heard, and what is background counts for no
more than it does in read speech.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr.frontend import Frontend, FrontendConfig, filter_centres

#: Seconds after which older frames count for little, since the level of a long recording changes.
MEMORY = 20.0
#: Seconds of read speech that a stream seems to have begun with: soon little beside what is heard.
ASSUMED = 0.1
# Measured on 150 utterances of LibriSpeech train-clean-5: at frequencies in Hz the mean and the variance of
# log-mel energies of sound, relative to its mean energy.
_HERTZ = (50, 100, 150, 200, 300, 400, 500, 700, 1000, 1500, 2000, 3000, 4000, 5000, 6000, 7500)
_MEAN = (
    *(-4.25, -3.09, -1.72, -1.09, -1.88, -1.64, -2.06, -3.55),
    *(-4.49, -4.56, -4.78, -5.02, -5.48, -6.85, -7.13, -8.13),
)
_VARIANCE = (2.5, 4.7, 6.8, 9.4, 8.7, 9.6, 9.8, 9.9, 8.5, 8.1, 7.2, 7.1, 6.7, 7.0, 6.5, 5.3)
# Of the same utterances: a quarter of the frames are no more than 10 dB above the tenth quietest of a
# hundred, and the others 24 dB (the noisiest utterances) to 48 dB above it.
_BACKGROUND = 10.0
_BACKGROUND_SHARE = 0.25
_VOICE_ABOVE_FLOOR = 10**2.5
_FLOOR_QUANTILE = 0.1
_DIGITAL_SILENCE = 1e-10


@dataclass
class _Heard:
    """Sums over frames, of which older ones fade: their number, mean energies, log-mel bins and squares."""

    sums: Tensor
    frames: float = 0.0
    energy: float = 0.0

    def add(self, loudness: Tensor, log_mel: Tensor, hop: float) -> None:
        kept = math.exp(-len(loudness) * hop / MEMORY)
        exact = log_mel.cpu().double()
        self.frames = kept * self.frames + len(loudness)
        self.energy = kept * self.energy + float(loudness.sum(dtype=torch.float64))
        self.sums = kept * self.sums + torch.stack([exact.sum(0), exact.square().sum(0)])


class FrontendStream:
    """The front end of one recording, piece by piece.

    With ``cmvn: fixed`` the features are those of the whole recording, with ``cmvn: utterance`` those of
    :class:`RunningCmvn`.
    """

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._samples = frontend.taper.new_zeros(0)
        self._cmvn = RunningCmvn(frontend.config)

    @torch.no_grad()
    def process(self, samples: Tensor) -> Tensor:
        """Features ``(1, frames, mel_bins)`` of the frames that the next samples ``(samples,)`` complete."""
        frontend = self._frontend
        held = torch.cat([self._samples, samples.to(self._samples)])
        frames = frontend.frames(len(held))
        assert isinstance(frames, int)
        self._samples = held[frames * frontend.hop :]
        if not frames:
            return held.new_zeros(1, 0, frontend.config.mel_bins)
        energies = frontend.mel_energies(held[None])
        if frontend.config.cmvn == "fixed":
            return frontend.scale(energies)
        return self._cmvn.normalise(energies[0])[None]


class RunningCmvn:
    """Normalises the frames of one recording, piece by piece, by what was heard up to each piece's end."""

    def __init__(self, config: FrontendConfig) -> None:
        self._config = config
        bins = config.mel_bins
        self._loudness = torch.zeros(0)  # of the last frames that are audible
        # Of many frames, so in double precision.
        self._sound, self._background = (_Heard(torch.zeros(2, bins, dtype=torch.float64)) for _ in range(2))
        self._assumed_frames = ASSUMED / config.hop
        centres = filter_centres(config)
        self._assumed_mean, self._assumed_variance = (_between(centres, at) for at in (_MEAN, _VARIANCE))

    def normalise(self, energies: Tensor) -> Tensor:
        """The next frames' mel energies ``(frames, mel_bins)`` to features of the same shape."""
        loudness = energies.mean(1)
        is_audible = loudness > _DIGITAL_SILENCE
        floor = self._noise_floor(loudness[is_audible])
        is_sound = is_audible & (loudness > _BACKGROUND * floor)
        is_background = is_audible & ~is_sound
        level = self._level(loudness[is_sound], floor)
        log_mel = (energies + self._config.floor * level + 1e-12).log_()
        hop = self._config.hop
        self._assumed_frames *= math.exp(-int(is_sound.sum()) * hop / MEMORY)
        self._sound.add(loudness[is_sound], log_mel[is_sound], hop)
        self._background.add(loudness[is_background], log_mel[is_background], hop)
        mean, square = (part.to(log_mel) for part in self._moments(level))
        variance = (square - mean.square()).clamp(min=0)
        return (log_mel - mean) / (variance + 1e-2).sqrt_()

    def _noise_floor(self, loudness: Tensor) -> float:
        """Energy of the background: what a tenth of the last audible frames are quieter than."""
        self._loudness = torch.cat([self._loudness, loudness.cpu()])[-round(MEMORY / self._config.hop) :]
        return float(self._loudness.quantile(_FLOOR_QUANTILE)) if len(self._loudness) else 0.0

    def _level(self, loudness: Tensor, floor: float) -> float:
        """Mean energy of sound, or the least that a voice would have here."""
        heard = self._sound.energy + float(loudness.sum(dtype=torch.float64))
        frames = self._sound.frames + len(loudness)
        return max(heard / frames if frames else 0.0, _VOICE_ABOVE_FLOOR * max(floor, _DIGITAL_SILENCE))

    def _moments(self, level: float) -> Tensor:
        """Mean of each bin and of its square ``(2, mel_bins)``."""
        assumed = self._assumed_mean + math.log(level + 1e-12)
        assumed_sums = torch.stack([assumed, assumed.square() + self._assumed_variance])
        frames = self._assumed_frames + self._sound.frames
        sums = self._assumed_frames * assumed_sums + self._sound.sums
        if self._background.frames:
            most = frames * _BACKGROUND_SHARE / (1 - _BACKGROUND_SHARE)
            counted = min(1.0, most / self._background.frames)
            frames += counted * self._background.frames
            sums = sums + counted * self._background.sums
        return sums / frames


def _between(centres: Tensor, values: tuple[float, ...]) -> Tensor:
    """Values at frequencies between those of the table, on its lines; float64."""
    return torch.from_numpy(np.interp(centres.numpy(), _HERTZ, values))
