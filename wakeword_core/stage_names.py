"""What the stages of the graph are called; artifacts, lineage and the registry go by these names."""

from typing import Literal

StageName = Literal[
    "synthetic_speech",
    "raw_manifest",
    "audio_shards",
    "mel_features",
    "cmvn_stats",
    "teacher_scores",
    "trained_model",
    "mined_negatives",
    "tuned_model",
    "calibrated_model",
    "onnx_model",
    "metrics_report",
    "judge_model",
    "judged_model",
    "openwakeword_model",
    "int8_model",
    "fp16_model",
    "tflite_model",
    "torch_program",
    "model_bundle",
    "champion_comparison",
]
RAW_AUDIO: Literal["raw_audio"] = "raw_audio"
"""The recordings themselves, which no stage makes."""
CHAMPION: Literal["champion"] = "champion"
"""The exported model that a new one is held against, which no stage of the present configuration makes."""
MANIFEST: StageName = "raw_manifest"
SHARDS: StageName = "audio_shards"
FEATURES: StageName = "mel_features"
TEACHER_SCORES: StageName = "teacher_scores"
MODEL: StageName = "onnx_model"
JUDGE: StageName = "judge_model"
OPENWAKEWORD: StageName = "openwakeword_model"
BUNDLE: StageName = "model_bundle"
COMPARISON: StageName = "champion_comparison"

CAPTURED_FACET = "captured"
"""The facet that says which recordings of the test are labelled captures; of manifests with sources of them."""
SYNTHETIC_FACET = "synthetic"
"""The facet that says which sources hold recordings that are made from text or computed."""
