"""The heads of a judge in openWakeWord's format: the same scores in every runtime, by file and by stream."""

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from wakeword_core.config import Config
from wakeword_core.config.judge import JudgeHeadConfig
from wakeword_core.errors import ArtifactError, WakewordError
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.operating_points import choose_operating_points
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.judge.head import JudgeHead, JudgeHeads

pytest.importorskip("pyopen_wakeword", reason="needs the extra `judge`: what runs openWakeWord's models")
pytest.importorskip("ai_edge_litert", reason="needs the extra `judge`: what writes TensorFlow Lite files")

from pyopen_wakeword import OpenWakeWord, OpenWakeWordFeatures

from wakeword_core.export.openwakeword import steps_taken
from wakeword_core.export.tflite.runtimes import score_windows
from wakeword_core.judge import alone
from wakeword_core.judge.openwakeword import RUNTIMES, differences, networks_of_word, write_word

OFFICIAL = resources.files("pyopen_wakeword") / "models"
RATE, STEP = 16_000, 1_280
WORDS = ("one", "two")
SHIFT = 0.7


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Stretches of digital silence, of noise and of loud noise."""
    generator = np.random.default_rng(seed)
    level = np.repeat(generator.choice([0.0, 30.0, 9_000.0], round(seconds * 8)), 2_000)
    return np.rint(generator.normal(0, 1, len(level)) * level).clip(-32_768, 32_767).astype(np.int16)


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    return alone.stream_embeddings(sound(8.0, 1))[1]


@pytest.fixture(scope="module")
def heads(embeddings: np.ndarray) -> JudgeHeads:
    """Heads for two words with random weights and statistics as if of training."""
    torch.manual_seed(0)
    made, heard = [JudgeHead(2, JudgeHeadConfig(channels=8)) for _ in range(3)], torch.from_numpy(embeddings)
    for head in made:
        head.mean.copy_(heard.mean(0))
        head.deviation.copy_(heard.std(0).clamp_min(1e-3))
        with torch.no_grad():
            head.train()(heard[None].repeat(8, 1, 1))
            for parameter in head.layers[-1].parameters():
                parameter *= 10
    return JudgeHeads(made).eval()


def write(heads: JudgeHeads, folder: Path) -> list[Path]:
    """The files of both words, all of a kind together."""
    for word, name in enumerate(WORDS):
        write_word(networks_of_word(heads, word, SHIFT), folder / f"{name}.onnx", {"phrase": name}, 18)
    return [folder / f"{name}{suffix}" for suffix in RUNTIMES for name in WORDS]


@pytest.fixture(scope="module")
def files(heads: JudgeHeads, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(heads, tmp_path_factory.mktemp("words"))


def test_every_file_scores_as_torch_does_in_every_runtime(heads, files, embeddings) -> None:
    random = np.random.default_rng(2).normal(0, 20, (60, 96)).astype(np.float32)
    for path in files:
        found = differences(heads, WORDS.index(path.stem), SHIFT, path, np.concatenate([random, embeddings]))
        assert tuple(found) == RUNTIMES[path.suffix] and max(found.values()) <= 1e-5


def test_scores_of_another_word_or_threshold_differ(heads, files, embeddings) -> None:
    for word, shift in ((1, SHIFT), (0, 0.0)):
        assert min(differences(heads, word, shift, files[0], embeddings).values()) > 0.05


def test_the_same_heads_give_the_same_bytes_and_the_card_is_in_the_onnx_file(heads, files, tmp_path: Path) -> None:
    again = write(heads, tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in files]
    metadata = {entry.key: entry.value for entry in onnx.load(files[0]).metadata_props}
    assert json.loads(metadata["wakeword"]) == {"phrase": "one"} and "wakeword_seal" in metadata


def test_files_take_and_give_what_openwakewords_own_do(files) -> None:
    assert [steps_taken(path) for path in files] == [9] * 4
    for name in ("alexa", "hey_mycroft", "hey_rhasspy", "okay_nabu"):
        assert steps_taken(Path(str(OFFICIAL / f"{name}.tflite"))) == 16
    graph = onnx.load(files[0]).graph
    shapes = [[size.dim_value for size in end.type.tensor_type.shape.dim] for end in (graph.input[0], graph.output[0])]
    assert shapes == [[1, 9, 96], [1, 1]]  # openWakeWord reads both off the graph, and knows no free batch


def test_a_stream_gets_the_scores_that_pyopen_wakeword_gives_it(files, monkeypatch) -> None:
    monkeypatch.setattr(alone, "STEPS_AT_ONCE", 50)
    pcm = sound(12.0, 3)
    features, words = OpenWakeWordFeatures.from_builtin(), [OpenWakeWord.from_model(path) for path in files[2:]]
    expected: list[list[float]] = [[], []]
    for at in range(0, len(pcm), STEP):
        for embedding in features.process_streaming(pcm[at : at + STEP].tobytes()):
            for word, scores in zip(words, expected, strict=True):
                scores += word.process_streaming(embedding)
    times, found = alone.word_scorer(files[:2])(pcm)
    assert len(times) == (len(pcm) - 1_760) // STEP + 1 and times[0] == 0.11 and np.allclose(np.diff(times), 0.08)
    # what comes before is of the silence that it puts there
    assert np.abs(np.asarray(expected)[:, -len(times) :].T - found[:, 1:]).max() < 1e-4
    assert np.ptp(found[:, 1:]) > 0.1 and np.allclose(found[:, 0], 1 - found[:, 1:].max(axis=1))


def test_a_stream_that_is_too_short_has_no_score(files) -> None:
    for samples, scores in ((0, 0), (1_759, 0), (1_760, 1)):
        assert alone.word_scorer(files[:1])(np.zeros(samples, np.int16))[1].shape == (scores, 2)


def test_damaged_files_are_refused_before_a_runtime_sees_them(files, tmp_path: Path, embeddings) -> None:
    for path in (files[0], files[2]):
        data = path.read_bytes()
        for cut in (b"", data[: len(data) // 2], b"junk" * 10):
            damaged = tmp_path / path.name
            damaged.write_bytes(cut)
            with pytest.raises(ArtifactError, match=str(damaged)):
                steps_taken(damaged)
    with pytest.raises(ArtifactError, match=r"none\.tflite cannot be used"):
        steps_taken(tmp_path / "none.tflite")


def test_a_file_that_ends_its_runtime_is_an_error_here(tmp_path: Path, embeddings) -> None:
    junk = tmp_path / "junk.tflite"
    junk.write_bytes(b"junk")
    for runtime in RUNTIMES[".tflite"]:
        with pytest.raises(WakewordError, match=rf"{runtime} (failed|was ended by signal \d+) with .*junk\.tflite"):
            score_windows(runtime, junk, embeddings)


def test_a_file_of_more_steps_than_the_heads_is_none_of_its_own(heads, embeddings) -> None:
    with pytest.raises(ArtifactError, match="takes 16 embeddings, other than the judge"):
        differences(heads, 0, 0.0, Path(str(OFFICIAL / "alexa.tflite")), embeddings)


def streams_of(scorer, shards: Path, config: Config, *args: object, **more: object) -> StreamScores:
    """Streams of half a minute in which two words are said where each is likeliest, and what is likely is no word."""
    times, scores = scorer(sound(30.0, int(shards.name)))
    spans = (SourceSpan("noise", "d" * 64, 0.0, 30.0),)
    peaks = [20 + int(np.argmax(scores[20:, word])) for word in (1, 2)]
    words = tuple(
        Word(config.labels[word], "c" * 64, times[peak] - 0.5, times[peak], "people", begin=times[peak] - 0.5)
        for word, peak in sorted(zip((1, 2), peaks, strict=True), key=lambda pair: pair[1])
    )
    classes, heard = 1 + np.argmax(scores[:, 1:], axis=1), scores[:, 1:].max(axis=1).astype(np.float64)
    quiet = np.minimum(heard, np.quantile(heard, 0.8))
    sessions = (
        SessionScores(Condition(None), times, heard, classes, words, spans),
        SessionScores(None, times, quiet, classes, (), spans),
    )
    return StreamScores(sessions, config.labels)


CONFIG = Config(
    phrase="Hey Robin!",
    synthesis={"enabled": True, "phrases": ["stop"]},
    export={"openwakeword": {"enabled": True}},
)


def test_a_threshold_of_a_words_own_is_in_its_files(heads, tmp_path: Path, monkeypatch) -> None:
    def with_handicap(*given):
        chosen, tuning = choose_operating_points(*given)
        return replace(chosen, handicaps={"stop": 4.0}), tuning

    monkeypatch.setattr(alone, "score_streams", streams_of)
    monkeypatch.setattr(alone, "choose_operating_points", with_handicap)
    shifts = alone.make_words(heads, Path("5"), Path("6"), CONFIG, tmp_path)["log_odds_shifts"]
    assert shifts["stop"] - shifts["Hey Robin!"] == pytest.approx(np.log(4))
    path, zeros = tmp_path / "openwakeword" / "stop.tflite", np.zeros((20, 96), np.float32)
    assert max(differences(heads, 1, shifts["stop"], path, zeros).values()) < 1e-5
    assert "handicaps" not in json.loads(onnx.load(path.with_suffix(".onnx")).metadata_props[0].value)


def test_the_default_threshold_is_a_half_for_every_word(heads, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(alone, "score_streams", streams_of)
    figures = alone.make_words(heads, Path("5"), Path("6"), CONFIG, tmp_path)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert (
        names == sorted(figures["files"])
        and len(names) == 4
        and [*figures["log_odds_shifts"]] == ["Hey Robin!", "stop"]
    )
    assert {"openwakeword/stop.onnx", "openwakeword/stop.tflite"} < set(names)
    points = figures["operating_points"]
    assert figures["operating_point"] == "balanced" and points["balanced"]["threshold"] == 0.5
    assert points["strict"]["threshold"] >= 0.5 >= points["lenient"]["threshold"]
    assert figures["log_odds_shifts"]["stop"] != 0 and points["balanced"]["val_fah"] == 0
    assert (figures["words"], figures["threshold"]) == (2, 0.5) and figures["frr_interval"][1] > 0
    card = json.loads(onnx.load(tmp_path / "openwakeword" / "stop.onnx").metadata_props[0].value)
    assert card["phrase"] == "stop" and card["labels"] == ["_negative", "stop"] and card["threshold"] == 0.5
    # the second file is the second word's, and no score is averaged
    path = tmp_path / "openwakeword" / "stop.tflite"
    assert (
        max(differences(heads, 1, figures["log_odds_shifts"]["stop"], path, np.zeros((20, 96), np.float32)).values())
        < 1e-5
    )
    assert card["detector"]["smoothing"] == 1 and card["detector"]["stride_seconds"] == 0.08
