"""Features: log-mel windows of each split, and what normalises them."""

import dagster as dg

from wakeword_pipeline.assets.ingest import OWNERS
from wakeword_pipeline.checks import check_specs
from wakeword_pipeline.graph import inputs_of
from wakeword_pipeline.materialize import materialize
from wakeword_pipeline.partitions import splits
from wakeword_pipeline.pools import GPU_POOL
from wakeword_pipeline.resources import ProjectResource

GROUP = "features"


@dg.asset(
    deps=inputs_of("mel_features"),
    partitions_def=splits,
    group_name=GROUP,
    kinds={"pytorch", "hdf5"},
    owners=OWNERS,
    pool=GPU_POOL,
    check_specs=check_specs("mel_features"),
)
def mel_features(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Log-mel windows in HDF5; in the training split several augmented views of each."""
    return materialize(context, project.open())


@dg.asset(
    deps=inputs_of("cmvn_stats"),
    group_name=GROUP,
    kinds={"numpy"},
    owners=OWNERS,
    check_specs=check_specs("cmvn_stats"),
)
def cmvn_stats(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Mean and deviation of each mel band over the training split's valid frames."""
    return materialize(context, project.open())
