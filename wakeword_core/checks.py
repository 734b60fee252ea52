"""What must hold of each artifact before anything is built on it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from wakeword_core.config import Split
from wakeword_core.files import read_json
from wakeword_core.project import Project
from wakeword_core.runtime.exported import MODEL_FILE
from wakeword_core.store.artifacts import Artifact

_MEAN_TOLERANCE = 1e-2
_VARIANCE_TOLERANCE = 1e-2
_NLL_TOLERANCE = 1e-6
_RANKING_TOLERANCE = 1e-3
"""By as much a ranking may differ from one device to another."""
_COUNTED = ("f1", "frr")
"""Of words: one may be on the other side of a threshold there."""
_PARITY_WINDOWS = 256
_SHOWN = 5
_LISTED = 100
"""Pairs and shifts among a check's figures, at most."""

Severity = Literal["error", "warning"]
"""An error is something wrong, a warning something to look at; only a blocking error stops a build."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: whether it holds, why in one sentence, and the figures behind it."""

    passed: bool
    description: str
    figures: dict[str, Any] = field(default_factory=dict)
    severity: Severity | None = None
    """Of a failure, where it depends on how much is wrong; else it is the check's."""


@dataclass(frozen=True)
class Check:
    """A named condition on one stage's artifact."""

    name: str
    stage: str
    description: str
    run: Callable[[Project, Artifact, Split | None], Verdict]
    blocking: bool = True
    """Whether what is downstream must not be built when it fails."""

    @property
    def severity(self) -> Severity:
        """Of a failure, unless its verdict says otherwise."""
        return "error" if self.blocking else "warning"


def _from_problems(problems: list[str], fine: str) -> Verdict:
    if not problems:
        return Verdict(True, fine)
    more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
    return Verdict(False, "; ".join(problems[:_SHOWN]) + more, {"problems": len(problems)})


def _set_aside_if_damaged(project: Project, artifact: Artifact) -> Verdict | None:
    damaged = artifact.damaged(read=True)
    if not damaged:
        return None
    project.store.discard(artifact)
    return Verdict(False, f"{', '.join(damaged)} changed on disk; set aside, run again to rebuild it")


def _usable(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.recordings.manifest import check_manifest, read_manifest

    problems = check_manifest(read_manifest(artifact.path), project.config.labels)
    return _from_problems(problems, "every label has usable recordings in every split")


def _all_sources_read(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    missing = artifact.figures.get("missing_sources", [])
    return _from_problems(
        [f"{one['source']} is left out: {one['problem']}" for one in missing], "every source of recordings was read"
    )


def _disjoint(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.recordings.manifest import read_manifest
    from wakeword_core.recordings.splits import check_splits

    return _from_problems(check_splits(read_manifest(artifact.path)), "no speaker and no recording is in two splits")


def _data_as_before(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.lineage.recordings import manifest_behind
    from wakeword_core.recordings.drift import drift
    from wakeword_core.recordings.manifest import read_manifest

    champion = project.registry().champion
    if champion is None:
        return Verdict(True, "there is no champion yet whose data these could be compared with")
    reference = manifest_behind(project.store, champion.key)
    if reference is None:
        gone = f"the manifest that the champion ({champion.key}) was made from is gone: nothing to compare with"
        return Verdict(True, gone)
    limits = project.config.checks
    columns = ("split", "status", "label", "rms_dbfs", "seconds")
    before, now = (read_manifest(path, columns=columns) for path in (reference.path, artifact.path))
    shifts = drift(before, now, limits.drift_warning_psi)
    if not shifts:
        return Verdict(True, "there are too few recordings to tell drift from chance")
    worst = shifts[0]
    description = (
        f"since the champion, {worst.name} moved most: PSI {worst.psi:.3f} ({limits.drift_warning_psi:g} warns, "
        f"{limits.drift_error_psi:g} is an error)"
    )
    figures = {"worst_psi": worst.psi, "shifts": [asdict(one) for one in shifts[:_LISTED]]}
    severity: Severity = "error" if worst.psi >= limits.drift_error_psi else "warning"
    return Verdict(worst.psi < limits.drift_warning_psi, description, figures, severity)


def _no_copies_across_splits(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.recordings.manifest import read_fingerprints
    from wakeword_core.recordings.near_duplicates import near_duplicates

    rows = read_fingerprints(artifact.path)
    pairs = near_duplicates(rows, project.config.checks.near_duplicate_similarity)
    names = (rows["split"] + ": " + rows["source"] + "/" + rows["path"]).to_numpy()
    problems = [
        f"{names[one.first]} and {names[one.second]} sound the same ({one.similarity:.3f})"
        for one in pairs.itertuples(index=False)
    ]
    found = _from_problems(problems, f"none of {len(rows)} recordings sounds like a copy of one in another split")
    return replace(found, figures={**found.figures, "pairs": problems[:_LISTED]})


def _speech_verifies(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    if broken := _set_aside_if_damaged(project, artifact):
        return broken
    return Verdict(True, f"all {len(artifact.files)} files are as they were written")


def _shards_verify(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.recordings.manifest import read_manifest
    from wakeword_core.shards.packed_split import verify_shards

    if broken := _set_aside_if_damaged(project, artifact):
        return broken
    rows = read_manifest(project.require("raw_manifest").path, split=split)
    return _from_problems(verify_shards(artifact.path, rows), f"{len(rows)} recordings verify")


def _features_consistent(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.features.verify import verify_features

    assert split is not None
    if broken := _set_aside_if_damaged(project, artifact):
        return broken
    shards = project.require("audio_shards", split)
    problems = verify_features(artifact.path, shards.path, split, project.config)
    return _from_problems(problems, f"{artifact.figures['rows']} windows are finite and match their shards")


def _normalises(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.features.cmvn import Cmvn, check_cmvn
    from wakeword_core.features.store import FeatureFile

    train = FeatureFile(project.require("mel_features", "train").path)
    figures = check_cmvn(train, Cmvn.load(artifact.file("cmvn.json")))
    passed = figures["worst_mean"] < _MEAN_TOLERANCE and figures["worst_variance"] < _VARIANCE_TOLERANCE
    worst = f"worst mean {figures['worst_mean']:.1e}, worst variance off by {figures['worst_variance']:.1e}"
    return Verdict(passed, f"training data normalised: {worst}", figures)


def _beats_chance(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.evaluation.clips import score_clips
    from wakeword_core.evaluation.metrics import clip_metrics

    scores, positive = score_clips(artifact.path, project.require("mel_features", "val").path)
    auc, needed = clip_metrics(scores, positive).roc_auc, project.config.training.min_val_auc
    if auc is None:
        return Verdict(False, "validation holds only one class, so nothing can be said of the model")
    description = f"ROC-AUC on validation is {auc:.4f}; at least {needed} is needed (training.min_val_auc)"
    return Verdict(auc >= needed, description, {"val_auc": auc})


def _mined_from_training(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.mining.clips import check_origins, read_clips
    from wakeword_core.recordings.manifest import read_manifest

    clips = read_clips(artifact.path)
    rows = read_manifest(project.require("raw_manifest").path, columns=("id", "split", "status"))
    fine = f"the origins of all {len(clips)} clips are in the training split alone"
    return _from_problems(check_origins(clips, rows), fine)


def _clips_verify(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.mining.clips import read_clips
    from wakeword_core.shards.packed_split import verify_shards

    if broken := _set_aside_if_damaged(project, artifact):
        return broken
    clips = read_clips(artifact.path)
    return _from_problems(verify_shards(artifact.path, clips), f"{len(clips)} clips verify")


def _tuning_not_worse(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.models.scoring import WEIGHTS

    trained = project.require("trained_model")
    if artifact.files[WEIGHTS] == trained.files[WEIGHTS]:
        return Verdict(True, "the trained model as it was")
    from wakeword_core.features.store import load_windows
    from wakeword_core.mining.tuning import validation_figures

    val = load_windows(project.require("mel_features", "val").path)
    before, after = (validation_figures(one.path, val, project.config, "cpu") for one in (trained, artifact))
    metric = project.config.training.val_metric  # which is what the tuning was kept by
    name = "partial ROC-AUC" if metric == "pauc" else metric
    one, other = (getattr(figures, metric) for figures in (before, after))
    description = f"{name} on validation {one:.4f} -> {other:.4f}"
    description += "" if metric == "loss" else f", loss {before.loss:.4f} -> {after.loss:.4f}"
    words = int((val.labels > 0).sum())
    tolerance = max(_RANKING_TOLERANCE, 1 / words if metric in _COUNTED else 0.0)
    passed = after.value(metric) >= before.value(metric) - tolerance
    always = project.config.mining.keep == "always"
    description += "; mining.keep=better would have kept the trained model" if always and not passed else ""
    severity: Severity | None = "warning" if always else None
    return Verdict(passed, description, {f"{metric}_before": one, f"{metric}_after": other}, severity)


def _nll_not_worse(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    found = read_json(artifact.file("calibration.json"))
    passed = found["nll_after"] <= found["nll_before"] + _NLL_TOLERANCE
    description = (
        f"NLL on validation {found['nll_before']:.4f} -> {found['nll_after']:.4f}, "
        f"ECE {found['ece_before']:.4f} -> {found['ece_after']:.4f}, by {found['method']} calibration"
    )
    return Verdict(passed, description, found)


def _equals_torch(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.export.onnx_export import parity
    from wakeword_core.features.store import load_windows
    from wakeword_core.models.scoring import load_model

    model, _ = load_model(project.require("calibrated_model").path)
    windows = load_windows(project.require("mel_features", "val").path, clean_only=True).mel
    chosen = np.linspace(0, len(windows) - 1, min(_PARITY_WINDOWS, len(windows))).astype(int)
    difference = parity(model, artifact.file(MODEL_FILE), windows[chosen].float().numpy())
    allowed = project.config.export.parity_tolerance
    description = f"largest difference from torch over {len(chosen)} windows is {difference:.1e}, {allowed:.0e} allowed"
    return Verdict(difference <= allowed, description, {"max_difference": difference})


def _fits_platform(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.export.cost import needs, problems

    platform = project.config.export.platform
    if platform is None:
        return Verdict(True, "export.platform names no device to fit on")
    found = needs(artifact.file(MODEL_FILE))
    return _from_problems(problems(found, platform), f"fits {platform}: {found.described()}")


def _measured(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    found = artifact.figures
    hours = found["background_hours"]
    target = project.config.evaluation.allowed_fah
    enough = hours * target >= 1.0
    description = (
        f"{found['false_alarms']} false alarm{'s' * (found['false_alarms'] != 1)} in {hours:.2f} h of background"
    )
    if not enough:
        description += f"; too few hours to show the target of {target:g} an hour"
    return Verdict(enough, description, {"background_hours": hours})


def _hears_the_word(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    found, allowed = artifact.figures, project.config.checks.max_frr
    description = f"{found['misses']} of {found['words']} words missed; {allowed:.0%} may be (checks.max_frr)"
    return Verdict(found["frr"] <= allowed, description, {"frr": found["frr"]}, "error")


def _int8_faithful(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    export, found = project.config.export, artifact.figures
    drop, ratio = found["f1_fp32"] - found["f1_int8"], found["size_ratio"]
    description = (
        f"F1 {found['f1_fp32']:.4f} -> {found['f1_int8']:.4f} (a drop of {export.int8_max_f1_drop} is allowed), "
        f"size {ratio:.1%} of fp32 ({export.int8_max_ratio:.0%} allowed)"
    )
    accurate, small = drop <= export.int8_max_f1_drop, ratio <= export.int8_max_ratio
    # of a network of many small layers the graph itself is half of the file, which no calibration makes smaller
    severity: Severity | None = "warning" if accurate else None
    return Verdict(accurate and small, description, {"f1_drop": drop, "size_ratio": ratio}, severity)


def _fp16_faithful(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    allowed, found = project.config.export.int8_max_f1_drop, artifact.figures
    drop = found["f1_fp32"] - found["f1_fp16"]
    description = f"F1 {found['f1_fp32']:.4f} -> {found['f1_fp16']:.4f} (a drop of {allowed} is allowed)"
    return Verdict(drop <= allowed, description, {"f1_drop": drop})


def _sealed(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    from wakeword_core.lineage.model_file import read_model_file

    names = [name for name in artifact.files if name.endswith(".onnx")]
    seals = {name: read_model_file(artifact.file(name)).seal for name in names}
    problems = [f"{name}: {seal}" for name, seal in seals.items() if seal != "whole"]
    return _from_problems(problems, f"{', '.join(names)} can tell by themselves that they are unaltered")


def _licences_stated(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    without = artifact.figures["without_licence"]
    allowed = artifact.figures["commercial_use"]
    if not without:
        return Verdict(True, f"every source has a licence; commercial use of what the model learnt from: {allowed}")
    described = f"no licence is stated for {', '.join(without[:_SHOWN])}{' and more' if len(without) > _SHOWN else ''}"
    return Verdict(False, f"{described}; name it under data.sources", {"sources": len(without)})


def _not_worse_than_champion(project: Project, artifact: Artifact, split: Split | None) -> Verdict:
    found = artifact.figures
    # what cannot be compared is for a person to decide about
    severity: Severity = "error" if found["compared"] else "warning"
    figures = {row["figure"]: row["difference"] for row in found["table"]}
    return Verdict(found["passed"], found["sentence"], figures, severity)


CHECKS: tuple[Check, ...] = (
    Check("speech_verifies", "synthetic_speech", "Every recording is as it was made.", _speech_verifies),
    Check("usable_recordings", "raw_manifest", "Something usable in every split and label.", _usable),
    Check("sources_read", "raw_manifest", "No source is missing or broken.", _all_sources_read, blocking=False),
    Check("splits_disjoint", "raw_manifest", "No speaker and no duplicate on two sides.", _disjoint),
    Check(
        "no_copies_across_splits",
        "raw_manifest",
        "No recording sounds like a copy of one in another split.",
        _no_copies_across_splits,
        blocking=False,
    ),
    Check(
        "data_as_before",
        "raw_manifest",
        "Class mix, loudness and duration as in the data of the champion.",
        _data_as_before,
        blocking=False,
    ),
    Check("shards_verify", "audio_shards", "Rows, ids and bytes of every shard verify.", _shards_verify),
    Check(
        "features_consistent",
        "mel_features",
        "Finite, of the right shape, labels as in the shards.",
        _features_consistent,
    ),
    Check("normalises", "cmvn_stats", "Training data normalise to mean 0 and variance 1.", _normalises),
    Check("beats_chance", "trained_model", "Better than chance on validation by a margin.", _beats_chance),
    Check("mined_from_training", "mined_negatives", "Every clip is from the training split.", _mined_from_training),
    Check("clips_verify", "mined_negatives", "Rows, ids and bytes of the clips' shards verify.", _clips_verify),
    Check("tuning_not_worse", "tuned_model", "No worse on validation than before tuning.", _tuning_not_worse),
    Check("nll_not_worse", "calibrated_model", "Calibration does not worsen NLL on validation.", _nll_not_worse),
    Check("equals_torch", "onnx_model", "The same scores as torch.", _equals_torch),
    Check("fits_platform", "onnx_model", "Flash, memory and products that the device has.", _fits_platform),
    Check(
        "hears_the_word",
        "metrics_report",
        "Of use at all; else it is no champion.",
        _hears_the_word,
        blocking=False,
    ),
    Check("enough_background", "metrics_report", "Enough background to show the target.", _measured, blocking=False),
    Check("int8_faithful", "int8_model", "F1 within one point and a third of the size.", _int8_faithful),
    Check("fp16_faithful", "fp16_model", "F1 within one point.", _fp16_faithful),
    Check("sealed", "model_bundle", "The models' own digests are right.", _sealed),
    Check("licences_stated", "model_bundle", "Every source has a licence.", _licences_stated, blocking=False),
    Check(
        "not_worse_than_champion",
        "champion_comparison",
        "Not worse than the champion on the same test; else it does not take its place.",
        _not_worse_than_champion,
        blocking=False,
    ),
)
"""All checks, in graph order."""


def checks_of(stage: str) -> list[Check]:
    """The checks of one stage."""
    return [check for check in CHECKS if check.stage == stage]
