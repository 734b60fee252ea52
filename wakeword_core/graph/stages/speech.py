"""Synthetic speech: recordings made from text, as one more source."""

from dataclasses import asdict

from wakeword_core.graph.stage import Check, CheckRun, Stage, StageRun, Verdict, verdict_on
from wakeword_core.store.artifacts import Artifact


def make(run: StageRun) -> None:
    """Synthesize the phrase, phrases like it and other sentences, in many voices."""
    from wakeword_core.speech.synthesis import synthesize

    config = run.config
    summary = synthesize(
        config.phrase,
        config.synthesis,
        config.data.audio.sample_rate,
        config.seed,
        run.out,
        run.progress,
        config.compute.workers,
    )
    run.figures = asdict(summary)


def as_it_was_made(speech: Artifact, run: CheckRun) -> Verdict:
    """Fail where a recording changed on disk."""
    problems = [f"{name} changed since it was made" for name in speech.damaged(read=True)]
    return verdict_on(problems, f"all {len(speech.files)} files are as they were written")


STAGE = Stage(
    name="synthetic_speech",
    version="1",
    make=make,
    inputs=(),
    settings=("phrase", "seed", "synthesis", "data.audio.sample_rate"),
    group="ingest",
    kinds=("python", "flac"),
    description="Recordings of the phrase, of phrases like it and of other sentences, made from text; an "
    "optional source.",
    checks=(Check("speech_verifies", "Every recording is as it was made.", as_it_was_made),),
    optional=lambda config: config.synthesis.enabled,
)
