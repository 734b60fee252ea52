"""What can be left out of training to see what it is worth."""

from collections.abc import Sequence

from wakeword_core.errors import ConfigError

ABLATIONS: dict[str, tuple[str, ...]] = {
    "views": ("training.sampling.clean_share=1",),
    "speed": ("features.augment.speed_probability=0",),
    "tempo": ("features.augment.tempo_probability=0",),
    "pitch": ("features.augment.pitch_probability=0",),
    "rooms": ("features.augment.rir_probability=0",),
    "stored-noise": ("features.augment.noise_probability=0",),
    "devices": ("features.augment.device_probability=0",),
    "gain": ("features.augment.gain_db=[0, 0]", "training.augment.gain_db=[0, 0]"),
    "band-warp": ("training.augment.band_warp=0",),
    "colour": ("training.augment.colour_db=0",),
    "style": ("training.augment.style_probability=0",),
    "noise": ("training.augment.noise_probability=0",),
    "isolation": ("training.augment.isolate_probability=0",),
    "time-shift": ("training.augment.shift_frames=0",),
    "mixup": ("training.augment.mixup_alpha=0",),
    "spec-augment": ("training.spec_augment.time_masks=0", "training.spec_augment.mel_masks=0"),
    "averaging": ("training.ema.decay=0", "training.ema.final_decay=null"),
    "balance": ("training.sampling.kind=plain",),
    "words": ("synthesis.words=0",),
}
"""Name -> the settings that leave it out; of stored views first, then of batches, then of the rest."""


def without(names: Sequence[str]) -> list[str]:
    """Return the settings that leave out each of some ABLATIONS; ConfigError lists them for an unknown name."""
    unknown = [name for name in names if name not in ABLATIONS]
    if unknown:
        raise ConfigError(f"{unknown[0]!r} cannot be left out; choose from {', '.join(ABLATIONS)}")
    return [setting for name in names for setting in ABLATIONS[name]]
