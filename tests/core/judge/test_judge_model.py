"""The judge: the frozen embedding, its head, and the file that both become."""

import os
import shutil
import subprocess
from importlib import resources
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.config.judge import JudgeHeadConfig
from wakeword_core.errors import ArtifactError, DataError, MissingDependencyError
from wakeword_core.judge import embedding as embedding_module
from wakeword_core.judge.head import LOST_STEPS, STEPS_SEEN, JudgeHead, JudgeHeads, train_head, train_heads
from wakeword_core.judge.rows import EmbeddedRows
from wakeword_core.seeds import seed_of

pytest.importorskip("pyopen_wakeword", reason="needs the extra `judge`: Google's speech embedding")
pytest.importorskip("ai_edge_litert", reason="needs the extra `judge`: what reads the embedding's file")

from wakeword_core.export.openwakeword import NUMBERS
from wakeword_core.judge.embedding import STEP_SAMPLES, speech_embedding, window_samples
from wakeword_core.judge.export import HOPS_HEARD, WINDOW_SAMPLES, export_judge
from wakeword_core.runtime.judge_file import Judge

OLDEST = os.environ.get("WAKEWORD_TEST_ONNXRUNTIME")
IN_OLDEST = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
window = numpy.load(sys.argv[2])
states = {one.name: numpy.zeros(one.shape, "f4") for one in session.get_inputs() if one.name != "audio"}
states["audio_tail"], audio = numpy.split(window, [len(states["audio_tail"])])
print(session.run(["scores"], {"audio": audio, **states})[0][-1, 1])
"""
STEPS = 20
SETTINGS = JudgeHeadConfig(channels=8, steps=10)
SPANS = {"deviation": (2.0, 5.0), "running_var": (0.1, 0.4), "weight": (0.5, 1.5), "": (-0.3, 0.3)}
"""From where to where numbers of a head lie, by the end of their names."""


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    level = np.repeat(generator.choice([3.0, 300.0, 9_000.0], round(seconds * 8)), 2_000)
    return np.rint(generator.normal(0, 1, len(level)) * level).clip(-32_768, 32_767).astype(np.float32)


def reference(samples: np.ndarray) -> np.ndarray:
    """What the original files give as openWakeWord runs them: 1,280 new samples at a time."""
    from ai_edge_litert.interpreter import Interpreter

    folder = resources.files("pyopen_wakeword") / "models"
    mel, network = (Interpreter(str(folder / name)) for name in ("melspectrogram.tflite", "embedding_model.tflite"))
    mel.resize_tensor_input(0, [1, 1_760])

    def run(interpreter, values):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    for interpreter in (mel, network):
        interpreter.allocate_tensors()
    chunks = [run(mel, samples[None, at : at + 1_760]) for at in range(0, len(samples) - 1_759, 1_280)]
    mels = np.concatenate([chunk.reshape(-1, 32) for chunk in chunks]) / 10 + 2
    windows = [mels[end - 76 : end] for end in range(80, len(mels) + 1, 8)]
    return np.stack([run(network, window[None, :, :, None].astype(np.float32)).ravel() for window in windows])


def test_embeddings_are_those_of_the_original_files() -> None:
    samples = sound(3.0)
    expected = reference(samples)
    frames = (len(samples) - 1_760) // 1_280 * 8 + 8
    used = torch.from_numpy(samples[: (frames - 1) * 160 + 512] / 32_768)[None]
    found = speech_embedding()(used)[0].numpy()[-len(expected) :]
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_a_window_gives_exactly_as_many_steps() -> None:
    for steps in (1, 2, STEPS_SEEN):
        assert speech_embedding()(torch.zeros(2, window_samples(steps))).shape == (2, steps, NUMBERS)


def test_steps_end_with_the_samples_whatever_is_before_them() -> None:
    samples = torch.from_numpy(sound(3.0, 1) / 32_768)[None]
    samples[:, -window_samples(3) : -window_samples(3) + 640] = 0.9  # which the quiet after it is measured by
    whole = speech_embedding()(samples)[:, -3:]
    for more in (0, 1, 639, 5_000):
        later = speech_embedding()(samples[:, -window_samples(3) - more :])[:, -3:]
        assert torch.allclose(whole, later, atol=1e-4)


def test_another_embedding_than_the_known_one_is_refused(monkeypatch, tmp_path) -> None:
    shutil.copytree(str(resources.files("pyopen_wakeword") / "models"), tmp_path / "models")
    with (tmp_path / "models" / "embedding_model.tflite").open("ab") as file:
        file.write(b"\0")
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    embedding_module.speech_embedding.cache_clear()
    with pytest.raises(ArtifactError, match="is not the embedding that is known here"):
        speech_embedding()


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch) -> None:
    embedding_module.speech_embedding.cache_clear()
    monkeypatch.setattr(embedding_module, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="judge"):
        speech_embedding()


def rows(words: int = 1, count: int = 120, seed: int = 0) -> EmbeddedRows:
    """Rows whose word is a bump of one number of the embedding where it ends."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % (words + 1)
    embeddings = torch.randn(count, STEPS, NUMBERS, generator=generator)
    ends = torch.where(labels > 0, 12.0 + torch.arange(count) % 3, torch.nan)
    for row in torch.nonzero(labels).flatten().tolist():
        embeddings[row, int(ends[row]) - 2 : int(ends[row]) + 1, int(labels[row])] += 6
    return EmbeddedRows(embeddings.half(), labels, ends.double())


@pytest.mark.parametrize(("words", "steps"), [(1, 80), (2, 120)])
def test_a_head_learns_its_words_and_tells_them_apart(words, steps) -> None:
    head, figures = train_head(rows(words, 300), words, JudgeHeadConfig(channels=16, steps=steps), seed=1)
    unheard = rows(words, 90, seed=5)
    with torch.inference_mode():
        odds = head(unheard.embeddings).amax(1)
    told = torch.where((odds > 0).any(1), odds.argmax(1) + 1, 0)
    assert (told == unheard.labels).float().mean() > 0.95
    assert figures["rows_of_words"] == int((rows(words, 300).labels > 0).sum())


def test_the_same_rows_and_seed_give_the_same_head() -> None:
    first, again, other = (train_head(rows(), 1, SETTINGS, seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_rows_that_hold_no_end_of_a_word_cannot_be_learnt_from() -> None:
    made = rows()
    outside = EmbeddedRows(made.embeddings, made.labels, made.word_steps + 100)
    with pytest.raises(DataError, match="no training row holds the end of a wake word"):
        train_head(outside, 1, SETTINGS, seed=1)


def test_fewer_rows_than_a_batch_are_enough() -> None:
    train_head(rows(count=4), 1, SETTINGS, seed=1)


def test_a_number_that_is_the_same_in_all_rows_is_no_trouble() -> None:
    made = rows()
    made.embeddings[:, :, 5] = -0.5
    head, _ = train_head(made, 1, SETTINGS, seed=1)
    assert head(made.embeddings).isfinite().all()


def card() -> dict:
    return {
        "phrase": "robin",
        "labels": ["_negative", "robin"],
        "sample_rate": 16_000,
        "frontend": Config().features.frontend.model_dump(mode="json"),
        "detector": DetectorConfig().model_dump(mode="json"),
        "threshold": 0.5,
        "operating_points": {},
        "judge": {
            "hop_samples": STEP_SAMPLES,
            "hops": HOPS_HEARD,
            "gate": 0.05,
            "hangover_seconds": 0.5,
            "made_for": "",
        },
    }


def test_heads_are_those_of_the_seeds_and_say_what_they_say_in_the_mean() -> None:
    made, told = rows(count=40), []
    settings = SETTINGS.model_copy(update={"count": 2, "steps": 12})
    heads, figures = train_heads(made, 1, settings, 5, lambda _, done, total: told.append((done, total)))
    alone = [train_head(made, 1, settings, seed_of(5, number)) for number in range(2)]
    with torch.inference_mode():
        said = [head(made.embeddings) for head, _ in alone]
        assert torch.equal(heads(made.embeddings), (said[0] + said[1]) / 2)
    assert figures["loss_of_words"] == pytest.approx(sum(one["loss_of_words"] for _, one in alone) / 2)
    assert figures["rows_of_words"] == alone[0][1]["rows_of_words"]
    assert told == sorted(told) and told[-1] == (24, 24)


def test_trainings_of_neighbouring_seeds_share_no_head() -> None:
    settings = SETTINGS.model_copy(update={"count": 3, "steps": 2})
    trained = [train_heads(rows(count=40), 1, settings, seed)[0].state_dict() for seed in (5, 6)]
    weights = [values for state in trained for name, values in state.items() if name.endswith("layers.0.weight")]
    assert len(weights) == 6
    assert not any(torch.equal(one, other) for one, other in combinations(weights, 2))


def any_heads(words: int) -> JudgeHeads:
    """Two heads whose every number counts, and to which no two windows are alike."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(words)
        heads = JudgeHeads([JudgeHead(words, SETTINGS) for _ in range(2)]).eval()
        for name, values in (*heads.named_parameters(), *heads.named_buffers()):
            if values.ndim == 1:
                values.uniform_(*next(span for end, span in SPANS.items() if name.endswith(end)))
    return heads


def exported(head: JudgeHeads, words: int, out: Path, opset: int = 18) -> Judge:
    out.mkdir()
    labels = ["_negative", *(f"word {number}" for number in range(words))]
    figures = export_judge(speech_embedding(), head, {**card(), "labels": labels}, opset, 1e-3, out)
    assert figures["parity"] < 1e-4
    return Judge(out / "judge.onnx")


def in_torch(head: JudgeHeads, windows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return torch.sigmoid(head(speech_embedding()(torch.from_numpy(windows)))[:, -1]).numpy()


@pytest.mark.parametrize("words", [1, 3])
def test_the_file_scores_as_torch_does_and_is_the_same_again(tmp_path: Path, words: int) -> None:
    head = any_heads(words)
    one, two = (exported(head, words, tmp_path / name) for name in ("one", "two"))
    assert one.file.data == two.file.data
    assert one.window_samples == WINDOW_SAMPLES
    windows = np.stack([sound(2, seed)[:WINDOW_SAMPLES] / 32_768 for seed in range(3)]).astype(np.float32)
    scores = one.score_sound(windows)
    assert np.ptp(scores[:, 1]) > 0.01
    assert np.allclose(scores[:, 1:], in_torch(head, windows), atol=1e-4)
    assert np.allclose(scores[:, 0], 1 - scores[:, 1:].max(axis=1))


@pytest.fixture(scope="module")
def judge_and_head(tmp_path_factory) -> tuple[Judge, JudgeHeads]:
    head = any_heads(2)
    return exported(head, 2, tmp_path_factory.mktemp("judge") / "made"), head


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 3))
def test_looks_that_share_work_say_what_their_whole_windows_do(judge_and_head, counts, seed) -> None:
    judge, head = judge_and_head
    samples = (sound(6, seed) / 32_768).astype(np.float32)
    stream, at, scores = judge.stream(), 0, []
    for count in (HOPS_HEARD - 1, *counts):
        scores.append(stream.follow(samples[at : at + judge.tail_samples + count * STEP_SAMPLES])[:, 1:])
        at += count * STEP_SAMPLES
    looks = np.concatenate(scores)[HOPS_HEARD - 1 :]
    starts = range(0, len(looks) * STEP_SAMPLES, STEP_SAMPLES)
    windows = np.stack([samples[start : start + WINDOW_SAMPLES] for start in starts])
    assert np.allclose(looks, in_torch(head, windows), atol=1e-4)


@pytest.mark.parametrize("opset", [17, 23])
def test_every_set_of_operators_that_can_be_chosen_gives_a_judge(tmp_path: Path, opset: int) -> None:
    made = exported(any_heads(1), 1, tmp_path / "made", opset)
    assert onnx.load(made.path).opset_import[0].version == opset


@pytest.mark.skipif(not OLDEST, reason="needs WAKEWORD_TEST_ONNXRUNTIME, a Python that has an older onnxruntime")
def test_the_oldest_runtime_that_the_documents_name_says_the_same(judge_and_head, tmp_path: Path) -> None:
    judge, window = judge_and_head[0], (sound(2)[:WINDOW_SAMPLES] / 32_768).astype(np.float32)
    np.save(tmp_path / "window.npy", window)
    command = [str(OLDEST), "-c", IN_OLDEST, str(judge.path), str(tmp_path / "window.npy")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert float(answer) == pytest.approx(float(judge.score_sound(window[None])[0, 1]), abs=1e-4)


def test_a_head_loses_as_many_steps_as_it_says() -> None:
    assert JudgeHead(3, SETTINGS)(torch.zeros(2, STEPS, NUMBERS)).shape == (2, STEPS - LOST_STEPS, 3)
