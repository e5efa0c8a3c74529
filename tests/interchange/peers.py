"""Small random models of other packages, with what these compute of them.

`python -m tests.interchange.peers FOLDER` writes what tests/testdata/interchange holds;
it needs the extra `bench`, with tf_keras for tf-models-official.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

V, H, N, INNER, LAYERS, P, T = 40, 12, 3, 20, 2, 16, 2
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *"ABCDEFGH"]
PIECES += [f"##{x}" for x in "abcdefgh"] + [f"word{i}" for i in range(V - 29)]
BERT = {
    "vocab_size": V,
    "hidden_size": H,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": N,
    "intermediate_size": INNER,
    "max_position_embeddings": P,
    "type_vocab_size": T,
    "hidden_act": "gelu",
    "initializer_range": 0.15,
    "attn_implementation": "eager",
}
DISTILBERT = {
    "vocab_size": V,
    "dim": H,
    "n_layers": LAYERS,
    "n_heads": N,
    "hidden_dim": INNER,
    "max_position_embeddings": P,
    "initializer_range": 0.15,
    "attn_implementation": "eager",
}
LABELS = {0: "no", 1: "maybe", 2: "yes"}


def inputs() -> dict[str, np.ndarray]:
    """Returns int32 `[3, 9]`, two rows with padding."""
    rng = np.random.default_rng(3)
    mask = np.array([[1] * 9, [1] * 5 + [0] * 4, [1, 1] + [0] * 7], np.int32)
    return {
        "input_ids": rng.integers(5, V, (3, 9), dtype=np.int32) * mask,
        "input_mask": mask,
        "segment_ids": rng.integers(0, T, (3, 9), dtype=np.int32) * mask,
    }


def transformers_model(kind: str, values: dict[str, Any], seed: int = 1) -> Any:
    """Returns a model of transformers whose every number is random."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = "DistilBertConfig" if kind.startswith("Distil") else "BertConfig"
    options = dict(values)
    if "Classification" in kind:
        options |= {"id2label": LABELS, "label2id": {x: i for i, x in LABELS.items()}}
    model = getattr(transformers, kind)(getattr(transformers, config)(**options))
    with torch.no_grad():
        for parameter in model.parameters():  # biases are zeros, scales ones
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def transformers_outputs(model: Any) -> dict[str, np.ndarray]:
    """Returns all that a model of transformers says of `inputs()`, by its names."""
    import torch

    given = {name: torch.from_numpy(x).long() for name, x in inputs().items()}
    theirs = {
        "input_ids": given["input_ids"],
        "attention_mask": given["input_mask"],
        "token_type_ids": given["segment_ids"],
    }
    if model.config.model_type == "distilbert":
        del theirs["token_type_ids"]
    with torch.inference_mode():
        outputs = model(**theirs)
    return {name: x.numpy() for name, x in outputs.items() if hasattr(x, "numpy")}


def save_transformers(
    model: Any, folder: Path, lower: bool = True, **options: Any
) -> None:
    """Writes a model and its tokenizer as transformers does."""
    from transformers import BertTokenizer

    model.save_pretrained(folder, **options)
    vocab = folder / "vocab.txt"
    vocab.write_text("".join(f"{piece}\n" for piece in PIECES))
    BertTokenizer(str(vocab), do_lower_case=lower).save_pretrained(folder)


def distilbert(folder: Path) -> None:
    """Writes a DistilBERT with its masked-LM head."""
    model = transformers_model("DistilBertForMaskedLM", DISTILBERT)
    save_transformers(model, folder)
    (folder / "vocab.txt").unlink()  # as the newest versions leave it
    np.savez(folder / "outputs.npz", **transformers_outputs(model))


def spanbert(folder: Path) -> None:
    """Writes a SpanBERT: no pooler, names of its authors' trainer, PyTorch's file."""
    import torch

    model = transformers_model("BertForMaskedLM", BERT, seed=2)
    save_transformers(model, folder, lower=False)
    (folder / "model.safetensors").unlink()
    (folder / "tokenizer.json").unlink()
    state = {
        f"decoder.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in model.state_dict().items()
    }
    objective = "decoder.cls.pair_target_predictions"
    state[f"{objective}.position_embeddings.weight"] = torch.randn(20, 4)
    state[f"{objective}.mlp_layer_norm.linear1.weight"] = torch.randn(H, 2 * H + 4)
    torch.save(
        state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False
    )
    np.savez(folder / "outputs.npz", **transformers_outputs(model))


def heads(kind: str, as_archive: bool = False) -> Callable[[Path], None]:
    """Returns what writes a BERT of transformers with a head.

    Args:
      kind: The class.
      as_archive: Whether to write it as PyTorch's own archive.
    """

    def write(folder: Path) -> None:
        import torch

        model = transformers_model(kind, BERT, seed=len(kind))
        save_transformers(model, folder)
        if as_archive:
            (folder / "model.safetensors").unlink()
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
        np.savez(folder / "outputs.npz", **transformers_outputs(model))

    return write


def tf_models(folder: Path) -> None:
    """Writes both kinds of encoder of tf-models-official, in a process of its own."""
    program = (
        "from tests.interchange.peers import _tf_models; import pathlib, sys; "
        "_tf_models(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        check=True,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def official_encoder(functional: bool = False) -> Any:
    """Returns an encoder of tf-models-official; with legacy Keras only."""
    from official.nlp.modeling import networks

    sizes = {
        "vocab_size": V,
        "hidden_size": H,
        "num_layers": LAYERS,
        "num_attention_heads": N,
        "inner_dim": INNER,
        "max_sequence_length": P,
        "type_vocab_size": T,
    }
    if functional:
        return networks.BertEncoder(**sizes, dict_outputs=True)
    encoder = networks.BertEncoderV2(**sizes)
    encoder(encoder.inputs)
    return encoder


def official_pretrainer(encoder: Any) -> Any:
    """Returns their pretrainer on an encoder."""
    from official.modeling import tf_utils
    from official.nlp.modeling import layers, models

    head = layers.ClassificationHead(H, 2, name="next_sentence")
    pretrainer = models.BertPretrainerV2(
        encoder,
        mlm_activation=tf_utils.get_activation("gelu"),
        classification_heads=[head],
    )
    pretrainer(pretrainer.inputs)
    return pretrainer


def official_outputs(encoder: Any, pretrainer: Any = None) -> dict[str, np.ndarray]:
    """Returns what an encoder of theirs says, and a pretrainer's masked-LM logits."""
    given = inputs()
    features = {
        "input_word_ids": given["input_ids"],
        "input_mask": given["input_mask"],
        "input_type_ids": given["segment_ids"],
    }
    said = encoder(features)
    outputs = {name: np.asarray(said[name]) for name in OFFICIAL}
    if pretrainer is not None:
        places = {**features, "masked_lm_positions": np.array([[1, 4]] * 3, np.int32)}
        outputs["mlm_logits"] = np.asarray(pretrainer(places)["mlm_logits"])
    return outputs


OFFICIAL = ("sequence_output", "pooled_output")


def _tf_models(folder: Path) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(5)
    for name in ("encoder", "model"):
        target = folder / f"tf_models_{name}"
        target.mkdir(parents=True)
        encoder = official_encoder(functional=name == "model")
        pretrainer = official_pretrainer(encoder) if name == "encoder" else None
        whole = pretrainer or encoder
        whole.set_weights(
            [x + rng.normal(0, 0.2, x.shape) for x in whole.get_weights()]
        )
        items = pretrainer.checkpoint_items if pretrainer else {"model": encoder}
        tf.train.Checkpoint(**items).write(str(target / "bert_model.ckpt"))
        config = {k: x for k, x in BERT.items() if k != "attn_implementation"}
        (target / "bert_config.json").write_text(json.dumps(config))
        (target / "vocab.txt").write_text("".join(f"{x}\n" for x in PIECES))
        np.savez(target / "outputs.npz", **official_outputs(encoder, pretrainer))


FOLDERS: dict[str, Callable[[Path], None]] = {
    "distilbert": distilbert,
    "spanbert": spanbert,
    "pretraining": heads("BertForPreTraining"),
    "sequence": heads("BertForSequenceClassification"),
    "tokens": heads("BertForTokenClassification", as_archive=True),
    "answers": heads("BertForQuestionAnswering"),
}


def main(folder: Path) -> None:
    """Writes all of them."""
    for name, write in FOLDERS.items():
        (folder / name).mkdir(parents=True)
        write(folder / name)
    tf_models(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
