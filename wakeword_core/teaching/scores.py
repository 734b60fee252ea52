"""What teachers say of training rows, step by step, and what a model that learns from them is held against."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.files import replacing

_PREFIX, _SUFFIX = "teacher_", ".safetensors"
_SCORES, _GRID = "log_probabilities", "step_frames_and_last_frame"


def scores_file(number: int) -> str:
    """Return the name of the file with what the teacher of a number from 1 on says."""
    return f"{_PREFIX}{number}{_SUFFIX}"


@dataclass(frozen=True)
class TeacherScores:
    """Log-probabilities float16 [rows, teachers, classes, steps]; not a number where a teacher says nothing.

    The last step ends with frame `last` of a row, and each other one `step_frames` before the next.
    """

    log_probabilities: Tensor
    step_frames: int
    last: int

    def __len__(self) -> int:
        return len(self.log_probabilities)

    @property
    def ends(self) -> Tensor:
        """Return the frame at which each step ends: int64 [steps]."""
        steps = self.log_probabilities.shape[3]
        return self.last - self.step_frames * torch.arange(steps - 1, -1, -1)

    def to(self, device: torch.device | str) -> "TeacherScores":
        """Return the same on a device."""
        return replace(self, log_probabilities=self.log_probabilities.to(device))

    def padded(self, rows: int) -> "TeacherScores":
        """Return the same for so many rows in all, of which teachers say nothing about those that are added."""
        more = rows - len(self)
        return replace(self, log_probabilities=_pad(self.log_probabilities, (0, 0, 0, 0, 0, 0, 0, more)))

    def chosen(self, rows: Tensor) -> "TeacherScores":
        """Return the same of some rows, by their numbers int64 [n], in any order and as often as they come."""
        return replace(self, log_probabilities=self.log_probabilities[rows])

    def at(self, ends: Tensor) -> Tensor:
        """Return log-probabilities float32 [rows, teachers, classes, steps] of all rows at `ends` [rows, steps].

        What counts is the step that ends nearest to each of these frames; before the first there is nothing.
        """
        said = self.log_probabilities
        place = said.shape[3] - 1 - ((self.last - ends) / self.step_frames).round().long()
        wanted = place.clamp_min(0)[:, None, None].expand(-1, *said.shape[1:3], -1)
        return said.gather(3, wanted).float().masked_fill((place < 0)[:, None, None], torch.nan)

    def loudest(self) -> Tensor:
        """Return the highest log-probability of a wake word in each row, by each teacher: float32 [rows, teachers]."""
        words = self.log_probabilities[:, :, 1:]
        return words.masked_fill(words.isnan(), -torch.inf).flatten(2).amax(dim=2).float()

    def save(self, path: Path) -> None:
        """Write a safetensors file, whose bytes follow from the scores alone."""
        grid = torch.tensor([self.step_frames, self.last])
        with replacing(path) as part:
            save_file({_SCORES: self.log_probabilities.contiguous(), _GRID: grid}, part)

    @classmethod
    def load(cls, path: Path) -> "TeacherScores":
        """Read what `save` wrote; ArtifactError if it is not that."""
        try:
            tensors = load_file(path)
            step_frames, last = tensors[_GRID].tolist()
            scores = tensors[_SCORES]
            if scores.ndim != 4 or scores.dtype != torch.float16 or step_frames < 1:
                raise ValueError(f"scores of {scores.dtype} {list(scores.shape)}")
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ArtifactError(
                f"{path} holds no scores of a teacher ({reason_of(error)}); build them again"
            ) from error
        return cls(scores, step_frames, last)


def load_scores(folder: Path) -> TeacherScores:
    """Read what all teachers say that a folder has files of; ArtifactError when they are not about the same rows."""
    count = len(list(folder.glob(f"{_PREFIX}*{_SUFFIX}")))
    if not count:
        raise ArtifactError(f"{folder} holds no scores of teachers; build them again")
    each = [TeacherScores.load(folder / scores_file(number)) for number in range(1, count + 1)]
    first = each[0]
    if len({(len(one), one.log_probabilities.shape[2], one.step_frames, one.last) for one in each}) > 1:
        raise ArtifactError(f"the teachers' scores in {folder} are about other rows each; build them again")
    steps = max(one.log_probabilities.shape[3] for one in each)
    # one that has to hear more begins to speak later
    scores = [_pad(one.log_probabilities, (steps - one.log_probabilities.shape[3], 0)) for one in each]
    return replace(first, log_probabilities=torch.cat(scores, dim=1))


def _pad(scores: Tensor, by: Sequence[int]) -> Tensor:
    return functional.pad(scores, list(by), value=torch.nan)


def targets_of(log_probabilities: Tensor, weights: Sequence[float], temperature: float) -> Tensor:
    """Average what teachers say [rows, teachers, classes, steps] to probabilities [rows, classes, steps].

    Each teacher's log-odds are divided by the temperature, then probabilities are averaged by the weights of those that
    say something; where none does, all are 0.
    """
    says = log_probabilities.isfinite().all(dim=2, keepdim=True)
    softened = torch.softmax(log_probabilities.masked_fill(~says, 0.0) / temperature, dim=2)
    shares = says * log_probabilities.new_tensor(weights)[:, None, None]
    total = shares.sum(dim=1)
    return (softened * shares).sum(dim=1) / torch.where(total > 0, total, 1.0)
