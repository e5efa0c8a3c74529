"""Flags are Google's, with its defaults; mistakes are answered without TensorFlow."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bert_tf.tools import convert_checkpoint
from bert_tf.version import __version__
from tests.small_task import as_arguments

ROOT = Path(__file__).resolve().parents[2]

# Of run_classifier.py in google-research/bert; None where it has no default.
GOOGLES_FLAGS = {
    "data_dir": None,
    "bert_config_file": None,
    "task_name": None,
    "vocab_file": None,
    "output_dir": None,
    "init_checkpoint": None,
    "do_lower_case": True,
    "max_seq_length": 128,
    "do_train": False,
    "do_eval": False,
    "do_predict": False,
    "train_batch_size": 32,
    "eval_batch_size": 8,
    "predict_batch_size": 8,
    "learning_rate": 5e-5,
    "num_train_epochs": 3.0,
    "warmup_proportion": 0.1,
    "save_checkpoints_steps": 1000,
    "iterations_per_loop": 1000,
    "use_tpu": False,
    "tpu_name": None,
    "tpu_zone": None,
    "gcp_project": None,
    "master": None,
    "num_tpu_cores": 8,
}


@pytest.fixture(scope="module")
def without_tensorflow(tmp_path_factory):
    """Runs a program where importing TensorFlow or Keras is an error."""
    folder = tmp_path_factory.mktemp("fakes")
    for name in ("tensorflow", "keras"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(
            f"raise RuntimeError('{name} was imported')\n"
        )
    path = os.pathsep.join([str(folder), str(ROOT)])

    def run(*args: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *args],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="module")
def paths(testdata):
    """Flags that name files and a task, as far as they are needed to parse others."""
    return {
        "task_name": "MRPC",
        "data_dir": str(testdata / "glue/MRPC"),
        "bert_config_file": str(testdata / "bert_config.json"),
        "vocab_file": str(testdata / "vocab_uncased.txt"),
        "output_dir": "never_written",
        "do_train": "true",
    }


def help_of_flags(text: str) -> dict[str, tuple[str, str | None]]:
    """Parses a help text into `{flag: (description, default)}`."""
    found = {}
    for match in re.finditer(
        r"^  --(?:\[no\])?(\w+)\n((?: {6}.*\n)+)", text + "\n", re.M
    ):
        description = " ".join(match[2].split())
        default = re.search(r"\(default: (\S+)\)$", description)
        found[match[1]] = (description, default[1] if default else None)
    return found


def test_the_fake_catches_an_import(without_tensorflow):
    done = without_tensorflow("-c", "import bert_tf.checkpoint")
    assert done.returncode == 1
    assert "tensorflow was imported" in done.stderr


@pytest.mark.parametrize(
    "program",
    [
        ["run_classifier.py", "--help"],
        ["run_classifier.py", "--helpfull"],
        ["run_classifier.py", "--output_dir=x", "--help"],
        ["-m", "bert_tf.tools.run_classifier", "--help"],
        ["-m", "bert_tf.tools.main", "run_classifier", "--help"],
    ],
    ids=lambda program: " ".join(program[-2:]),
)
def test_help_lists_every_flag_of_google_with_its_default(without_tensorflow, program):
    done = without_tensorflow(*program)
    assert (done.returncode, done.stderr) == (0, "")
    shown = help_of_flags(done.stdout)
    for name, default in GOOGLES_FLAGS.items():
        description, text = shown[name]
        assert len(description) > 10, name
        if default is None:
            assert text is None, name
        elif isinstance(default, bool):
            assert text == str(default).lower(), name
        else:
            assert type(default)(text) == default, name
    assert max(map(len, done.stdout.split("\n"))) <= 80


def test_help_answers_at_once(without_tensorflow, measured):
    """Measured in modules, not in seconds: TensorFlow and Keras bring thousands."""
    done = without_tensorflow("-X", "importtime", "run_classifier.py", "--help")
    imported = [line.split("|")[-1].strip() for line in done.stderr.splitlines()]
    heavy = {"tensorflow", "keras", "numpy"} & {name.split(".")[0] for name in imported}
    assert len(imported) > 50
    measured(
        "heavy packages imported by run_classifier.py --help", len(heavy), at_most=0
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_seq_lenght": "64"}, "'max_seq_lenght'"),
        ({"max_seq_length": "long"}, "--max_seq_length=long"),
        ({"max_seq_length": "12.5"}, "--max_seq_length=12.5"),
        ({"max_seq_length": "2"}, "--max_seq_length=2"),
        ({"train_batch_size": "0"}, "--train_batch_size=0"),
        ({"learning_rate": "-1"}, "--learning_rate=-1"),
        ({"learning_rate": "fast"}, "--learning_rate=fast"),
        ({"do_train": "maybe"}, "--do_train=maybe"),
        ({"distribution_strategy": "many"}, "--distribution_strategy=many"),
        ({"warmup_proportion": "1.5"}, "--warmup_proportion"),
        ({"task_name": None}, "--task_name"),
        ({"vocab_file": None}, "--vocab_file"),
        ({"bert_config_file": None}, "--bert_config_file"),
        ({"output_dir": None}, "--output_dir"),
        ({"data_dir": None}, "--data_dir"),
        ({"output_dir": ""}, "--output_dir"),
        ({"task_name": "glue"}, "'glue'"),
        ({"data_dir": "no/such/folder"}, "--data_dir=no/such/folder"),
        ({"vocab_file": "no/vocab.txt"}, "--vocab_file=no/vocab.txt"),
        ({"bert_config_file": "no.json"}, "--bert_config_file=no.json"),
        ({"output_dir": "pyproject.toml"}, "--output_dir=pyproject.toml"),
        ({"export_dir": "pyproject.toml"}, "--export_dir=pyproject.toml"),
        ({"do_train": "false"}, "--do_train, --do_eval, --do_predict, --export_dir"),
        (
            {"use_tpu": "true", "distribution_strategy": "one_device"},
            "--distribution_strategy=tpu",
        ),
        ({"use_tpu": "true", "tpu_name": "my-tpu"}, "--output_dir for a remote TPU"),
        (
            {
                "distribution_strategy": "tpu",
                "master": "grpc://10.0.0.2:8470",
                "output_dir": "gs://bucket/run",
                "init_checkpoint": "local/bert_model.ckpt",
            },
            "--init_checkpoint for a remote TPU, got the local path local/bert_model",
        ),
        ({"text_a": "0"}, "--text_a only with --task_name=custom"),
        ({"header": "false"}, "--header only with --task_name=custom"),
        ({"file_format": "csv"}, "--file_format only with --task_name=custom"),
        ({"xnli_language": "fr"}, "--xnli_language only"),
        ({"micro_batch_size": "5"}, "--micro_batch_size to divide --train_batch_size"),
        ({"micro_batch_size": "0"}, "--micro_batch_size=0"),
        ({"precision": "int8"}, "--precision=int8"),
        ({"reduction": "none"}, "--reduction=none"),
        ({"length_buckets": "32,many"}, "--length_buckets such as 32,64,128, got 32,m"),
        ({"length_buckets": "64", "use_tpu": "true"}, "no --length_buckets on a TPU"),
        ({"best_metric": "eval_loss"}, "--do_eval beside --best_metric"),
        ({"eval_steps": "5"}, "--do_eval beside --eval_steps"),
        ({"eval_steps": "-5"}, "--eval_steps=-5"),
        ({"early_stopping_patience": "2"}, "--best_metric beside --early_stopping"),
        ({"keep_checkpoint_max": "-1"}, "--keep_checkpoint_max=-1"),
        ({"long_text": "middle"}, "--long_text=middle"),
        ({"doc_stride": "64"}, "--doc_stride only with --long_text=windows"),
        ({"long_text": "windows", "doc_stride": "0"}, "--doc_stride=0"),
        ({"long_text": "windows", "doc_stride": "127"}, "from 1 to 126, "),
        ({"task_name": "XNLI", "do_predict": "true"}, "--do_predict"),
        ({"task_name": "custom"}, "--text_a"),
        ({"task_name": "custom", "text_a": "0"}, "--label"),
        (
            {
                "task_name": "custom",
                "text_a": "0",
                "label": "1",
                "dev_fraction": "0.1",
                "dev_file": "dev.tsv",
            },
            "--dev_file and --dev_fraction",
        ),
        (
            {"task_name": "custom", "text_a": "0", "label": "1", "dev_fraction": "1"},
            "--dev_fraction",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, dict) else None,
)
def test_a_mistake_in_the_flags_is_one_sentence(
    without_tensorflow, paths, change, says
):
    arguments = as_arguments({**paths, **change})
    done = without_tensorflow("run_classifier.py", *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    *_, last = done.stderr.rstrip("\n").split("\n")
    assert last.startswith("run_classifier: ") and says in last
    assert "Traceback" not in done.stderr and "was imported" not in done.stderr
    assert not (ROOT / "never_written").exists()


@pytest.mark.parametrize("extra", ["train", "--", "-x"])
def test_what_is_no_flag(without_tensorflow, paths, extra):
    arguments = [*as_arguments(paths), extra, "stray"]
    done = without_tensorflow("run_classifier.py", *arguments)
    assert done.returncode == 1
    *_, last = done.stderr.rstrip("\n").split("\n")
    stray = {"--": "stray", "-x": "x"}.get(extra, extra)
    assert last.startswith("run_classifier: ") and f"'{stray}'" in last
    assert "Traceback" not in done.stderr


def test_a_flag_without_its_value(without_tensorflow):
    done = without_tensorflow("run_classifier.py", "--task_name")
    assert done.returncode == 1
    assert done.stderr.startswith("run_classifier: ") and "task_name" in done.stderr


def test_good_flags_go_on_to_tensorflow(without_tensorflow, paths):
    """Without this, none of the tests above could fail for a wrong reason."""
    done = without_tensorflow("run_classifier.py", *as_arguments(paths))
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr and "was imported" in done.stderr


def test_flags_of_a_tpu_that_is_not_used_are_named_once(without_tensorflow, paths):
    flags = {**paths, "tpu_name": "mine", "tpu_zone": "here"}
    done = without_tensorflow("run_classifier.py", *as_arguments(flags))
    named = [line for line in done.stderr.splitlines() if "ignored" in line]
    assert named == ["WARNING: --tpu_name, --tpu_zone ignored: --use_tpu is not set"]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_command_without_a_tool_lists_the_tools(without_tensorflow, arguments):
    done = without_tensorflow("-m", "bert_tf.tools.main", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    modules = {path.stem for path in (ROOT / "bert_tf/tools").glob("*.py")}
    listed = set(re.findall(r"^  (\w+) +\w", done.stdout, re.M))
    assert {"run_classifier", "convert_checkpoint"} <= listed <= modules


def test_the_commands_version(without_tensorflow):
    done = without_tensorflow("-m", "bert_tf.tools.main", "--version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize("name", ["input", "output_dir"])
def test_folders_that_convert_checkpoint_takes(tmp_path, capsys, name):
    flags = {"input": tmp_path, "output_dir": tmp_path / "out", name: "gs://bucket/x"}
    assert convert_checkpoint.main([f"--{k}={v}" for k, v in flags.items()]) == 1
    said = capsys.readouterr().err
    assert f"Expected a folder of this machine at --{name}, got gs://bucket/x" in said
    assert not (tmp_path / "out").exists()


def test_an_unknown_tool(without_tensorflow):
    done = without_tensorflow("-m", "bert_tf.tools.main", "run_clasifier", "--help")
    assert done.returncode == 1 and done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("bert-tf: ") and "'run_clasifier'" in line
    assert "run_classifier" in line


def test_the_help_of_convert_checkpoint(without_tensorflow):
    done = without_tensorflow(
        "-m", "bert_tf.tools.main", "convert_checkpoint", "--help"
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = help_of_flags(done.stdout)
    assert shown["from"][1] == "huggingface" and shown["to"][1] == "google"
    assert {"input", "output_dir"} <= shown.keys()
