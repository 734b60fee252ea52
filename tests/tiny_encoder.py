"""A tiny encoder of random weights, saved as transformers saves one."""

import json

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra `transformers`")

_SMALL = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def save_encoder(folder, kind="wav2vec2", seed=0, network=None, **preprocessing):
    """Save one in a folder, with what is said of its sound, and return the folder; `network` are other sizes of it."""
    from transformers import AutoConfig, AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoModel.from_config(AutoConfig.for_model(kind, **{**_SMALL, **(network or {})})).save_pretrained(folder)
    said = {"do_normalize": True, "sampling_rate": 16_000, **preprocessing}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder
