"""The report: what it says, that it is one safe file, and that it works in a real browser."""

import html
import json
import re
import shutil
import subprocess
import wave

import pytest

from funrecipe.cli import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = '</script><script>document.title="pwned"</script><img src=x onerror="document.title=1">'
UTTERANCES = 240


def write_lines(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A scored run of 240 utterances: two speakers, audio with a blank in its path, every kind of flag."""
    folder = tmp_path_factory.mktemp("run") / "my results"
    recog, data = folder / "1best_recog", folder / "the data"
    recog.mkdir(parents=True)
    data.mkdir()
    with wave.open(str(data / "a b#1.wav"), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(16000)
        audio.writeframes(b"\0\0" * 16000)
    refs = {f"utt{n:03d}": "今天天气很好" * (1 + n % 8) for n in range(UTTERANCES)}
    hyps = {i: ref.replace("天气", "天汽", n % 4) for n, (i, ref) in enumerate(refs.items())}
    refs["utt001"], hyps["utt001"] = EVIL, EVIL.replace("pwned", "owned")
    hyps["utt002"] = ""
    del hyps["utt003"]
    hyps["utt004"] += "好的" * 6
    refs["utt005"], hyps["utt005"] = "用 iPhone 打电话", "用 Android 打电话 unique"
    for name, texts in (("text.ref", refs), ("text.proc", hyps)):
        write_lines(recog / name, (f"{i} {text}" for i, text in texts.items()))
    write_lines(data / "wav.scp", (f"{i} {data / 'a b#1.wav'}" for i in refs))
    write_lines(data / "utt2spk", (f"{i} spk{n % 2}" for n, i in enumerate(refs)))
    write_lines(data / "utt2dur", (f"{i} {1 + n % 12}" for n, i in enumerate(refs)))
    assert main(["report", str(folder), "--data_dir", str(data)]) == 0
    return folder


@pytest.fixture(scope="module")
def page(run_dir):
    return (run_dir / "report.html").read_text(encoding="utf-8")


def test_page_is_self_contained_and_escapes_texts(page):
    assert EVIL not in page and "<img" not in page
    # Namespaces of the plots are names, not requests.
    addresses = set(re.findall(r"https?://[^\"'\s)<]+", page))
    assert all(re.match(r"http://(www\.w3\.org|purl\.org|creativecommons\.org)/", address) for address in addresses)
    assert not re.search(r"<(link|iframe|script src)|@import|url\(h", page)
    assert page.count("<svg") == 3  # by length, by duration, distribution; no workers without a plan
    assert "a%20b%231.wav" in page


def test_markdown_says_rate_interval_protocol_and_coverage(run_dir):
    text = (run_dir / "RESULTS.md").read_text(encoding="utf-8")
    assert re.search(r"\*\*\d+\.\d\d %\*\* \(95 % interval", text)
    assert "protocol: strict, tokens: mixed" in text
    assert f"coverage: {UTTERANCES} of {UTTERANCES} references scored, 1 without a hypothesis" in text
    assert "| spk1 |" in text and "| zh |" in text


def test_speakers_and_settings_are_no_html_in_either_report(tmp_path):
    recog, data = tmp_path / "1best_recog", tmp_path / "data"
    recog.mkdir()
    data.mkdir()
    write_lines(recog / "text.ref", ["a 好", "b 好"])
    write_lines(recog / "text.proc", ["a 好", "b 坏"])
    write_lines(data / "utt2spk", ["a <img/src=x>", "b [x](javascript:1)|`y`"])
    meta = ["--meta", f"model={EVIL}", "--meta", "<b>key</b>=1"]
    score = ["--ref", str(recog / "text.ref"), "--hyp", str(recog / "text.proc"), "--out", str(recog / "text.cer")]
    assert main(["score", *score, "--data_dir", str(data), *meta]) == 0
    assert main(["report", str(tmp_path), "--data_dir", str(data)]) == 0
    markdown = (tmp_path / "RESULTS.md").read_text("utf-8")
    page = (tmp_path / "report.html").read_text("utf-8")
    for text in (markdown, page):
        assert "<img" not in text and "<b>key" not in text and "</script><script>" not in text
        assert "&lt;img/src=x&gt;" in text and "&lt;b&gt;key" in text
    assert "\\[x\\](javascript:1)\\|\\`y\\`" in markdown


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("text.cer.json", '"insertions": 0', '"insertions": 1', "the counts are not those of text.ref"),
        ("text.cer.json", '"rate": 50.0', '"rate": 5.0', "the counts are not those of text.ref"),
        ("text.cer.json", None, "[]", "the content is not an object"),
        ("text.cer.json", None, '{"protocol": 1}', "protocol is not an object"),
        ("text.cer.json", None, '{"meta": []}', "meta is not an object"),
        ("text.cer.json", None, "{", "not JSON"),
        ("RESULTS.json", None, "3", "the content is not an object"),
    ],
)
def test_a_score_that_is_not_of_its_texts_is_not_reported(name, old, new, said, tmp_path, capsys):
    recog, data = tmp_path / "1best_recog", tmp_path / "data"
    recog.mkdir()
    data.mkdir()
    write_lines(data / "text", ["a 好", "b 好"])
    write_lines(recog / "text", ["a 好", "b 坏"])
    score = ["score", "--results", str(recog), "--data_dir", str(data)]
    assert main(score) == 0 and main([*score, "--protocol", "speechio"]) == 0 and main(["report", str(tmp_path)]) == 0
    before, path = (tmp_path / "RESULTS.md").read_bytes(), recog / name
    content = path.read_text("utf-8")
    assert old is None or content.count(old) >= 1
    path.write_text(new if old is None else content.replace(old, new, 1), "utf-8")
    assert main(["report", str(tmp_path)]) == 3
    error = capsys.readouterr().err
    assert said in error and str(path) in error and "do: rerun stage" in error
    assert (tmp_path / "RESULTS.md").read_bytes() == before


def test_same_run_same_bytes(run_dir, page, tmp_path):
    assert main(["report", str(run_dir), "--data_dir", str(run_dir / "the data"), "--out_dir", str(run_dir)]) == 0
    assert (run_dir / "report.html").read_text(encoding="utf-8") == page


def test_audio_can_be_embedded_or_left_out(run_dir, tmp_path):
    for mode, expected in (("embed", True), ("none", False)):
        options = ["--data_dir", str(run_dir / "the data"), "--audio", mode, "--out_dir", str(tmp_path / mode)]
        assert main(["report", str(run_dir), *options]) == 0
        page = (tmp_path / mode / "report.html").read_text(encoding="utf-8")
        assert ("data:audio/" in page) is expected and "a%20b" not in page


def test_a_thousand_utterances_stay_small(tmp_path):
    recog = tmp_path / "1best_recog"
    recog.mkdir()
    ref = "".join(chr(0x4E00 + 7 * n) for n in range(62))
    write_lines(recog / "text.ref", (f"SPEECHIO_ASR_ZH00012__{n:05d} {ref}" for n in range(1000)))
    write_lines(recog / "text.proc", (f"SPEECHIO_ASR_ZH00012__{n:05d} {ref[: n % 62]}" for n in range(1000)))
    assert main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").stat().st_size < 5e6


# What a reader does, as a script that runs after the page's own; what it sees goes into an attribute of <body>.
SCENARIO = """
const seen = {title: document.title};
const cells = (n) => [...document.querySelectorAll("#utterances tbody tr")].map((row) => row.cells[n].textContent);
const head = (key) => document.querySelector(`#utterances th[data-key="${key}"]`);
const type = (id, value) => {
  const field = document.getElementById(id);
  field.value = value;
  field.dispatchEvent(new Event("input", {bubbles: true}));
};
const shown = () => document.getElementById("shown").textContent;
seen.first = {rows: cells(1).length, shown: shown(), errors: cells(3).map(Number)};
head("id").click();
seen.byId = cells(1).slice(0, 3);
head("id").click();
seen.byIdBack = cells(1).slice(0, 2);
document.getElementById("next").click();
seen.secondPage = {shown: shown(), id: cells(1)[0]};
head("seconds").click();
seen.longest = cells(8)[0];
type("query", "unique");
seen.found = {ids: cells(1), text: cells(11)[0], columns: document.querySelectorAll("tbody .S, tbody .I").length};
type("query", "天天气很");
seen.joined = shown();
type("query", "");
type("speaker", "spk1");
seen.speaker = shown();
type("speaker", "");
type("flag", "missing");
seen.missing = cells(1);
type("flag", "repetition");
seen.repetition = cells(1);
type("flag", "");
type("least", "100");
seen.least = cells(2).map(Number);
type("least", "0");
type("query", "utt001");
seen.evil = {text: cells(11)[0], images: document.querySelectorAll("td img, td script").length};
document.querySelector("tbody button.play").click();
const player = document.getElementById("player");
const report = (how) => {
  seen.player = {how, duration: player.duration, row: document.querySelector("tr.playing")?.dataset.id};
  document.body.dataset.seen = JSON.stringify(seen);
};
player.addEventListener("playing", () => report("playing"));
player.addEventListener("error", () => report("error " + player.error.message));
"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
def test_sort_filter_and_play_in_chromium(run_dir, page, tmp_path):
    # Beside the real page, so that its relative links to audio are the same.
    copy = run_dir / "report with scenario.html"
    copy.write_text(page.replace("</body>", f"<script>{{{SCENARIO}}}</script></body>"), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--mute-audio", f"--user-data-dir={tmp_path}"]
    command += ["--autoplay-policy=no-user-gesture-required", "--virtual-time-budget=20000", "--dump-dom"]
    run = subprocess.run([*command, copy.as_uri()], capture_output=True, encoding="utf-8", timeout=900)
    copy.unlink()
    found = re.search(r'data-seen="([^"]*)"', run.stdout)
    assert found, "the scenario did not come to its end"
    seen = json.loads(html.unescape(found.group(1)))

    assert seen["first"]["rows"] == 100 and seen["first"]["shown"] == f"1–100 of {UTTERANCES} ({UTTERANCES} in all)"
    assert seen["first"]["errors"] == sorted(seen["first"]["errors"], reverse=True) and seen["first"]["errors"][0] > 3
    assert seen["byId"] == ["utt000", "utt001", "utt002"] and seen["byIdBack"] == ["utt239", "utt238"]
    assert seen["secondPage"] == {"shown": "101–200 of 240 (240 in all)", "id": "utt139"}
    assert seen["longest"] == "12.00"
    assert seen["found"]["ids"] == ["utt005"] and "iphoneandroid" in seen["found"]["text"]
    assert seen["found"]["columns"] == 2
    assert seen["joined"].endswith("of 238 (240 in all)")
    assert seen["speaker"].endswith("of 120 (240 in all)")
    assert seen["missing"] == ["utt003"] and seen["repetition"] == ["utt004"]
    assert seen["least"] and min(seen["least"]) >= 100
    assert "</script>" in seen["evil"]["text"] and seen["evil"]["images"] == 0 and "pwned" not in seen["title"]
    assert seen["player"] == {"how": "playing", "duration": 1, "row": "utt001"}
