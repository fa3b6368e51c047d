"""Variation of the speaker: frequencies are stretched as by a vocal tract of another length.

Vocal tract length perturbation (Jaitly & Hinton 2013, "Vocal tract length perturbation (VTLP) improves
speech recognition"). Unlike a change of speed it leaves the tempo as it is. The paper moves the filters;
here the features are read between the filters, which needs no spectrum of its own for each utterance.
"""

import torch
from torch import Tensor, nn

from asr.frontend import FrontendConfig, filter_centres, filter_position

HIGHEST_FORMANT = 4800.0
"""Hz up to which frequencies are stretched (0.9 of the highest bin's, where a front end hears no more than
that); what lies above is squeezed so that the last bin stays."""


class VocalTract(nn.Module):
    """Stretch the frequencies of each utterance by a factor drawn from ``1 - largest`` to ``1 + largest``."""

    centres: Tensor

    def __init__(self, largest: float, frontend: FrontendConfig) -> None:
        super().__init__()
        self.largest, self.frontend = largest, frontend
        centres = filter_centres(frontend)
        self.highest = min(HIGHEST_FORMANT, 0.9 * float(centres[-1]))
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Vary ``(batch, frames, mel_bins)``; zeros stay zeros."""
        if not self.largest or not features.numel():
            return features
        factors = 1 + self.largest * (2 * torch.rand(len(features), 1, device=features.device) - 1)
        return self.stretch(features, factors)

    def stretch(self, features: Tensor, factors: Tensor) -> Tensor:
        """Change ``(batch, frames, mel_bins)`` by factors ``(batch, 1)``."""
        bins = torch.arange(features.shape[2], device=features.device)
        away = (self.positions(factors).unsqueeze(2) - bins).abs()
        return features @ (1 - away).clamp(min=0).to(features.dtype).mT

    def positions(self, factors: Tensor) -> Tensor:
        """Where each bin is read: factors ``(batch, 1)`` to bins, in fractions, ``(batch, mel_bins)``."""
        centres, top = self.centres, self.centres[-1]
        bend = self.highest * factors.clamp(max=1.0) / factors
        above = top - (top - centres) * (top - bend * factors) / (top - bend)
        frequencies = torch.where(centres <= bend, centres * factors, above)
        return filter_position(frequencies, self.frontend).clamp(0, len(centres) - 1)
