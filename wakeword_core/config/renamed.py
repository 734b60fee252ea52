"""Settings that have another name than they had, so that whoever uses an old one is told the new."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "data.sample_rate": "data.audio.sample_rate",
    "data.silence_dbfs": "data.audio.silence_dbfs",
    "data.min_seconds": "data.health.min_seconds",
    "data.max_seconds": "data.health.max_seconds",
    "data.max_background_seconds": "data.health.max_background_seconds",
    "data.max_channels": "data.health.max_channels",
    "data.max_file_mb": "data.health.max_file_mb",
    "data.max_clipped_ratio": "data.health.max_clipped_ratio",
    "data.vad_threshold": "data.health.vad_threshold",
    "data.val_fraction": "data.splits.val_fraction",
    "data.test_fraction": "data.splits.test_fraction",
    "data.split_rotation": "data.splits.rotation",
    "data.workers": "compute.workers",
    "shards.retries": "compute.retries",
    "features.tail_seconds": "features.windows.tail_seconds",
    "features.edge_seconds": "features.windows.edge_seconds",
    "features.context_frames": "features.context.frames",
    "features.jitter_seconds": "features.context.jitter_seconds",
    "features.negative_hop_seconds": "features.rows.negative_hop_seconds",
    "features.max_windows": "features.rows.max_windows",
    "features.dtype": "features.rows.dtype",
    "features.views": "features.augment.views",
    "features.negative_views": "features.augment.negative_views",
    "features.batch_windows": "compute.batch_windows",
    "features.gpu_batch_windows": "compute.gpu_batch_windows",
    "features.workers": "compute.workers",
    "model": "training.model",
    "training.optimizer": "training.optimizer.kind",
    "training.weight_decay": "training.optimizer.weight_decay",
    "training.momentum": "training.optimizer.momentum",
    "training.clip_norm": "training.optimizer.clip_norm",
    "training.adaptive_clip": "training.optimizer.adaptive_clip",
    "training.epochs": "training.schedule.epochs",
    "training.learning_rate": "training.schedule.learning_rate",
    "training.schedule": "training.schedule.kind",
    "training.warmup_fraction": "training.schedule.warmup_fraction",
    "training.final_lr_fraction": "training.schedule.final_lr_fraction",
    "training.drop_at": "training.schedule.drop_at",
    "training.drop_factor": "training.schedule.drop_factor",
    "training.plateau_patience": "training.schedule.plateau_patience",
    "training.sampler": "training.sampling.kind",
    "training.batch_size": "training.sampling.batch_size",
    "training.micro_batch": "training.sampling.micro_batch",
    "training.steps_per_epoch": "training.sampling.steps_per_epoch",
    "training.max_steps_per_epoch": "training.sampling.max_steps_per_epoch",
    "training.mix": "training.sampling.mix",
    "training.clean_share": "training.sampling.clean_share",
    "training.difficulty_floor": "training.sampling.difficulty_floor",
    "training.ema_decay": "training.ema.decay",
    "training.ema_final_decay": "training.ema.final_decay",
    "training.ema_final_fraction": "training.ema.final_fraction",
    "training.val_metric": "training.validation.metric",
    "training.val_max_fpr": "training.validation.max_fpr",
    "training.val_false_alarms_per_hour": "training.validation.false_alarms_per_hour",
    "training.keep": "training.validation.keep",
    "training.patience": "training.validation.patience",
    "training.keep_every": "training.validation.keep_every",
    "training.amp": "training.precision.amp",
    "training.amp_dtype": "training.precision.amp_dtype",
    "training.channels_last": "training.precision.channels_last",
    "training.device": "compute.device",
    "training.threads": "compute.threads",
    "training.processes": "compute.processes",
    "training.compile": "compute.compile",
    "training.min_val_auc": "checks.min_val_auc",
    "mining.min_score": "mining.search.min_score",
    "mining.lockout_seconds": "mining.search.lockout_seconds",
    "mining.per_recording": "mining.search.per_recording",
    "mining.max_clips": "mining.search.max_clips",
    "mining.epochs": "mining.tuning.epochs",
    "mining.learning_rate_fraction": "mining.tuning.learning_rate_fraction",
    "mining.keep": "mining.tuning.keep",
    "evaluation.noise_seconds": "evaluation.streams.noise_seconds",
    "evaluation.gap_seconds": "evaluation.streams.gap_seconds",
    "evaluation.tolerance_seconds": "evaluation.streams.tolerance_seconds",
    "evaluation.session_minutes": "evaluation.streams.session_minutes",
    "evaluation.floor_dbfs": "evaluation.streams.floor_dbfs",
    "evaluation.target_snr_db": "evaluation.conditions.tuning.snr_db",
    "evaluation.stream_snr_db": "evaluation.conditions.test.snr_db",
    "evaluation.far_snr_db": "evaluation.conditions.test.far_snr_db",
    "evaluation.far_rooms": "evaluation.conditions.test.far_rooms",
    "evaluation.far_rt60_seconds": "evaluation.conditions.test.far_rt60_seconds",
    "evaluation.operating_points": "evaluation.operating_points.points",
    "evaluation.operating_point": "evaluation.operating_points.default",
    "evaluation.sweep_points": "evaluation.operating_points.sweep_points",
    "evaluation.confidence": "evaluation.operating_points.confidence",
    "evaluation.fah_points": "evaluation.report.fah_points",
    "evaluation.report_clips": "evaluation.report.clips",
    "evaluation.report_suspicious_clips": "evaluation.report.suspicious_clips",
    "evaluation.report_clip_seconds": "evaluation.report.clip_seconds",
    "export.opset": "export.onnx.opset",
    "export.parity_tolerance": "export.onnx.parity_tolerance",
    "export.int8_calibration_windows": "export.int8.calibration_windows",
    "export.int8_max_ratio": "export.int8.max_ratio",
    "export.int8_max_f1_drop": "export.int8.max_f1_drop",
}
"""Old dotted name -> new one; of a group, all that is in it."""
_ABSENT = object()


def renamed_in(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first old name that a tree of settings uses, and the new one; None where there is none.

    Some old names are groups now: they are used as before where what they hold is no such group.
    """
    for old, new in RENAMED.items():
        value, group = _lookup(tree, old), _lookup(defaults, old)
        in_group = isinstance(value, Mapping) and isinstance(group, Mapping) and value.keys() <= group.keys()
        if value is not _ABSENT and not in_group:
            return old, new
    return None


def _lookup(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part, _ABSENT) if isinstance(values, Mapping) else _ABSENT
    return values
