"""The manifest. One row a recording: what it is, whose voice, how healthy, which split; nothing is dropped silently."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from wakeword_core.config import SourceConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import digest, write_json
from wakeword_core.graph.stage import CheckRun, Input, Severity, Stage, StageRun, Verdict, check, verdict_on
from wakeword_core.stage_names import CAPTURED_FACET, CHAMPION, RAW_AUDIO, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)

FORGOTTEN_FACET = "forgotten"
"""A facet of manifests that were made while anything was forgotten, by which a lost list of that is noticed."""
_LISTED = 100
"""Pairs, shifts and paths among a check's figures, at most."""
_NAMED = 5
"""Paths in a sentence, at most."""
_LONG = 0.95
"""Share of the words that are no longer than what counts as long."""
_ALONE = 4
"""A recording of a word by itself is at most so many times as long as what is said in those of wake words."""


def all_sources(configured: Sequence[SourceConfig], speech: Artifact | None) -> list[SourceConfig]:
    """Return the configured folders of recordings, then those of synthetic speech.

    DataError where there are none, or where one is called as one of synthetic speech is.
    """
    sources = list(configured)
    if speech:
        from wakeword_core.speech.synthesis import synthetic_sources

        made = synthetic_sources(speech.path)
        if both := {source.name for source in made} & {source.name for source in configured}:
            raise DataError(
                f"the source {min(both)!r} has the name of one of synthetic speech; give it another under data.sources"
            )
        sources += made
    if not sources:
        raise DataError(
            "there are no recordings: name folders under data.sources in the configuration, "
            "or set synthesis.enabled to true"
        )
    return sources


def make(run: StageRun) -> None:
    """Measure every recording, judge its health, and give each speaker group a split."""
    from wakeword_core.recordings.health_picture import health_picture
    from wakeword_core.recordings.manifest import (
        ROOTS,
        SUMMARY,
        build_manifest,
        quarantined,
        read_manifest,
        sources_facet,
        split_facets,
    )
    from wakeword_core.recordings.measures import MEASURES

    config, forgotten = run.config, run.recordings.forgotten()
    sources = all_sources(config.data.sources, run.inputs.get("synthetic_speech"))
    summary = build_manifest(
        sources,
        config.data,
        config.phrase,
        config.seed,
        run.recordings.scan_cache(),
        run.out,
        run.progress,
        forgotten,
        run.workers,
        run.recordings.listing(),
        _measured_before(run),
    )
    # the first follows from the recordings, but for the rounding of another processor; the others decide nothing
    run.volatile = {MEASURES, SUMMARY, ROOTS}
    write_json(run.out / ROOTS, {source.name: str(source.root.absolute()) for source in sources})
    (run.out / "health_picture.png").write_bytes(health_picture(summary))
    run.figures = asdict(summary)
    rows = read_manifest(run.out)
    # what lies beside the recordings is told, and changes nothing
    counted = {name: figure for name, figure in run.figures.items() if name != "found"}
    captured = captured_facet(rows, config.data.captured) if config.data.captured else {}
    run.facets = {
        **split_facets(rows),
        **captured,
        "summary": digest([counted, quarantined(run.out), *captured.values()]),
        "sources": sources_facet(rows),
        SYNTHETIC_FACET: digest(summary.synthetic),
    }
    if forgotten.digest:
        run.facets[FORGOTTEN_FACET] = forgotten.digest


def _measured_before(run: StageRun) -> "pa.Table | None":
    """Return what was measured for the last manifest, of which only recordings that are there now are looked up."""
    from wakeword_core.recordings.measures import MEASURES, read_measures

    for manifest in run.earlier(STAGE):
        try:
            return read_measures(manifest.file(MEASURES))
        except ArtifactError as error:
            log.warning("what the last manifest has measured is looked up or measured again: %s", error)
    return None


def captured_facet(rows: "pd.DataFrame", sources: Collection[str]) -> dict[str, str]:
    """Return the facet of the labelled captures that are in the test, with the names of their files."""
    tested = rows[rows["source"].isin(sources) & (rows["split"] == "test")]
    return {CAPTURED_FACET: digest(sorted(zip(tested["recording_id"], tested["path"], strict=True)))}


def usable_recordings(manifest: Artifact, run: CheckRun) -> Verdict:
    """Warn where a split lacks usable recordings of a label; fail where no model can come of them."""
    from wakeword_core.recordings.manifest import check_manifest, prevents_model, read_manifest

    columns = ("role", "label", "speaker", "split", "status")
    rows, labels = read_manifest(manifest.path, columns=columns), run.config.labels
    verdict = verdict_on(check_manifest(rows, labels), "every label has usable recordings in every split")
    return replace(verdict, severity="error" if prevents_model(rows, labels) else "warning")


def sources_read(manifest: Artifact, run: CheckRun) -> Verdict:
    """Warn of sources of which nothing is used, of what could not be read, and of labels that are almost the word."""
    figures = manifest.figures
    problems = [f"{entry['source']} is left out: {entry['problem']}" for entry in figures.get("missing_sources", [])]
    problems += figures.get("not_read", [])
    problems += [
        f"the label {near['label']!r} of source {near['source']!r} makes {near['recordings']} negatives and is nearly "
        f"the wake word {near['word']!r}; correct it, or add it to words"
        for near in figures.get("near_labels", [])
    ]
    return verdict_on(problems, "every source of recordings was read")


def words_are_spoken(manifest: Artifact, run: CheckRun) -> Verdict:
    """Warn or fail where nobody speaks in many recordings of a wake word."""
    rows, limits = _positives(manifest), run.config.checks
    words = _worst_word(rows, rows["speech_ratio"] == 0, limits.unheard_warning, limits.unheard_error)
    if words is None:
        return Verdict(True, f"speech was heard in the {len(rows)} recordings of wake words, or in nearly all of them")
    return words.verdict(
        "no speech was heard in {count} recordings of {label!r}: {paths}; listen to them, since another microphone may "
        "have been recorded, and remove or replace them"
    )


def words_fit_window(manifest: Artifact, run: CheckRun) -> Verdict:
    """Warn or fail where many recordings of a wake word are longer than the model's window."""
    rows, limits, front = _positives(manifest), run.config.checks, run.config.features.frontend
    rate = run.config.data.audio.sample_rate
    window, length = front.window_samples / rate, rows["speech_end"] - rows["speech_start"]
    words = _worst_word(
        rows, (length > window) & (rows["speech_ratio"] > 0), limits.overlong_warning, limits.overlong_error
    )
    if words is None:
        return Verdict(True, f"wake words fit in the model's window of {window:.2f} s, or nearly all of them do")
    longest = length[words.rows.index]
    needed = front.frames(longest.quantile(_LONG) + run.config.features.windows.tail_seconds, rate)
    return words.verdict(
        f"{{label!r}} takes longer than the model's window of {window:.2f} s in {{count}} recordings, up to "
        f"{longest.max():.2f} s: {{paths}}; set features.frontend.window_frames={needed}, choose a shorter phrase, or "
        "cut what else the recordings hold"
    )


def words_said_alone(manifest: Artifact, run: CheckRun) -> Verdict:
    """Warn where training has few recordings of other words said by themselves, as wake words are."""
    from wakeword_core.recordings.manifest import read_manifest

    columns = ("role", "split", "status", "seconds", "speech_ratio", "speech_start", "speech_end")
    rows = read_manifest(manifest.path, columns=columns)
    rows = rows[(rows["split"] == "train") & (rows["status"] == "ok")]
    words = rows[(rows["role"] == "positive") & (rows["speech_ratio"] > 0)]
    if words.empty:
        return Verdict(True, "training has no recording in which a wake word was heard")
    spoken, recorded = (words["speech_end"] - words["speech_start"]).quantile(_LONG), words["seconds"].quantile(_LONG)
    others = rows[rows["role"].isin(("negative", "hard_negative"))]
    alone = int((others["seconds"] <= min(recorded, _ALONE * spoken)).sum())
    figures = {"words_said_alone": alone, "wake_words": len(words)}
    if alone >= run.config.checks.words_alone_share * len(words):
        return Verdict(True, f"{alone:,} other words are said by themselves, beside {len(words):,} wake words", figures)
    return Verdict(
        False,
        f"training has {len(words):,} recordings of wake words and only {alone:,} of other words said by themselves, "
        "so that the model may take any word said alone for its own; set synthesis.enabled to true and synthesis.words "
        "to 1600 (and synthesis.positives, hard_negatives, negatives and background_minutes to 0 if all else is "
        "recorded), or add recordings of single words with the role negative",
        figures,
    )


def enough_recordings(manifest: Artifact, run: CheckRun) -> Verdict:
    """Say what models of as many recordings of a word missed; warn where they are few and none is synthetic."""
    from wakeword_core.recordings.enough import expectation, is_too_little, learnt_words, scarcest

    word = scarcest(learnt_words(manifest.figures["health"], run.config.labels[1:]))
    expected = expectation(word, run.config.judge.enabled)
    figures = {"real_recordings": word.real, "real_speakers": word.speakers, "synthetic_recordings": word.synthetic}
    if not is_too_little(word, run.config.checks.few_recordings):
        return Verdict(True, expected, figures)
    advice = "record more people, or set synthesis.enabled to true and synthesis.positives to 600"
    return Verdict(False, f"{expected}; {advice}", figures)


@dataclass(frozen=True)
class _Word:
    label: str
    rows: "pd.DataFrame"
    recordings: int
    severity: Severity

    def verdict(self, sentence: str) -> Verdict:
        paths = (self.rows["source"] + "/" + self.rows["path"]).tolist()
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        description = sentence.format(
            label=self.label, count=f"{len(paths)} of {self.recordings}", paths=", ".join(paths[:_NAMED]) + more
        )
        figures = {"share": round(len(paths) / self.recordings, 4), "paths": paths[:_LISTED]}
        return Verdict(False, description, figures, self.severity)


def _positives(manifest: Artifact) -> "pd.DataFrame":
    from wakeword_core.recordings.manifest import read_manifest

    columns = ("source", "path", "label", "role", "status", "speech_ratio", "speech_start", "speech_end")
    rows = read_manifest(manifest.path, columns=columns)
    return rows[rows["role"] == "positive"]


def _worst_word(rows: "pd.DataFrame", faulty: "pd.Series", warning: float, error: float) -> _Word | None:
    """Return the word of whose recordings the largest share is faulty, unless no share is above `warning`."""
    shares = faulty.groupby(rows["label"]).mean()
    if shares.empty or shares.max() <= warning:
        return None
    label = shares.idxmax()
    severity: Severity = "error" if shares.max() > error else "warning"
    return _Word(str(label), rows[faulty & (rows["label"] == label)], int((rows["label"] == label).sum()), severity)


def splits_disjoint(manifest: Artifact, run: CheckRun) -> Verdict:
    """Fail where a speaker or a duplicate is in two splits."""
    from wakeword_core.recordings.manifest import read_manifest
    from wakeword_core.recordings.splits import check_splits

    rows = read_manifest(manifest.path, columns=("recording_id", "speaker", "split", "status"))
    return verdict_on(check_splits(rows), "no speaker and no recording is in two splits")


def no_copies_across_splits(manifest: Artifact, run: CheckRun) -> Verdict:
    """Warn of recordings in two splits that sound the same."""
    from wakeword_core.recordings.manifest import read_fingerprints
    from wakeword_core.recordings.near_duplicates import near_duplicates

    rows, similarity = read_fingerprints(manifest.path), run.config.checks.near_duplicate_similarity
    pairs = near_duplicates(rows, similarity, _known_to_differ(rows, similarity, run))
    names = (rows["split"] + ": " + rows["source"] + "/" + rows["path"]).to_numpy()
    problems = [
        f"{names[pair.first]} and {names[pair.second]} sound the same ({pair.similarity:.3f})"
        for pair in pairs.itertuples(index=False)
    ]
    verdict = verdict_on(problems, f"none of {len(rows)} recordings sounds like a copy of one in another split")
    return replace(verdict, figures={**verdict.figures, "pairs": problems[:_LISTED], "similarity": similarity})


def _known_to_differ(rows: "pd.DataFrame", similarity: float, run: CheckRun) -> "pd.Series | None":
    """Tell which recordings were in their splits when all were last compared and none was like another, if any were."""
    from wakeword_core.recordings.manifest import read_fingerprints
    from wakeword_core.recordings.measures import MEASURES

    columns = ["recording_id", "split", "fingerprint"]
    for earlier, found in reversed(run.passed_by()):
        if found.figures.get("similarity") != similarity or not earlier.file(MEASURES).exists():
            continue
        try:
            before = read_fingerprints(earlier.path)[columns]
        except ArtifactError:
            continue
        both = rows[columns].merge(before, "left", on="recording_id", suffixes=("", "_before"))
        same = (both["split"] == both["split_before"]) & (both["fingerprint"] == both["fingerprint_before"])
        return same.set_axis(rows.index)
    return None


def data_as_before(manifest: Artifact, run: CheckRun) -> Verdict:
    """Warn or fail where class mix, loudness or duration differ from the data of the champion."""
    from wakeword_core.lineage.recordings import manifest_behind
    from wakeword_core.recordings.drift import drift
    from wakeword_core.recordings.manifest import read_manifest

    champion = run.inputs.get(CHAMPION)
    if champion is None:
        return Verdict(True, "there is no champion yet whose data these could be compared with")
    reference = manifest_behind(run.store, champion.key)
    if reference is None:
        gone = f"the manifest that the champion ({champion.key}) was made from is gone: nothing to compare with"
        return Verdict(True, gone)
    limits = run.config.checks
    columns = ("split", "status", "label", "rms_dbfs", "seconds")
    now = read_manifest(manifest.path, columns=columns)
    try:
        before = read_manifest(reference.path, columns=columns)
    except ArtifactError as error:
        return Verdict(True, f"there is nothing to compare with: {error}")
    shifts = drift(before, now, limits.drift_warning_psi)
    if not shifts:
        return Verdict(True, "there are too few recordings to tell drift from chance")
    worst = shifts[0]
    description = (
        f"since the champion, {worst.name} moved most: PSI {worst.psi:.3f} ({limits.drift_warning_psi:g} warns, "
        f"{limits.drift_error_psi:g} is an error)"
    )
    figures = {"worst_psi": worst.psi, "shifts": [asdict(shift) for shift in shifts[:_LISTED]]}
    severity: Severity = "error" if worst.psi >= limits.drift_error_psi else "warning"
    return Verdict(worst.psi < limits.drift_warning_psi, description, figures, severity)


STAGE = Stage(
    name="raw_manifest",
    version="10",
    make=make,
    inputs=(Input(RAW_AUDIO), Input("synthetic_speech")),
    settings=("phrase", "seed", "data"),
    group="ingest",
    kinds=("python", "parquet"),
    description=__doc__,
    checks=(
        check(usable_recordings),
        check(sources_read, blocking=False),
        check(words_are_spoken, limits=("checks.unheard_warning", "checks.unheard_error")),
        check(
            words_fit_window,
            limits=(
                *("checks.overlong_warning", "checks.overlong_error", "features.frontend.window_frames"),
                *("features.frontend.n_fft", "features.frontend.hop_length", "features.windows.tail_seconds"),
                "data.audio.sample_rate",
            ),
        ),
        check(words_said_alone, blocking=False, limits=("checks.words_alone_share",)),
        check(enough_recordings, blocking=False, limits=("checks.few_recordings", "judge.enabled")),
        check(splits_disjoint),
        check(no_copies_across_splits, blocking=False, limits=("checks.near_duplicate_similarity",)),
        check(
            data_as_before,
            blocking=False,
            inputs=(Input(CHAMPION),),
            limits=("checks.drift_warning_psi", "checks.drift_error_psi"),
        ),
    ),
)
