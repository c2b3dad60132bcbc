"""Grouping embeddings by speaker: spectral clustering with an estimated or a given number of speakers.

Source: von Luxburg 2007 (A Tutorial on Spectral Clustering); FunASR ``ClusterBackend``: similarities are cut to the
nearest neighbors of each window, the number of speakers is where the eigenvalues of the graph's Laplacian jump.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funrecipe.errors import UsageError

MIN_WINDOWS = 20  # with fewer, the number is not estimated: one speaker
MAX_WINDOWS = 2048  # from here on the matrices of all pairs are too large
NEIGHBORS_SHARE = 0.022
MIN_NEIGHBORS = 6
MAX_SPEAKERS = 15
SAME_SPEAKER_COSINE = 0.78
SEED = 0


def cluster(embeddings: np.ndarray, n_speakers: int | None = None) -> np.ndarray:
    """Speaker numbers (N,) from 0, in order of first appearance, of embeddings (N, E).

    Args:
        n_speakers: how many speakers there are; None: estimated.

    Raises:
        UsageError: a number of speakers below one, or scikit-learn is not installed.
    """
    check_speaker_count(n_speakers)
    embeddings = np.asarray(embeddings, np.float64)
    if len(embeddings) < MIN_WINDOWS:
        return np.zeros(len(embeddings), np.int64)
    if len(embeddings) >= MAX_WINDOWS and n_speakers is not None:
        return in_order_of_appearance(k_means(unit_rows(embeddings), n_speakers))
    # Of many windows evenly spaced ones are clustered, and the others join the nearest speaker.
    step = len(embeddings) // MAX_WINDOWS + 1
    labels = spectral_labels(embeddings[::step], n_speakers)
    if n_speakers is None:
        labels = merge_similar(embeddings[::step], labels)
    if step > 1:
        labels = nearest_speaker(embeddings, speaker_means(embeddings[::step], labels))
    return in_order_of_appearance(labels)


def check_speaker_count(value: Any) -> None:
    """Raise UsageError unless ``value`` is a number of speakers, or None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        hint = "give 1 or more, or leave it out to have it estimated"
        raise UsageError(f"n_speakers is {value!r}", where="n_speakers", hint=hint)


def spectral_labels(embeddings: np.ndarray, n_speakers: int | None) -> np.ndarray:
    """Clusters (N,) by k-means over the first eigenvectors of the Laplacian."""
    values, vectors = np.linalg.eigh(laplacian(prune(similarity(embeddings))))
    count = min(n_speakers or estimate_speakers(values), len(embeddings))
    return k_means(vectors[:, :count], count)


def similarity(embeddings: np.ndarray) -> np.ndarray:
    """Cosines (N, N)."""
    units = unit_rows(embeddings)
    return units @ units.T


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows (N, E) at length 1; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms == 0, 1.0, norms)


def prune(affinity: np.ndarray) -> np.ndarray:
    """Keep the largest similarities of each row, at least ``MIN_NEIGHBORS``; the others become 0."""
    count = len(affinity)
    share = NEIGHBORS_SHARE if NEIGHBORS_SHARE * count >= MIN_NEIGHBORS else MIN_NEIGHBORS / count
    dropped = int((1 - share) * count)
    pruned = affinity.copy()
    smallest = np.argsort(affinity, axis=1, kind="stable")[:, :dropped]
    np.put_along_axis(pruned, smallest, 0.0, axis=1)
    return pruned


def laplacian(affinity: np.ndarray) -> np.ndarray:
    """The unnormalized Laplacian of the symmetric part of an affinity matrix (N, N)."""
    symmetric = 0.5 * (affinity + affinity.T)
    np.fill_diagonal(symmetric, 0.0)
    return np.diag(np.abs(symmetric).sum(axis=1)) - symmetric


def estimate_speakers(eigenvalues: np.ndarray) -> int:
    """The number of eigenvalues below the largest gap among the first, ascending ones."""
    return int(np.argmax(np.diff(eigenvalues[: MAX_SPEAKERS + 1]))) + 1


def k_means(points: np.ndarray, count: int) -> np.ndarray:
    """Labels (N,) of points (N, D), the same in every run."""
    if count == 1:
        return np.zeros(len(points), np.int64)
    try:
        from sklearn.cluster import KMeans
    except ModuleNotFoundError:
        raise UsageError(
            "finding speakers needs scikit-learn, which is not installed", hint="pip install 'funrecipe[speakers]'"
        ) from None
    return np.asarray(KMeans(count, n_init=10, random_state=SEED).fit_predict(points), np.int64)


def merge_similar(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Join the two most similar speakers until no two are as similar as ``SAME_SPEAKER_COSINE``."""
    labels = labels.copy()
    while labels.max() > 0:
        cosines = np.triu(similarity(speaker_means(embeddings, labels)), 1)
        first, second = np.unravel_index(int(np.argmax(cosines)), cosines.shape)
        if cosines[first, second] < SAME_SPEAKER_COSINE:
            break
        labels[labels == second] = first
        labels[labels > second] -= 1
    return labels


def speaker_means(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean embedding (K, E) of each speaker 0 ... K - 1."""
    return np.stack([embeddings[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])


def nearest_speaker(embeddings: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The speaker (N,) whose mean (K, E) has the largest cosine with each embedding (N, E)."""
    return np.argmax(embeddings @ unit_rows(means).T, axis=1)


def in_order_of_appearance(labels: np.ndarray) -> np.ndarray:
    """Renumbered so that the first label is 0 and each new one the next number."""
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(int(label), len(numbers)) for label in labels], np.int64)
