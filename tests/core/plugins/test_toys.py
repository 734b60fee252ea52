"""The document's examples build toys: each kind of plug-in does its work, and another version makes it anew."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from installed_packages import Site, install_examples
from toy_project import EARLY, RATE, Toy, record_toy, sweep

from wakeword_core.config import Config, LossConfig, SynthesisConfig
from wakeword_core.errors import WakewordError
from wakeword_core.features.augment import PluggedAugmentation
from wakeword_core.features.frontend import row_front_end
from wakeword_core.features.mel import new_front_end
from wakeword_core.graph.project import Project
from wakeword_core.graph.stages import STAGES
from wakeword_core.models.scoring import load_model, new_model
from wakeword_core.speech.synthesis import synthesize_phrase
from wakeword_core.training.losses import step_scores_of

PLUGINS: dict[str, dict[str, Any]] = {
    "training.model": {"arch": "plugin", "name": "means", "settings": {"channels": 8}},
    "training.loss": {"kind": "plugin", "plugin": {"name": "squared"}},
    "features.augment": {"plugins": [{"name": "reversed_polarity", "probability": 0.5}]},
    "features.frontend": {"kind": "plugin", "plugin": {"name": "energies"}},
}
OWN = "from wakeword_core.config.base import Settings\nclass Own(Settings): ...\n"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return record_toy(tmp_path_factory.mktemp("toy"))


def with_plugins(toy: Toy, *names: str) -> Config:
    """The toy's configuration with the examples under these names of `PLUGINS`."""
    tree = toy.config.model_dump(mode="json", exclude_none=True)
    for name in names:
        branch, group = name.split(".")
        kept = {} if group == "model" else tree[branch][group]
        tree[branch][group] = {**kept, **PLUGINS[name]}
    if "features.frontend" in names:
        tree["training"].pop("augment")
    return Config.model_validate({**tree, "mining": {"enabled": True}})


def settings_of(config: Config) -> dict[tuple[str, Any], dict[str, Any]]:
    return {(stage.name, split): stage.deciding_settings(config, split) for stage in STAGES for split in stage.splits}


def changed(before: Mapping[tuple[str, Any], Any], config: Config) -> set[str]:
    return {stage for (stage, split), settings in settings_of(config).items() if settings != before[stage, split]}


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("training.model", {"trained_model", "tuned_model"}),
        ("training.loss", {"trained_model", "tuned_model"}),
        ("features.augment", {"mel_features", "judge_model"}),
        ("features.frontend", {"mel_features", "teacher_scores", "trained_model", "tuned_model", "judge_model"}),
    ],
)
def test_another_version_makes_stale_what_uses_the_plugin(examples: Site, toy: Toy, name: str, stages: set[str]):
    config = with_plugins(toy, name)
    before = settings_of(config)
    assert "wakeword-examples 1.0" in str(before) and "package" not in str(settings_of(toy.config))
    install_examples(examples, "1.1")
    assert changed(before, config) == stages


def test_another_version_of_an_engine_makes_its_speech_stale(examples: Site):
    config = Config.model_validate({"synthesis": {"engines": {"whistle": 1}}})
    before = settings_of(config)
    install_examples(examples, "1.1")
    assert changed(before, config) == {"synthetic_speech"}


@pytest.mark.slow
def test_a_toy_with_every_plugin_is_trained_exported_and_listens(examples: Site, toy: Toy, tmp_path: Path):
    from wakeword_core.export.onnx_export import export_onnx
    from wakeword_core.export.streaming import streaming_figures
    from wakeword_core.runtime import WakewordModel

    config = with_plugins(toy, *PLUGINS)
    project = Project(config, tmp_path / "home")
    for stage, split in (place for place in EARLY if place[1] != "test"):
        project.build(stage, split)
    trained = project.require("trained_model")
    model, card = load_model(trained.path)
    assert type(model.backbone).__name__ == "Means" and model.backbone.layer.out_channels == 8
    assert card["packages"] == ["wakeword-examples 1.0"]
    assert card["frontend"]["plugin"] == {"name": "energies", "settings": {"floor": 1e-6}}
    assert trained.figures["epochs"] == 3

    card |= {"threshold": 0.5, "operating_points": {}, "keys": {}}
    card["detector"] = config.evaluation.detector.model_dump(mode="json")
    export_onnx(model, card, config.export.onnx, tmp_path)
    exported = WakewordModel(tmp_path / "model.onnx")
    pcm = np.random.default_rng(0).integers(-3_000, 3_000, RATE).astype(np.int16)
    _, scores = exported.score_audio(pcm)
    frames = new_front_end(config.features.frontend, RATE)(pcm)[:, :32]
    with torch.inference_mode():
        wanted = model(torch.from_numpy(frames[None]))[0]
    np.testing.assert_allclose(
        scores[(exported.frontend.window_frames - 1 - exported.first_end) // 4], wanted, atol=1e-4
    )
    figures = streaming_figures(tmp_path / "model.onnx", 1e-3, tmp_path)
    assert "computed by another package, outside of ONNX" in str(figures)

    install_examples(examples, "1.1")
    again = Project(config, tmp_path / "home")
    assert again.find("audio_shards", "train") and not again.find("mel_features", "train")


def test_a_front_end_gives_the_same_of_rows_whole_recordings_and_streams(examples: Site, toy: Toy):
    frontend = with_plugins(toy, "features.frontend").features.frontend
    sound = sweep(np.random.default_rng(3), 300, 2_000, 0.5).astype(np.float32)
    whole = new_front_end(frontend, RATE)(sound)
    power = np.abs(np.fft.rfft(sound[160:672])) ** 2
    wanted = np.log([band.mean() + 1e-6 for band in np.array_split(power, 16)])
    assert whole.shape == (16, 1 + (len(sound) - 512) // 160) and whole.dtype == np.float32
    np.testing.assert_allclose(whole[:, 1], wanted, rtol=1e-4)
    rows = row_front_end(frontend, RATE)(torch.from_numpy(np.stack([sound, sound[::-1].copy()])))
    np.testing.assert_array_equal(rows[0], whole)
    stream = new_front_end(frontend, RATE).stream()
    pieces = [stream(sound[start * 160 : (start + 9) * 160 + 512]) for start in range(0, 40, 10)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole[:, :40])
    pcm = np.rint(sound * 32_767).astype(np.int16)
    np.testing.assert_allclose(new_front_end(frontend, RATE)(pcm), whole, atol=0.1)
    assert new_front_end(frontend, RATE)(sound[:100]).shape == (16, 0)


def test_an_augmentation_changes_its_share_of_the_rows_alike_in_any_batch(examples: Site, toy: Toy):
    (settings,) = with_plugins(toy, "features.augment").features.augment.plugins
    sound, keys = torch.rand(400, 50) - 0.5, np.arange(400).astype(np.uint64)
    augmentation = PluggedAugmentation(0, settings, RATE)
    audio = sound.clone()
    augmentation.apply(audio, keys)
    factors = audio[:, 0] / sound[:, 0]
    turned = factors < 0
    assert 0.4 < float(turned.float().mean()) < 0.6 and bool((audio[~turned] == sound[~turned]).all())
    assert -1 <= float(factors.min()) < -0.9 and -0.6 < float(factors[turned].max()) <= -0.5
    some = sound[100:103].clone()
    augmentation.apply(some, keys[100:103])
    assert torch.equal(some, audio[100:103])
    other = sound.clone()
    PluggedAugmentation(1, settings, RATE).apply(other, keys)
    assert not torch.equal(other, audio)


def test_a_loss_is_what_its_package_says(examples: Site):
    scores_of = step_scores_of(LossConfig.model_validate(PLUGINS["training.loss"]))
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    assert scores_of is not None
    torch.testing.assert_close(scores_of(logits), -4 * (1 - logits.softmax(1)).square())
    assert step_scores_of(LossConfig()) is None and step_scores_of(LossConfig(kind="focal")) is None


def test_what_a_loss_learns_itself_is_trained_beside_the_model(site: Site, toy: Toy):
    from wakeword_core.training.objective import Objective

    source = f"""{OWN}
import torch
class Scaled(torch.nn.Module):
    def __init__(self, settings: Own):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
    def forward(self, logits): return self.scale * logits.log_softmax(1)
"""
    site.install("odd", "1", {"wakeword.losses": {"scaled": "odd:Scaled"}}, {"odd.py": source})
    tree = toy.config.model_dump(mode="json", exclude_none=True)
    tree["training"]["loss"] |= {"kind": "plugin", "plugin": {"name": "scaled"}}
    config = Config.model_validate(tree)
    objective = Objective(config, new_model(config), torch.tensor([0, 1]))
    assert [name for name, _ in objective.named_parameters()] == ["_step_scores.scores_of.scale"]


def test_an_engine_speaks(examples: Site, tmp_path: Path):
    pytest.importorskip("espeakng_loader")
    paths = synthesize_phrase(
        "hey robin", 4, RATE, 1, tmp_path, tmp_path, config=SynthesisConfig(engines={"whistle": 1})
    )
    assert {path.name.split("_")[1] for path in paths} == {"whistle-low", "whistle-high"}


@pytest.mark.parametrize(
    ("group", "body", "failed"),
    [
        ("losses", "return lambda logits: logits[:, :1]", "it gives [2, 1, 5] for logits [2, 3, 5], and not"),
        ("losses", "return lambda logits: 1 / 0", "ZeroDivisionError: division by zero"),
        ("augmentations", "return lambda x, keys: x[:, 1:]", "it gives [2, 9] for [2, 10] samples, and not as many"),
        ("augmentations", "return lambda x, keys: x / 0", "it gives [2, 10] for [2, 10] samples, and not as many"),
        ("front_ends", "return lambda x: x[:, :3]", "it gives [1, 3] for 1 frames, and not 64 finite numbers for each"),
        ("front_ends", "return lambda x: x[:, :64] / 0", "it gives [1, 64] for 1 frames, and not 64 finite numbers"),
    ],
)  # fmt: skip
def test_results_that_do_not_fit_are_the_packages_fault(site: Site, group: str, body: str, failed: str):
    source = f"{OWN}\ndef make(settings: Own, *given):\n    {body}\n"
    site.install("odd", "1", {f"wakeword.{group}": {"odd": "odd:make"}}, {"odd.py": source})
    chosen = {"kind": "plugin", "plugin": {"name": "odd"}}
    with pytest.raises(WakewordError) as caught, np.errstate(all="ignore"):
        if group == "losses":
            scores_of = step_scores_of(LossConfig.model_validate(chosen))
            assert scores_of is not None
            scores_of(torch.zeros(2, 3, 5))
        elif group == "augmentations":
            tree = {"features": {"augment": {"plugins": [{"name": "odd", "probability": 1}]}}}
            (settings,) = Config.model_validate(tree).features.augment.plugins
            PluggedAugmentation(0, settings, RATE).apply(torch.zeros(2, 10), np.arange(2).astype(np.uint64))
        else:
            new_front_end(Config.model_validate({"features": {"frontend": chosen}}).features.frontend, RATE)
    assert f"'odd' of the package odd 1 cannot be used ({failed}" in str(caught.value)
