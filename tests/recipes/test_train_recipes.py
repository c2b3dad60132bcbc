"""Training from nothing: egs/aishell from a corpus in the published layout to a packed model; egs/TEMPLATE copied."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

from funrecipe.audio.io import read_audio
from funrecipe.checkpoint import load_state_dict
from funrecipe.decode.language_model import load_language_model
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.model_folder import open_model_folder

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "egs" / "quickstart" / "data"
SIZES = {"train": 8, "dev": 2, "test": 2}
TINY: dict[str, Any] = {
    "model": "paraformer",
    "model_conf": {"ctc_weight": 0.3, "length_normalized_loss": True, "predictor_weight": 1.0, "predictor_bias": 1},
    "frontend": "wav_frontend",
    "frontend_conf": {"fs": 16000, "window": "hamming", "n_mels": 40, "frame_length": 25, "frame_shift": 10,
                      "dither": 0.0, "lfr_m": 4, "lfr_n": 3},
    "encoder": "sanm",
    "encoder_conf": {"output_size": 32, "attention_heads": 2, "linear_units": 64, "num_blocks": 1, "input_layer": "pe",
                     "kernel_size": 5, "sanm_shfit": 0, "selfattention_layer_type": "sanm"},
    "decoder": "paraformer_decoder_sanm",
    "decoder_conf": {"attention_heads": 2, "linear_units": 64, "num_blocks": 1, "att_layer_num": 1, "kernel_size": 5},
    "predictor": "cif_predictor_v2",
    "predictor_conf": {"idim": 32, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45},
    "batch_bins": 500, "optim": "adam", "optim_conf": {"lr": 0.002},
}  # fmt: skip
TINY_LM: dict[str, Any] = {
    "model": "lm", "lm": "transformer",
    "lm_conf": {"pos_enc": None, "embed_unit": 16, "att_unit": 16, "head": 2, "unit": 32, "layer": 1},
    "batch_bins": 500, "batch_unit": "tokens", "num_workers": 0, "optim": "adam", "optim_conf": {"lr": 0.002},
    "best_model_criterion": [["valid", "loss", "min"]],
}  # fmt: skip


def run(script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", str(script), *options], capture_output=True, text=True, env=environment)


def lines_of(path: Path) -> dict[str, str]:
    return dict(line.partition(" ")[::2] for line in path.read_text("utf-8").splitlines())


def write_yaml(path: Path, config: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(config), "utf-8")
    return str(path)


def write_corpus(folder: Path) -> dict[str, str]:
    """``data_aishell`` of a few real utterances; one recording has no transcript. Returns the transcript."""
    texts = lines_of(QUICKSTART / "text")
    keys = iter(sorted(texts))
    transcript = {}
    for part, size in SIZES.items():
        for key in [next(keys) for _ in range(size)]:
            wave, rate = soundfile.read(QUICKSTART / "wav" / f"{key}.flac", dtype="int16")
            speaker = folder / "wav" / part / key[6:11]
            speaker.mkdir(parents=True, exist_ok=True)
            soundfile.write(speaker / f"{key}.wav", wave, rate, subtype="PCM_16")
            transcript[key] = "".join(texts[key].split())
    silent = folder / "wav" / "train" / "S0150" / "BAC009S0150W9999.wav"
    soundfile.write(silent, np.zeros(16000, dtype="int16"), 16000, subtype="PCM_16")
    (folder / "transcript").mkdir()
    # Published lines have blanks between words: here after the second character.
    published = "".join(f"{key} {text[:2]} {text[2:]}\n" for key, text in transcript.items())
    (folder / "transcript" / "aishell_transcript_v0.8.txt").write_text(published, "utf-8")
    return transcript


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], str]:
    """All stages of egs/aishell/run.sh: the folder with data/ and exp/, the transcript, what was printed."""
    root = tmp_path_factory.mktemp("aishell")
    transcript = write_corpus(root / "data_aishell")
    done = run(
        ROOT / "egs/aishell/run.sh", "--corpus", str(root / "data_aishell"), "--data_dir", str(root / "data"),
        "--exp_dir", str(root / "exp"), "--train_config", write_yaml(root / "tiny.yaml", TINY), "--max_epoch", "2",
        "--lm_config", write_yaml(root / "lm.yaml", TINY_LM), "--lm_max_epoch", "1", "--njob", "1", "--nbest", "2",
        "--test_sets", "test", "--beam_size", "2", "--lm_weight", "0.2", "--half", "false",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return root, transcript, done.stdout


def test_stages_are_those_of_the_contract(trained) -> None:
    stages = [line.split(": ", 2)[1] for line in trained[2].splitlines() if line.startswith("run.sh: Stage ")]
    assert stages == [f"Stage {n}" for n in range(7)]


def test_data_directories_hold_the_corpus(trained) -> None:
    root, transcript, output = trained
    for part, size in SIZES.items():
        folder = root / "data" / {"dev": "validation"}.get(part, part)
        texts, paths = lines_of(folder / "text"), lines_of(folder / "wav.scp")
        assert list(texts) == list(paths) == sorted(texts) and len(texts) == size
        assert texts == {key: " ".join(transcript[key]) for key in texts}
        assert all(Path(path).is_file() and Path(path).stem == key for key, path in paths.items())
        assert lines_of(folder / "utt2spk") == {key: key[6:11] for key in texts}
    assert "8 utterances, 1 recordings without a transcript" in output


def test_token_list_has_the_characters_of_the_training_text_only(trained) -> None:
    root, _, _ = trained
    tokens = (root / "exp/lang/tokens.txt").read_text("utf-8").splitlines()
    characters = set("".join(lines_of(root / "data/train/text").values()).lower()) - {" "}
    assert tokens == ["<blank>", "<s>", "</s>", *sorted(characters), "<unk>"]


def test_cmvn_makes_training_features_zero_mean_and_unit_variance(trained) -> None:
    root, _, _ = trained
    from funrecipe.audio.frontend import WavFrontend

    frontend = WavFrontend.from_config(TINY["frontend_conf"], root / "exp/lang/am.mvn")
    feats = []
    for path in lines_of(root / "data/train/wav.scp").values():
        wave = torch.from_numpy(read_audio(path, sample_rate_hz=16000))
        feats.append(frontend(wave[None], torch.tensor([len(wave)]))[0][0])
    values = torch.cat(feats)
    assert values.mean(0).abs().max() < 1e-3
    assert (values.std(0, correction=0) - 1).abs().max() < 1e-3


def test_the_language_model_is_what_its_epoch_file_holds(trained) -> None:
    root, _, _ = trained
    records = [json.loads(line) for line in (root / "exp/lm/metrics.jsonl").read_text("utf-8").splitlines()]
    vocabulary = len((root / "exp/lang/tokens.txt").read_text("utf-8").splitlines())
    # Hardly trained: about as good as a uniform distribution, whose loss is the logarithm of the vocabulary.
    assert records[-1]["valid.loss"] == pytest.approx(np.log(vocabulary), rel=0.3)
    language_model = load_language_model(open_model_folder(root / "exp/lm"))  # a folder of its own, too
    assert language_model.vocab_size == vocabulary
    packed, epoch = (load_state_dict(root / "exp" / name) for name in ("model/lm.pb", "lm/1epoch.pb"))
    assert packed.keys() == epoch.keys() and all(torch.equal(packed[name], epoch[name]) for name in epoch)


def test_every_test_utterance_is_scored(trained) -> None:
    root, transcript, output = trained
    summary = (root / "exp/results/test/1best_recog/text.cer").read_text("utf-8").splitlines()[-3:]
    tested = lines_of(root / "data/test/text")
    assert f"/ {sum(len(transcript[key]) for key in tested)}," in summary[0]
    assert summary[2] == "Scored 2 sentences, 0 not present in hyp."
    assert f"run.sh: test: {summary[0]}" in output


def test_the_packed_folder_decodes_as_the_run_did(trained) -> None:
    root, _, _ = trained
    packed = open_model_folder(root / "exp/model")
    recognizer = load_recognizer(packed, device="cpu", options=DecodeOptions(beam_size=2, lm_weight=0.2))
    expected = lines_of(root / "exp/results/test/1best_recog/score")
    for key, path in lines_of(root / "data/test/wav.scp").items():
        found = recognizer.transcribe([read_audio(path, sample_rate_hz=16000)])[0]
        assert found.text == lines_of(root / "exp/results/test/1best_recog/text").get(key, "")
        assert found.score == pytest.approx(float(expected[key]), abs=1e-3)
    description = json.loads((root / "exp/model/configuration.json").read_text("utf-8"))
    assert description["model"]["am_model_name"] == "model.pb"
    assert packed.cmvn is not None and "data_dir" not in packed.config  # nothing of the run
    assert "data_dir" not in (root / "exp/model/lm.yaml").read_text("utf-8")


def test_packing_again_replaces_the_folder_and_float16_halves_it(trained, tmp_path: Path) -> None:
    root = tmp_path  # other tests read the folder that is replaced
    shutil.copytree(trained[0] / "exp", root / "exp")
    before = load_state_dict(root / "exp/model/model.pb")
    size = (root / "exp/model/model.pb").stat().st_size
    done = run(ROOT / "egs/aishell/run.sh", "--exp_dir", str(root / "exp"), "--stage", "6")
    assert done.returncode == 0, done.stderr
    after = load_state_dict(root / "exp/model/model.pb")
    assert (root / "exp/model/model.pb").stat().st_size < 0.65 * size
    assert max((after[name].float() - before[name]).abs().max().item() for name in before) < 2e-3
    (root / "other").mkdir()
    (root / "other" / "mine.txt").write_text("kept")
    pack = [sys.executable, "-m", "funrecipe", "pack", "--run_dir", str(root / "exp/train"), "--overwrite",
            "--checkpoint_name", "valid.acc.ave.pb", "--target", str(root / "other")]  # fmt: skip
    refused = subprocess.run(pack, capture_output=True, text=True, cwd=ROOT)
    assert refused.returncode == 3 and "not empty" in refused.stderr
    assert (root / "other" / "mine.txt").read_text() == "kept"


def test_stage_minus_one_unpacks_the_published_archive(trained, tmp_path: Path) -> None:
    root, _, _ = trained
    source, published = root / "data_aishell", tmp_path / "data_aishell"
    (published / "wav").mkdir(parents=True)
    for speaker in (source / "wav").glob("*/*"):
        with tarfile.open(published / "wav" / f"{speaker.parent.name}_{speaker.name}.tar.gz", "w:gz") as archive:
            archive.add(speaker, f"{speaker.parent.name}/{speaker.name}")
    with tarfile.open(tmp_path / "data_aishell.tgz", "w:gz") as archive:
        archive.add(published, "data_aishell")
        archive.add(source / "transcript", "data_aishell/transcript")
    done = run(ROOT / "egs/aishell/run.sh", "--stage", "-1", "--stop_stage", "0", "--data_dir", str(tmp_path / "data"),
               "--archive", str(tmp_path / "data_aishell.tgz"), "--corpus", str(tmp_path / "corpus"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    for part in ("train", "validation", "test"):
        assert (tmp_path / "data" / part / "text").read_bytes() == (root / "data" / part / "text").read_bytes()


def test_a_corpus_that_is_not_unpacked_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "transcript").mkdir()
    (tmp_path / "transcript/aishell_transcript_v0.8.txt").write_text("BAC009S0002W0122 而 对\n", "utf-8")
    done = run(ROOT / "egs/aishell/run.sh", "--corpus", str(tmp_path), "--data_dir", str(tmp_path / "data"),
               "--exp_dir", str(tmp_path / "exp"))  # fmt: skip
    assert done.returncode == 3
    assert "no recordings" in done.stderr and "stage -1" in done.stderr
    assert not (tmp_path / "exp").exists()


def test_the_template_can_be_copied(trained, tmp_path: Path) -> None:
    """A copy of egs/TEMPLATE prepares a corpus whose folders have relative paths, as far as the token list."""
    root, _, _ = trained
    (tmp_path / "egs").mkdir()
    for name in ("utils", "funrecipe", "egs/asr"):
        (tmp_path / name).symlink_to(ROOT / name)
    recipe = tmp_path / "egs" / "mine"
    subprocess.run(["cp", "-r", str(ROOT / "egs/TEMPLATE"), str(recipe)], check=True)
    corpus = tmp_path / "my corpus"
    for part in ("train", "validation", "test"):
        folder = corpus / part
        folder.mkdir(parents=True)
        paths = lines_of(root / "data" / part / "wav.scp")
        (folder / "wav.scp").write_text("".join(f"{key} {Path(p).name}\n" for key, p in paths.items()))
        for path in paths.values():
            (folder / Path(path).name).symlink_to(path)
        (folder / "text").write_bytes((root / "data" / part / "text").read_bytes())
    done = run(recipe / "run.sh", "--corpus", str(corpus), "--stop_stage", "2", "--train_config",
               str(root / "tiny.yaml"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("tokens.txt", "am.mvn"):
        assert (recipe / "exp/lang" / name).read_bytes() == (root / "exp/lang" / name).read_bytes()
    refused = run(recipe / "run.sh", "--stage", "-1")
    assert refused.returncode == 2 and "no stage -1" in refused.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "egs/asr/conf").glob("*.yaml")), ids=lambda p: p.stem)
def test_published_configurations_build_and_every_key_says_what_it_is(path: Path) -> None:
    from funrecipe.families import names_with
    from funrecipe.models.registry import build_model
    from funrecipe.train.options import build_options

    text = path.read_text("utf-8")
    config = yaml.safe_load(text)
    assert config["model"] in names_with("objective")
    build_options({}, {key: value for key, value in config.items() if not is_model_key(key)}, {})
    if "encoder" not in config:  # it comes from a pre-trained folder, data2vec's here
        config |= {"encoder": "data2vec_encoder", "encoder_conf": {"pos_conv_depth": 5}, "input_size": 80}
    with torch.device("meta"):
        model = build_model(config, 4233)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    stated = [line for line in text.splitlines() if line.startswith("# Cost: ")]
    assert stated or "pre-trained" in text
    if stated:
        assert float(stated[0].split()[2]) == pytest.approx(millions, abs=0.6)
    assert not [line for line in text.splitlines() if ": " in line and "#" not in line]


def is_model_key(key: str) -> bool:
    parts = ("model", "frontend", "encoder", "decoder", "predictor", "rnnt_decoder", "joint_network", "lm")
    return key.removesuffix("_conf") in parts


def test_a_debian_package_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Interrupted while it is unpacked, and after another version was downloaded: the next run begins again."""
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "apt-get").write_text('#!/bin/bash\necho "$2" > "$2_2_all.deb"\n')
    (commands / "dpkg-deb").write_text(
        '#!/bin/bash\n[ $# -eq 3 ] || exit 2\nmkdir -p "$3"; echo half > "$3/file"\n'
        '[ -z "${INTERRUPTED:-}" ] || exit 1\necho whole > "$3/file"\n'
    )
    for command in commands.iterdir():
        command.chmod(0o755)
    (tmp_path / "files.package").mkdir()
    (tmp_path / "files.package" / "voice_1_all.deb").write_text("an older one")
    script = f'recipe_dir=$PWD; source "{ROOT}/utils/train_recipe.sh"; debian_package voice files'
    for more, code in (({"INTERRUPTED": "yes"}, 3), ({}, 0)):
        environment = {**os.environ, "PYTHON": sys.executable, "PATH": f"{commands}:{os.environ['PATH']}", **more}
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert (tmp_path / "files").exists() == (code == 0)
    assert (tmp_path / "files" / "file").read_text() == "whole\n"
