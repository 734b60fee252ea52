"""Which model is champion: decided at the end of a build, by a person, or by a rollback."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from wakeword_core.config import Split
from wakeword_core.errors import ArtifactError, WakewordError
from wakeword_core.graph.project import Project
from wakeword_core.registry.history import Decision, Entry, Registry
from wakeword_core.stage_names import BUNDLE, COMPARISON, MODEL
from wakeword_core.store.artifacts import Artifact, ArtifactStore, artifact_name

_BELONG = (
    "trained_model", "tuned_model", "calibrated_model", MODEL, "judged_model", "int8_model", "tflite_model",
    "metrics_report", BUNDLE, COMPARISON,
)  # fmt: skip
"""Stages whose artifacts are entered with a model, and whose files are read before it becomes champion."""
_FIGURES = ("frr", "fah", "words", "misses", "false_alarms", "background_hours", "threshold")


def set_aside_damaged(project: Project) -> list[str]:
    """Set aside what belongs to the present model and changed on disk; returns the names."""
    return project.set_aside_damaged([(stage, None) for stage in _belonging(project)], themselves=True)


def _belonging(project: Project) -> list[str]:
    return [stage for stage in _BELONG if stage in project.stages]


def decide(project: Project) -> Entry:
    """Enter what follows for the present model from its comparison and checks; a decision that stands is not repeated.

    A champion stays champion, and a model that was rolled back does not become champion again by itself. ArtifactError
    where anything that belongs to the model changed on disk.
    """
    if damaged := set_aside_damaged(project):
        raise ArtifactError(f"{', '.join(damaged)} changed on disk and is set aside; run again to build it")
    failures = failed_checks(project)
    with project.registry().changing() as registry:
        last, entry = _last_and_next(project, registry, failures)
        if last == entry:
            return entry
        registry.adding(entry)
        return entry


def standing_decision(project: Project) -> Entry | None:
    """Return the decision about the present model, or None where the gate has none yet, or would now decide otherwise.

    Checks whose outcome is not recorded yet are made.
    """
    registry, model = project.registry(), project.require(MODEL)
    if settled := _settled(registry, model.key):
        return settled
    last, entry = _last_and_next(project, registry, failed_checks(project))
    return last if last == entry else None


def _last_and_next(project: Project, registry: Registry, failures: list[str]) -> tuple[Entry | None, Entry]:
    """Return the last entry of the present model and the one that follows from its artifacts; the same if it stands."""
    comparison, model, report = project.require(COMPARISON), project.require(MODEL), project.find("metrics_report")
    last, champion = registry.last(model.key), registry.champion
    if settled := _settled(registry, model.key):
        return settled, settled
    decision, cleared, reason = _ruling(project, comparison, failures, champion)
    entry = Entry(
        key=model.key,
        decision=decision,
        reason=reason,
        by="gate",
        opponent=champion.key if champion else "",
        cleared=cleared,
        artifacts={stage: artifact.key for stage in _belonging(project) if (artifact := project.find(stage))},
        figures={name: report.figures[name] for name in _FIGURES} if report else {},
    )
    return last, last if last and _same(last, entry) else entry


def _settled(registry: Registry, key: str) -> Entry | None:
    """Return the last decision about a model that the gate has no say in any more, else None."""
    last = registry.last(key)
    return last if last and (registry.role(key) == "champion" or last.decision == "rolled_back") else None


def _ruling(
    project: Project, comparison: Artifact, failures: list[str], champion: Entry | None
) -> tuple[Decision, bool, str]:
    """Return the decision, whether the model may be champion, and why."""
    figures = comparison.figures
    if failures:
        return "refused", False, "; ".join(failures)
    if champion and figures["opponent"] != champion.key:
        gone = project.store.find(MODEL, champion.key) is None
        why = "whose files are gone or damaged" if gone else "which was promoted meanwhile; run again"
        return "candidate", False, f"it was not compared with the champion {champion.key}, {why}"
    if champion and not figures["compared"]:
        return "candidate", False, figures["sentence"]
    if not figures["passed"]:
        return "refused", False, figures["sentence"]
    reason = f"{figures['sentence']}; no check found an error"
    if project.config.registry.promote == "manual":
        return "candidate", True, reason
    return "promoted", True, reason


def _same(last: Entry, entry: Entry) -> bool:
    names = ("key", "decision", "reason", "opponent", "cleared", "artifacts")
    return all(getattr(last, name) == getattr(entry, name) for name in names)


def failed_checks(project: Project) -> list[str]:
    """Say what is wrong with the first artifact that fails: of the model, what it was made from and what ships with it.

    What checks found is read where it is recorded, and measured where it is not; a warning is no failure.
    """
    for name, stage in project.stages.items():
        for split in stage.splits:
            if failures := list(_failures(project, name, split)):
                return failures
    return []


def _failures(project: Project, stage: str, split: Split | None) -> Iterator[str]:
    artifact, name = project.find(stage, split), artifact_name(stage, split)
    if artifact is None:
        yield f"{name} is not there"
    elif stage != COMPARISON:
        try:
            verdicts = project.verdicts(stage, split)
        except WakewordError as error:
            yield f"the checks of {name} could not be made: {error}"
            return
        yield from (f"{verdict.check} of {name}: {verdict.description}" for verdict in verdicts if verdict.failed)


def promote(project: Project, wanted: str, reason: str, *, force: bool) -> Entry:
    """Make a model of the registry champion because a person says so; WakewordError where that is not right.

    `wanted` is the beginning of its key or of the key of an artifact that belongs to it. Without `force` it must be
    cleared by the gate, in a comparison with the present champion.
    """
    with project.registry().changing() as registry:
        key = _named(registry, wanted)
        last, champion = registry.last(key), registry.champion
        assert last is not None
        if champion and champion.key == key:
            raise WakewordError(f"{key} is champion already")
        _require_model(project.store, key)
        _require_undamaged(project.store, last.artifacts)
        if not force:
            _require_cleared(last, champion)
        if not reason:
            reason = "a person promoted it"
        if force and not last.cleared:
            reason = f"{reason} (against the gate: {last.reason})"
        entry = Entry(
            key=key,
            decision="promoted",
            reason=reason,
            by="person",
            opponent=champion.key if champion else "",
            cleared=last.cleared,
            artifacts=last.artifacts,
            figures=last.figures,
        )
        registry.adding(entry)
        return entry


def _require_cleared(last: Entry, champion: Entry | None) -> None:
    unless = "build it again, or promote it all the same with --force --reason TEXT"
    if last.decision == "rolled_back":
        raise WakewordError(f"{last.key} was rolled back ({last.reason}); {unless}")
    if not last.cleared:
        raise WakewordError(f"{last.key} is {last.decision}: {last.reason}; {unless}")
    if champion and last.opponent != champion.key:
        opponent = last.opponent or "nobody"
        raise WakewordError(
            f"{last.key} was held against {opponent}, not against the champion {champion.key}; {unless}"
        )


def rollback(project: Project, reason: str) -> tuple[Entry, Entry]:
    """Roll the champion back, so that the one before it is champion again: (that one's entry, the old champion's)."""
    with project.registry().changing() as registry:
        champion, previous = registry.champion, registry.previous
        if champion is None:
            raise WakewordError(
                f"{registry.phrase!r} has no champion that could be rolled back; `wakeword models` lists what there is"
            )
        if previous is None:
            raise WakewordError(f"{champion.key} is the only champion that is left; there is nobody to go back to")
        _require_model(project.store, previous.key)
        entry = Entry(
            key=champion.key,
            decision="rolled_back",
            reason=f"{reason or 'a person rolled it back'}; {previous.key} is champion again",
            by="person",
            opponent=previous.key,
            artifacts=champion.artifacts,
            figures=champion.figures,
        )
        registry.adding(entry)
        return previous, entry


def remove_deleted(home: Path, keys: set[str], reason: str) -> list[Entry]:
    """Enter, in every registry of a home, that the files of models were deleted; returns what was entered."""
    entered = []
    for unlocked in Registry.all(home):
        with unlocked.changing() as registry:
            for key in sorted(keys.intersection(registry.keys)):
                entered.append(Entry(key, "removed", reason, "person"))
                registry = registry.adding(entered[-1])
    return entered


def _named(registry: Registry, wanted: str) -> str:
    """Return the key of the model that `wanted` names; WakewordError when it names none or several."""

    def names(key: str) -> list[str]:
        last = registry.last(key)
        return [key, *(last.artifacts[stage] for stage in (MODEL, BUNDLE) if last and stage in last.artifacts)]

    keys = [
        key
        for key in registry.keys
        if wanted and any(name.startswith(wanted) for name in names(key)) and registry.role(key) != "removed"
    ]
    if len(keys) != 1:
        what = f"may be {' or '.join(keys)}" if keys else f"is no model of the registry of {registry.phrase!r}"
        raise WakewordError(f"{wanted!r} {what}; `wakeword models` lists them")
    return keys[0]


def _require_undamaged(store: ArtifactStore, keys: Mapping[str, str]) -> None:
    for artifact in (artifact for stage in keys for artifact in store.cards(stage) if artifact.key == keys[stage]):
        if damaged := artifact.damaged(read=True):
            raise ArtifactError(
                f"{artifact.stage} {artifact.key} is damaged ({', '.join(damaged)}); nothing was changed; build the "
                "model again"
            )


def _require_model(store: ArtifactStore, key: str) -> None:
    model = store.find(MODEL, key)
    if model is None or model.damaged(read=True):
        raise ArtifactError(f"the files of {key} are gone or damaged; nothing was changed; build it again")
