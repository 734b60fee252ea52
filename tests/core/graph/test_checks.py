"""Checks fail when what they guard is broken."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from wakeword_core.config import Config
from wakeword_core.files import digest, write_json
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Check, CheckRun, Verdict
from wakeword_core.graph.stages import STAGES
from wakeword_core.recordings.measures import FINGERPRINT, HEADER, LEVELS, MEASURES, SPEECH, Measures
from wakeword_core.recordings.near_duplicates import SIZE
from wakeword_core.store.artifacts import Artifact, ArtifactStore, Build


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(Config(), tmp_path / "home")


def artifact(project: Project, stage: str, figures: dict | None = None, files: dict | None = None) -> Artifact:
    def make(build: Build) -> None:
        for name, value in (files or {"data.json": {}}).items():
            write_json(build.path / name, value)
        build.figures = figures or {}

    return ArtifactStore(project.store.root).build(stage, {}, {}, "1", make)[0]


def check_of(stage: str, name: str | None = None) -> Check:
    """The check of a stage, or that of them with a name."""
    (checks,) = (made.checks for made in STAGES if made.name == stage)
    (check,) = (check for check in checks if name in (None, check.name))
    return check


def verdict(project: Project, found: Artifact, split=None, name: str | None = None) -> Verdict:
    return check_of(found.stage, name).run(found, CheckRun(project.config, {}, split, project.store))


def test_int8_must_be_small_and_faithful(project: Project) -> None:
    good = {"f1_fp32": 0.95, "f1_int8": 0.945, "size_ratio": 0.3}
    found = artifact(project, "int8_model", good)
    assert verdict(project, found).passed
    for name, value, severity in (("f1_int8", 0.93, None), ("size_ratio", 0.36, "warning")):
        outcome = verdict(project, replace(found, figures={**good, name: value}))
        assert not outcome.passed and outcome.severity == severity and "allowed" in outcome.description


def test_calibration_must_not_worsen_the_loss(project: Project) -> None:
    figures = {"nll_before": 0.2, "nll_after": 0.19, "ece_before": 0.1, "ece_after": 0.05, "method": "vector"}
    assert verdict(project, artifact(project, "calibrated_model", files={"calibration.json": figures})).passed
    worse = {**figures, "nll_after": 0.21}
    other = Project(Config(), project.home / "other")
    assert not verdict(other, artifact(other, "calibrated_model", files={"calibration.json": worse})).passed


def test_too_little_background_is_a_warning_and_says_so(project: Project) -> None:
    found = artifact(project, "metrics_report", {"background_hours": 0.3, "false_alarms": 0})
    outcome = verdict(project, found, name="enough_background")
    assert not outcome.passed and "too few hours" in outcome.description
    more = replace(found, figures={"background_hours": 2.5, "false_alarms": 1})
    assert verdict(project, more, name="enough_background").passed


@pytest.mark.parametrize(("misses", "passes"), [(15, True), (16, False)])
def test_a_model_that_misses_most_words_is_no_champion(project: Project, misses: int, passes: bool) -> None:
    found = artifact(project, "metrics_report", {"misses": misses, "words": 30, "frr": misses / 30})
    outcome = verdict(project, found, name="hears_the_word")
    assert outcome.passed is passes and outcome.severity == "error" and f"{misses} of 30" in outcome.description


def test_a_changed_recording_of_synthetic_speech_is_named_and_left_where_it_is(project: Project) -> None:
    found = artifact(project, "synthetic_speech")
    assert verdict(project, found).passed
    found.file("data.json").write_text("[]\n")
    outcome = verdict(project, found)
    assert not outcome.passed and "data.json" in outcome.description
    assert found.path.exists() and not list(found.path.parent.glob(".damaged-*"))  # a check only looks


def test_a_source_that_was_left_out_is_a_warning_that_names_it(project: Project) -> None:
    missing = [{"source": "kitchen", "problem": "its folder does not exist"}]
    found = artifact(project, "raw_manifest", {"missing_sources": missing})
    outcome = verdict(project, found, name="sources_read")
    assert not outcome.passed and "kitchen is left out: its folder does not exist" in outcome.description
    assert verdict(project, replace(found, figures={"missing_sources": []}), name="sources_read").passed


def test_copies_in_two_splits_are_a_warning_that_names_them(project: Project) -> None:
    import pandas as pd

    sounds = np.random.default_rng(1).integers(-20, 20, (3, SIZE), dtype=np.int8)
    rows = pd.DataFrame(
        {"recording_id": list("abcd"), "source": "kitchen", "path": ["1.wav", "2.wav", "3.wav", "4.wav"]}
    )
    rows = rows.assign(split=["train", "test", "val", "train"], status="ok")
    measures = Measures(rows["recording_id"])
    for defaults in (HEADER, LEVELS, SPEECH):
        measures.column(str(defaults), defaults, rows["status"] == "ok")
    prints = {name: {"fingerprint": sounds[one].tobytes()} for name, one in zip("abcd", (0, 1, 0, 2), strict=True)}
    measures.column("fingerprint", FINGERPRINT, rows["status"] == "ok").put(prints.items())

    def make(build: Build) -> None:
        rows.to_parquet(build.path / "manifest.parquet")
        pq.write_table(measures.table(), build.path / MEASURES)

    found, _ = project.store.build("raw_manifest", {}, {}, "1", make)
    check = check_of("raw_manifest", "no_copies_across_splits")
    outcome = verdict(project, found, name=check.name)
    assert not outcome.passed and not check.blocking and check.severity == "warning"
    assert "train: kitchen/1.wav and val: kitchen/3.wav sound the same (1.000)" in outcome.description
    assert outcome.figures["problems"] == 1 and len(outcome.figures["pairs"]) == 1


def words(project: Project, **columns: list) -> Artifact:
    """A manifest of ten recordings of each of two wake words, of which some have no speech, or much of it."""
    import pandas as pd

    def make(build: Build) -> None:
        rows = pd.DataFrame({"label": ["robin"] * 10 + ["cat"] * 10, "role": "positive", "status": "ok"})
        rows = rows.assign(source="kitchen", path=[f"{number}.wav" for number in range(20)])
        rows.assign(speech_start=0.2, **columns).to_parquet(build.path / "manifest.parquet")

    contents = {"columns": {"stage": "raw_audio", "key": "k", "content": digest(columns)}}
    return project.store.build("raw_manifest", contents, {}, "1", make)[0]


@pytest.mark.parametrize(
    ("unheard", "passed", "severity"), [(1, True, None), (2, False, "warning"), (6, False, "error")]
)
def test_a_word_in_whose_recordings_nobody_speaks_is_named_with_their_paths(
    project: Project, unheard: int, passed: bool, severity: str | None
) -> None:
    ratios = [0.5] * 10 + [0.0] * unheard + [0.5] * (10 - unheard)
    outcome = verdict(project, words(project, speech_ratio=ratios, speech_end=[1.0] * 20), name="words_are_spoken")
    assert (outcome.passed, outcome.severity) == (passed, severity)
    assert passed or outcome.description.startswith(f"no speech was heard in {unheard} of 10 recordings of 'cat': kitc")
    assert passed or (outcome.figures["share"], len(outcome.figures["paths"])) == (unheard / 10, unheard)


@pytest.mark.parametrize(("long", "passed", "severity"), [(2, True, None), (3, False, "warning"), (6, False, "error")])
def test_a_word_that_is_longer_than_the_window_is_told_which_window_it_needs(
    project: Project, long: int, passed: bool, severity: str | None
) -> None:
    ends = [2.9] * long + [1.0] * (20 - long)
    found = words(project, speech_ratio=[0.5] * 20, speech_end=ends)
    outcome = verdict(project, found, name="words_fit_window")
    assert (outcome.passed, outcome.severity) == (passed, severity)
    if not passed:
        assert f"'robin' takes longer than the model's window of 1.53 s in {long} of 10" in outcome.description
        frames = int(re.findall(r"window_frames=(\d+)", outcome.description)[0])
        wider = Project(Config.model_validate({"features": {"frontend": {"window_frames": frames}}}), project.home)
        assert frames == 280 and verdict(wider, found, name="words_fit_window").passed
    # where no speech was heard, its span is a guess
    unheard = words(project, speech_ratio=[0.0] * 20, speech_end=ends)
    assert verdict(project, unheard, name="words_fit_window").passed


@pytest.mark.parametrize(("alone", "passed"), [(19, False), (20, True)])
def test_a_model_that_hears_no_other_word_by_itself_is_warned_of(project: Project, alone: int, passed: bool) -> None:
    import pandas as pd

    sentences, elsewhere = 30, 40
    rows = pd.DataFrame({"role": ["positive"] * 20 + ["negative"] * (alone + sentences + elsewhere)})
    rows = rows.assign(split=["train"] * (20 + alone + sentences) + ["test"] * elsewhere, status="ok", speech_ratio=0.5)
    rows = rows.assign(seconds=[2.0] * (20 + alone) + [9.0] * sentences + [1.0] * elsewhere)
    rows = rows.assign(speech_start=0.5, speech_end=1.2)
    found, _ = project.store.build(
        "raw_manifest", {}, {"alone": alone}, "1", lambda build: rows.to_parquet(build.path / "manifest.parquet")
    )
    outcome = verdict(project, found, name="words_said_alone")
    assert outcome.passed is passed
    assert outcome.figures == {"words_said_alone": alone, "wake_words": 20}
    assert passed or "synthesis.words to 1600" in outcome.description


@pytest.mark.parametrize(
    ("real", "synthetic", "passed"), [(99, 0, False), (100, 0, True), (3, 1, True), (0, 500, True)]
)
def test_few_recordings_without_synthetic_ones_are_a_warning_with_what_was_measured(
    project: Project, real: int, synthetic: int, passed: bool
) -> None:
    row = {"split": "train", "label": "hey robin", "recordings": real + synthetic, "real": real, "real_speakers": 3}
    outcome = verdict(project, artifact(project, "raw_manifest", {"health": [row]}), name="enough_recordings")
    assert outcome.passed is passed and "% (of " in outcome.description
    assert ("synthesis.enabled" in outcome.description) is not passed
    assert outcome.figures["real_recordings"] == real and outcome.figures["synthetic_recordings"] == synthetic


def test_these_checks_do_not_block_and_all_others_do() -> None:
    free = [
        "sources_read",
        "words_said_alone",
        "enough_recordings",
        "no_copies_across_splits",
        "data_as_before",
        "rooms_fit",
        "no_short_cuts",
        "teachers_heard_no_test",
        "training_healthy",
        "tflite_hears_the_word",
        "judge_hears_little",
        "hears_the_word",
    ]
    free += ["enough_background", "judge_helps", "licences_stated", "not_worse_than_champion"]
    checks = [check for stage in STAGES for check in stage.checks]
    assert [check.name for check in checks if not check.blocking] == free
    assert len({check.name for check in checks}) == len(checks)


def test_a_judge_that_is_asked_too_often_is_a_warning(project: Project) -> None:
    found = artifact(project, "judged_model", {"heard_share": 0.25})
    assert verdict(project, found).passed
    asked = verdict(project, replace(found, figures={"heard_share": 1.0}))
    assert not asked.passed and "100.0% of the background, more than 25%" in asked.description
    assert "judge.gate" in asked.description


def test_a_judge_with_which_more_is_missed_is_a_warning(project: Project) -> None:
    row = {"target_fah": 0.5, "frr": 0.1, "frr_alone": 0.2, "frr_alone_high": 0.3}
    found = artifact(project, "metrics_report", {"at_rates": [row]})
    helps = verdict(project, found, name="judge_helps")
    assert helps.passed and "at 0.5 false alarms an hour 10.0% missed, 20.0% without it" in helps.description
    assert not verdict(project, replace(found, figures={"at_rates": [{**row, "frr": 0.31}]}), name="judge_helps").passed
    assert verdict(project, replace(found, figures={"at_rates": []}), name="judge_helps").passed
    assert "no judge" in verdict(project, replace(found, figures={}), name="judge_helps").description


def test_a_source_without_a_licence_is_a_warning_that_names_it() -> None:
    check = check_of("model_bundle", "licences_stated")
    stated = SimpleNamespace(figures={"without_licence": [], "commercial_use": "allowed"})
    assert check.run(stated, None).passed
    found = check.run(SimpleNamespace(figures={**stated.figures, "without_licence": ["street"]}), None)
    assert not found.passed and "street" in found.description and "data.sources" in found.description


def test_the_documentation_lists_every_check() -> None:
    wanted = [
        f"| `{check.name}` | {stage.name} | {check.description.splitlines()[0]} "
        f"| {'yes' if check.blocking else 'no'} | {', '.join(f'`{limit}`' for limit in check.limits)} |"
        for stage in STAGES
        for check in stage.checks
    ]
    table = "\n".join(["| check | on | what it does | blocks | limits |", "|---|---|---|---|---|", *wanted])
    page = Path(__file__).parents[3] / "docs" / "pipeline.md"
    documented = f"{table}\n\n" in page.read_text(encoding="utf-8")
    assert documented, f"docs/pipeline.md should list the checks as follows:\n{table}"
