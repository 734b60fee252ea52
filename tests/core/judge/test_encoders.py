"""A judge on an encoder in a folder: what decides about it, how it learns, what its file says, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from loud_model import loud_and_quiet, save_model
from tiny_encoder import save_encoder

from wakeword_core.config import Config
from wakeword_core.config.judge import JudgeConfig, JudgeHeadConfig
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ArtifactError, ConfigError
from wakeword_core.graph.project import Project
from wakeword_core.graph.stages import judge as stage
from wakeword_core.judge.encoders import chosen_encoder, chosen_files
from wakeword_core.judge.export import export_heads
from wakeword_core.judge.head import STEPS_SEEN, JudgeHead, JudgeHeads, train_head, train_heads
from wakeword_core.judge.rows import EmbeddedRows
from wakeword_core.judge.unfreezing import unfreeze
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.encoders import STEP_SAMPLES, WINDOW_SAMPLES, open_encoder
from wakeword_core.runtime.exported import CARD_KEY, seal
from wakeword_core.runtime.judge import JudgedScorer, judged
from wakeword_core.runtime.judge_file import Judge, WindowJudge, open_judge
from wakeword_core.runtime.live import stream_scorer

SETTINGS = JudgeHeadConfig(channels=8, steps=80, count=2)
POINTS = {"balanced": {"threshold": 0.6, "target_fah": 0.5}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoders") / "tiny")


def on(folder: Path, **judge) -> Config:
    return Config(judge={"enabled": True, "encoder": "transformers", "encoder_folder": folder, **judge})


def test_the_default_encoder_adds_nothing_to_the_key_and_files_of_another_do(folder, tmp_path):
    def decides(config: Config) -> dict:
        return stage.STAGE.deciding_settings(config, None)

    assert chosen_files(Config().judge) == () and "files" not in decides(Config())
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert decides(on(copy)) == decides(on(folder)) != decides(Config())
    (copy / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    assert decides(on(copy)) != decides(on(folder))
    assert {"config.json", "model.bin"} <= decides(Config(judge={"encoder": "whisper"}))["files"].keys()


def test_a_folder_belongs_to_the_encoders_that_have_one(tmp_path):
    (tmp_path / "wakeword.yaml").write_text("judge: {encoder: transformers, encoder_folder: nets/one}\n")
    assert load_config(tmp_path / "wakeword.yaml").judge.encoder_folder == tmp_path / "nets" / "one"
    for settings, said in (
        (["judge.encoder=transformers"], "needs encoder_folder"),
        (["judge.encoder_folder=nets"], "speech_embedding has none"),
        (["judge.encoder=whisper", "export.openwakeword.enabled=true"], "openWakeWord computes that"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_config(None, settings)


def test_the_default_encoder_is_what_its_interface_says():
    pytest.importorskip("pyopen_wakeword", reason="needs the extra `judge`: Google's speech embedding")
    pytest.importorskip("ai_edge_litert", reason="needs the extra `judge`: what reads the embedding's file")
    encoder = chosen_encoder(Config().judge)
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 40_000)).astype(np.float32)
    numbers = encoder.encode(sound)
    assert numbers.shape == (2, encoder.steps_of(40_000), encoder.numbers) and not encoder.whole_windows
    assert encoder.encode(sound[:, -encoder.window_samples :]).shape[1] == STEPS_SEEN


def windows(count: int, seed: int = 0) -> EmbeddedRows:
    """Rows of four windows each, in which the word is a number that is high in the last steps of one window."""
    generator = torch.Generator().manual_seed(seed)
    places, labels = torch.tensor([8, 11, 14, 17]), torch.arange(count) % 2
    numbers = torch.randn(count, 4, STEPS_SEEN, 5, generator=generator)
    ends = torch.where(labels > 0, 14.0, torch.nan)
    numbers[labels > 0, 2, -3:, 1] += 6
    return EmbeddedRows(numbers.half(), labels, ends.double(), places)


def test_heads_learn_from_windows_that_are_encoded_by_themselves():
    head, figures = train_head(windows(200), 1, SETTINGS.model_copy(update={"steps": 120}), seed=1)
    unheard = windows(60, seed=3)
    with torch.inference_mode():
        odds = head(unheard.embeddings)
    assert odds.shape == (60, 4, 1) and figures["rows_of_words"] == 100
    told = odds[:, :, 0].amax(1) > 0
    assert (told == (unheard.labels > 0)).float().mean() > 0.9
    assert (odds[unheard.labels > 0][:, :, 0].argmax(1) == 2).float().mean() > 0.9


def sealed_model(folder: Path) -> WakewordModel:
    path = save_model(folder) / "model.onnx"
    file = onnx.load(path)
    seal(file)
    onnx.save(file, path)
    return WakewordModel(folder)


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory) -> tuple[Path, JudgeHeads]:
    """A folder with a model, the judge of its loud word on the tiny encoder, and this; and the heads."""
    out = tmp_path_factory.mktemp("judged")
    model = sealed_model(out)
    shutil.copytree(folder, out / "encoder")
    encoder = open_encoder("transformers", folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        heads = JudgeHeads([JudgeHead(1, SETTINGS, encoder.numbers) for _ in range(2)]).eval()
    beside = {"name": "transformers", "content": encoder.content, "licence": "not stated"}
    asked = {"hop_samples": STEP_SAMPLES, "hops": 1, "gate": 0.05, "hangover_seconds": 0.3, "encoder": beside}
    card = {**model.card, "operating_points": POINTS, "judge": {**asked, "made_for": model.graph_digest}}
    figures = export_heads(encoder, heads, card, 18, 1e-3, out)
    assert figures["parity"] < 1e-4
    return out, heads


def test_the_file_scores_each_look_as_torch_does(made):
    out, heads = made
    judge = open_judge(out / "judge.onnx")
    assert isinstance(judge, WindowJudge) and judge.window_samples == WINDOW_SAMPLES
    sound = (loud_and_quiet(4.0) / 32_768).astype(np.float32)[: WINDOW_SAMPLES + 40 * STEP_SAMPLES]
    looks = judge.stream().follow(sound)
    starts = range(0, len(sound) - WINDOW_SAMPLES + 1, STEP_SAMPLES)
    cut = np.stack([sound[start : start + WINDOW_SAMPLES] for start in starts])
    with torch.inference_mode():
        expected = torch.sigmoid(heads(torch.from_numpy(judge.encoder.encode(cut)[:, -STEPS_SEEN:]))[:, -1]).numpy()
    assert looks.shape == (len(cut), 2) and np.allclose(looks[:, 1:], expected, atol=1e-4)
    assert np.ptp(looks[:, 1]) > 1e-4
    assert judge.score_sound(cut[:0]).shape == (0, 2)


def test_model_and_judge_say_the_same_however_the_sound_is_cut(made):
    together = judged(WakewordModel(made[0]))
    pcm = loud_and_quiet(5.0)
    times, scores = together.score_audio(pcm)
    assert (scores[:, 1] > 0).any() and (scores[:, 1] == 0).any()
    scorer = stream_scorer(together)
    assert isinstance(scorer, JudgedScorer)
    parts = [scorer.push(pcm[at : at + 3_333]) for at in range(0, len(pcm), 3_333)]
    assert np.allclose(np.concatenate([part for part, _ in parts]), times)
    assert np.allclose(np.concatenate([part for _, part in parts]), scores, atol=1e-4)


def test_another_encoder_or_none_is_refused(made, tmp_path):
    copy = Path(shutil.copytree(made[0], tmp_path / "copy"))
    shutil.rmtree(copy / "encoder")
    with pytest.raises(ArtifactError, match=r"encoder of kind transformers: it has no config\.json"):
        open_judge(copy)
    save_encoder(copy / "encoder", seed=9)
    with pytest.raises(ArtifactError, match=r"another encoder than the judge was trained on.*--alone"):
        judged(WakewordModel(copy))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hops": 3}, "names no encoder that windows fit"),
        ({"encoder": {"name": "bert", "content": "", "licence": ""}}, "cannot be used"),
    ],
)
def test_a_card_that_fits_no_windows_is_refused(made, tmp_path, changes, said):
    copy = Path(shutil.copytree(made[0], tmp_path / "copy"))
    file = onnx.load(copy / "judge.onnx")
    entry = next(one for one in file.metadata_props if one.key == CARD_KEY)
    card = json.loads(entry.value)
    entry.value = json.dumps({**card, "judge": {**card["judge"], **changes}})
    onnx.save(file, copy / "judge.onnx")
    with pytest.raises(ArtifactError, match=said):
        open_judge(copy)


def test_a_judge_with_its_encoder_inside_is_opened_as_one(tmp_path):
    from small_judge import save_judge

    model = sealed_model(tmp_path)
    assert isinstance(open_judge(save_judge(tmp_path / "judge.onnx", model)), Judge)


def test_the_stage_puts_the_encoder_beside_the_judge(project, folder):
    chosen = {"judge.encoder": "transformers", "judge.encoder_folder": str(folder)}
    made, built = Project(project.config.changed(chosen), project.home).build("judge_model", None)
    names = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert built and made.files.keys() == {"judge.onnx", "head.safetensors", *(f"encoder/{name}" for name in names)}
    assert made.figures["encoder"] == "transformers" and made.figures["encoder_licence"] == "not stated"
    judge = open_judge(made.file("judge.onnx"))
    assert isinstance(judge, WindowJudge) and judge.facts.encoder.content == made.figures["encoder_content"]
    weights = made.file("encoder/model.safetensors")
    assert not weights.samefile(folder / "model.safetensors")  # whose owner may write to it


def test_heads_of_several_words_are_one_column_each(made, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "encoder")
    encoder, first = open_encoder("transformers", folder), open_judge(made[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        heads = JudgeHeads([JudgeHead(2, SETTINGS, encoder.numbers)]).eval()
    card = {**first.card, "labels": ["_negative", "hey robin", "okay house"]}
    assert export_heads(encoder, heads, card, 18, 1e-3, tmp_path)["parity"] < 1e-4
    windows = np.random.default_rng(0).normal(0, 0.1, (3, WINDOW_SAMPLES)).astype(np.float32)
    scores = open_judge(tmp_path).score_sound(windows)
    assert scores.shape == (3, 3) and np.allclose(scores[:, 0], 1 - scores[:, 1:].max(axis=1))
    assert not np.allclose(scores[:, 1], scores[:, 2])


def sounding(count: int, seed: int = 0) -> np.ndarray:
    """Windows of noise, the second half of which are loud at their end."""
    sound = np.random.default_rng(seed).normal(0, 0.01, (count, WINDOW_SAMPLES)).astype(np.float32)
    sound[count // 2 :, -6 * STEP_SAMPLES :] *= 30
    return sound


@pytest.mark.parametrize(
    ("kind", "more"), [("wav2vec2", {"do_stable_layer_norm": True}), ("hubert", {}), ("wavlm", {})]
)
def test_only_the_last_layers_of_an_encoder_learn(tmp_path, kind, more):
    encoder = open_encoder(
        "transformers", save_encoder(tmp_path / kind, kind, network={"num_hidden_layers": 3, **more})
    )
    sound, keys = sounding(12), np.arange(12, dtype=np.uint64)
    labels = (torch.arange(12) >= 6).long()
    ends = torch.where(labels > 0, 17.0, torch.nan).double()

    def embed(part, only=keys, steps=WINDOW_SAMPLES) -> EmbeddedRows:
        chosen = only.astype(np.int64)[::-1].copy()  # which need not come in the order of the keys
        frames = torch.from_numpy(part.encode(sound[chosen])[:, None, -steps:]).half()
        return EmbeddedRows(frames, labels[chosen], ends[chosen], torch.tensor([17]), only[::-1])

    rows = embed(encoder, steps=STEPS_SEEN)
    heads, _ = train_heads(rows, 1, SETTINGS, seed=1)
    before = {name: values.clone() for name, values in encoder.model.state_dict().items()}
    settled = {name: values.clone() for name, values in heads.state_dict().items()}
    config = JudgeConfig(
        encoder="transformers", encoder_folder=tmp_path, unfreeze_layers=2, unfreeze_steps=6, unfreeze_rate=1e-3
    )
    tuned, figures = unfreeze(rows, encoder, heads, config, 1, embed)
    assert figures["unfrozen_layers"] == 2 and 0 < figures["unfrozen_rows"] <= 12
    after = tuned.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[2] for name in moved} == {"1", "2"} and all(
        name.startswith("encoder.layers") for name in moved
    )
    assert all(torch.equal(values, encoder.model.state_dict()[name]) for name, values in before.items())
    assert any(not torch.equal(values, heads.state_dict()[name]) for name, values in settled.items())
    with torch.inference_mode():
        frames = torch.from_numpy(tuned.frozen.encode(sound))
        steps = tuned.steps(frames)[:, -STEPS_SEEN:]
    tuned.save(tmp_path / "tuned")
    shutil.copyfile(tmp_path / kind / "preprocessor_config.json", tmp_path / "tuned" / "preprocessor_config.json")
    saved = open_encoder("transformers", tmp_path / "tuned")
    assert saved.content != encoder.content and np.allclose(saved.encode(sound)[:, -STEPS_SEEN:], steps, atol=1e-5)
    assert np.abs(saved.encode(sound)[:, -STEPS_SEEN:] - encoder.encode(sound)[:, -STEPS_SEEN:]).max() > 1e-3


def test_layers_that_learn_are_asked_for_of_encoders_that_have_them(folder):
    def decides(**judge) -> dict:
        return stage.STAGE.deciding_settings(on(folder, **judge), None)

    assert decides() == decides(unfreeze_rate=0.1) and "judge.unfreeze_layers" not in decides()
    assert decides() != decides(unfreeze_layers=1) != decides(unfreeze_layers=1, unfreeze_rate=0.1)
    with pytest.raises(ConfigError, match=r"judge\.unfreeze_layers is 2, but .* has 1 layers"):
        chosen_encoder(on(folder, unfreeze_layers=2).judge)
    with pytest.raises(ValueError, match="unfreeze_layers is for encoder transformers"):
        JudgeConfig(unfreeze_layers=1)


def test_the_stage_exports_the_encoder_that_has_learnt(project, folder):
    chosen = {"judge.encoder": "transformers", "judge.encoder_folder": str(folder), "judge.head.steps": 10}
    few = {"judge.rows.positives": 12, "judge.rows.negatives": 24, "judge.head.count": 1}
    learnt = {"judge.unfreeze_layers": 1, "judge.unfreeze_steps": 2, "judge.unfreeze_rate": 1e-3}
    settings = {**chosen, **few, **learnt}
    made, _ = Project(project.config.changed(settings), project.home).build("judge_model", None)
    judge = open_judge(made.file("judge.onnx"))
    assert (
        judge.facts.encoder.content == made.figures["encoder_content"] != open_encoder("transformers", folder).content
    )
    assert made.figures["unfrozen_layers"] == 1 and made.figures["parity"] < 1e-4
    assert made.file("encoder/config.json").is_file() and made.file("encoder/preprocessor_config.json").is_file()
    shutil.rmtree(made.path)
    again, built = Project(project.config.changed(settings), project.home).build("judge_model", None)
    assert built and again.content == made.content, "the same settings give the same bytes"
