"""Assets that stop being fresh with age: Dagster's daemon marks them when nobody has built them for too long."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dagster as dg

_WARNING_SHARE = 0.8
"""Of the time after which an asset is stale: from then on the UI warns."""


def with_freshness(assets: Iterable[Any], stale_after: timedelta | None) -> list[Any]:
    """The assets with a policy of so much time, or as they are without one; sources of recordings have none."""
    if stale_after is None:
        return list(assets)
    policy = dg.FreshnessPolicy.time_window(fail_window=stale_after, warn_window=stale_after * _WARNING_SHARE)

    def add(spec: dg.AssetSpec) -> dg.AssetSpec:
        return dg.apply_freshness_policy(spec, policy)

    return [one.map_asset_specs(add) if isinstance(one, dg.AssetsDefinition) else one for one in assets]
