"""Whether a split's stored features are what its shards and settings say."""

from pathlib import Path

import h5py
import numpy as np

from wakeword_core.config import Config, Split
from wakeword_core.features.store import COLUMNS, MEL, PARTS_FOLDER, FeatureFile
from wakeword_core.features.windows import label_indices, plan_windows
from wakeword_core.shards.packed_split import read_shard, shard_paths


def verify_features(folder: Path, shards: Path, split: Split, config: Config) -> list[str]:
    """What is wrong, as sentences: shapes, finiteness, and ids, labels and windows against the shards."""
    file = FeatureFile(folder)
    frontend = config.features.frontend
    problems = []
    expected_shape = (1, 1, frontend.bands, config.features.row_frames(split))
    if file.shape[1:] != expected_shape:
        problems.append(f"rows of shape {file.shape[1:]} instead of {expected_shape}")
    if tuple(file.labels) != config.labels:
        problems.append(f"labels {file.labels} instead of {list(config.labels)}")
    rows = 0
    for path in shard_paths(shards):
        shard = read_shard(path)
        plan = plan_windows(shard, split, config.features, config.data.sample_rate, config.seed)
        rows += len(plan)
        ids = np.asarray(shard.ids, COLUMNS["file_ids"])[plan.recording]
        labels = label_indices(shard, config.labels)[plan.recording]
        with h5py.File(folder / PARTS_FOLDER / f"{path.stem}.h5") as part:
            for name, wanted in (("file_ids", ids), ("labels", labels), ("views", plan.view), ("starts", plan.start)):
                if not np.array_equal(part[name][:], wanted):
                    problems.append(f"part {path.stem}: {name} differ from its shard's")
            if not np.isfinite(part[MEL][:]).all():
                problems.append(f"part {path.stem}: values that are not finite")
    if len(file) != rows:
        problems.append(f"{len(file)} rows, but the shards give {rows} windows")
    return problems
