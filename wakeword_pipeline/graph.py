"""The edges between assets, from the stage table: there is one definition of the graph."""

from collections.abc import Iterable, Sequence

import dagster as dg

from wakeword_core.config import Config
from wakeword_core.graph.stage import Input
from wakeword_core.graph.stages import STAGES
from wakeword_core.stage_names import CHAMPION
from wakeword_pipeline.partitions import only

Asset = dg.AssetsDefinition | dg.SourceAsset

_INPUTS = {stage.name: stage.inputs for stage in STAGES}


def inputs_of(asset: str) -> list[dg.AssetDep]:
    """Everything that the asset's stage may depend on, whatever the configuration says."""
    return _edges(_INPUTS[asset])


def that_decide(assets: Iterable[Asset], config: Config) -> Sequence[Asset]:
    """The assets, each depending on no more than its stage's result does under a configuration."""

    def narrowed(spec: dg.AssetSpec) -> dg.AssetSpec:
        inputs = _INPUTS[spec.key.to_user_string()]
        return spec.replace_attributes(deps=_edges(one for one in inputs if one.decides(config)))

    return [one.map_asset_specs(narrowed) if isinstance(one, dg.AssetsDefinition) else one for one in assets]


def _edges(inputs: Iterable[Input]) -> list[dg.AssetDep]:
    splits: dict[str, list[str]] = {}
    for one in inputs:
        if one.stage == CHAMPION:  # an artifact of an earlier build: the asset would depend on itself
            continue
        splits.setdefault(one.stage, []).extend([one.split] if one.split not in (None, "same") else [])
    return [dg.AssetDep(name, partition_mapping=only(*of) if of else None) for name, of in splits.items()]
