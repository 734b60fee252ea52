"""What went wrong in a training: what its history and the number of its recordings show, each with what to do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wakeword_core.training.records import EpochRecord

History = Sequence[EpochRecord]

_RISEN, _RISEN_NATS = 1.5, 0.3
"""How much higher, times and nats, than in an epoch before the loss of a training is that diverges."""
_CHANCE = 0.6
"""ROC-AUC on validation that a training which learns anything comes to."""
_FEWEST_EPOCHS = 4
"""Of a shorter training nothing is said about how its losses move."""
_OVERFIT, _OVERFIT_NATS = 1.2, 0.05
"""How much higher, times and nats, the last validation loss than the least may be while the training loss falls."""
_BY_HEART = 0.5
"""What is left of the training loss where recordings are learnt by heart and nothing else is."""
_STILL_FALLING = 0.2
"""Share of all that the training loss came down by that the last quarter of the epochs may have."""
_SMALL_FALL = 0.1
"""A loss that came down by a smaller share of itself is not said to fall."""
_FEWEST_WORDS, _FEWEST_OTHERS = 20, 100
"""Windows with and without a word that validation needs to tell one training from another."""
_MEANINGLESS = ("diverged", "never_left_chance")
_RESTS, _RESTS_WORDS = 0.05, 2
"""Share and number of the words that may be missed because of the two loudest windows without one; and half of all
that are missed."""
_FEWEST_RECORDINGS, _LEAST_SHARE = 10, 0.005
"""Recordings of each class, and its share of all, below which it is hardly there."""


@dataclass(frozen=True)
class Counts:
    """What a training learnt from and was judged by."""

    recordings: Mapping[str, int]  # of training, by class
    words: int  # windows of validation with a wake word
    others: int  # windows of validation without


def find_faults(history: History, kept: EpochRecord, counts: Counts) -> dict[str, str]:
    """Name what a training shows that went wrong: a sentence with advice for each, by a short name.

    `kept` is the epoch whose weights are saved. Of how the losses move, the worst is named alone, and of scores that
    mean nothing no threshold is looked at.
    """
    movement: tuple[tuple[str, Callable[[History], str]], ...] = (
        ("diverged", _diverged),
        ("overfits", _overfits),
        ("never_left_chance", _never_left_chance),
        ("still_falling", _still_falling),
    )
    moved = next(((name, sentence) for name, found in movement if (sentence := found(history))), None)
    found = {
        **dict([moved] if moved else []),
        "validation_too_small": _validation_too_small(counts),
        "threshold_rests_on_two": "" if moved and moved[0] in _MEANINGLESS else _threshold_rests_on_two(kept, counts),
        "class_nearly_missing": _class_nearly_missing(counts),
    }
    return {name: sentence for name, sentence in found.items() if sentence}


def _diverged(history: History) -> str:
    # a loss that is no number ends the training, and is in no history
    least, least_val, last = history[0], min(one.val_loss for one in history), history[-1]
    for record in history:
        # the training loss alone may rise because more difficult rows are drawn
        if _has_risen(least.train_loss, record.train_loss) and _has_risen(least_val, last.val_loss):
            return (
                f"the training diverged: its loss rose from {least.train_loss:.3f} in epoch {least.epoch} to "
                f"{record.train_loss:.3f} in epoch {record.epoch}, and on validation from {least_val:.3f} to "
                f"{last.val_loss:.3f}; lower training.schedule.learning_rate, for which `wakeword lr-find` suggests a "
                "value"
            )
        least = min(least, record, key=lambda one: one.train_loss)
    return ""


def _has_risen(least: float, later: float) -> bool:
    return later > max(_RISEN * least, least + _RISEN_NATS)


def _never_left_chance(history: History) -> str:
    if not _is_chance(history):
        return ""
    best = max(record.val_auc for record in history)
    return (
        f"the training never left chance: its best ROC-AUC on validation is {best:.3f}, where guessing gives 0.5; "
        "listen to some recordings of each source, since labels may be wrong, and look for a learning rate with "
        "`wakeword lr-find`"
    )


def _is_chance(history: History) -> bool:
    return max(record.val_auc for record in history) < _CHANCE


def _overfits(history: History) -> str:
    if len(history) < _FEWEST_EPOCHS:
        return ""
    first, best, last = history[0], min(history, key=lambda record: record.val_loss), history[-1]
    allowed = max(_OVERFIT * best.val_loss, best.val_loss + _OVERFIT_NATS)
    if last.val_loss > allowed and last.train_loss < best.train_loss:
        how = (
            f"after epoch {best.epoch} the validation loss rose from {best.val_loss:.3f} to {last.val_loss:.3f} while "
            f"the training loss fell from {best.train_loss:.3f} to {last.train_loss:.3f}"
        )
    elif _is_chance(history) and last.train_loss < _BY_HEART * first.train_loss:
        how = (
            f"the training loss fell from {first.train_loss:.3f} to {last.train_loss:.3f}, but validation is ranked by "
            "chance"
        )
    else:
        return ""
    return (
        f"the training overfits: {how}; add recordings of more people, raise features.augment.views, or set "
        "training.validation.keep to best"
    )


def _still_falling(history: History) -> str:
    if len(history) < _FEWEST_EPOCHS:
        return ""
    before, last = history[-1 - round(len(history) / 4)], history[-1]
    fall, lately = history[0].train_loss - last.train_loss, before.train_loss - last.train_loss
    if fall < _SMALL_FALL * history[0].train_loss or lately < _STILL_FALLING * fall:
        return ""
    return (
        f"the training ended too soon: its loss still fell from {before.train_loss:.3f} to {last.train_loss:.3f} after "
        f"epoch {before.epoch}, {100 * lately / fall:.0f} % of all that it came down; raise training.schedule.epochs "
        "or training.schedule.learning_rate"
    )


def _validation_too_small(counts: Counts) -> str:
    few = [
        f"{number} windows {what} a wake word"
        for number, least, what in (
            (counts.words, _FEWEST_WORDS, "with"),
            (counts.others, _FEWEST_OTHERS, "without"),
        )
        if number < least
    ]
    if not few:
        return ""
    return (
        f"validation is too small, with {' and '.join(few)} (one word more or less is "
        f"{100 / max(counts.words, 1):.0f} % of them), so that its figures, and thresholds that are chosen on it, say "
        "little; add recordings, or raise data.splits.val_fraction"
    )


def _threshold_rests_on_two(kept: EpochRecord, counts: Counts) -> str:
    if kept.val_frr_but_two is None:
        return ""
    more = kept.val_frr - kept.val_frr_but_two
    if more < _RESTS or more * counts.words < _RESTS_WORDS or more <= kept.val_frr / 2:
        return ""
    return (
        f"a threshold would rest on two clips: because of the two loudest windows of validation without a wake word "
        f"{100 * kept.val_frr:.0f} % of its words would be missed, and {100 * kept.val_frr_but_two:.0f} % without "
        "these; listen to the loudest false alarms in the report, which may hold the word, and add recordings like "
        "them to training"
    )


def _class_nearly_missing(counts: Counts) -> str:
    total = sum(counts.recordings.values())
    rare = [
        f"{number} recordings of {label!r}"
        for label, number in sorted(counts.recordings.items())
        if number < max(_FEWEST_RECORDINGS, _LEAST_SHARE * total)
    ]
    if not rare:
        return ""
    return (
        f"training has only {' and '.join(rare)} among {total:,}, which is hardly anything to learn from; add "
        "recordings, let synthesis.enabled make some, or leave the word out"
    )
