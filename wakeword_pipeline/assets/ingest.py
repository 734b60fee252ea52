"""Recordings in: what there is, what is fit for use, and packed in shards."""

import dagster as dg

from wakeword_pipeline.checks import check_specs, checks_of_nothing
from wakeword_pipeline.graph import inputs_of
from wakeword_pipeline.materialize import failures_in_words, materialize
from wakeword_pipeline.partitions import splits
from wakeword_pipeline.resources import ProjectResource

OWNERS = ["team:wakeword"]
GROUP = "ingest"


@dg.observable_source_asset(group_name=GROUP, description="The configured folders of recordings, by content.")
def raw_audio(project: ProjectResource) -> dg.DataVersion:
    """The hash of every recording's bytes and name is the data version; unchanged files are not read again."""
    with failures_in_words():
        return dg.DataVersion(project.open().fingerprint())


@dg.asset_check(
    asset=raw_audio, name="sources_listed", description="Every source of recordings is there and can be listed."
)
def sources_listed(project: ProjectResource) -> dg.AssetCheckResult:
    """Warns of sources that are missing or broken; the others are used."""
    with failures_in_words():
        missing = project.open().listing().missing
    problems = "; ".join(f"{name}: {problem}" for name, problem in missing.items())
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=problems or "every source of recordings was listed",
    )


@dg.asset(
    group_name=GROUP,
    kinds={"python", "flac"},
    owners=OWNERS,
    check_specs=check_specs("synthetic_speech"),
)
def synthetic_speech(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Recordings of the phrase, of phrases like it and of other sentences, made from text; an optional source."""
    opened = project.open()
    if context.asset_key.to_user_string() not in opened.stages:
        return dg.MaterializeResult(
            data_version=dg.DataVersion("off"),
            metadata={"enabled": False, "reused": True},
            check_results=checks_of_nothing("synthetic_speech", "synthetic speech is switched off"),
        )
    return materialize(context, opened)


@dg.asset(
    deps=inputs_of("raw_manifest"),
    group_name=GROUP,
    kinds={"python", "parquet"},
    owners=OWNERS,
    check_specs=check_specs("raw_manifest"),
)
def raw_manifest(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """One row a recording: what it is, whose voice, how healthy, and in which split; nothing is dropped silently."""
    return materialize(context, project.open())


@dg.asset(
    deps=inputs_of("audio_shards"),
    partitions_def=splits,
    group_name=GROUP,
    kinds={"python", "parquet"},
    owners=OWNERS,
    check_specs=check_specs("audio_shards"),
)
def audio_shards(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """A split's recordings, decoded and shuffled by hash into Parquet that Hugging Face `datasets` reads."""
    return materialize(context, project.open())
