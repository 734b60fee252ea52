"""Settings of the judge: a second model that is asked where the first one hears a wake word."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wakeword_core.config.base import DECIDES_NOTHING, DecidesIf, ModelName, Settings

JUDGE_RATE = 16_000
"""Sample rate in Hz that every encoder of a judge was made for."""
EncoderName = Literal["speech_embedding", "whisper", "transformers"]
JudgePolicy = Literal["each", "mean"]
_IF_UNFROZEN = DecidesIf(lambda judge: judge.unfreeze_layers != 0)
_IF_SECOND = DecidesIf(lambda judge: judge.second is not None)


class JudgeRowsConfig(Settings):
    """How many of the training rows the judge learns from; which ones follows from the rows alone."""

    positives: int = Field(3_500, ge=1, le=50_000, description="Most rows with a wake word.")
    negatives: int = Field(6_000, ge=1, le=50_000, description="Most rows without one.")


class JudgeHeadConfig(Settings):
    """The part of the judge that is trained, on numbers of a frozen encoder: several heads, which are averaged."""

    count: int = Field(4, ge=1, le=32, description="Heads that are trained, each by another seed, and averaged.")
    channels: int = Field(32, ge=4, le=512, description="Channels of every layer.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout after the layers that see several steps.")
    noise: float = Field(
        0.3, ge=0, le=2, description="Most noise added to embeddings in training, in their standard deviations."
    )
    steps: int = Field(400, ge=10, le=100_000, description="Steps of training.")
    learning_rate: float = Field(3e-3, gt=0, le=1, description="Peak learning rate.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Weight decay.")


class JudgeConfig(Settings):
    """A head on a frozen encoder of speech that decides together with the model where this hears something."""

    enabled: bool = Field(
        False, description="Whether a judge is made, and tested together with the model (extra `judge`)."
    )
    encoder: EncoderName = Field(
        "speech_embedding",
        description="What the head rests on: speech_embedding is Google's, inside judge.onnx; whisper (extra `ears`) "
        "and transformers (extra `transformers`) are encoders in a folder, which need a window anew for each look.",
    )
    encoder_folder: Path | None = Field(
        None,
        description="Folder of the encoder, written as the path of a source is: Whisper in CTranslate2's form (null: "
        "tiny.en, which the extra brings), or wav2vec2, HuBERT or WavLM in safetensors. A stage depends on its files.",
    )
    unfreeze_layers: Annotated[int, _IF_UNFROZEN] = Field(
        0,
        ge=0,
        le=100,
        description="Last layers of the encoder transformers that are trained too, after the heads; 0: all are frozen.",
    )
    unfreeze_rate: Annotated[float, _IF_UNFROZEN] = Field(
        3e-5, gt=0, le=1, description="Peak learning rate of these layers, and of the heads beside them."
    )
    unfreeze_steps: Annotated[int, _IF_UNFROZEN] = Field(
        200, ge=1, le=100_000, description="Steps of their training, of 24 rows each."
    )
    gate: float = Field(
        0.05, gt=0, lt=1, description="Score of the model from which the judge is asked: the rest costs it nothing."
    )
    hangover_seconds: float = Field(
        0.5, ge=0, le=5, description="Time for which the judge is asked after the score was last so high."
    )
    # its bytes decide, wherever it lies: it is an input of the stage
    second: Annotated[ModelName | None, DECIDES_NOTHING] = Field(
        None,
        description="A second, larger judge, which is asked where model and first judge together hear something: the "
        "folder of a judge.onnx or that file, of this home or not, or the key of a judge_model; null: there is none.",
    )
    second_gate: Annotated[float, _IF_SECOND] = Field(
        0.05, gt=0, lt=1, description="Score of the model and the first judge together from which the second is asked."
    )
    policy: Annotated[JudgePolicy, _IF_SECOND] = Field(
        "each",
        description="How two judges decide: each in turn has to reach the threshold, so that the second may be asked "
        "on another machine; or the mean of the log-odds of the model and both has to.",
    )
    rows: JudgeRowsConfig = JudgeRowsConfig()
    head: JudgeHeadConfig = JudgeHeadConfig()

    @model_validator(mode="after")
    def _encoder_has_its_folder(self) -> Self:
        if self.encoder == "transformers" and self.encoder_folder is None:
            raise ValueError("encoder transformers needs encoder_folder: that of a wav2vec2, HuBERT or WavLM model")
        if self.encoder == "speech_embedding" and self.encoder_folder is not None:
            raise ValueError("encoder_folder is for encoder whisper or transformers: speech_embedding has none")
        if self.unfreeze_layers and self.encoder != "transformers":
            raise ValueError(f"unfreeze_layers is for encoder transformers: {self.encoder} stays as it is")
        return self
