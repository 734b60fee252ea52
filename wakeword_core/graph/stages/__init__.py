"""The graph on one page: every stage, in build order."""

from wakeword_core.graph.stage import Stage
from wakeword_core.graph.stages import (
    bundle,
    calibration,
    cmvn,
    comparison,
    features,
    fp16,
    int8,
    judge,
    judged,
    manifest,
    mining,
    onnx,
    openwakeword,
    report,
    shards,
    speech,
    teachers,
    tflite,
    torch_program,
    training,
    tuning,
)

STAGES: tuple[Stage, ...] = (
    speech.STAGE,  # text -> recordings
    manifest.STAGE,  # recordings -> a row for each, with its split
    shards.STAGE,  # rows of a split -> decoded audio in Parquet
    features.STAGE,  # audio -> windows of features in HDF5
    cmvn.STAGE,  # training windows -> mean and deviation of each band
    teachers.STAGE,  # finished models -> what they say of each training window
    training.STAGE,  # windows -> network
    mining.STAGE,  # network -> clips that it wrongly fires at
    tuning.STAGE,  # network and clips -> tuned network
    calibration.STAGE,  # validation -> calibration, detector, thresholds
    onnx.STAGE,  # model -> ONNX
    tflite.STAGE,  # model -> 8-bit integers for microcontrollers
    judge.STAGE,  # training rows -> judge, which is asked where the model hears something
    judged.STAGE,  # model and judge -> their thresholds, and what they give on the test
    report.STAGE,  # the test -> figures and a page
    openwakeword.STAGE,  # the judge's heads -> files for openWakeWord
    int8.STAGE,  # ONNX -> 8-bit integers
    fp16.STAGE,  # ONNX -> float16
    torch_program.STAGE,  # model -> torch.export
    bundle.STAGE,  # all that ships, with the model card
    comparison.STAGE,  # the new model against the champion
)
