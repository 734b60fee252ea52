"""The judge: a head on a frozen embedding of speech, trained on rows of the training split."""

from wakeword_core.config import DetectorConfig
from wakeword_core.features.settings import AUGMENTED_ROWS, EVERY_SPLIT
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.runtime.exported import JUDGE_FILE
from wakeword_core.stage_names import JUDGE, MANIFEST, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact

HEAD = "head.safetensors"


def make(run: StageRun) -> None:
    """Embed rows, train the head on them, and export both as one file."""
    from safetensors.torch import save_file

    from wakeword_core.files import replacing
    from wakeword_core.judge.embedding import STEP_SAMPLES, speech_embedding
    from wakeword_core.judge.export import HOPS_HEARD, WINDOW_SAMPLES, export_judge
    from wakeword_core.judge.head import train_heads
    from wakeword_core.judge.rows import embed_rows
    from wakeword_core.models.scoring import model_card

    config, inputs = run.config, run.inputs
    shards, features = inputs["audio_shards[train]"].path, inputs["mel_features[train]"].path
    synthetic = inputs[MANIFEST].figures["synthetic"]
    rows = embed_rows(shards, features, config, synthetic, WINDOW_SAMPLES, run.progress)
    words = len(config.labels) - 1
    heads, trained = train_heads(rows, words, config.judge.head, config.seed, run.progress)
    with replacing(run.out / HEAD) as part:
        save_file({name: values.contiguous() for name, values in heads.state_dict().items()}, part)
    card = {
        **model_card(config),
        "detector": DetectorConfig().model_dump(mode="json"),
        "threshold": 0.5,
        "operating_points": {},
        # whom it is asked by, and when, is for the model that it is put together with
        "judge": {
            "hop_samples": STEP_SAMPLES,
            "hops": HOPS_HEARD,
            "gate": 0.0,
            "hangover_seconds": 0.0,
            "made_for": "",
        },
    }
    onnx = config.export.onnx
    exported = export_judge(speech_embedding(), heads, card, onnx.opset, onnx.parity_tolerance, run.out)
    run.figures = {"rows": len(rows.labels), **trained, **exported}


def judge_beats_chance(judge: Artifact, run: CheckRun) -> Verdict:
    """Fail where the judge by itself ranks recordings of validation little better than chance."""
    from sklearn.metrics import roc_auc_score

    from wakeword_core.judge.validation import score_recordings
    from wakeword_core.runtime.judge import Judge

    scores, positive = score_recordings(Judge(judge.file(JUDGE_FILE)), run.inputs["audio_shards[val]"].path)
    if len(set(positive.tolist())) < 2:
        return Verdict(False, "validation holds only one class, so nothing can be said of the judge")
    auc, needed = float(roc_auc_score(positive, scores)), run.config.checks.min_val_auc
    enough = f"at least {needed} is needed (checks.min_val_auc)"
    description = f"ROC-AUC on {len(scores)} recordings of validation is {auc:.4f}; {enough}"
    return Verdict(auc >= needed, description, {"val_auc": auc})


STAGE = Stage(
    name=JUDGE,
    version="3",
    make=make,
    inputs=(
        Input("audio_shards", split="train"),
        Input("mel_features", split="train"),
        Input(MANIFEST, facet=SYNTHETIC_FACET),
    ),
    settings=("phrase", *EVERY_SPLIT, *AUGMENTED_ROWS, "judge.rows", "judge.head", "export.onnx"),
    group="model",
    kinds=("pytorch", "onnx"),
    description=__doc__,
    checks=(check(judge_beats_chance, inputs=(Input("audio_shards", split="val"),), limits=("checks.min_val_auc",)),),
    optional=lambda config: bool(config.judge_wanted_by),
)
