"""A model directory's decoding settings: found on a development set, and written into the directory."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from asr.decoding.config import BeamConfig
from asr.decoding.head import choose_head
from asr.decoding.loading import load_beam_parts, write_prior
from asr.decoding.options import NONE, DecodingOptions
from asr.decoding.phrases import PAUSE, Phrases, cut_at_pauses
from asr.decoding.prior import mean_posterior
from asr.decoding.settings import beam_config, config_for_rescoring, phrase_pause, rescoring_config
from asr.errors import UserError
from asr.files import check_folder_writable
from asr.lexicon import LEXICON, find_lexicon
from asr.manifest import Utterance
from asr.model import PRETRAINED, find_model, write_config
from asr.pauses import pause_tokens
from asr.transcriber import load_acoustic_model
from asr.transcript import Hypothesis
from asr.tuning import (
    FIRST_STEPS,
    RESCORING_STEPS,
    Calibration,
    ScoredLists,
    Trial,
    calibrate,
    compute_emissions,
    install,
    measure_with,
    pattern_search,
)

_UNCALIBRATED = {"confidence_slope": 1.0, "confidence_offset": 0.0}

Tried = Callable[[Trial], None]


class Tuner:
    """The steps of ``asr tune``, to be taken in the order of the methods.

    Attributes:
        folder: The model directory.
        head: The CTC head that is decoded.
        settings: What will be its section ``decoding``.
    """

    def __init__(self, model: str, options: DecodingOptions, threads: int) -> None:
        """Load a model; nothing is written.

        Args:
            model: Its directory.
            options: The head, the pause, and the beam; language models and lexicon to put into the directory
                and use (``rescore`` ``none``: use none).
            threads: Utterances worked on at once.

        Raises:
            UserError: something is missing or does not fit, or the model is the one that ships.
        """
        for flag, given in (("--lm", options.lm), ("--lexicon", options.lexicon)):
            if given == NONE:
                raise UserError(
                    f"{flag} {NONE}: a directory is tuned with what is in it; remove it from a copy"
                )
        self.folder = find_model(model)
        if self.folder.resolve().parent == PRETRAINED.resolve():
            raise UserError(f"{model}: is part of the program; copy {self.folder} and tune the copy")
        check_folder_writable(self.folder)
        self._network = load_acoustic_model(self.folder)
        self.head = choose_head(self._network.config, options)
        self.settings: dict[str, Any] = {"pause": PAUSE} | self._network.config.decoding
        self.settings["pause"] = phrase_pause(self.settings, options)
        self._given, self._threads = options, threads
        self._parts = load_beam_parts(self.folder, self._network, options)
        own, default = find_lexicon(self.folder), self._network.default_head
        if self.head != default and self._given.lexicon is None and own.is_file():
            raise UserError(
                f"{own}: is written in the tokens of head {default}, and there is one for the head that is "
                f"decoded; give {self.head} a --lexicon, or remove it"
            )

    def hear(
        self,
        utterances: Sequence[Utterance],
        advance: Callable[[float], None],
        warn: Callable[[str], None],
    ) -> int:
        """Compute the emissions of utterances with texts.

        Args:
            utterances: The development set.
            advance: Told how many seconds of audio are done.
            warn: Told, a line each, what cannot be read or is damaged.

        Returns:
            How many could be read.

        Raises:
            UserError: none of the audio can be read.
        """
        emissions, self._references = compute_emissions(
            self._network, utterances, self.head, self._threads, advance, warn
        )
        self._prior = mean_posterior(emissions)
        self._calibration = {
            name: self.settings.get(name, neutral) for name, neutral in _UNCALIBRATED.items()
        }
        self.settings |= {
            "head": self.head,
            "decoder": "beam",
            **self._given.settings,
            **_UNCALIBRATED,
        }
        self._network.config.decoding = self.settings
        self._parts = replace(self._parts, prior=self._prior)
        self._phrases = self._cut(emissions)
        return len(emissions)

    def _cut(self, emissions: Sequence[Tensor]) -> Phrases:
        tokens = pause_tokens(self._network.tokenizers[self.head])
        return cut_at_pauses(emissions, self.settings["pause"], self._network.frame_shift, tokens)

    def search_weights(self, tried: Tried) -> Trial:
        """Find the weights of the beam search; ``tried`` is told of each trial."""
        config = self._config()
        measure = measure_with(self._parts.decoder, config, self._phrases, self._references, self._threads)
        best = pattern_search(measure, {name: getattr(config, name) for name in FIRST_STEPS}, tried)
        self.settings |= _rounded(best.weights)
        self._nbests = self._search()
        return best

    def _config(self) -> BeamConfig:
        return beam_config(self.settings, self._given)

    def _search(self) -> list[list[Hypothesis]]:
        """The n-best lists of the phrases with the weights that were found."""
        config = self._config()
        if self._parts.rnn is not None:
            config = config_for_rescoring(config, rescoring_config(self.settings))
        return self._parts.decoder(config).decode_batch(self._phrases.emissions, threads=self._threads)

    def search_rescoring(self, tried: Tried) -> Trial | None:
        """Find how much the recurrent model counts; None where there is none."""
        rescoring = rescoring_config(self.settings)
        self.settings.pop("rescoring", None)
        rnn, lm = self._parts.rnn, self._parts.lm
        if rnn is None or lm is None:
            return None
        scored = ScoredLists(self._nbests, rnn, lm, self._config().lm_weight, rescoring.context)
        measure = scored.measure(self._phrases, self._references)
        start = {"mix": rescoring.mix, "lm_scale": rescoring.lm_scale}
        best = pattern_search(measure, start, tried, RESCORING_STEPS)
        self._nbests = scored.reordered(best.weights)
        self.settings["rescoring"] = asdict(rescoring) | _rounded(best.weights)
        return best

    def calibrate(self) -> Calibration:
        """Fit the confidences of words to what was found.

        Raises:
            UserError: they cannot be fitted on these utterances; what the directory had stays.
        """
        try:
            found = calibrate(self._phrases.join(self._nbests), self._references)
        except UserError:
            self.settings |= self._calibration
            raise
        self.settings |= _rounded({"confidence_slope": found.slope, "confidence_offset": found.offset})
        return found

    def write(self) -> None:
        """Put what was given, the prior and the settings into the directory.

        Raises:
            UserError: it cannot be written.
        """
        compressed = f"{LEXICON}.gz"
        lexicon = compressed if str(self._given.lexicon).endswith(".gz") else LEXICON
        given = {"lm": self._given.lm, lexicon: self._given.lexicon, "rescoring_lm": self._given.rescore}
        for name, source in given.items():
            if source not in (None, NONE):
                install(Path(source), self.folder / name)
        if self._given.lexicon is not None:
            other = LEXICON if lexicon == compressed else compressed
            (self.folder / other).unlink(missing_ok=True)
        write_prior(self.folder, self.head, self._prior)
        write_config(self.folder, self._network.config)


def _rounded(weights: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in weights.items()}
