"""Which real recordings are trained on, tuned on and tested on, for one wake word and one fold of three.

The folder is laid out as examples/README.md says. What is tested in a fold is heard by nothing in its training:

- the word's own recordings in contiguous thirds (neighbouring files are probably one speaker or device);
- the other wake words, recorded alike, in the same thirds: they are background;
- German sentences (one speaker) are tested in fold 0, English and Spanish prompts (one speaker) in fold 1;
- read English by speaker, commands and near misses by the random part of their names, noise by its own folds.

With `elsewhere`, training and validation hold no wake word but the word itself: all others are strangers of the test,
which besides has one whole source that is heard nowhere else (German, prompts, commands, fold by fold).

`text_sources` are the same for a model that learns its word from text, and from a few recordings of it at most.

Nobody wrote down who speaks in the wake words, the commands and the near misses: the same person may say another clip
on another side, and a speaker may straddle the edge of a third. Figures may flatter the model by that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wakeword_core.errors import DataError

FOLDS = 3
WORDS = ("alexa", "computer", "jarvis")
_VAL_SHARE = 8
"""One in so many of the word's recordings that are not tested is for validation: the first block of them."""
_HEX = {"test": ("[0-4]", "[5-9]", "[a-f]"), "val": ("[5-6]", "[a-b]", "[0-1]")}
"""First digit of a random name, fold by fold; what is in neither is trained on."""
_READER = r"-(?P<speaker>\d+)-\d+-\d{4}\.ogg$"
_VAL_READERS = 7
"""Readers whose number is a multiple of this are for validation where they are not tested."""
_NOISE = {"test": ("[12]", "[35]", "[4]"), "val": ("3", "4", "1")}
"""ESC-50's own folds, which keep pieces of one clip together, likewise."""
_SINGLE = {
    "read_de": ("test", "val", "val"),
    "prompts_en": ("train", "test", "train"),
    "prompts_es": ("train", "test", "train"),
}
"""What the recordings of one speaker are for, fold by fold; English and Spanish prompts are one and the same voice."""
_COMMANDS_ELSEWHERE = 2
"""The fold in which commands are tested only, if elsewhere; German and prompts have the two others."""
STRANGERS = (*WORDS, "wake_words_en")
"""Folders of wake words, each said alone; those that are not the word are strangers to a model built elsewhere."""
_LICENCES = {
    "read_en": "CC-BY-4.0",
    "read_de": "CC0-1.0",
    "prompts_en": "CC-BY-SA-3.0",
    "prompts_es": "CC-BY-SA-3.0",
    "wake_words_en": "LicenseRef-public-domain",
    "not_wake_words": "LicenseRef-public-domain",
    "esc10": "CC-BY-3.0",
    "ambient": "LicenseRef-Pixabay AND CC0-1.0",
    "household": "CC-BY-4.0",
}


@dataclass(frozen=True)
class _Part:
    """Files of a folder by split: patterns to take for test and val; the rest is for training."""

    folder: str
    role: str
    speaker: str
    test: tuple[str, ...]
    val: tuple[str, ...]
    never: tuple[str, ...] = ()


def sources(root: Path, word: str, fold: int, elsewhere: bool = False) -> list[dict[str, Any]]:
    """`data.sources` of a configuration for one word and fold."""
    if word not in WORDS or not 0 <= fold < FOLDS:
        raise DataError(f"there is no fold {fold} of {word!r}: words are {', '.join(WORDS)}, folds 0 to {FOLDS - 1}")
    return [source for part in _parts(root, word, fold, elsewhere) for source in _sources(root, part)]


def text_sources(
    root: Path, word: str, fold: int, elsewhere: bool = False, learnt: int = 0, tested: float = 1.0
) -> list[dict[str, Any]]:
    """`data.sources` of a model that hears at most the first `learnt` recordings of its word before the test.

    The last share `tested` of the word's recordings is tested. Those between are left out, so that whoever speaks in
    the last one learnt is hardly the first one tested. All other sources are those of `sources`.
    """
    others = [source for source in sources(root, word, fold, elsewhere) if source["role"] != "positive"]
    files = _numbered(root / "keywords" / word)
    first = len(files) - round(tested * len(files))
    if not 0 <= learnt <= first:
        raise DataError(f"{learnt} recordings of {word!r} cannot be learnt from: {first} of them are not tested")
    test, between = (tuple(f"**/{name}" for name in names) for names in (files[first:], files[learnt:first]))
    own = _sources(root, _Part(f"keywords/{word}", "positive", "block:10", test, (), never=between))
    return [source for source in own if learnt or source["split"] == "test"] + others


def _parts(root: Path, word: str, fold: int, elsewhere: bool) -> Iterator[_Part]:
    everything: tuple[str, ...] = ("**/*",)
    for keyword in WORDS:
        test, val = _blocks(root / "keywords" / keyword, fold)
        if elsewhere and keyword != word:
            test, val = everything, ()
        role = "positive" if keyword == word else "negative"
        yield _Part(f"keywords/{keyword}", role, "block:10", test, val)
    hexadecimal = {split: patterns[fold] for split, patterns in _HEX.items()}
    noise = {split: patterns[fold] for split, patterns in _NOISE.items()}
    commands = tuple((f"**/*-clean-{hexadecimal[split]}*",) for split in ("test", "val"))
    if elsewhere and fold == _COMMANDS_ELSEWHERE:
        commands = everything, ()
    yield _Part("speech/commands_en", "negative", "unknown", *commands)
    for folder in ("wake_words_en", "not_wake_words"):
        test, val = ((f"**/*{hexadecimal[split]}.ogg",) for split in ("test", "val"))
        stranger = elsewhere and folder == "wake_words_en"
        yield _Part(
            f"speech/{folder}",
            "negative" if stranger else "hard_negative",
            "unknown",
            everything if stranger else test,
            () if stranger else val,
            never=(f"**/*{word}*",),
        )
    yield _Part("speech/read_en", "negative", f"regex:{_READER}", *_readers(root / "speech/read_en", fold))
    for folder, splits in _SINGLE.items():
        test, val = (everything if splits[fold] == split else () for split in ("test", "val"))
        yield _Part(f"speech/{folder}", "negative", "single", test, val)
    yield _Part(
        "noise/esc10",
        "noise",
        r"regex:-(?P<speaker>\d-\d+)-[A-Z]\.ogg$",
        (f"**/*-{noise['test']}-*",),
        (f"**/*-{noise['val']}-*",),
    )
    for folder in ("ambient", "household"):
        files = sorted(path.name for path in (root / "noise" / folder).glob("*.ogg"))
        yield _Part(f"noise/{folder}", "noise", "unknown", _every(files, fold), _every(files, fold + 1, 2 * FOLDS))


def _every(files: list[str], first: int, step: int = FOLDS) -> tuple[str, ...]:
    return tuple(f"**/{name}" for name in files[first::step])


def _readers(folder: Path, fold: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files of the readers that are tested in a fold, a third of them, and of those for validation."""
    found = {path.name: re.search(_READER, path.name) for path in folder.glob("*.ogg")}
    numbers = {name: int(match["speaker"]) for name, match in found.items() if match}
    test = [name for name, number in numbers.items() if number % FOLDS == fold]
    val = [name for name, number in numbers.items() if number % _VAL_READERS == 0 and number % FOLDS != fold]
    return tuple(f"**/{name}" for name in sorted(test)), tuple(f"**/{name}" for name in sorted(val))


def _blocks(folder: Path, fold: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Patterns of the tested third of a folder of numbered files, and of the first block of the rest."""
    files = _numbered(folder)
    first, last = fold * len(files) // FOLDS, (fold + 1) * len(files) // FOLDS
    rest = files[:first] + files[last:]
    val = rest[: len(rest) // _VAL_SHARE]
    return tuple(f"**/{one}" for one in files[first:last]), tuple(f"**/{one}" for one in val)


def _numbered(folder: Path) -> list[str]:
    files = sorted(path.name for path in folder.glob("*.flac"))
    if len(files) < FOLDS * _VAL_SHARE:
        raise DataError(f"{folder} holds {len(files)} FLAC files; examples/README.md says what the folder has to hold")
    return files


def _sources(root: Path, part: _Part) -> Iterator[dict[str, Any]]:
    name = part.folder.split("/")[1].replace("_", "-")
    common = {
        "path": str(root / part.folder),
        "role": part.role,
        "licence": _LICENCES.get(part.folder.split("/")[1], "Apache-2.0"),
        "speaker": part.speaker,
        "speaker_space": "prompts" if part.folder.startswith("speech/prompts") else None,
    }
    for split, patterns, left_out in (("test", part.test, ()), ("val", part.val, part.test)):
        if patterns:
            exclude = [*part.never, *left_out]
            yield {"name": f"{name}-{split}", "split": split, "include": list(patterns), "exclude": exclude, **common}
    if "**/*" not in part.test + part.val:
        exclude = [*part.never, *part.test, *part.val]
        yield {"name": f"{name}-train", "split": "train", "exclude": exclude, **common}
