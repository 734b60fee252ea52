"""Noise to mix into training rows, recorded and generated, in pieces that a row chooses by hash.

A new recording of noise is chosen by its share of the rows, and no other row changes.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from wakeword_core.features.draws import Ring

_PIECE_SECONDS = 2.0
_LEAST_SECONDS = 0.1
"""What is shorter and went round would be a tone."""
_PEAK = 16_384
_ENVELOPE_HERTZ = (50.0, 8_000.0)
_ENVELOPE_KNOTS = 9
_ENVELOPE_DB = (-30.0, 0.0)
_BEAT_HERTZ = (0.2, 8.0)
"""Shape of generated noise: a knot about every octave, each at a random level, and a beat as of speech or machines."""

Indices = npt.NDArray[np.int64]
Pcm = npt.NDArray[np.int16]


class NoiseBank:
    """Noise end to end, int16 [samples], of which a row takes a piece; generated pieces are made when first taken."""

    def __init__(
        self,
        recorded: Iterable[tuple[str, Pcm]],
        generated_minutes: float,
        row_samples: int,
        sample_rate: int,
        seed: int,
    ) -> None:
        """`recorded`: (what stands for it, int16 [samples]); a row needs `row_samples` from where it begins."""
        self._rate, self._seed = sample_rate, seed
        self.seconds = generated_minutes * 60
        """of noise, recorded and generated"""
        piece = round(_PIECE_SECONDS * sample_rate)
        held, names, starts, spans, at = [], [], [], [], 0
        for name, sound in recorded:
            if len(sound) < _LEAST_SECONDS * sample_rate:
                continue
            # what is shorter than a row and a piece goes round
            kept = np.resize(sound, max(len(sound), row_samples + min(len(sound), piece)))
            room = len(kept) - row_samples
            pieces = max(1, round(room / piece))
            names += [f"{name}:{number}" for number in range(pieces)]
            starts.append(at + np.arange(pieces) * room // pieces)
            spans.append(np.full(pieces, room // pieces))
            self.seconds += len(sound) / sample_rate
            held.append(kept)
            at += len(kept)
        made = round(generated_minutes * 60 / _PIECE_SECONDS)
        self._recorded = len(names)
        names += [f"generated:{seed}:{sample_rate}:{number}" for number in range(made)]
        starts.append(at + np.arange(made) * (row_samples + piece))
        spans.append(np.full(made, piece))
        held.append(np.zeros(made * (row_samples + piece), np.int16))
        self.samples: Pcm = np.concatenate(held)
        self._length = row_samples + piece
        self._starts, self._spans = (np.concatenate(one).astype(np.int64) for one in (starts, spans))
        self._made = np.arange(len(names)) < self._recorded
        digests = b"".join(hashlib.sha256(name.encode()).digest()[:8] for name in names)
        self.keys = np.frombuffer(digests, np.uint64)
        """what stands for each piece: [pieces]"""
        self._ring = Ring(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def choose(self, which: npt.NDArray[np.float64], where: npt.NDArray[np.float64]) -> tuple[Indices, Indices]:
        """For numbers in [0, 1), [rows] each: the piece that a row takes, and the sample of the bank it begins at."""
        if not len(self):
            return np.zeros(len(which), np.int64), np.zeros(len(which), np.int64)
        pieces = self._ring.choose(which)
        return pieces, self._starts[pieces] + (where * self._spans[pieces]).astype(np.int64)

    def make(self, pieces: Indices) -> list[slice]:
        """Generate those of the pieces that are not there yet; where in the bank they are."""
        missing = np.unique(pieces[~self._made[pieces]])
        filled = [slice(start, start + self._length) for start in self._starts[missing].tolist()]
        for piece, place in zip(missing.tolist(), filled, strict=True):
            sound = generate_piece(piece - self._recorded, self._rate, self._seed)
            self.samples[place] = np.resize(sound, self._length)
        self._made[missing] = True
        return filled


def generate_piece(number: int, sample_rate: int, seed: int) -> Pcm:
    """Two seconds of noise of some colour and beat: int16 [samples], whose end goes on at its beginning.

    A few recordings of noise are soon known by heart, and then unknown noise is mistaken for speech or hides it. Each
    piece is white noise under a random smooth spectral envelope, with a random slow modulation of its level.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, 0x4E, number]))
    samples = round(_PIECE_SECONDS * sample_rate)
    octave = np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / sample_rate), _ENVELOPE_HERTZ[0]))
    knots = np.log2(np.geomspace(*_ENVELOPE_HERTZ, _ENVELOPE_KNOTS))
    envelope_db = np.interp(octave, knots, generator.uniform(*_ENVELOPE_DB, _ENVELOPE_KNOTS))
    spectrum = np.fft.rfft(generator.standard_normal(samples)) * 10.0 ** (envelope_db / 20.0)
    # whole beats, so that the piece can go round
    beats = max(1, round(generator.uniform(*_BEAT_HERTZ) * _PIECE_SECONDS))
    beat = np.sin(2 * np.pi * (beats * np.arange(samples) / samples + generator.uniform()))
    sound = np.fft.irfft(spectrum, samples) * (1.0 + generator.uniform(0, 0.9) * beat)
    return np.rint(sound / np.abs(sound).max() * _PEAK).astype(np.int16)
