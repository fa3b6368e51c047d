"""Pictures: what they are computed from, that nothing is unlabelled, and that mistakes are said clearly."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from asr.aligner import Aligner
from asr.audio import read_audio
from asr.augmentation import AugmentConfig, NoiseConfig, ReverberationConfig, SpecAugmentConfig
from asr.encoder import EncoderConfig, Recurrence, RecurrentStack
from asr.errors import UserError
from asr.frontend import Frontend, FrontendConfig
from asr.gradients import model_reach, reach, untrained_reach
from asr.plots import style
from asr.plots.augment import augment
from asr.plots.emissions import alignment, emissions
from asr.plots.gradients import gradients
from asr.plots.spectra import fbank, power_spectrogram, spectrogram
from asr.plots.training import read_run, training
from asr.plots.unfold import unfolded
from asr.plots.wer import wer
from asr.scoring.report import Options, report
from asr.scoring.texts import read
from asr.transcript import Word
from asr.unfolding import run_steps, unfold

WORDS = (Word("IT", 0.1, 0.3), Word("WAS", 0.3, 0.5), Word("BRIGHT", 0.6, 1.0))


@pytest.fixture(scope="module")
def waveform(examples: Path) -> torch.Tensor:
    return read_audio(examples.parent / "river.flac", duration=1.2)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    lines: list[dict[str, Any]] = []
    for step in range(20, 400, 20):
        step_line = {"loss": 3.0 - step / 200, "loss_characters": 3.0 - step / 200, "lr": 1e-3}
        step_line |= {"gradient_norm": 5.0, "hours_per_second": 0.05, "padding": 0.1, "blanks": 0.6}
        lines.append({"step": step, "epoch": 1, "minutes": step / 20} | step_line)
        if step % 100 == 0:
            lines.append({"step": step, "epoch": 1, "wer_characters": 90.0, "characters": "A"})
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_run_too_short_for_a_report_of_its_steps_shows_its_error_rates(tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    log.write_text(json.dumps({"step": 10, "epoch": 1, "wer_characters": 9.0}) + "\n")
    figure = training([read_run(log)])
    check_axes(figure)
    drawn = [line.get_ydata().tolist() for axes in figure.axes for line in axes.lines]
    assert [values for values in drawn if values] == [[9.0]]


def test_the_error_of_a_head_is_named_after_what_it_writes(run_folder: Path) -> None:
    """Whatever its name is; a log that does not say it is an earlier version's."""
    with (run_folder / "train.jsonl").open("a") as log:
        log.write(json.dumps({"step": 390, "epoch": 1, "wer_sounds": 9.0, "units_sounds": "phones"}) + "\n")
        log.write(json.dumps({"step": 400, "epoch": 1, "wer_phones": 8.0}) + "\n")
    labels = [
        text.get_text()
        for axes in training([read_run(run_folder)]).axes
        if axes.legend_
        for text in axes.legend_.get_texts()
    ]
    assert {"characters (WER)", "sounds (PER)", "phones (PER)"} <= set(labels)


def check_axes(figure: Figure) -> None:
    """Every axis that shows numbers says of what; drawing it changes no setting of matplotlib's."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            shown = [label for label in axis.get_ticklabels() if label.get_visible() and label.get_text()]
            # What is shared along x is written below the last axes.
            elsewhere = axis is axes.xaxis and axes is not figure.axes[-1]
            elsewhere = elsewhere and axes.get_shared_x_axes().joined(axes, figure.axes[-1])
            if axes.axison and axis.get_visible() and shown and not elsewhere:
                assert axis.label.get_text() or _has_labelled_neighbour(axes, axis, figure), axes.get_title()


def _has_labelled_neighbour(axes: Any, axis: Any, figure: Figure) -> bool:
    """Axes in one row (or column) share what is written at the first (or last)."""
    vertical = axis is axes.yaxis
    here = axes.get_position()
    for other in figure.axes:
        there = other.get_position()
        aligned = abs(here.y0 - there.y0) < 0.02 if vertical else abs(here.x0 - there.x0) < 0.02
        if aligned and (other.yaxis if vertical else other.xaxis).label.get_text():
            return True
    return False


class TestUnfolding:
    @pytest.mark.parametrize(
        ("cell", "nonlinearity"), [("rnn", "tanh"), ("rnn", "relu"), ("lstm", "tanh"), ("gru", "tanh")]
    )
    def test_steps_equal_the_fused_kernel(self, cell: str, nonlinearity: str) -> None:
        torch.manual_seed(3)
        recurrence = Recurrence(EncoderConfig(cell=cell, nonlinearity=nonlinearity, hidden_size=11), 7)
        for bias in (recurrence.bias_ih, recurrence.bias_hh):
            torch.nn.init.normal_(bias)
        inputs = torch.randn(40, 7)
        with torch.no_grad():
            steps = run_steps(recurrence, inputs)
            fused, _ = recurrence(inputs[None])
        torch.testing.assert_close(steps.hidden, fused[0], atol=1e-5, rtol=0)

    @pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
    @pytest.mark.parametrize("layer", [1, 2])
    def test_both_directions_are_those_of_the_model(
        self, make_model: Callable, waveform: torch.Tensor, cell: str, layer: int
    ) -> None:
        model = make_model(cell=cell, residual=False, layer_norm=True)
        parts = unfold(model, waveform, layer)
        features, lengths = model.frontend(waveform[None], torch.tensor([len(waveform)]))
        with torch.no_grad():
            outputs, _ = model.encoder(features, lengths)
        assert parts.backward is not None
        together = torch.cat([parts.forward.hidden, parts.backward.hidden], dim=1)
        torch.testing.assert_close(together, outputs[layer - 1][0], atol=1e-5, rtol=0)

    def test_an_lstms_hidden_state_is_what_the_output_gate_shows_of_its_memory(
        self, make_model: Callable, waveform: torch.Tensor
    ) -> None:
        steps = unfold(make_model(), waveform).forward
        assert steps.memory is not None
        torch.testing.assert_close(steps.hidden, steps.gates["output"] * steps.memory.tanh())
        assert all(bool(((gate >= 0) & (gate <= 1)).all()) for gate in steps.gates.values())

    def test_a_layer_that_is_not_there_is_named(self, make_model: Callable, waveform: torch.Tensor) -> None:
        with pytest.raises(UserError, match="layers 1 to 2"):
            unfold(make_model(), waveform, 3)
        with pytest.raises(UserError, match="shorter than one frame"):
            unfold(make_model(), waveform[:50])


class TestGradients:
    def test_norms_are_those_of_the_whole_jacobian(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("asr.gradients.PROBES", 4000)
        monkeypatch.setattr("asr.gradients.OUTPUTS", 1)
        torch.manual_seed(1)
        config = EncoderConfig(cell="gru", bidirectional=True, layers=2, hidden_size=3, residual=False)
        stack = RecurrentStack(config, 4).eval()
        inputs = torch.randn(6, 4)
        found = reach("gru", stack, inputs, 5)
        jacobian = torch.autograd.functional.jacobian(
            lambda x: stack(x[None], torch.tensor([6]))[0][-1][0, 0], inputs
        )
        exact = jacobian.square().sum((0, 2)).sqrt()
        torch.testing.assert_close(found.norms[found.lags <= 0].flip(0).float(), exact, rtol=0.1, atol=0)

    def test_gates_keep_the_gradient_from_vanishing(self) -> None:
        rnn, gru, lstm = (untrained_reach(cell, 30, 64, 16).half_life for cell in ("rnn", "gru", "lstm"))
        assert rnn < gru < lstm

    def test_only_a_bidirectional_model_reaches_into_the_future(
        self, make_model: Callable, waveform: torch.Tensor
    ) -> None:
        both = model_reach("both", make_model(), waveform, 5)
        past = model_reach("past", make_model(bidirectional=False), waveform, 5)
        assert both.lags.tolist() == list(range(-5, 6))
        assert past.lags.tolist() == list(range(6))
        check_axes(gradients([both, past]))


class TestTraining:
    def test_of_a_step_done_twice_the_later_report_counts(self, run_folder: Path) -> None:
        log = run_folder / "train.jsonl"
        log.write_text(log.read_text() + json.dumps({"step": 40, "loss": 1.5}) + "\n")
        steps = read_run(run_folder).steps
        assert [entry["step"] for entry in steps] == list(range(20, 400, 20))
        assert steps[1]["loss"] == 1.5

    def test_a_line_being_written_is_left_out_and_a_broken_one_is_named(self, run_folder: Path) -> None:
        log = run_folder / "train.jsonl"
        whole = log.read_text()
        log.write_text(whole + '{"step": 400, "lo')
        assert read_run(run_folder).steps[-1]["step"] == 380
        log.write_text("nonsense\n" + whole)
        with pytest.raises(UserError, match="line 1 is no report"):
            read_run(run_folder)

    def test_no_log_and_an_empty_log_are_told_apart(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="give the folder of a training run"):
            read_run(tmp_path)
        (tmp_path / "train.jsonl").write_text("")
        with pytest.raises(UserError, match="no reports yet"):
            read_run(tmp_path)


class TestPictures:
    def test_a_tones_power_is_relative_to_full_scale(self) -> None:
        tone = 0.1 * torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
        assert power_spectrogram(tone, 16_000)[100].max() == pytest.approx(-20.0, abs=0.1)

    def test_axes_are_labelled(
        self, make_model: Callable, waveform: torch.Tensor, run_folder: Path, tmp_path: Path
    ) -> None:
        model = make_model()
        check_axes(spectrogram(waveform, 16_000, "a"))
        check_axes(fbank(Frontend(FrontendConfig(cmvn="fixed")), waveform))
        check_axes(emissions(model, waveform))
        check_axes(alignment(Aligner(model), waveform, "it was bright"))
        check_axes(training([read_run(run_folder)] * 2))

    def test_a_recording_that_makes_no_picture_is_refused(self, make_model: Callable) -> None:
        model, long = make_model(), torch.zeros(61 * 16_000)
        with pytest.raises(UserError, match="61 s do not fit into one picture"):
            emissions(model, long)
        with pytest.raises(UserError, match="61 s do not fit into one picture"):
            alignment(Aligner(model), long, "it was bright")

    @pytest.mark.parametrize(
        ("cell", "bidirectional", "words"), [("lstm", True, WORDS), ("gru", False, WORDS), ("rnn", True, ())]
    )
    def test_unfolded_networks_of_every_cell(
        self,
        make_model: Callable,
        waveform: torch.Tensor,
        cell: str,
        bidirectional: bool,
        words: tuple[Word, ...],
    ) -> None:
        model = make_model(cell=cell, bidirectional=bidirectional)
        check_axes(unfolded(model, waveform, words, units=100, steps=3))

    def test_a_recording_shorter_than_the_steps_is_drawn_whole(
        self, make_model: Callable, waveform: torch.Tensor
    ) -> None:
        figure = unfolded(make_model(cell="rnn", bidirectional=False), waveform[:4000], (), steps=24)
        assert any("unfolded: 6 steps" in axes.get_title("left") for axes in figure.axes)

    def test_augmentation_shows_what_the_recipe_does_and_no_more(self, waveform: torch.Tensor) -> None:
        config = AugmentConfig(
            speed=[0.9, 1.0],
            telephone=0.1,
            noise=NoiseConfig(0.2, alone=0.1),
            reverberation=ReverberationConfig(0.0),
            vocal_tract=0.1,
            spec_augment=SpecAugmentConfig(0.5),
        )
        figure = augment(config, FrontendConfig(), waveform)
        check_axes(figure)
        titles = [axes.get_title("left").split(":")[0] for axes in figure.axes if axes.get_title("left")]
        assert titles == [
            *(
                "as recorded",
                "speed × 0.9",
                "noise",
                "noise alone",
                "telephone band",
                "all of these but speed",
            ),
            *("features as heard", "vocal tract", "SpecAugment"),
        ]
        only = augment(AugmentConfig(vocal_tract=0.1), FrontendConfig(), waveform)
        assert [axes.get_title("left") for axes in only.axes if axes.get_title("left")] == [
            *("as recorded", "features as heard", "vocal tract: frequencies × 1.1"),
        ]
        with pytest.raises(UserError, match="no augmentation"):
            augment(AugmentConfig(), FrontendConfig(), waveform)

    def test_wer_by_speaker(self, examples: Path, tmp_path: Path) -> None:
        lines = [json.loads(line) for line in examples.read_text().splitlines()]
        hypotheses = tmp_path / "hypotheses.jsonl"
        hypotheses.write_text(
            "".join(json.dumps({"id": line["id"], "text": line["text"][4:]}) + "\n" for line in lines)
        )
        options = Options(by=("speaker",), replicates=50)
        found = report(read(examples), read(hypotheses, hypotheses=True), options)
        figure = wer(found)
        check_axes(figure)
        speakers = {line["speaker"] for line in lines}
        assert {label.get_text() for label in figure.axes[0].get_yticklabels()} == speakers

    def test_pictures_are_repeatable_and_leave_no_trace(self, waveform: torch.Tensor, tmp_path: Path) -> None:
        settings = dict(mpl.rcParams)
        for name in ("one.svg", "two.svg"):
            style.save(fbank(Frontend(FrontendConfig()), waveform), tmp_path / name)
        assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
        assert dict(mpl.rcParams) == settings

    def test_names_are_set_upright_where_there_is_no_room(self) -> None:
        crowded = [Word("EXTRAORDINARILY", 0.1 * start, 0.1 * start + 0.1) for start in range(20)]
        for words, rotation in ((crowded, 90), (WORDS, 0)):
            axes = Figure().subplots()
            axes.set_xlim(0, 2)
            style.write_words(axes, words)
            assert {text.get_rotation() for text in axes.texts} == {rotation}


class TestCommand:
    def test_a_picture_is_what_its_name_says(
        self, run_asr: Callable, examples: Path, run_folder: Path, tmp_path: Path
    ) -> None:
        audio = examples.parent / "river.flac"
        for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
            path = tmp_path / name
            ran = run_asr("plot", "spectrogram", audio, "--duration", 0.5, "-o", path)
            assert (ran.status, ran.stdout, ran.stderr) == (0, "", f"wrote {path}\n")
            assert path.read_bytes().startswith(start)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["spectrogram", "none.wav", "-o", "a.jpg"], "a.jpg: pictures are .png, .svg, .pdf"),
            (["spectrogram", "none.wav"], "none.wav: no such file"),
            (["fbank", "{audio}", "--offset", "99"], "before the part that begins at 99 s"),
            (["gradients", "{model}"], "--audio: say which recording"),
            (["unfold", "{model}", "{audio}", "--layer", "9", "--text", "A"], "layers 1 to 2"),
            (["training", "none"], "give the folder of a training run"),
            (["emissions", "{model}", "{audio}", "--head", "bass"], "'bass' is not one of"),
        ],
    )
    def test_mistakes_are_one_line(
        self,
        run_asr: Callable,
        examples: Path,
        model_directory: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
        message: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        places = {"audio": examples.parent / "river.flac", "model": model_directory}
        ran = run_asr("plot", *(part.format(**places) for part in arguments))
        assert ran.status == 1
        assert message in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
        assert not list(tmp_path.iterdir())

    def test_a_missing_matplotlib_names_the_extra(
        self, run_asr: Callable, run_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in sys.modules if name.startswith(("asr.plots", "matplotlib"))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        ran = run_asr("plot", "training", run_folder)
        assert ran.status == 1
        assert ran.stderr == "asr: pictures need matplotlib: pip install 'asr-ctc[plot]'\n"


def test_units_come_in_the_order_of_their_peaks_from_the_top_row_down() -> None:
    from asr.plots.unfold import _order

    hidden = np.zeros((60, 5), np.float32)
    hidden[40:50, 3], hidden[10:20, 1], hidden[25:35, 4] = 1, -1, 1
    bottom_up = _order(hidden, 3).tolist()
    assert bottom_up == [3, 4, 1]
