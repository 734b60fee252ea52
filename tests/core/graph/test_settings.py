"""Which stages a setting makes stale: of every single one, and of nothing else."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import pytest
from reference import stale_stages

from wakeword_core.config import Config, SourceConfig
from wakeword_core.config.base import DecidesIf, Settings
from wakeword_core.graph.stages import STAGES

SPEECH, MANIFEST, SHARDS, FEATURES = "synthetic_speech", "raw_manifest", "audio_shards", "mel_features"
TRAINING_ROWS = "mel_features[train]"
TEACHERS = "teacher_scores"
TRAINED, MINED, TUNED, CALIBRATED = "trained_model", "mined_negatives", "tuned_model", "calibrated_model"
ONNX, REPORT, INT8, TFLITE, BUNDLE, COMPARISON = (
    "onnx_model", "metrics_report", "int8_model", "tflite_model", "model_bundle", "champion_comparison",
)  # fmt: skip
JUDGE, JUDGED, OPENWAKEWORD = "judge_model", "judged_model", "openwakeword_model"
STREAMED = (CALIBRATED, REPORT, INT8, JUDGED, OPENWAKEWORD, TFLITE, COMPARISON)
"""Stages that put recordings together to continuous audio."""
FROM_SAMPLES = (SPEECH, MANIFEST, SHARDS, FEATURES, TRAINED, TUNED, JUDGE, *STREAMED)

STALE: dict[str, tuple[str, ...]] = {
    "phrase": (
        *(SPEECH, MANIFEST, FEATURES, TEACHERS, TRAINED, TUNED, JUDGE, ONNX, REPORT, INT8, JUDGED, OPENWAKEWORD),
        *(TFLITE, BUNDLE, COMPARISON),
    ),
    "seed": FROM_SAMPLES,
    "data.sources": (MANIFEST,),
    "data.missing_source": (),
    "data.corrections": (),  # what it says of recordings is in their fingerprint
    "data.audio.sample_rate": (*FROM_SAMPLES, TEACHERS),
    "data.audio.silence_dbfs": (MANIFEST, *STREAMED),
    "data.health": (MANIFEST,),
    "data.health.vad_threshold": (MANIFEST, REPORT),
    "data.splits": (MANIFEST,),
    "synthesis": (SPEECH,),
    "shards": (SHARDS,),
    "shards.compact_above": (),  # what counts is the same however it lies
    "features.frontend": (FEATURES, TEACHERS, TRAINED, TUNED, JUDGE),
    "features.frontend.top_db": (),  # of another kind of front end
    "features.frontend.n_mfcc": (),
    "features.frontend.plugin": (),
    "features.windows": (FEATURES, MINED, JUDGE),
    "features.context": (TRAINING_ROWS, MINED, JUDGE),
    "features.rows": (FEATURES, JUDGE),
    "features.augment": (TRAINING_ROWS, JUDGE),
    "features.augment.device_colour_db": (),  # of devices, which there are none of
    "features.augment.device_low_cut_hz": (),
    "features.augment.device_high_cut_hz": (),
    "features.augment.device_overload_db": (),
    "features.augment.tempo": (),  # of tempos and pitches of their own, likewise
    "features.augment.tempo_probability": (TRAINING_ROWS, JUDGE),
    "features.augment.pitch_semitones": (),
    "features.augment.pitch_probability": (TRAINING_ROWS, JUDGE),
    "features.augment.plugins": (TRAINING_ROWS, JUDGE),  # without any they decide nothing, as the next two
    "features.augment.level_dbfs": (TRAINING_ROWS, JUDGE),
    "features.augment.room_share": (TRAINING_ROWS, JUDGE),
    "training": (TRAINED, TUNED),
    "training.seed": (TRAINED, TUNED, JUDGE),
    "training.loss.plugin": (),  # of another kind of loss
    "training.teacher": (),  # of teachers, which there are none of
    "training.teacher.models": (TRAINED, TUNED),  # the rest of the group counts then
    "training.teacher.step_frames": (TEACHERS,),
    "training.quantization": (),  # of rounded epochs, which there are none of
    "training.quantization.epochs": (TRAINED, TUNED),
    "training.start_from": (TRAINED, TUNED),  # so do layers to freeze, and the rate
    "training.freeze": (),
    "training.start_rate": (),
    "mining.enabled": (MINED, TUNED),
    "mining.search": (MINED,),
    "mining.tuning": (TUNED,),
    "judge.enabled": (),  # there is no such stage then
    "judge.encoder": (),  # the files of an encoder decide, which are in the key by their content
    "judge.encoder_folder": (),
    "judge.unfreeze_layers": (JUDGE,),
    "judge.unfreeze_rate": (),  # of layers that are trained, which there are none of
    "judge.unfreeze_steps": (),
    "judge.gate": (JUDGED,),
    "judge.second": (JUDGED,),  # so do its gate and the policy
    "judge.second_gate": (),
    "judge.policy": (),
    "judge.hangover_seconds": (JUDGED,),
    "judge.rows": (JUDGE,),
    "judge.head": (JUDGE,),
    "evaluation.streams": STREAMED,
    "evaluation.conditions.tuning": STREAMED,
    "evaluation.conditions.test": (REPORT, JUDGED),
    "evaluation.conditions.test.opus_kbps": (),  # of ways, of which there is none
    "evaluation.conditions.test.microphone_db": (),
    "evaluation.conditions.test.quiet_dbfs": (),
    "evaluation.conditions.test.clipped_db": (),
    "evaluation.detector": (CALIBRATED, REPORT, JUDGED, OPENWAKEWORD, TFLITE),
    "evaluation.tuning": (CALIBRATED, REPORT, JUDGED, TFLITE),
    "evaluation.calibration": (CALIBRATED, REPORT, JUDGED),
    "evaluation.operating_points": STREAMED,
    "evaluation.report": (REPORT, JUDGED),
    "evaluation.report.recognise": (REPORT, JUDGED),
    "export.onnx": (ONNX, JUDGE),
    "export.onnx.opset": (ONNX, JUDGE, OPENWAKEWORD),
    "export.int8": (INT8,),
    "export.tflite": (TFLITE,),
    "export.openwakeword": (),  # there is no such stage without it
    "export.torch.enabled": (),  # there is no such stage then
    "export.platform": (),
    "registry": (COMPARISON,),
    "registry.promote": (),
    "search": (),
    "remote": (),
    "tracking": (),
    "automation": (),
    "checks": (),
    "serving": (),
    "compute": (),
}
"""Branch or leaf -> stages whose own settings hold it, where mining is on; what is named most closely counts."""

CONFIG = Config.model_validate({"mining": {"enabled": True}})


def leaves(group: Settings, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings."""
    for name in type(group).model_fields:
        value = getattr(group, name)
        if isinstance(value, Settings):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def changed(group: Settings, name: str) -> Settings:
    """The group with another value of a setting, which need not be a valid one."""
    head, _, rest = name.partition(".")
    value: Any = changed(getattr(group, head), rest) if rest else "another"
    if name == "sources":
        value = (SourceConfig.model_validate({"name": "new", "path": "/new", "role": "noise"}),)
    return group.model_copy(update={head: value})


def stale(config: Settings) -> set[str]:
    """Names of the stages whose settings differ from those of `CONFIG`; with the split where only some of them do."""
    found = set()
    for stage in STAGES:
        differ = [
            split
            for split in stage.splits
            if stage.deciding_settings(config, split) != stage.deciding_settings(CONFIG, split)
        ]
        if len(differ) == len(stage.splits):
            found.add(stage.name)
        else:
            found |= {f"{stage.name}[{split}]" for split in differ}
    return found


@pytest.mark.parametrize("leaf", list(leaves(CONFIG)))
def test_a_changed_setting_makes_exactly_these_stages_stale(leaf: str) -> None:
    parts = leaf.split(".")
    branches = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    expected = next(STALE[branch] for branch in branches if branch in STALE)
    assert stale(changed(CONFIG, leaf)) == set(expected)


def marks_of(leaf: str) -> Iterator[Any]:
    """What is marked on a setting, and on the groups that it is in."""
    group: Any = CONFIG
    for name in leaf.split("."):
        yield from type(group).model_fields[name].metadata
        group = getattr(group, name)


@pytest.mark.parametrize("leaf", list(leaves(CONFIG)))
def test_the_page_of_settings_names_these_stages(leaf: str) -> None:
    """And those that depend on a setting only with another value of another one."""
    group = type(attrgetter(leaf.rpartition(".")[0])(CONFIG) if "." in leaf else CONFIG)
    shown, expected = set(stale_stages(leaf, group)), {name.partition("[")[0] for name in stale(changed(CONFIG, leaf))}
    conditional = any(isinstance(mark, DecidesIf) for mark in marks_of(leaf))
    assert shown >= expected if conditional else shown == expected


def test_the_table_names_nothing_that_there_is_not() -> None:
    names = list(leaves(CONFIG))
    assert [branch for branch in STALE if not any(f"{name}.".startswith(f"{branch}.") for name in names)] == []


def test_a_stage_that_is_switched_off_depends_on_its_switch_alone() -> None:
    off = Config()
    for stage in STAGES:
        if stage.switch:
            assert stage.deciding_settings(off, None) == {stage.switch: False}
    assert {stage.name for stage in STAGES if stage.switch} == {MINED, TUNED}


def test_stages_name_branches_and_never_two_that_hold_each_other() -> None:
    for stage in STAGES:
        branches = (*stage.settings, *stage.settings_of_training)
        nested = [(one, other) for one in branches for other in branches if other.startswith(f"{one}.")]
        assert nested == [], stage.name
