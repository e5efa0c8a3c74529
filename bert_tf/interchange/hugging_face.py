"""Hugging Face folders of BERT, DistilBERT and SpanBERT.

Read: `config.json`; `model.safetensors` or `pytorch_model.bin`, or the index of
either's shards; `vocab.txt` or `tokenizer.json`; `tokenizer_config.json`. Written:
BERT's.

Nothing here needs TensorFlow or Keras.
"""

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from bert_tf.config import BertConfig
from bert_tf.errors import ConfigError
from bert_tf.interchange.json_files import read_json, write_json
from bert_tf.interchange.names import DISTILBERT, HUGGING_FACE
from bert_tf.interchange.weight_files import file_of, open_weights
from bert_tf.interchange.weights import (
    NO_POOLER,
    Step,
    Weights,
    classifier_note,
    from_google,
    longest_row,
    to_google,
)
from bert_tf.tokenization.vocabulary import SPECIAL_PIECES

_ACTIVATIONS = {
    "gelu": "gelu_erf",  # Hugging Face's plain name means the exact form
    "gelu_python": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
    "tanh": "tanh",
    "linear": "linear",
}
_THEIR_ACTIVATIONS = {
    "gelu": "gelu_new",  # known to every version
    "gelu_erf": "gelu",
    "relu": "relu",
    "tanh": "tanh",
    "linear": "linear",
}
_GELUS = {"gelu": "Google's tanh form of gelu", "gelu_erf": "the exact (erf) gelu"}

_CONFIG_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
)
# DistilBERT's name -> Google's.
_DISTIL_KEYS = {
    "vocab_size": "vocab_size",
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "max_position_embeddings": "max_position_embeddings",
    "initializer_range": "initializer_range",
}
# What Google's Chinese and multilingual configs hold besides, as do their copies there.
_GOOGLES_OTHERS = re.compile(r"^(directionality|pooler_\w+)$")
_MODEL_TYPES = {"bert": HUGGING_FACE, "distilbert": DISTILBERT}
# Buffers of numbers that count up, and a second name of what is there already.
_BUFFER = re.compile(r"\.position_ids$")
_TABLES = {
    HUGGING_FACE: ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"),
    DISTILBERT: ("vocab_projector.weight", None),
}
_POOLER = "bert/pooler/dense/kernel"
_WITHOUT_POOLER = ("squad", "tagging")
# What Google's run_squad takes by default.
_SQUAD = {
    "task_name": "squad",
    "version_2_with_negative": False,
    "doc_stride": 128,
    "max_query_length": 64,
}


def config_from_hugging_face(
    values: Mapping[str, Any], step: Step | None = None
) -> BertConfig:
    """Returns the BERT config that a Hugging Face `config.json` describes.

    Args:
      values: What the file holds.
      step: Is told what is not the same here.

    Raises:
      ConfigError: It describes another architecture, or a feature that Google's
        graph does not have.
    """
    step = step or Step("read from Hugging Face")
    kind = values.get("model_type", "bert")
    if kind not in _MODEL_TYPES:
        raise ConfigError(
            f"Expected a config.json with model_type bert or distilbert, got {kind}; "
            "only BERT's architecture can be converted."
        )
    position = values.get("position_embedding_type", "absolute")
    if position not in ("absolute", None) or values.get("is_decoder"):
        raise ConfigError(
            f"Expected an encoder with absolute positions, got "
            f"position_embedding_type={position}, "
            f"is_decoder={values.get('is_decoder', False)}; Google's graph has neither."
        )
    epsilon = values.get("layer_norm_eps", 1e-12)
    if epsilon != 1e-12:
        step.remarks.append(f"layer_norm_eps is {epsilon:g} there and 1e-12 here")
    distilled = _MODEL_TYPES[kind] == DISTILBERT
    hidden_act = values.get("activation" if distilled else "hidden_act", "gelu")
    if hidden_act not in _ACTIVATIONS:
        raise ConfigError(
            f"Expected hidden_act to be one of {', '.join(_ACTIVATIONS)}, got "
            f"{hidden_act!r}; it has no counterpart here."
        )
    ours = _ACTIVATIONS[hidden_act]
    step.remarks.append(
        f"activation {hidden_act} is called {ours} here"
        f"{': ' + _GELUS[ours] if ours in _GELUS else ''}"
    )
    keys = _DISTIL_KEYS if distilled else {key: key for key in _CONFIG_KEYS}
    known = {ours: values[theirs] for theirs, ours in keys.items() if theirs in values}
    if known.get("vocab_size") is None:
        raise ConfigError("Expected vocab_size in config.json, got none.")
    if distilled:
        # Their defaults are not Google's.
        known = {"num_hidden_layers": 6, "type_vocab_size": 2, **known}
    known.setdefault("type_vocab_size", 2)
    extra = {key: x for key, x in values.items() if _GOOGLES_OTHERS.match(key)}
    return BertConfig(**known, hidden_act=ours, extra=extra)


def _modern(name: str) -> str:
    """Returns a tensor's name as today's files of whole models spell it."""
    # Of PyTorch's DataParallel, and of SpanBERT as its authors trained it.
    name = re.sub(r"^(module\.|decoder\.(?=bert\.|cls\.))", "", name)
    # Files written from the first TensorFlow conversions keep its names.
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
    if re.match(r"(embeddings|encoder|pooler)\.", name):
        return f"bert.{name}"
    if name.startswith("transformer."):
        return f"distilbert.{name}"
    return name


def google_tensors(
    tensors: Mapping[str, np.ndarray], config: BertConfig, step: Step | None = None
) -> dict[str, np.ndarray]:
    """Returns a model's tensors under Google's names and in Google's shapes.

    Args:
      tensors: Under Hugging Face's names, with or without a leading `bert.` or
        `distilbert.`, in any floating type.
      config: The architecture.
      step: Is told what became of each.

    Raises:
      CheckpointError: A tensor is missing, or of another shape than the config says.
    """
    step = step or Step("read from Hugging Face")
    plain = {_modern(name): name for name in tensors}
    distilled = any(name.startswith("distilbert.") for name in plain)
    if distilled:
        plain = {re.sub(r"^bert\.", "distilbert.", n): at for n, at in plain.items()}
    column = DISTILBERT if distilled else HUGGING_FACE
    for name in [name for name in plain if _BUFFER.search(name)]:
        step.dropped[name] = "it is a buffer, no weight"
        del plain[name]
    _drop_unlike_heads(plain, tensors, column, step)
    return to_google(config, column, plain, lambda name: tensors[plain[name]], step)


def _drop_unlike_heads(
    plain: dict[str, str], tensors: Mapping[str, np.ndarray], column: int, step: Step
) -> None:
    """Leaves out the heads that Google's graph computes in another way."""
    words = "embeddings.word_embeddings.weight"
    words = f"{'distilbert' if column == DISTILBERT else 'bert'}.{words}"
    table, bias = _TABLES[column]
    heads: dict[str, str] = {}
    if table in plain and words in plain:
        same = np.array_equal(tensors[plain[table]], tensors[plain[words]])
        if same:
            step.dropped[table] = "it is the word embeddings"
            del plain[table]
        else:
            reason = "its output table is not the word embeddings, as Google's is"
            heads |= {r"^(cls\.predictions|vocab_)": reason}
    if bias in plain:
        plain.setdefault("cls.predictions.bias", plain[bias])
        step.dropped[bias] = "it is cls.predictions.bias"
        del plain[bias]
    if "pre_classifier.weight" in plain:
        reason = "there is a ReLU layer before it, for which Google's graph has tanh"
        heads |= {r"^(pre_)?classifier\.": reason}
    for pattern, reason in heads.items():
        for name in [name for name in plain if re.match(pattern, name)]:
            step.dropped[name] = reason
            del plain[name]


def read_folder(folder: str, is_pair: bool = False) -> tuple[Weights, Step]:
    """Reads a Hugging Face folder.

    Args:
      folder: Where it is, on this machine.
      is_pair: Whether a classifier in it is of pairs of texts, which nothing there
        tells.

    Returns:
      The model, and what became of its tensors.

    Raises:
      ConfigError, CheckpointError, DataError: A file is missing, damaged, or of
        another architecture.
    """
    step = Step("read from Hugging Face")
    values = read_json(file_of(folder, "config.json"))
    config = config_from_hugging_face(values, step)
    vocab = _read_vocab(folder, config.vocab_size)
    tensors = google_tensors(open_weights(folder), config, step)
    labels, note = _task(values, config, tensors, is_pair)
    note = {**_casing(folder, step), **note}
    if note.get("task_name") in _WITHOUT_POOLER and _POOLER not in tensors:
        width = config.hidden_size
        tensors[_POOLER] = np.zeros((width, width), np.float32)
        tensors["bert/pooler/dense/bias"] = np.zeros(width, np.float32)
        reason = "Google's graph has one, which this task does not read"
        step.created["bert/pooler"] = reason
        step.remarks.remove(NO_POOLER)
    if "task_name" in note:
        length = note.setdefault("max_seq_length", longest_row(config))
        step.remarks.append(
            f"the task is taken for {note['task_name']}, rows of {length} pieces"
        )
    return Weights(config, tensors, vocab, note, labels), step


def _read_vocab(folder: str, vocab_size: int) -> bytes:
    """Returns the content of a `vocab.txt`, whatever file it is in."""
    from bert_tf.tokenization.vocabulary import check_pieces, parse_pieces

    path = os.path.join(folder, "vocab.txt")
    fast = os.path.join(folder, "tokenizer.json")
    if os.path.isfile(path) or not os.path.isfile(fast):
        with open(file_of(folder, "vocab.txt"), "rb") as reader:
            content = reader.read(_most_bytes(vocab_size) + 1)
        if len(content) > _most_bytes(vocab_size):
            raise ConfigError(
                f"Expected the {vocab_size} pieces that config.json says in {path}, "
                "found far more; pass the vocabulary and the config of one model."
            )
    else:
        path, content = fast, _pieces_of(fast, read_json(fast))
    check_pieces(parse_pieces(content, path), path, vocab_size)
    return content


def _most_bytes(vocab_size: int) -> int:
    return 1024 * vocab_size


def _pieces_of(path: str, values: Mapping[str, Any]) -> bytes:
    """Returns the vocabulary of a `tokenizer.json` as a `vocab.txt`."""
    model = values.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        model = {}
    if model.get("type", "WordPiece") != "WordPiece" or not model.get("vocab"):
        raise ConfigError(
            f"Expected a WordPiece vocabulary in {path}, got "
            f"{model.get('type', 'none')}; BERT's tokenizer knows no other."
        )
    ids = dict(model["vocab"])
    for added in values.get("added_tokens") or ():
        ids.setdefault(added.get("content"), added.get("id"))
    if sorted(ids.values()) != list(range(len(ids))):
        raise ConfigError(
            f"Expected ids from 0 on, each once, in {path}, found others; it is no "
            "vocabulary of a BERT model."
        )
    return "".join(f"{piece}\n" for piece in sorted(ids, key=ids.__getitem__)).encode()


def _casing(folder: str, step: Step) -> dict[str, bool]:
    """Returns whether texts are lower-cased, as far as the folder says so."""
    path = os.path.join(folder, "tokenizer_config.json")
    if not os.path.isfile(path):
        return {}
    values = read_json(path)
    lower = values.get("do_lower_case")
    if not isinstance(lower, bool):
        return {}
    strips = values.get("strip_accents")
    if isinstance(strips, bool) and strips != lower:
        step.remarks.append(
            f"their tokenizer {'strips' if strips else 'keeps'} accents; here, as in "
            f"the release, they are {'stripped' if lower else 'kept'}"
        )
    if values.get("tokenize_chinese_chars") is False:
        step.remarks.append(
            "their tokenizer keeps ideographs together; here each is a word"
        )
    return {"do_lower_case": lower}


def _task(
    values: Mapping[str, Any],
    config: BertConfig,
    tensors: Collection[str],
    is_pair: bool,
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Returns the labels of a fine-tuned model, and what its run would have noted."""
    if "cls/squad/output_weights" in tensors:
        return (), dict(_SQUAD)
    if "output_weights" not in tensors:
        if is_pair:
            raise ConfigError(
                "Expected a classifier for --is_pair, got a model without one; leave "
                "it out."
            )
        return (), {}
    names = values.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    try:
        labels = tuple(str(names[key]) for key in sorted(names, key=int))
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"Expected id2label in config.json to name each label's id, got {names!r}; "
            "correct it."
        ) from error
    architectures = " ".join(map(str, values.get("architectures") or ()))
    if "TokenClassification" in architectures:
        return labels, {"task_name": "tagging", "doc_stride": None}
    kinds = {"multi_label_classification": "multi", "regression": "regression"}
    kind = kinds.get(str(values.get("problem_type")), "single")
    if len(labels) == 1:
        kind, labels = "regression", ()
    return labels, classifier_note(config, kind, is_pair)


def write_folder(weights: Weights, folder: str) -> Step:
    """Writes a model as Hugging Face's BERT, into a folder that is there.

    Returns:
      What became of its tensors.
    """
    from safetensors.numpy import save_file

    step = Step("written for Hugging Face")
    config = weights.config
    tensors = from_google(config, HUGGING_FACE, weights.tensors, step)
    kind, more = _architecture(weights)
    if kind == "BertModel":
        tensors = {name.removeprefix("bert."): x for name, x in tensors.items()}
    values = {
        "architectures": [kind],
        "model_type": "bert",
        **{key: getattr(config, key) for key in _CONFIG_KEYS},
        "hidden_act": _THEIR_ACTIVATIONS[config.hidden_act],
        "layer_norm_eps": 1e-12,
        "position_embedding_type": "absolute",
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        **more,
        **config.extra,
    }
    step.remarks.append(
        f"activation {config.hidden_act} is called {values['hidden_act']} there"
        f"{': ' + _GELUS[config.hidden_act] if config.hidden_act in _GELUS else ''}"
    )
    step.remarks.append(f"opens as {kind}")
    write_json(os.path.join(folder, "config.json"), values)
    lower = bool(weights.note["do_lower_case"])
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": lower,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": config.max_position_embeddings,
        "pad_token": "[PAD]",
        **{f"{piece.strip('[]').lower()}_token": piece for piece in SPECIAL_PIECES},
    }
    write_json(os.path.join(folder, "tokenizer_config.json"), tokenizer)
    with open(os.path.join(folder, "vocab.txt"), "wb") as writer:
        writer.write(weights.vocab)
    path = os.path.join(folder, "model.safetensors")
    save_file(tensors, path, metadata={"format": "pt"})
    return step


def _architecture(weights: Weights) -> tuple[str, dict[str, Any]]:
    """Returns the class that has a model's heads, and what its config says of them."""
    tensors, note = weights.tensors, weights.note
    if "cls/squad/output_weights" in tensors:
        return "BertForQuestionAnswering", {}
    if "output_weights" in tensors:
        count = len(tensors["output_weights"])
        labels = weights.labels or tuple(f"LABEL_{i}" for i in range(count))
        more: dict[str, Any] = {
            "id2label": {str(i): label for i, label in enumerate(labels)},
            "label2id": {label: i for i, label in enumerate(labels)},
            "classifier_dropout": 0.1,
        }
        if note.get("task_name") == "tagging":
            return "BertForTokenClassification", more
        kinds = {
            "single": "single_label_classification",
            "multi": "multi_label_classification",
            "regression": "regression",
        }
        more["problem_type"] = kinds[note.get("label_kind", "single")]
        return "BertForSequenceClassification", more
    words = "cls/predictions/output_bias" in tensors
    order = "cls/seq_relationship/output_weights" in tensors
    kind = {
        (True, True): "BertForPreTraining",
        (True, False): "BertForMaskedLM",
        (False, True): "BertForNextSentencePrediction",
        (False, False): "BertModel",
    }[words, order]
    return kind, {}
