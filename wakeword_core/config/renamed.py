"""Settings that have another name than they had, so that whoever uses an old name is told the new one."""

from collections.abc import Mapping
from typing import Any

_MOVED = {
    "data": {
        "data.audio": "sample_rate silence_dbfs",
        "data.health": "min_seconds max_seconds "
        "max_background_seconds max_channels max_file_mb max_clipped_ratio vad_threshold",
        "data.splits": "val_fraction test_fraction",
        "compute": "workers",
    },
    "shards": {"compute": "retries"},
    "features": {
        "features.windows": "tail_seconds edge_seconds",
        "features.context": "jitter_seconds",
        "features.rows": "negative_hop_seconds max_windows dtype",
        "features.augment": "views negative_views",
        "compute": "batch_windows gpu_batch_windows workers",
    },
    "training": {
        "training.optimizer": "weight_decay momentum clip_norm adaptive_clip",
        "training.schedule": "epochs learning_rate "
        "warmup_fraction final_lr_fraction drop_at drop_factor plateau_patience",
        "training.sampling": "batch_size micro_batch "
        "steps_per_epoch max_steps_per_epoch mix clean_share difficulty_floor",
        "training.validation": "keep patience keep_every",
        "training.precision": "amp amp_dtype channels_last",
        "compute": "device threads processes compile",
        "checks": "min_val_auc",
    },
    "mining": {
        "mining.search": "min_score lockout_seconds per_recording max_clips",
        "mining.tuning": "epochs learning_rate_fraction keep",
    },
    "evaluation": {
        "evaluation.streams": "noise_seconds gap_seconds tolerance_seconds session_minutes floor_dbfs",
        "evaluation.conditions.test": "far_snr_db far_rooms far_rt60_seconds",
        "evaluation.operating_points": "sweep_points confidence",
        "evaluation.report": "fah_points",
    },
    "export": {"export.onnx": "opset parity_tolerance"},
}
"""Old group -> new group -> the settings that moved there with their names."""
RENAMED = {
    **{
        f"{old}.{name}": f"{new}.{name}"
        for old, groups in _MOVED.items()
        for new, names in groups.items()
        for name in names.split()
    },
    "model": "training.model",
    "data.split_rotation": "data.splits.rotation",
    "features.context_frames": "features.context.frames",
    "training.optimizer": "training.optimizer.kind",
    "training.schedule": "training.schedule.kind",
    "training.sampler": "training.sampling.kind",
    "training.ema_decay": "training.ema.decay",
    "training.ema_final_decay": "training.ema.final_decay",
    "training.ema_final_fraction": "training.ema.final_fraction",
    "training.val_metric": "training.validation.metric",
    "training.val_max_fpr": "training.validation.max_fpr",
    "training.val_false_alarms_per_hour": "training.validation.false_alarms_per_hour",
    "evaluation.target_snr_db": "evaluation.conditions.tuning.snr_db",
    "evaluation.stream_snr_db": "evaluation.conditions.test.snr_db",
    "evaluation.operating_points": "evaluation.operating_points.points",
    "evaluation.operating_point": "evaluation.operating_points.default",
    "evaluation.report_clips": "evaluation.report.clips",
    "evaluation.report_suspicious_clips": "evaluation.report.suspicious_clips",
    "evaluation.report_clip_seconds": "evaluation.report.clip_seconds",
    "export.int8_calibration_windows": "export.int8.calibration_windows",
    "export.int8_max_ratio": "export.int8.max_ratio",
    "export.int8_max_f1_drop": "export.int8.max_f1_drop",
}
"""Old dotted name -> new dotted name; the name of a group stands for all that is in it."""
_ABSENT = object()


def renamed_in(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first old name that a tree of settings uses, and the new one; None where there is none.

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
