"""The HTML report, opened in headless Chromium where there is one."""

import base64
import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.scoring import report_html
from asr.scoring.report import Options, Report, report
from asr.scoring.report_html import write_page
from asr.scoring.texts import read

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def make_report(folder: Path, hypotheses: dict[str, str], audio: bool = True, unit: str = "word") -> Report:
    rate = 16_000
    lines = []
    for name in ("one", "two", "three"):
        path = folder / "sound of <me>" / f"{name}.wav"
        if audio:
            path.parent.mkdir(exist_ok=True)
            tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
            soundfile.write(path, tone.astype(np.float32), rate)
        lines.append({
            "id": name, "audio_filepath": f"sound of <me>/{name}.wav", "duration": 1.0, "speaker": "s",
            "text": "HELLO THERE </SCRIPT> & \"CO\" $id",
        })  # fmt: skip
    (folder / "ref.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "hyp.jsonl").write_text(
        "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in hypotheses.items())
    )
    options = Options(by=("speaker",), replicates=100, unit=unit)
    return report(read(folder / "ref.jsonl"), read(folder / "hyp.jsonl", hypotheses=True), options)


TEXTS = {
    "one": 'HALLO THERE </SCRIPT> & "CO" $id',
    "two": 'THERE </SCRIPT> & AND "CO" $id',
    "three": 'HELLO THERE </SCRIPT> & "CO" $id',
}


PROBE = """<script>
const found = {};
const names = () => [...document.querySelectorAll(".name")].map(node => node.textContent).join();
for (const text of ["hallo", "HELLO→HALLO", "HELLO→", "→AND", "nowhere"]) {
  $("search").value = text;
  select();
  found[text] = names();
}
$("search").value = "";
$("wrong").checked = false;
$("sort").value = "id";
select();
found.sorted = names();
$("wrong").checked = true;
$("sort").value = "most errors";
select();
// A document that is being written keeps the page loading, and Chromium waiting, until audio is drawn.
const held = document.body.appendChild(document.createElement("iframe")).contentDocument;
held.open();
document.querySelector("canvas").scrollIntoView();
const until = Date.now() + 60000;
const watch = setInterval(() => {
  const canvas = document.querySelector("canvas");
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  found.dark = data.filter((value, at) => at % 4 === 0 && value < 90 && data[at + 3] === 255).length;
  if (!found.dark && Date.now() < until) return;
  clearInterval(watch);
  document.documentElement.dataset.probe = JSON.stringify(found);
  held.close();
}, 100);
</script></body>"""


def opened(page: Path, folder: Path) -> str:
    """The page's document after its script and the probe ran, as text."""
    page.write_text(page.read_text().replace("</body>", PROBE))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", "--dump-dom",
        page.resolve().as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    # The script itself holds the same words: only what it made counts.
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.S)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_chromium_shows_the_rows_with_their_errors_and_players(tmp_path):
    page = tmp_path / "report.html"
    write_page(page, make_report(tmp_path, TEXTS), 1, print)
    document = opened(page, tmp_path)
    assert document.count('<article class="utterance">') == 2
    assert document.index(">two<") < document.index(">one<")
    assert '<span class="pair S"><small>HELLO</small><small>HALLO</small></span>' in document
    assert '<span class="pair D"><small>HELLO</small>' in document
    assert '<span class="pair I"><small>&nbsp;</small><small>AND</small></span>' in document
    assert html.escape("</SCRIPT>", quote=False) in document
    assert "2 of 3" in document
    # The worst utterance carries its audio and shows it, the other one draws it when asked to.
    assert document.count("<canvas") == 1
    assert document.count(">spectrogram</button>") == 1
    found = json.loads(html.unescape(re.search(r'data-probe="([^"]*)"', document)[1]))
    # A tone is a dark line across the spectrogram that was decoded and drawn.
    assert found.pop("dark") > 300
    assert found == {
        **{"hallo": "one", "HELLO→HALLO": "one", "HELLO→": "two", "→AND": "two", "nowhere": ""},
        "sorted": "one,three,two",
    }


def embedded(page: Path) -> dict[str, tuple[str, bytes]]:
    found = re.findall(r'data-audio="([^"]*)" data-type="([^"]*)">([^<]*)<', page.read_text())
    return {name: (kind, base64.b64decode(content)) for name, kind, content in found}


def test_the_worst_utterances_carry_their_audio_the_others_link_to_it(tmp_path):
    page = tmp_path / "out" / "report.html"
    write_page(page, make_report(tmp_path, TEXTS), 1, print)
    ((name, (kind, content)),) = embedded(page).items()
    assert (name, kind) == ("two", "audio/mpeg")
    (tmp_path / "clip.mp3").write_bytes(content)
    assert soundfile.info(tmp_path / "clip.mp3").duration == pytest.approx(1.0, abs=0.1)
    assert "../sound%20of%20%3Cme%3E/one.wav" in page.read_text()
    assert "http://" not in page.read_text().replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page.read_text()


def test_audio_beyond_the_page_limit_is_linked_and_said_so(tmp_path, monkeypatch):
    said: list[str] = []
    result = make_report(tmp_path, TEXTS)
    write_page(tmp_path / "full.html", result, 2, said.append)
    assert len(embedded(tmp_path / "full.html")) == 2
    assert said == []
    monkeypatch.setattr(report_html, "PAGE_LIMIT", (tmp_path / "full.html").stat().st_size - 100)
    write_page(tmp_path / "cut.html", result, 2, said.append)
    assert len(embedded(tmp_path / "cut.html")) == 1
    assert said[0].startswith("the audio of 1 utterances is linked, not embedded")
    assert (tmp_path / "cut.html").stat().st_size <= report_html.PAGE_LIMIT


def test_missing_audio_is_said_and_the_page_still_written(tmp_path):
    said: list[str] = []
    write_page(tmp_path / "page.html", make_report(tmp_path, TEXTS, audio=False), 5, said.append)
    assert embedded(tmp_path / "page.html") == {}
    assert re.match(r"2 audio files could not be embedded; the first: .*no such file", said[0])


def test_a_clip_of_a_longer_recording_is_cut_out(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(48_000, np.float32), 16_000)
    line = {"id": "u", "audio_filepath": "long.flac", "offset": 1.0, "duration": 0.5, "text": "A B"}
    (tmp_path / "ref.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "hyp.trn").write_text("A C (u)\n")
    result = report(read(tmp_path / "ref.jsonl"), read(tmp_path / "hyp.trn"), Options(replicates=0))
    write_page(tmp_path / "page.html", result, 5, print)
    (tmp_path / "clip.mp3").write_bytes(embedded(tmp_path / "page.html")["u"][1])
    assert soundfile.info(tmp_path / "clip.mp3").duration == pytest.approx(0.5, abs=0.1)


def test_references_without_audio_and_perfect_hypotheses_make_a_page_too(tmp_path):
    (tmp_path / "ref.trn").write_text("A B (u-1)\n")
    result = report(read(tmp_path / "ref.trn"), read(tmp_path / "ref.trn"), Options(replicates=0))
    write_page(tmp_path / "page.html", result, 5, print)
    assert '["u-1","",0,2,0,0,0,"A B",0,"",0]' in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("flag", ["--html", "--alignments"])
def test_a_score_whose_files_cannot_be_written_prints_nothing(
    run_asr: Callable[..., Any], tmp_path: Path, flag: str
) -> None:
    make_report(tmp_path, TEXTS)
    (tmp_path / "file").touch()
    ran = run_asr("score", tmp_path / "ref.jsonl", tmp_path / "hyp.jsonl", flag, tmp_path / "file" / "x")
    assert (ran.status, ran.stdout) == (1, "")
    assert str(tmp_path / "file") in ran.stderr
