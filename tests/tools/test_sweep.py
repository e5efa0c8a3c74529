"""A sweep finds the best point, and may be stopped at any time."""

import contextlib
import csv
import fcntl
import io
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest

from bert_tf.tools import run_classifier, sweep
from bert_tf.tools.command_line import all_flags
from bert_tf.tools.trials import Journal, Trial, choose_metric, ranking
from tests.programs import ROOT
from tests.small_task import as_arguments, write_small_task

GRID = {"train_batch_sizes": "8,12", "learning_rates": "1e-3", "epochs": "8"}


@pytest.fixture(scope="module")
def small(tmp_path_factory, testdata) -> dict[str, str]:
    """Flags of a task that trains in seconds."""
    folder = tmp_path_factory.mktemp("task")
    flags = write_small_task(folder, testdata)
    train = (folder / "train.tsv").read_text().splitlines(keepends=True)
    (folder / "dev.tsv").write_text("".join([train[0], *train[41:]]))
    (folder / "train.tsv").write_text("".join(train[:41]))
    return {**flags, "save_checkpoints_steps": "4"}


def start(flags: dict[str, str], **environment: str) -> subprocess.Popen:
    """Starts a sweep that leads a process group, as a shell would."""
    return subprocess.Popen(
        [sys.executable, "-m", "bert_tf.tools.main", "sweep", *as_arguments(flags)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen | None = None
) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        if process is not None:
            assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def is_at_work(folder: Path) -> bool:
    """Returns whether a process holds the folder: a sweep, or what it started."""
    with open(folder / "sweep.journal", "ab") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def results(folder: Path) -> dict[str, float]:
    lines = (folder / "eval_results.txt").read_text().splitlines()
    return {line.split(" = ")[0]: float(line.split(" = ")[1]) for line in lines}


def changes(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(small, tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder of a sweep, and what it printed; its trials share this process."""
    output = tmp_path_factory.mktemp("undisturbed")
    flags = {**small, **GRID, "num_runs": "2", "output_dir": str(output)}

    def run(arguments, log, lock):
        Path(log).touch()
        return run_classifier.main(arguments)

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sweep, "_run", run)
        assert sweep.main(as_arguments(flags)) == 0
    return output, printed.getvalue().splitlines()


def trial_folder(output: Path, batch: int | str, seed: int | str) -> Path:
    return output / f"batch{batch}_rate0.001_epochs8" / f"seed{seed}"


@pytest.mark.slow
def test_the_table_holds_means_and_deviations(undisturbed):
    output, (title, header, *shown, blank, command) = undisturbed
    with open(output / "sweep.tsv") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert {row["batch"] for row in rows} == {"8", "12"}
    for row in rows:
        values = {
            seed: results(trial_folder(output, row["batch"], seed))["eval_accuracy"]
            for seed in ("12345", "12346")
        }
        numbers = list(values.values())
        assert float(row["mean"]) == pytest.approx(np.mean(numbers), abs=1e-12)
        deviation = np.std(numbers, ddof=1)
        assert float(row["deviation"]) == pytest.approx(deviation, abs=1e-12)
        assert values[row["best_seed"]] == max(numbers)
        assert (row["rate"], row["epochs"], row["runs"]) == ("0.001", "8", "2")
    means = [float(row["mean"]) for row in rows]
    assert means == sorted(means, reverse=True)

    assert (title, blank) == ("eval_accuracy, best first:", "")
    assert " ".join(header.split()) == "batch rate epochs runs mean deviation best seed"
    assert [line.split()[4] for line in shown] == [f"{mean:.4f}" for mean in means]

    name, tool, *arguments = shlex.split(command)
    assert (name, tool) == ("bert-tf", "run_classifier")
    values = all_flags(run_classifier.GROUPS)
    assert values([tool, *arguments]) == [tool]
    assert values.do_train and values.do_eval and values.text_a == "text"
    best = trial_folder(output, rows[0]["batch"], rows[0]["best_seed"])
    assert values.output_dir == str(best)
    assert str(values.train_batch_size) == rows[0]["batch"]
    assert str(values.random_seed) == rows[0]["best_seed"]
    assert (values.learning_rate, values.num_train_epochs) == (1e-3, 8)


@pytest.mark.slow
def test_results_and_curves_stay(undisturbed):
    output, _ = undisturbed
    for folder in output.glob("*/*"):
        names = {path.name for path in folder.iterdir()}
        assert {"eval_results.txt", "log.txt", "eval", "labels.json"} <= names
        assert list(folder.glob("events.out.tfevents.*"))
        assert not [name for name in names if "ckpt" in name or "record" in name]
        assert "checkpoint" not in names


@pytest.mark.acceptance
def test_an_interrupted_and_killed_sweep_ends_as_an_undisturbed(
    undisturbed, small, tmp_path
):
    output = tmp_path / "sweep"
    flags = {**small, **GRID, "num_runs": "2", "output_dir": str(output)}
    flags["train_batch_sizes"] = "8"
    first, second = (trial_folder(output, 8, seed) for seed in (12345, 12346))

    process = start(flags)
    wait_for((first / "log.txt").exists, process)
    process.send_signal(signal.SIGINT)  # to the sweep alone: it has to pass it on
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("sweep: interrupted; the same command")
    assert not is_at_work(output)

    process = start(flags)
    wait_for((second / "checkpoint").exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = changes(first)
    assert not (second / "eval_results.txt").exists()

    process = start(flags)
    table, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    value = results(second)["eval_accuracy"]
    trial = "trial 2 of 2: batch 8, rate 0.001, epochs 8, seed 12346"
    opening, began, ended = errors.splitlines()
    assert opening == "2 trials, 1 of them finished before"
    assert began == f"{trial}: began, see {second / 'log.txt'}"
    assert re.fullmatch(rf"{trial}: eval_accuracy {value:.4f}, \d+ s", ended)
    assert "continuing from step" in (second / "log.txt").read_text()
    assert table.splitlines()[-1] in "".join(
        (folder / "log.txt").read_text() for folder in (first, second)
    )

    assert changes(first) == before
    for folder in (first, second):
        other = undisturbed[0] / folder.relative_to(output)
        for name in ("eval_results.txt", "run_config.json"):
            assert (folder / name).read_bytes() == (other / name).read_bytes()
    finished = Journal(str(output / "sweep.journal")).finished
    others = Journal(str(undisturbed[0] / "sweep.journal")).finished
    assert len(finished) == 2 and finished.items() <= others.items()


# From here on, trials are played.


@pytest.fixture
def flags(small, tmp_path) -> dict[str, str]:
    return {**small, **GRID, "output_dir": str(tmp_path / "sweep")}


@pytest.fixture
def played(monkeypatch) -> list[Trial]:
    """Lets each trial end at once; returns the list of those that were run."""
    run: list[Trial] = []

    def play(arguments, log, lock):
        given = dict(each.lstrip("-").split("=") for each in arguments if "=" in each)
        trial = Trial(
            int(given["train_batch_size"]),
            float(given["learning_rate"]),
            float(given["num_train_epochs"]),
            int(given["random_seed"]),
        )
        run.append(trial)
        folder = Path(log).parent
        for name in ("checkpoint", "model.ckpt-9.index", "train.tf_record"):
            (folder / name).touch()
        (folder / ".writing-model.ckpt-8").mkdir()
        value = trial.train_batch_size / 100 + trial.random_seed % 5 / 1000
        (folder / "eval_results.txt").write_text(
            f"eval_accuracy = {value}\neval_f1 = {-value}\neval_loss = {value}\n"
        )
        Path(log).write_text("a line\nrun_classifier: Expected this, got that.\n")
        return int(trial.learning_rate == 13)

    monkeypatch.setattr(sweep, "_run", play)
    return run


def run(flags: dict[str, str | None], **more: str) -> int:
    return sweep.main(as_arguments({**flags, **more}))


def refused(capsys, *says: str) -> None:
    captured = capsys.readouterr()
    last = captured.err.splitlines()[-1]
    assert last.startswith("sweep: ") and "Traceback" not in captured.err
    for part in says:
        assert part in last
    assert captured.out == ""


def test_the_papers_grid(small, tmp_path, played):
    assert run({**small, "output_dir": str(tmp_path / "sweep")}) == 0
    assert played == [
        Trial(batch, rate, epochs, 12345)
        for batch in (16, 32)
        for rate in (5e-5, 3e-5, 2e-5)
        for epochs in (3, 4)
    ]
    assert (tmp_path / "sweep/batch16_rate5e-05_epochs3/seed12345/log.txt").exists()


def test_another_grid_adds_what_is_missing(flags, played, capsys):
    assert run(flags) == 0
    assert run(flags, train_batch_sizes="12,20,20", random_seed="12344") == 0
    assert run(flags, train_batch_sizes="20", random_seed="12344", num_runs="2") == 0
    assert [(trial.train_batch_size, trial.random_seed) for trial in played] == [
        (8, 12345),
        (12, 12345),
        (12, 12344),
        (20, 12344),
        (20, 12345),
    ]
    table = capsys.readouterr().out.split("\n\n")[-2].splitlines()[-3:]
    assert [line.split() for line in table] == [
        ["20", "0.001", "8", "2", "0.2020", "0.0028", "12344"],
        ["12", "0.001", "8", "2", "0.1220", "0.0028", "12344"],
        ["8", "0.001", "8", "1", "0.0800", "-", "12345"],
    ]


def test_another_metric_runs_nothing(flags, played, capsys):
    for metric, best in (
        (None, "12"),
        ("eval_f1", "8"),
        ("eval_loss", "8"),
        ("eval_accuracy", "12"),
    ):
        assert run({**flags, "sweep_metric": metric}) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{metric or 'eval_accuracy'}, best first:"
        assert lines[2].split()[0] == best
    assert len(played) == 2


def test_optuna_reads_the_journal(flags, played):
    assert run(flags) == run(flags, sweep_metric="eval_loss") == 0
    path = Path(flags["output_dir"]) / "sweep.journal"
    for line in path.read_text().splitlines():
        json.loads(line)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(path))
    )
    for metric, batch in (("eval_accuracy", 12), ("eval_loss", 8)):
        study = optuna.load_study(study_name=metric, storage=storage)
        assert len(study.trials) == 2
        assert study.best_params == {
            "train_batch_size": batch,
            "learning_rate": 1e-3,
            "num_train_epochs": 8.0,
            "random_seed": 12345,
        }


def test_checkpoints_are_kept_on_demand(flags, played):
    folder = Path(flags["output_dir"]) / "batch8_rate0.001_epochs8/seed12345"
    bulky = {
        "checkpoint",
        "model.ckpt-9.index",
        "train.tf_record",
        ".writing-model.ckpt-8",
    }
    assert run(flags, keep_checkpoints="true") == 0
    assert bulky <= {path.name for path in folder.iterdir()}
    # A finished trial is left alone, whatever its user has done with it since.
    assert run(flags) == 0
    assert bulky <= {path.name for path in folder.iterdir()}


def test_a_trial_that_fails_ends_the_sweep(flags, played, capsys):
    assert run(flags, learning_rates="1e-3,13", train_batch_sizes="8") == 1
    refused(
        capsys,
        "trial 2 of 2: batch 8, rate 13, epochs 8, seed 12345 to end well, got exit",
        "seed12345/log.txt: run_classifier: Expected this, got that.",
    )
    assert run(flags, learning_rates="1e-3") == 0
    assert len(played) == 3


def test_a_process_that_fails_ends_the_sweep(flags, tmp_path, monkeypatch, capsys):
    """TensorFlow, which the sweep itself can do without, cannot be imported."""
    (tmp_path / "tensorflow.py").write_text("raise RuntimeError('was imported')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    process = start(flags)
    output, errors = process.communicate(timeout=100)
    assert (process.returncode, output) == (1, "")
    last = errors.splitlines()[-1]
    assert last.startswith("sweep: Expected trial 1 of 2: batch 8, ")
    assert "got exit code 1" in last and last.endswith("RuntimeError: was imported")
    assert "Traceback" not in errors


def test_a_trial_that_is_killed_is_named(flags, tmp_path):
    (tmp_path / "tensorflow.py").write_text("import os; os.kill(os.getpid(), 9)\n")
    process = start(flags, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "to end well, got SIGKILL; see " in errors.splitlines()[-1]


@pytest.fixture
def endless(tmp_path) -> dict[str, str]:
    """Makes trials that wait for ever, and note that they are there."""
    (tmp_path / "tensorflow.py").write_text(
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'waits')!r}).touch()\n"
        "time.sleep(100)\n"
    )
    return {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}


def test_sigterm_ends_the_trial_as_well(flags, tmp_path, endless):
    process = start(flags, **endless)
    wait_for((tmp_path / "waits").exists, process)
    process.terminate()
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGTERM
    assert "ended by SIGTERM" in errors.splitlines()[-1]
    assert not is_at_work(Path(flags["output_dir"]))


def test_the_trial_of_a_killed_sweep_keeps_others_out(flags, tmp_path, endless):
    process = start(flags, **endless)
    wait_for((tmp_path / "waits").exists, process)
    process.kill()
    process.wait(timeout=100)
    assert is_at_work(Path(flags["output_dir"]))
    other = start(flags, **endless)
    assert other.stderr
    assert other.stderr.readline().startswith("waiting: another sweep, or the last")
    other.send_signal(signal.SIGINT)
    other.communicate(timeout=100)
    assert other.returncode == 130
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not is_at_work(Path(flags["output_dir"])))


def test_what_a_killed_sweep_leaves_of_its_journal(flags, played):
    assert run(flags) == 0
    path = Path(flags["output_dir"]) / "sweep.journal"
    with open(path, "a") as journal:
        journal.write('{"op_code": 4, "torn')
    os.symlink(path, f"{path}.lock")
    assert run(flags, train_batch_sizes="8,12,20") == 0
    assert run(flags, train_batch_sizes="8,12,20") == 0
    assert len(played) == 3


def test_a_damaged_journal(flags, played, capsys):
    assert run(flags) == 0
    path = Path(flags["output_dir"]) / "sweep.journal"
    path.write_text("no journal\n" + path.read_text())
    capsys.readouterr()
    assert run(flags) == 1
    refused(capsys, "Optuna's journal", str(path), "--output_dir")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train_batch_size": "8"}, "--train_batch_sizes"),
        ({"learning_rate": "1e-3"}, "--learning_rates"),
        ({"num_train_epochs": "3"}, "Expected --epochs for a sweep, got --num_train"),
        ({"do_train": "false"}, "--nodo_train"),
        ({"do_eval": "false"}, "--nodo_eval"),
        ({"do_predict": "true"}, "--do_predict"),
        ({"export_dir": "x"}, "--export_dir"),
        ({"output_dir": "gs://bucket/sweep"}, "gs://bucket/sweep"),
        ({"output_dir": None}, "--output_dir"),
        ({"task_name": None}, "--task_name"),
        ({"task_name": "glue"}, "'glue'"),
        ({"vocab_file": "no/vocab.txt"}, "--vocab_file=no/vocab.txt"),
        ({"label": None}, "--label"),
        ({"train_batch_sizes": "16,0"}, "integers of at least 1"),
        ({"train_batch_sizes": "16,2.5"}, "--train_batch_sizes=16,2.5"),
        ({"learning_rates": ""}, "--learning_rates"),
        ({"learning_rates": "1e-3,inf"}, "--learning_rates=1e-3,inf"),
        ({"epochs": "three"}, "--epochs=three"),
        ({"num_runs": "0"}, "--num_runs"),
        ({"random_seed": str(2**32 - 1), "num_runs": "2"}, "--random_seed=4294967296"),
    ],
    ids=str,
)
def test_bad_flags_are_refused(flags, played, capsys, change, says):
    assert run({**flags, **change}) == 1
    refused(capsys, says)
    assert not Path(flags["output_dir"]).exists() and not played


def test_do_train_and_do_eval_may_be_said(flags, played):
    assert run(flags, do_train="true", do_eval="true") == 0
    assert len(played) == 2


def test_a_folder_of_another_sweep_is_refused(flags, played, capsys):
    assert run(flags) == 0
    capsys.readouterr()
    assert run(flags, max_seq_length="32") == 1
    refused(capsys, "--max_seq_length=32", "--max_seq_length=24", flags["output_dir"])
    # The grid, and what is noted already, may be said again.
    assert run(flags, warmup_proportion="0.1", train_batch_sizes="8") == 0
    assert len(played) == 2
    note = Path(flags["output_dir"]) / "sweep.json"
    noted = json.loads(note.read_text())
    assert noted["text_a"] == "text" and "learning_rate" not in noted
    note.write_text("{")
    capsys.readouterr()
    assert run(flags) == 1
    refused(capsys, str(note), "--output_dir")


def test_flags_may_be_corrected_until_there_is_something_to_keep(flags, played):
    assert run(flags, learning_rates="13", eval_batch_size="9") == 1
    folder = Path(flags["output_dir"]) / "batch8_rate13_epochs8/seed12345"
    (folder / "checkpoint").unlink()
    assert run(flags) == 0


def test_a_metric_that_is_not_evaluated(flags, played, capsys):
    assert run(flags, sweep_metric="eval_f2") == 1
    refused(capsys, "eval_accuracy, eval_f1, eval_loss", "got eval_f2")


def test_without_optuna(flags, played, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run(flags) == 1
    refused(capsys, "pip install 'bert-tf[sweep]'")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["eval_loss", "eval_accuracy", "eval_f1"], "eval_accuracy"),
        (["eval_spearman", "eval_pearson", "eval_loss"], "eval_pearson"),
        (["eval_mystery", "eval_loss", "loss"], "eval_loss"),
    ],
)
def test_the_metric_that_is_chosen(names, chosen):
    assert choose_metric(None, dict.fromkeys(names, 0.0)) == chosen


def test_no_number_is_the_worst(tmp_path):
    """Correlations are none where all predictions are the same."""
    values = {1: 0.5, 2: math.nan, 3: 0.25}
    journal = Journal(str(tmp_path / "sweep.journal"))
    for batch, value in values.items():
        for seed in (1, 2):
            trial = Trial(batch, 1e-3, 3.0, seed)
            results = {"eval_x": value, "eval_loss": value, "eval_mse": value}
            journal.add(trial, results, "eval_x")
    finished = Journal(str(tmp_path / "sweep.journal")).finished
    assert len(finished) == 6
    falling = [3, 1, 2]
    for metric, expected in (
        ("eval_x", [1, 3, 2]),
        ("eval_loss", falling),
        ("eval_mse", falling),
    ):
        points = ranking(finished, metric)
        assert [point.best.train_batch_size for point in points] == expected
