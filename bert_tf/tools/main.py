"""`bert-tf NAME ...`: every tool under one command."""

import importlib
import sys

from bert_tf.version import __version__

# Name of the tool's module -> its line in the overview.
TOOLS = {
    "run_classifier": "fine-tune, evaluate, predict with and export a classifier",
    "run_squad": "fine-tune on questions whose answers stand in a text, answer such",
    "run_tagger": "fine-tune on sentences whose words have tags, tag such sentences",
    "run_pretraining": "pretrain on records, from scratch or from a checkpoint",
    "distill": "train a small classifier to say what a large one says",
    "sweep": "fine-tune once per point of a grid, and say which point is best",
    "plot": "draw the training curves of runs as one picture",
    "learn_vocab": "learn a vocabulary from plain text, to pretrain from scratch",
    "check_vocab": "say what a vocabulary holds, and what it makes of texts",
    "extend_vocab": "add words to a model's vocabulary, and weights for them",
    "create_pretraining_data": "make records for pretraining from plain text",
    "inspect_records": "show pretraining records as text, and what they amount to",
    "extract_features": "write the vectors of texts, or of each of their pieces",
    "export_model": "make a SavedModel of a run's folder or a pretrained model",
    "fill_mask": "fill each [MASK] of a text with the likeliest pieces",
    "serve": "answer texts over HTTP with an export, as TF Serving does",
    "show": "say what a checkpoint holds and what it can be used for",
    "convert_checkpoint": "turn one package's BERT folder into another's",
}


def main() -> int:
    """Runs the tool that the first argument names."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "--version":
        print(__version__)
        return 0
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print("bert-tf TOOL --FLAG=VALUE ...\n\nTools (bert-tf TOOL --help):")
        for name, line in TOOLS.items():
            print(f"  {name:<24} {line}")
        return 0
    if arguments[0] not in TOOLS:
        print(
            f"bert-tf: Expected one of {', '.join(TOOLS)}, got {arguments[0]!r}; see "
            "bert-tf --help.",
            file=sys.stderr,
        )
        return 1
    tool = importlib.import_module(f"bert_tf.tools.{arguments[0]}")
    return tool.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
