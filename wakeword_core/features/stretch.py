"""Time stretching: sound goes by faster or slower, and its pitch stays.

The method is WSOLA (Verhelst and Roelands 1993): overlapping pieces of the sound are laid side by side at another
distance, and each is moved by a little to where it goes on most like the piece before. What is compared are whole
numbers, as recordings have them, so that every device and batch chooses the same pieces.
"""

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import next_fast_len
from torch.nn import functional

from wakeword_core.features.frontend import on_device
from wakeword_core.features.mel import PCM_SCALE

_HOP_SECONDS = 0.012
"""Half of a piece: a syllable keeps its sound, and a low voice has a whole period in a piece."""
_REACH_SECONDS = 0.008
"""How far a piece is moved at most, either way: together a period of the lowest voices."""
_LEAST = 0.4
"""Of two pieces that fit alike, the one that is moved less is taken: less than whole numbers differ."""


def stretch_margin(rate: int) -> int:
    """Count the samples that stretching hears besides as many as its result stands for."""
    hop, reach = _sizes(rate)
    return 3 * hop + reach


def stretch_from_end(audio: torch.Tensor, tempo: npt.NDArray[np.float64], samples: int, rate: int) -> torch.Tensor:
    """Let [rows, n] of 16-bit sound in [-1, 1] go by at a tempo [rows], the end in place: [rows, samples].

    Sound is within 8 ms of where its tempo puts it. Before the first sample it is silent.
    """
    hop, reach = _sizes(rate)
    window, width = 2 * hop, 2 * hop + 2 * reach
    pieces = -(-samples // hop)
    # from the end backwards; the first piece begins in the silence before that, so that the rest is whole
    wanted = np.rint(np.arange(pieces) * hop * tempo[:, None]).astype(np.int64)
    targets = on_device(np.concatenate([np.zeros_like(wanted[:, :1]), wanted + hop], 1), audio.device)
    beyond = max(0, int(wanted.max(initial=0)) + 2 * hop + width - audio.shape[1])
    sound = functional.pad(audio.flip(1), (hop + reach, beyond))
    starts = _fitting(sound, targets, hop, reach)
    rows = torch.arange(len(sound), device=audio.device)[:, None]
    laid = sound.unfold(1, window, 1)[rows, starts] * torch.hann_window(window, device=audio.device)
    whole = laid[:, :-1, hop:] + laid[:, 1:, :hop]
    return whole.flatten(1)[:, :samples].flip(1)


def _sizes(rate: int) -> tuple[int, int]:
    return round(_HOP_SECONDS * rate), round(_REACH_SECONDS * rate)


def _fitting(sound: torch.Tensor, targets: torch.Tensor, hop: int, reach: int) -> torch.Tensor:
    """Choose where pieces begin, near `targets` [rows, pieces] and each as the one before would go on."""
    window, width = 2 * hop, 2 * hop + 2 * reach
    size = next_fast_len(width, real=True)
    numbers = sound.double().div_(PCM_SCALE).round_()
    energy = functional.pad(numbers.square().cumsum(1), (1, 0))
    windows, widths = numbers.unfold(1, window, 1), numbers.unfold(1, width, 1)
    energies = (energy[:, window:] - energy[:, :-window]).unfold(1, 2 * reach + 1, 1)
    rows = torch.arange(len(sound), device=sound.device)
    moved = torch.arange(-reach, reach + 1, device=sound.device).abs() * (_LEAST / reach)
    starts = [targets[:, 0] + reach]
    for target in targets.T[1:]:
        goes_on = torch.fft.rfft(windows[rows, starts[-1] + hop], size).conj()
        alike = torch.fft.irfft(goes_on.mul_(torch.fft.rfft(widths[rows, target], size)), size)[:, : 2 * reach + 1]
        # the least squared difference, but for what is the same of all
        fit = alike.round_().mul_(2.0).sub_(energies[rows, target]).sub_(moved)
        starts.append(target + fit.argmax(1))
    return torch.stack(starts, 1)
