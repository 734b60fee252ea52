"""The heads of a judge by themselves in continuous sound, as openWakeWord runs them: a score every 80 ms."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wakeword_core.audio import from_pcm16
from wakeword_core.config import NEGATIVE_LABEL, Config, EvaluationConfig, unique_name
from wakeword_core.config.judge import JUDGE_RATE
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.operating_points import OperatingPoints, choose_operating_points
from wakeword_core.evaluation.streams.scores import StreamScorer, StreamScores, score_streams
from wakeword_core.evaluation.streams.stream_metrics import StreamResult, evaluate_streams
from wakeword_core.evaluation.streams.thresholds import OperatingPoint, logit
from wakeword_core.export.openwakeword import NUMBERS
from wakeword_core.judge.embedding import (
    FRAMES,
    HOP,
    STEP_FRAMES,
    STEP_SAMPLES,
    STEPS_HEARD,
    speech_embedding,
    window_samples,
)
from wakeword_core.judge.head import LOST_STEPS, STEPS_SEEN, JudgeHeads
from wakeword_core.judge.openwakeword import RUNTIMES, differences, networks_of_word, write_word
from wakeword_core.judge.together import key_figures
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime.exported import OPENWAKEWORD_FOLDER
from wakeword_core.runtime.onnx_file import read_onnx
from wakeword_core.shards.packed_split import iter_recordings

_HEARD_SAMPLES = STEP_SAMPLES + 3 * HOP
"""Samples that openWakeWord waits for before it computes the frames of a step."""
_UNSEEN = -FRAMES % STEP_FRAMES
"""Frames at the end that pyopen-wakeword computes with the others of a step, but embeds with the next step alone."""
STEPS_AT_ONCE = 600
_RANDOM_STEPS = 300

Embeddings = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]


def stream_embeddings(pcm: npt.NDArray[np.int16]) -> tuple[Times, Embeddings]:
    """Return the seconds at which openWakeWord has a score of a stream at 16 kHz [n], and embeddings [n + 8, 96].

    With each score come one embedding and the eight before it. Before the stream there is silence.
    """
    count = max((len(pcm) - _HEARD_SAMPLES) // STEP_SAMPLES + 1, 0)
    steps, embedding, embeddings = LOST_STEPS + count, speech_embedding(), []
    before = np.zeros((LOST_STEPS + STEPS_HEARD - 1) * STEP_SAMPLES, np.float32)
    sound = torch.from_numpy(np.concatenate([before, from_pcm16(pcm)]))[None]
    with torch.inference_mode():
        for first in range(0, steps, STEPS_AT_ONCE):
            samples = window_samples(min(STEPS_AT_ONCE, steps - first))
            piece = sound[:, first * STEP_SAMPLES :][:, :samples]
            embeddings.append(embedding(piece, _UNSEEN)[0].numpy())
    times = (np.arange(count) * STEP_SAMPLES + _HEARD_SAMPLES) / JUDGE_RATE
    return times, np.concatenate(embeddings)


def word_scorer(models: Sequence[Path]) -> StreamScorer:
    """Return a scorer of streams through ONNX files, one for each wake word in the order of their classes."""
    sessions = [read_onnx(path).session() for path in models]
    names = [session.get_inputs()[0].name for session in sessions]

    def score(pcm: npt.NDArray[np.int16]) -> tuple[Times, npt.NDArray[np.float32]]:
        times, embeddings = stream_embeddings(pcm)
        words = np.empty((len(times), len(sessions)), np.float32)
        for step in range(len(times)):
            window = embeddings[None, step : step + STEPS_SEEN]
            for word, session in enumerate(sessions):
                words[step, word] = session.run(None, {names[word]: window})[0][0, 0]
        return times, np.concatenate([1 - words.max(axis=1, keepdims=True), words], axis=1)

    return score


def as_openwakeword(evaluation: EvaluationConfig) -> EvaluationConfig:
    """Return the same evaluation with openWakeWord's rule: every score by itself is held against the threshold."""
    own = {"stride_seconds": STEP_SAMPLES / JUDGE_RATE, "smoothing": 1, "votes": 0, "hold": 1}
    return evaluation.model_copy(
        update={
            "detector": evaluation.detector.model_copy(update=own),
            "tuning": evaluation.tuning.model_copy(update={"enabled": False}),
        }
    )


def make_words(
    heads: JudgeHeads,
    val: Path,
    test: Path,
    config: Config,
    out: Path,
    progress: Progress = silent,
    synthetic: Collection[str] = (),
) -> dict[str, Any]:
    """Write the files of every wake word into `out/openwakeword`, and return what they give on validation and test.

    `val` and `test` are shards, and `synthetic` the sources that no person was recorded for. Thresholds are chosen on
    validation. Log-odds are then shifted so that the default one is 0.5 for every word: that is what openWakeWord's
    programs take, and one number for all words that they listen for.
    """
    evaluation = as_openwakeword(config.evaluation)
    targets = target_conditions(evaluation.conditions)

    def scores_of(shards: Path) -> StreamScores:
        scorer = word_scorer(word_files(config.labels, out, ".onnx"))
        return score_streams(scorer, shards, config, progress, targets, short_phrases=False, synthetic=synthetic)

    _write(heads, config, out, {}, {})  # for thresholds to be chosen by what will be delivered
    chosen, _ = choose_operating_points(scores_of(val), evaluation, progress)
    shift = logit(chosen.default.threshold)
    shifts = {label: shift + float(np.log(chosen.handicaps.get(label, 1.0))) for label in config.labels[1:]}
    chosen = _shifted(chosen, shift)
    _write(heads, config, out, chosen.card(), shifts)
    scores = scores_of(test)
    tested = {
        name: evaluate_streams(scores, point.threshold, evaluation, chosen.detector)
        for name, point in chosen.points.items()
    }
    files = [path for suffix in RUNTIMES for path in word_files(config.labels, out, suffix)]
    return {
        "files": {str(path.relative_to(out)): path.stat().st_size for path in files},
        "steps": STEPS_SEEN,
        "log_odds_shifts": shifts,
        "operating_point": chosen.name,
        "operating_points": {name: _row(point, tested[name]) for name, point in chosen.points.items()},
        **key_figures(tested[chosen.name]),
    }


def _row(point: OperatingPoint, tested: StreamResult) -> dict[str, float]:
    """Return an operating point as it is on validation and on the test."""
    return {
        "target_fah": point.target_fah,
        "threshold": point.threshold,
        "val_frr": point.frr,
        "val_fah": point.fah,
        "words": tested.words,
        "frr": tested.frr,
        "frr_low": tested.frr_interval[0],
        "frr_high": tested.frr_interval[1],
        "fah": tested.fah,
        "fah_low": tested.fah_interval[0],
        "fah_high": tested.fah_interval[1],
    }


def word_files(labels: Sequence[str], folder: Path, suffix: str) -> list[Path]:
    """Return the paths below a folder of the files of each wake word, which are the `labels` but for the first."""
    return [folder / OPENWAKEWORD_FOLDER / f"{unique_name(label)}{suffix}" for label in labels[1:]]


def _write(heads: JudgeHeads, config: Config, out: Path, card: Mapping[str, Any], shifts: Mapping[str, float]) -> None:
    """Write both files of each wake word, with its log-odds lower by its shift."""
    for word, (label, path) in enumerate(zip(config.labels[1:], word_files(config.labels, out, ".onnx"), strict=True)):
        own = {**card, "phrase": label, "labels": [NEGATIVE_LABEL, label], "sample_rate": JUDGE_RATE}
        write_word(networks_of_word(heads, word, shifts.get(label, 0.0)), path, own, config.export.onnx.opset)


def _shifted(chosen: OperatingPoints, shift: float) -> OperatingPoints:
    """Return the same operating points for log-odds that are lower by `shift`, and by the handicaps besides."""
    points = {
        name: replace(point, threshold=float(1 / (1 + np.exp(shift - logit(point.threshold)))))
        for name, point in chosen.points.items()
    }
    return replace(chosen, points=points, handicaps={})


def largest_differences(
    heads: JudgeHeads, shifts: Mapping[str, float], labels: Sequence[str], folder: Path, shards: Path, seconds: float
) -> dict[str, float]:
    """Return the largest difference of scores from torch's in each runtime, over all files that `make_words` wrote.

    Compared are random embeddings, and behind them those of the first so many seconds of the recordings in `shards`.
    """
    generator = torch.Generator().manual_seed(0)
    one = heads.heads[0]
    random = torch.randn(_RANDOM_STEPS, NUMBERS, generator=generator) * one.deviation + one.mean
    heard = stream_embeddings(_first_sound(shards, round(seconds * JUDGE_RATE)))[1]
    embeddings = np.concatenate([random.numpy(), heard])
    found: dict[str, float] = {}
    for suffix in RUNTIMES:
        for word, path in enumerate(word_files(labels, folder, suffix)):
            for runtime, largest in differences(heads, word, shifts[labels[1 + word]], path, embeddings).items():
                found[runtime] = max(largest, found.get(runtime, 0.0))
    return found


def _first_sound(shards: Path, samples: int) -> npt.NDArray[np.int16]:
    """Join the first recordings of a split."""
    pieces: list[npt.NDArray[np.int16]] = []
    for recording in iter_recordings(shards):
        pieces.append(recording.audio)
        if sum(map(len, pieces)) >= samples:
            break
    return np.concatenate(pieces)[:samples]
