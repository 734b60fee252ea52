"""Voices of piper (VITS, ONNX) that the user has, each an .onnx file with an .onnx.json beside it.

They run in onnxruntime, pronounced by espeak-ng; the package piper-tts is not needed. Piper's files draw their noise
inside the network, from a source that cannot be set for each line: here it is drawn outside, by the line's seed.

A file of several speakers looks each of them up in a table of embeddings, whose weighted means are speakers as well.
Where it has enough of them, each line is said by a mixture that is mostly its voice.
"""

import functools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from wakeword_core.config import Split
from wakeword_core.errors import ArtifactError, ConfigError, DataError, reason_of
from wakeword_core.files import as_type, content_hash, digest, hash_file, read_json
from wakeword_core.runtime.onnx_file import OnnxFile, read_onnx
from wakeword_core.speech import espeak
from wakeword_core.speech.engines import (
    SPLIT_TURNS,
    EngineSettings,
    Line,
    Samples,
    Voice,
    draw_mixture,
    has_sounds,
    is_latin,
    package_versions,
)

_MORE_OPERATORS = frozenset(("ConvTranspose", "CumSum", "GatherND", "NonZero", "RandomNormalLike"))
"""Those of VITS besides the ones of wake-word models; none of them repeats anything either."""
_NOISE = "RandomNormalLike"
_INPUTS = {"input", "input_lengths", "scales"}
_SPEAKER_INPUT = "sid"
_MIXTURE_INPUT = "speaker_weights"
_LEAST_MIXED = len(SPLIT_TURNS)
"""Speakers of a file: from so many on each split has some of its own."""
_BEGIN, _END, _PAD = "^", "$", "_"
_NOISE_A_PHONEME = 192 * 24
"""Numbers that most lines need at most; where one needs more, twice as many are drawn."""
_MOST_DOUBLINGS = 4
_SPEED_LIMITS = (0.5, 2.0)
_CODING = 2
"""Raise it when the same line gives another sound."""
_Ids = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=8)]


@dataclass(frozen=True)
class _Audio:
    sample_rate: Annotated[int, Field(ge=8_000, le=48_000)]


@dataclass(frozen=True)
class _Espeak:
    voice: Annotated[str, Field(pattern="[A-Za-z0-9]", max_length=40)] = "en-us"


@dataclass(frozen=True)
class _Inference:
    noise_scale: Annotated[float, Field(ge=0, le=10)] = 0.667
    length_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    noise_w: Annotated[float, Field(ge=0, le=10)] = 0.8


@dataclass(frozen=True)
class VoiceFile:
    """What the .onnx.json beside a voice says of it."""

    audio: _Audio
    phoneme_id_map: Annotated[dict[str, _Ids], Field(max_length=10_000)]
    num_speakers: Annotated[int, Field(ge=1, le=100_000)] = 1
    phoneme_type: str = "espeak"
    espeak: _Espeak = field(default_factory=_Espeak)
    inference: _Inference = field(default_factory=_Inference)

    @property
    def accent(self) -> str:
        """Return the accent of English that it is pronounced in."""
        return self.espeak.voice if self.espeak.voice in espeak.ACCENTS else "en-us"

    def ids(self, line: Line) -> list[int]:
        """Return the numbers of a line's phonemes, with padding between; DataError where the voice has none of them."""
        ipa = line.ipa or espeak.phonemes([line.text], self.accent)[0]
        spoken, end = espeak.as_read(ipa).replace("_", ""), line.ending
        known = [sign for sign in unicodedata.normalize("NFD", spoken) if sign in self.phoneme_id_map]
        if not has_sounds(known):
            raise DataError(f"the text {line.text!r} gives no sound in a voice of piper; use English words")
        ids = [*self.phoneme_id_map[_BEGIN], *self.phoneme_id_map[_PAD]]
        for sign in (*known, *(end if end in self.phoneme_id_map else "")):
            ids += [*self.phoneme_id_map[sign], *self.phoneme_id_map[_PAD]]
        return [*ids, *self.phoneme_id_map[_END]]


class PiperEngine:
    """All speakers of the files, by the names `file` or `file/number`; those of a file with many are mixed."""

    name = "piper"
    speaks_ipa = True
    seconds = 0.2

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._paths = {path.stem: path for path in paths}
        if not paths or len(self._paths) < len(paths):
            raise ConfigError(
                "synthesis.piper_voices must name .onnx files, no two of the same name, for piper to speak; add some, "
                "or leave piper out of synthesis.engines"
            )

    @functools.cached_property
    def version(self) -> str:
        """Return what the sound depends on: the files and packages."""
        files = sorted((stem, *map(hash_file, files_of_voice(path))) for stem, path in self._paths.items())
        return f"piper {_CODING} {digest(files)[:12]}, {package_versions('espeakng-loader', 'onnxruntime')}"

    def voices(self) -> tuple[Voice, ...]:
        """Return every speaker of every file; a single one is one person, who is learnt from.

        Where a file has many, each is in a fixed split, and mixed only with those of its split.
        """
        found: list[tuple[str, str, Split | None]] = []
        for stem, path in self._paths.items():
            described = describe(path)
            several = described.num_speakers > 1
            numbers = [f"/{number}" for number in range(described.num_speakers)] if several else [""]
            splits = _splits(stem, described.num_speakers)
            found += [
                (f"{stem}{number}", described.espeak.voice, splits[place] if splits else None)
                for place, number in enumerate(numbers)
            ]
        return tuple(
            Voice(
                name,
                re.sub(r"[^A-Za-z0-9.]+", "-", name),
                re.sub(r"[^a-z0-9]+", "-", language.lower()).strip("-"),
                f"synthetic (piper, {name.split('/')[0]})",
                split="train" if len(found) == 1 else split,
            )
            for name, language, split in found
        )

    @staticmethod
    def mixture(line: Line, described: VoiceFile) -> dict[int, float]:
        """Draw by the line's seed what each speaker of a file is worth in its voice; they sum to 1."""
        stem, _, number = line.voice.partition("/")
        splits = _splits(stem, described.num_speakers)
        alike = [other for other, split in enumerate(splits) if split == splits[int(number)] and other != int(number)]
        weights = draw_mixture(number or "0", list(map(str, alike)), np.random.default_rng([line.seed, _CODING]))
        return {int(speaker): weight for speaker, weight in weights.items()}

    def can_say(self, text: str) -> bool:
        """Tell whether it reads all of a text."""
        return is_latin(text)

    def prepare(self) -> None:
        """See that espeak-ng is there and that every file is a voice, which is tried under limits."""
        espeak.require()
        for path in self._paths.values():
            described, file = describe(path), read_voice(path)
            ids = described.ids(Line("hello", ""))
            given = _given(described, ids, {0: 1.0}, 1.0, 0, 2**_MOST_DOUBLINGS * len(ids) * _NOISE_A_PHONEME)
            try:
                trial = file.trial()
                names = {entry.name for entry in trial.get_inputs()}
                if not names >= _INPUTS:
                    raise ArtifactError(f"it lacks the inputs {', '.join(sorted(_INPUTS - names))}")
                file.first_run(trial, {name: value for name, value in given.items() if name in names})
            except ArtifactError as error:
                raise _no_voice(path, error) from error

    def say(self, line: Line) -> tuple[Samples, int]:
        """Say a line, in a mixture of speakers of which its own is the main one where they are mixed."""
        path = self._paths[line.voice.partition("/")[0]]
        described, session = describe(path), _session(path, content_hash(path))
        speakers = self.mixture(line, described)
        ids = described.ids(line)
        names = {entry.name for entry in session.get_inputs()}
        tempo = float(np.clip(line.tempo, *_SPEED_LIMITS))
        for doubling in range(_MOST_DOUBLINGS + 1):
            count = len(ids) * _NOISE_A_PHONEME * 2**doubling
            given = _given(described, ids, speakers, tempo, line.seed, count)
            try:
                outputs = session.run(None, {name: value for name, value in given.items() if name in names})
                break
            except Exception as error:  # onnxruntime's own exceptions have no common public base
                if doubling == _MOST_DOUBLINGS:
                    raise DataError(f"{path.name} cannot say {line.text!r} ({reason_of(error)})") from error
        samples = np.asarray(outputs[0], np.float32).reshape(-1)
        if not np.isfinite(samples).all() or not samples.any():
            raise DataError(f"the text {line.text!r} gives no sound in the voice {path.name}; use another")
        return np.clip(samples, -1, 1), described.audio.sample_rate


@functools.cache
def _splits(stem: str, speakers: int) -> tuple[Split, ...]:
    """The split of each speaker of a file of that name, where there are so many that they are mixed."""
    if speakers < _LEAST_MIXED:
        return ()
    drawn = sorted(range(speakers), key=lambda number: digest([stem, number]))
    turns = {number: SPLIT_TURNS[turn % len(SPLIT_TURNS)] for turn, number in enumerate(drawn)}
    return tuple(turns[number] for number in range(speakers))


def _given(
    described: VoiceFile, ids: list[int], speakers: Mapping[int, float], tempo: float, seed: int, noise: int
) -> dict[str, Any]:
    """What the network is given; of noise, more numbers begin with the fewer ones.

    `speakers` are weighted, the first one most.
    """
    scales = described.inference
    weights = np.zeros((1, described.num_speakers), np.float32)
    weights[0, list(speakers)] = list(speakers.values())
    generators = [np.random.default_rng([seed, place]) for place in range(2)]
    return {
        "input": np.array([ids], np.int64),
        "input_lengths": np.array([len(ids)], np.int64),
        "scales": np.array([scales.noise_scale, scales.length_scale / tempo, scales.noise_w], np.float32),
        _SPEAKER_INPUT: np.array([next(iter(speakers))], np.int64),
        _MIXTURE_INPUT: weights,
        **{
            f"noise_{place}": generator.standard_normal(noise, dtype=np.float32)
            for place, generator in enumerate(generators)
        },
    }


def _json(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def files_of_voice(path: Path) -> tuple[Path, Path]:
    """Return the two files that a voice is made of."""
    return path, _json(path)


def describe(path: Path) -> VoiceFile:
    """Read what is beside a voice; ConfigError where it is none that can be used here."""
    return _described(path, content_hash(_json(path)))


@functools.cache
def _described(path: Path, content: str) -> VoiceFile:
    """What is beside a voice, read once a process as long as it is the same."""
    try:
        described = as_type(VoiceFile, read_json(_json(path)))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"synthesis.piper_voices names {path}, but {_json(path).name} beside it cannot be read "
            f"({reason_of(error)}); keep the two files of a voice in one folder"
        ) from error
    lacking = {_BEGIN, _END, _PAD} - described.phoneme_id_map.keys()
    if described.phoneme_type != "espeak" or lacking:
        raise ConfigError(
            f"synthesis.piper_voices names {path}, which is not pronounced by espeak-ng's phonemes; use a voice that is"
        )
    return described


def read_voice(path: Path) -> OnnxFile:
    """Read a voice's network, looked through as any model of others; its noise, and who speaks, come from outside."""
    try:
        file = read_onnx(path, _MORE_OPERATORS)
    except ArtifactError as error:
        raise _no_voice(path, error) from error
    return replace(file, data=with_more_inputs(file.data, describe(path).num_speakers))


def with_more_inputs(data: bytes, speakers: int = 1) -> bytes:
    """Return a model with what its lines draw as inputs: its noise, and the weights of many speakers."""
    import onnx

    model = onnx.load_model_from_string(data)
    _take_noise(model)
    if speakers >= _LEAST_MIXED:
        _take_weights(model, speakers)
    return bytes(model.SerializeToString())


def _take_weights(model: Any, speakers: int) -> None:
    """Replace the look-up in the table of speakers by the product of weights [1, speakers] with it.

    A network that looks its speakers up in any other way stays as it is.
    """
    from onnx import TensorProto, helper

    readers = [node for node in model.graph.node if _SPEAKER_INPUT in node.input]
    tables = {table.name: list(table.dims) for table in model.graph.initializer}
    match readers:
        case [node] if node.op_type == "Gather" and node.input[1] == _SPEAKER_INPUT:
            rows = tables.get(node.input[0], [])
        case _:
            return
    if len(rows) != 2 or rows[0] != speakers or any(one.name == "axis" and one.i for one in node.attribute):
        return
    node.CopyFrom(helper.make_node("MatMul", [_MIXTURE_INPUT, node.input[0]], node.output))
    kept = [one for one in model.graph.input if one.name != _SPEAKER_INPUT]
    del model.graph.input[:]
    model.graph.input.extend([*kept, helper.make_tensor_value_info(_MIXTURE_INPUT, TensorProto.FLOAT, [1, speakers])])


def _take_noise(model: Any) -> None:
    """Take random numbers from inputs `noise_0`, `noise_1` and so on, flat."""
    from onnx import TensorProto, helper

    nodes: list[Any] = []
    noises = 0
    for node in model.graph.node:
        if node.op_type != _NOISE:
            nodes.append(node)
            continue
        name = f"noise_{noises}"
        noises += 1
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]))
        nodes += [
            helper.make_node("Shape", node.input, [f"{name}_shape"]),
            helper.make_node("ReduceProd", [f"{name}_shape"], [f"{name}_count"], keepdims=1),
            helper.make_node("Slice", [name, "noise_begin", f"{name}_count"], [f"{name}_flat"]),
            helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], node.output),
        ]
    model.graph.initializer.append(helper.make_tensor("noise_begin", TensorProto.INT64, [1], [0]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _no_voice(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"synthesis.piper_voices names {path}, which is no voice of piper ({error}); name the .onnx file of one"
    )


@functools.cache
def _session(path: Path, content: str) -> Any:
    """The loaded voice, once a process as long as it is the same."""
    return read_voice(path).session()


def engine(settings: EngineSettings) -> PiperEngine:
    """Make the engine."""
    return PiperEngine(settings.synthesis.piper_voices)
