"""Says what a checkpoint is, what it holds and what it can be used for."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from bert_tf.errors import ConfigError, DataError
from bert_tf.files import is_remote
from bert_tf.tools.command_line import Group, print_lines, run_tool
from bert_tf.tools.flag_kinds import string

if TYPE_CHECKING:
    from bert_tf.config import BertConfig
    from bert_tf.interchange.summary import Shapes, Summary

_GELUS = {"gelu": "gelu (Google's tanh form)", "gelu_erf": "gelu_erf (the exact form)"}


def _define_flags(values: flags.FlagValues) -> None:
    for name, what in (
        ("bert_config_file", "bert_config.json"),
        ("vocab_file", "vocab.txt"),
    ):
        text = f"The model's {what}, if not that beside the checkpoint."
        string(values, name, None, text)


GROUPS = (Group("Files", _define_flags),)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def show(values: flags.FlagValues, *paths: str) -> None:
        if len(paths) > 1:
            raise ConfigError(
                f"Expected one checkpoint, got {len(paths)}; name one at a time."
            )
        print_lines(list(_lines(values, paths[0])))

    return run_tool(
        "show",
        "Shows a checkpoint's layers, its parameters by part, whether config and "
        "vocabulary fit it, and what it can be used for. CHECKPOINT is a prefix, one "
        "of its files, a folder, or the folder of a Hugging Face model.",
        GROUPS,
        show,
        argv,
        positional="CHECKPOINT",
    )


def _lines(values: flags.FlagValues, path: str) -> Iterator[str]:
    from bert_tf.interchange.summary import summarize

    if os.path.isfile(os.path.join(path, "config.json")):
        yield from _hugging_face(path)
        return
    from bert_tf.checkpoint import CheckpointReader

    reader = CheckpointReader(path)
    step = reader.step()
    yield (
        f"{reader.prefix}: Google's format, {len(reader.shapes)} tensors"
        f"{f', step {step:,}' if step is not None else ''}"
    )
    summary = summarize(reader.shapes, reader.prefix)
    folder = os.path.dirname(reader.prefix)
    config = _config(values.bert_config_file, folder)
    yield from _table(summary, config)
    yield ""
    yield from _fits(reader.shapes, config)
    yield _vocabulary(values.vocab_file, folder, summary.sizes["vocab_size"])
    yield from _uses(summary, _labels(folder))


def _hugging_face(path: str) -> Iterator[str]:
    from bert_tf import interchange
    from bert_tf.interchange.summary import summarize

    weights, step = interchange.read_folder(path, "huggingface")
    shapes = {name: x.shape for name, x in weights.tensors.items()}
    yield f"{path}: a Hugging Face folder, {len(shapes)} tensors for BERT"
    summary = summarize(shapes, path)
    yield from _table(summary, weights.config)
    yield ""
    yield str(step)
    yield "for all that follows, convert it first: bert-tf convert_checkpoint"
    yield from _uses(summary, weights.labels)


def _config(path: str | None, folder: str) -> "BertConfig | None":
    from bert_tf.config import BertConfig

    beside = os.path.join(folder, "bert_config.json")
    if path is None and (is_remote(beside) or os.path.isfile(beside)):
        import tensorflow as tf

        path = beside if tf.io.gfile.exists(beside) else None
    return BertConfig.from_json_file(path) if path else None


def _table(summary: "Summary", config: "BertConfig | None") -> Iterator[str]:
    sizes: Mapping[str, Any] = {"layers": summary.layers, **summary.sizes}
    if config is not None:
        sizes = {**sizes, "num_attention_heads": config.num_attention_heads}
    yield ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    yield ""
    rows = list(summary.parts.items())
    each = summary.parts["encoder"] // summary.layers
    place = [name for name, _ in rows].index("encoder") + 1
    rows.insert(place, (f"  each of {summary.layers} layers", each))
    rows += [
        ("encoder, embeddings, pooler", summary.model),
        ("all parameters", summary.total),
    ]
    width = max(len(name) for name, _ in rows)
    for name, count in rows:
        yield f"{name:<{width}}  {count:>13,}  {100 * count / summary.total:5.1f} %"
    share = 100 * summary.formula / summary.model
    yield (
        f"{'V*H + 12*L*H^2':<{width}}  {summary.formula:>13,}  {share:5.1f} % of "
        "encoder, embeddings, pooler"
    )
    if summary.state:
        yield f"{'state of a training':<{width}}  {summary.state:>13,}"


def _fits(shapes: "Shapes", config: "BertConfig | None") -> Iterator[str]:
    from bert_tf.interchange.summary import misfits

    if config is None:
        yield "config: none beside the checkpoint; name it with --bert_config_file"
        return
    wrong = misfits(shapes, config)
    if not wrong:
        act = _GELUS.get(config.hidden_act, config.hidden_act)
        yield f"config: fits; activation {act}"
    more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    if wrong:
        yield f"config: does NOT fit: {'; '.join(wrong[:3])}{more}"


def _vocabulary(path: str | None, folder: str, size: int) -> str:
    import tensorflow as tf

    from bert_tf.tokenization.vocabulary import Casing, check_vocab

    path = path or os.path.join(folder, "vocab.txt")
    if not tf.io.gfile.exists(path):
        return "vocabulary: none beside the checkpoint; name it with --vocab_file"
    try:
        vocab = check_vocab(path, size)
    except DataError as error:
        return f"vocabulary: does NOT fit: {error}"
    cased = Casing.of(vocab).is_cased
    casing = "cased: --do_lower_case=false" if cased else "lower-cased"
    return f"vocabulary: fits; {len(vocab):,} pieces, {casing}"


def _labels(folder: str) -> Sequence[str]:
    from bert_tf.run_folder import read_labels

    try:
        return read_labels(folder)
    except ConfigError:
        return ()


def _uses(summary: "Summary", labels: Sequence[str]) -> Iterator[str]:
    parts = summary.parts
    yield "can be used to:"
    yield "  fine-tune it: run_classifier, run_squad, run_tagger"
    if "masked-LM head" in parts:
        yield "  fill [MASK]: fill_mask"
    if {"masked-LM head", "next-sentence head"} <= parts.keys():
        yield "  pretrain it further: run_pretraining"
    if "head for labels" in parts:
        yield f"  classify texts or words, {summary.num_labels} labels"
    if "head for answers" in parts:
        yield "  answer questions: run_squad"
    yield "  vectors of texts: extract_features"
    yield "  serve it: export_model, serve"
    if summary.state:
        yield "  go on with its training, in its folder"
    if labels:
        yield f"labels: {', '.join(labels)}"


if __name__ == "__main__":
    sys.exit(main())
