"""Golden checks of speaker embeddings, of their clustering, and of the speakers of a whole recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from funrecipe.model_folder import open_model_folder
from funrecipe.speaker import clustering
from funrecipe.speaker.diarization import Diarization, cut_segments, cut_windows, diarize, turns_of_windows
from funrecipe.speaker.embedding import SpeakerModel, load_speaker_model
from funrecipe.speaker.verification import cosine_similarity
from tools.parity.case import Case

FEATS_TOLERANCE = 2e-3
EMBEDDING_TOLERANCE = 1e-3
COSINE_TOLERANCE = 1e-4
SIMILARITY_TOLERANCE = 1e-5
LAPLACIAN_TOLERANCE = 1e-4
WINDOW_TOLERANCE_S = 1e-6
RATE_HZ = 16000
# Array of an utterance -> (module whose output it is, mean over time).
PARTS = {
    "campplus": {
        "head_mean_over_time": ("head", True),
        **{name: (f"xvector.{name}", False) for name in ("tdnn", "transit1", "transit2", "transit3", "stats")},
    },
    "eres2netv2": {
        **{f"{name}_mean_over_time": (name, True) for name in ("layer1", "layer3", "fuse34")},
        "stats": ("stats", False),
    },
    "sv": {"pooled": ("pooling", False)},
}


def check_embedding(case: Case) -> None:
    model = load_speaker_model(open_model_folder(case.path))
    vectors = []
    for number in range(len(case.inputs)):
        waveform, key = case.waveform(f"wav{number}"), f"u{number}"
        outputs = with_outputs(model, PARTS[model.family], lambda waveform=waveform: model.embed(waveform))
        if f"{key}.feats" in case.expected:
            feats = model.features(torch.from_numpy(waveform)[None])
            case.compare(f"{key}.feats", feats[0], FEATS_TOLERANCE)
        for name, (_, is_mean) in PARTS[model.family].items():
            if (array := f"{key}.{name}") in case.expected:
                value = outputs[name][0]
                if is_mean and case.expected[array].ndim < value.ndim:
                    value = value.mean(dim=-1)
                case.compare(array, value, EMBEDDING_TOLERANCE)
        vectors.append(outputs["embedding"])
        case.compare(f"{key}.embedding", outputs["embedding"], EMBEDDING_TOLERANCE)
    if "cosine" in case.expected:
        cosines = [[cosine_similarity(first, second) for second in vectors] for first in vectors]
        case.compare("cosine", np.array(cosines), COSINE_TOLERANCE)
    for name in ("batch.feats_lens", "batch.embedding"):
        if name in case.expected:
            case.covered(name, "FunASR pools over the padding of a batch; here each utterance is embedded alone")


def with_outputs(model: SpeakerModel, parts: dict[str, tuple[str, bool]], embed: Callable[[], Any]) -> dict[str, Any]:
    """What ``embed`` returns, and what the named modules gave on the way."""
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, inputs, output: outputs.__setitem__(name, output)

    hooks = [model.network.get_submodule(path).register_forward_hook(keep(name)) for name, (path, _) in parts.items()]
    outputs["embedding"] = embed()
    for hook in hooks:
        hook.remove()
    return outputs


def check_clustering(case: Case) -> None:
    for key in case.inputs:
        name = key.removesuffix(".embeddings")
        check_set(case, name, case.inputs[key])
    expected = case.json("expected.json")
    for name, row in expected["windows"].items():
        times_s, windows = cut_windows(np.arange(row["n_samples"], dtype=np.float32), row["start_s"], RATE_HZ)
        ours = np.column_stack([times_s, windows[:, 0].astype(np.float64) / RATE_HZ])
        theirs = np.array([(start, end, first / RATE_HZ) for start, end, first, _ in row["windows"]])
        case.compare_values(f"windows.{name}", ours, theirs, WINDOW_TOLERANCE_S)
    for number, row in enumerate(expected["turns"]):
        speakers = clustering.in_order_of_appearance(np.array(row["labels"])).tolist()
        turns = turns_of_windows(row["windows"], speakers)
        ours = [[turn.start_s, turn.end_s, turn.speaker] for turn in turns]
        case.compare_values(f"turns.{number}", ours, [[*map(float, times), spk] for *times, spk in row["turns"]])
        sentences = [(sentence["start"], sentence["end"]) for sentence in row["sentences"]]
        found = Diarization(tuple(turns), (), (), np.zeros((0, 1)))
        compare_sentences(case, f"turns.{number}.sentences", found, sentences, [s["spk"] for s in row["sentences"]])
    labels = clustering.in_order_of_appearance(np.array(expected["correct_labels"]["in"]))
    case.compare_values("correct_labels", labels.tolist(), expected["correct_labels"]["out"])


def check_set(case: Case, name: str, embeddings: np.ndarray) -> None:
    """Labels with an estimated and with given numbers of speakers, and the matrices on the way."""
    for key in [key for key in case.expected if key.startswith(f"{name}.labels")]:
        given = key.removeprefix(f"{name}.labels").removeprefix("_oracle")
        case.compare(key, clustering.cluster(embeddings, int(given) if given else None))
    similarity = clustering.similarity(embeddings.astype(np.float64))
    pruned = clustering.prune(similarity)
    laplacian = clustering.laplacian(pruned)
    eigenvalues = np.linalg.eigvalsh(laplacian)
    for part, value, tolerance in (
        ("similarity", similarity, SIMILARITY_TOLERANCE),
        ("kept_per_row", (pruned != 0).sum(axis=1), 0.0),
        ("laplacian", laplacian, LAPLACIAN_TOLERANCE),
        ("eigenvalues", eigenvalues, LAPLACIAN_TOLERANCE),
    ):
        if (key := f"{name}.{part}") in case.expected:
            case.compare(key, value[: len(case.expected[key])], tolerance)


def compare_sentences(
    case: Case, key: str, found: Diarization, sentences: list[tuple[float, float]], expected: list[int]
) -> None:
    """Exactly what FunASR says by FunASR's rule; ours, the speaker with the most time, may differ from it."""
    case.compare_values(key, found.speakers_of(sentences, rule="funasr"), expected)


def check_recording(case: Case) -> None:
    """Case ``e2e_vad_asr_punc_spk``: windows, embeddings and speakers, from the segments of the VAD."""
    samples, _ = soundfile.read(case.data_root / "data/models/fsmn-vad-16k/vad_example.wav", dtype="float32")
    start, count = int(case.inputs["start_sample"][0]), int(case.inputs["n_samples"][0])
    model = load_speaker_model(open_model_folder(case.path / "spk"))
    segments_ms = case.expected["vad_segments_ms"].tolist()

    def speakers(n_speakers: int | None) -> Diarization:
        return diarize(model, cut_segments(samples[start : start + count], segments_ms, RATE_HZ), n_speakers)

    found = speakers(None)
    case.covered("vad_segments_ms", "the input of this check")
    case.compare("windows_s", np.array(found.windows_s), 1e-5, note="stored as float32")
    case.compare("spk_embedding", found.embeddings, EMBEDDING_TOLERANCE)
    case.compare("window_labels", np.array(found.window_speakers))
    for name, run in case.json("expected.json").items():
        for result in run["result"] if isinstance(run, dict) and "result" in run else ():
            sentences = result.get("sentence_info") or [{}]
            given = speakers(run["options"].get("preset_spk_num")) if "spk" in sentences[0] else found
            if "spk" in sentences[0]:
                times = [(sentence["start"], sentence["end"]) for sentence in sentences]
                compare_sentences(case, f"{name}.spk", given, times, [sentence["spk"] for sentence in sentences])
            if "spk_embedding_center" in result:
                theirs = np.array(result["spk_embedding_center"])
                centers = clustering.speaker_means(given.embeddings, np.array(given.window_speakers))
                case.compare_values(f"{name}.centers", centers, theirs, EMBEDDING_TOLERANCE)


CASES = {
    "campplus": check_embedding,
    "eres2netv2": check_embedding,
    "xvector": check_embedding,
    "speaker_clustering": check_clustering,
    "e2e_vad_asr_punc_spk": check_recording,
}
