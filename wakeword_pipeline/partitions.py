"""The one partitioning there is: a partition a split."""

import dagster as dg

from wakeword_core.config import SPLITS

splits = dg.StaticPartitionsDefinition(list(SPLITS))


def only(*names: str) -> dg.SpecificPartitionsPartitionMapping:
    """For an unpartitioned asset that reads some splits: a change in the others leaves it fresh."""
    return dg.SpecificPartitionsPartitionMapping(list(names))
