"""The HTML report in headless Chromium: how soon it stands, and that what it offers works.

    python benchmarks/report_page_load.py [--utterances 10000] [--embed-audio 50] [--repeats 5]

Utterances of about 20 words, a tenth of them wrong, with recordings of 16 s joined from ``examples/``.
Times are those of the browser's own clock from the start of the navigation; the user CPU time of all
its processes beyond that of an empty page says the same on a busy machine. A script at the page's end
searches, sorts and scrolls; in a run of its own it waits until the spectrograms in view are drawn, which
takes decoding the embedded audio.
"""

import argparse
import html
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scoring_speed import make_pairs

EXAMPLES = Path(__file__).parents[1] / "examples"
RECORDINGS = 64
SECONDS = 16.0
LIMITS = {"ready (s)": 2.0, "size (MB)": 20.0}

SEARCHES = """
const results = {ready: performance.now(), rows: document.querySelectorAll("article").length};
const clock = (name, action) => {
  const start = performance.now();
  action();
  document.body.offsetHeight;
  results[name] = performance.now() - start;
};
clock("layout", () => {});
const query = (text, wrong) => () => { $("search").value = text; $("wrong").checked = wrong; select(); };
clock("search for a word", query("in", false));
results.found = selection.length;
clock("search for a confusion", query(data.analysis.confusions[0].reference + "→" +
  data.analysis.confusions[0].hypothesis, false));
results.confused = selection.length;
clock("search for nothing", query("", false));
for (const order of Object.keys(orders)) {
  clock("sort by " + order, () => { $("sort").value = order; select(); });
}
const inOrder = utterances.slice().sort(orders.longest).map(row => row[ID]).join();
$("sort").value = "longest";
select();
results.sorted = selection.map(row => row[ID]).join() === inOrder;
clock("300 rows more", () => { for (let i = 0; i < 10; i++) more(); });
document.documentElement.dataset.probe = JSON.stringify(results);
"""

PICTURES = """
const isDrawn = canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let dark = 0;
  for (let at = 0; at < pixels.length; at += 4) dark += pixels[at + 3] === 255 && pixels[at] < 128;
  return dark > 0.01 * canvas.width * canvas.height;
};
// A document that is being written keeps the page loading, and Chromium waiting.
const held = document.body.appendChild(document.createElement("iframe")).contentDocument;
held.open();
document.querySelector("canvas").scrollIntoView();
const until = Date.now() + 120000;
const watch = setInterval(() => {
  const drawn = [...document.querySelectorAll("canvas")].filter(isDrawn).length;
  if (!drawn && Date.now() < until) return;
  clearInterval(watch);
  const players = document.querySelectorAll(".audio").length;
  document.documentElement.dataset.probe = JSON.stringify({drawn, players, after: performance.now()});
  held.close();
}, 100);
"""


def main() -> None:
    """Write the page, open it a few times, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--utterances", type=int, default=10_000)
    parser.add_argument("--embed-audio", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("chromium is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder, given.utterances)
        write_report(folder, given.embed_audio)
        browser = Browser(chromium, folder)
        page = (folder / "page.html").read_text(encoding="utf-8")
        browser.open("<!doctype html><title>warms the disk's cache</title>")
        opened = [browser.open(probed(page, SEARCHES)) for _ in range(given.repeats)]
        empty = [browser.open("<!doctype html><title>empty</title>") for _ in range(given.repeats)]
        pictures = browser.open(probed(page, PICTURES))
        report(len(page.encode()), opened, empty, pictures)


def write_texts(folder: Path, utterances: int) -> None:
    """References with recordings, hypotheses with errors."""
    speech = np.concatenate(
        [soundfile.read(path, dtype="float32")[0] for path in sorted(EXAMPLES.glob("*.flac"))]
    )
    rate = soundfile.info(next(EXAMPLES.glob("*.flac"))).samplerate
    for number in range(RECORDINGS):
        joined = np.roll(speech, -number * len(speech) // RECORDINGS)[: round(SECONDS * rate)]
        soundfile.write(folder / f"{number}.wav", joined, rate)
    with (folder / "ref.jsonl").open("w") as references, (folder / "hyp.jsonl").open("w") as hypotheses:
        for number, (said, recognised) in enumerate(make_pairs(utterances, 0.1, random.Random(1))):
            name = f"spk{number % 97:03d}-{number:06d}"
            audio = {"audio_filepath": f"{number % RECORDINGS}.wav", "duration": SECONDS}
            entry = {"id": name, **audio, "speaker": name[:6], "text": said}
            references.write(json.dumps(entry) + "\n")
            hypotheses.write(json.dumps({"id": name, "text": recognised}) + "\n")


def write_report(folder: Path, embed: int) -> None:
    """Run ``asr score --html``."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "asr", "score", "ref.jsonl", "hyp.jsonl", "--by", "speaker"]
    command += ["--html", "page.html", "--embed-audio", str(embed)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    print(f"asr score with --html --embed-audio {embed}: {time.perf_counter() - start:.2f} s")


def probed(page: str, script: str) -> str:
    """The page with a script at its end."""
    return page.replace("</body>", f"<script>{script}</script></body>")


class Browser:
    """Headless Chromium with a profile of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self.folder = folder
        self.command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / 'profile'}", "--dump-dom",
        ]  # fmt: skip

    def open(self, page: str) -> dict[str, Any]:
        """What the script at the end of a page found, and seconds of the processes, wall and user CPU."""
        path = self.folder / "probed.html"
        path.write_text(page, encoding="utf-8")
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [*self.command, path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = re.search(r'data-probe="([^"]*)"', done.stdout)
        results = json.loads(html.unescape(found[1])) if found else {}
        return {**results, "wall": wall, "user": after.ru_utime - before.ru_utime}


def report(
    size: int, opened: list[dict[str, Any]], empty: list[dict[str, Any]], pictures: dict[str, Any]
) -> None:
    """Print the best of the runs, and whether everything worked."""
    best = {key: min(run[key] for run in opened) for key in opened[0]}
    figures = {"ready (s)": best["ready"] / 1000, "size (MB)": size / 1e6}
    for name, value in figures.items():
        kept = "kept" if value < LIMITS[name] else "BROKEN"
        print(f"{name:<12} {value:6.2f}   limit {LIMITS[name]:g}: {kept}")
    every = ", ".join(f"{run['ready'] / 1000:.2f}" for run in opened)
    print(f"rows in the document when ready: {best['rows']}; all times: {every} s")
    user = best["user"] - min(run["user"] for run in empty)
    print(f"user CPU time beyond an empty page, with searching and sorting: {user:.2f} s")
    for name in (key for key in best if key == "layout" or " " in key):
        print(f"  {name:<28} {best[name]:7.0f} ms")
    print(f"found: {best['found']} by word, {best['confused']} by confusion; sorted: {best['sorted']}")
    print(
        f"players in the rows: {pictures['players']}; {pictures['drawn']} spectrograms in view drawn ", end=""
    )
    print(f"after {pictures['after'] / 1000:.2f} s")


if __name__ == "__main__":
    main()
