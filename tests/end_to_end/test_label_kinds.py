"""Each kind of label through the whole script, held against numpy."""

import contextlib
import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import pandas
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  the ops of an export

from bert_tf import BertClassifier, BertConfig, load_checkpoint, save_checkpoint
from bert_tf.tokenization import GraphTokenizer
from bert_tf.tools.run_classifier import main
from tests.small_task import as_arguments, write_small_task

WORDS = {
    "cold": ["ice", "snow", "winter"],
    "mild": ["spring", "rain", "garden"],
    "warm": ["sun", "fire", "summer"],
}
NASTY = [
    "the sun\tand the fire",
    'snow "and" ice',
    "rain\nin the garden",
    "winter\r\nor summer\rhere",
    "'single', and, commas",
    " spaces ",
]
LENGTH = 24


def example(kind: str, draw: random.Random) -> tuple[str, str | list[str]]:
    names = sorted(WORDS)
    several = draw.sample(names, draw.choice([0, 1, 1, 2, 3]))
    if kind == "multi":
        words = [draw.choice(WORDS[x]) for x in several] + ["the"]
        return " and ".join(words), sorted(several)
    name = draw.choice(["cold", "cold", "cold", "mild", "warm", "warm"])
    text = f"the {draw.choice(WORDS[name])} of the {draw.choice(WORDS[name])}"
    if kind == "single":
        return text, name
    return text, f"{2 * names.index(name) + draw.choice([-0.25, 0, 0.5])}"


def write(path: Path, rows: list) -> None:
    if path.suffix == ".jsonl":
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    else:
        fields = [(t, "|".join(x) if isinstance(x, list) else x) for t, x in rows]
        lines = ["text\tlabel", *("\t".join(row) for row in fields)]
    path.write_text("\n".join(lines) + "\n")


def write_task(folder: Path, testdata: Path, kind: str, extension: str) -> dict:
    flags = write_small_task(folder, testdata)
    draw = random.Random(8)
    (folder / "train.tsv").unlink()
    for name, count in (("train", 60), ("dev", 21)):
        rows = [example(kind, draw) for _ in range(count)]
        write(folder / f"{name}.{extension}", rows)
    write(folder / "test.jsonl", [(text, "") for text in NASTY])
    return flags


CASES = [
    ("single", "jsonl", "labels: 3 of kind single (cold, mild, warm)"),
    ("multi", "tsv", "labels: 3 of kind multi, separated by |, "),
    ("regression", "tsv", "labels: regression, from -0.25 to 4.5"),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case[:2]))
def trained(request, tmp_path_factory, testdata):
    """A run that did everything; returns its kind, flags, folder and log."""
    kind, extension, line = request.param
    folder = tmp_path_factory.mktemp(f"{kind}-{extension}")
    flags = write_task(folder, testdata, kind, extension) | {
        "do_train": "true",
        "do_eval": "true",
        "do_predict": "true",
        "train_batch_size": "8",
        "num_train_epochs": "3",
        "learning_rate": "1e-3",
        "export_dir": str(folder / "export"),
    }
    log = io.StringIO()
    with contextlib.redirect_stderr(log):
        assert main(as_arguments(flags)) == 0
    assert line in log.getvalue()
    return kind, flags, folder, log.getvalue()


def results(folder: Path) -> dict[str, float]:
    lines = (folder / "output" / "eval_results.txt").read_text().splitlines()
    return {k: float(v) for k, v in (line.split(" = ") for line in lines)}


def read_dev(folder: Path) -> tuple[list[str], list]:
    """Reads what `write` wrote."""
    if (folder / "dev.jsonl").exists():
        rows = [json.loads(x) for x in (folder / "dev.jsonl").read_text().splitlines()]
        return [x["text"] for x in rows], [x["label"] for x in rows]
    rows = [x.split("\t") for x in (folder / "dev.tsv").read_text().splitlines()[1:]]
    return [row[0] for row in rows], [row[1] for row in rows]


def logits_of(folder: Path, num_outputs: int, texts: list[str]) -> np.ndarray:
    """Computes logits in float64 from the last checkpoint, without the scripts."""
    model = BertClassifier(
        BertConfig.from_json_file(folder / "bert_config.json"), num_outputs
    )
    load_checkpoint(model, folder / "output")
    tokenizer = GraphTokenizer(str(folder / "vocab.txt"))
    features = tokenizer.pack(tf.constant(texts), max_seq_length=LENGTH)
    return model(features).numpy().astype(np.float64)


def marks_of(labels: list) -> np.ndarray:
    several = [x.split("|") if isinstance(x, str) else x for x in labels]
    return np.array([[name in x for name in sorted(WORDS)] for x in several])


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def f1(marks: np.ndarray, predicted: np.ndarray) -> float:
    both = (marks & predicted).sum()
    return 2 * both / max(marks.sum() + predicted.sum(), 1)


def expected(kind: str, logits: np.ndarray, labels: list) -> dict[str, float]:
    if kind == "regression":
        values = np.array(labels, float)
        losses = (logits[:, 0] - values) ** 2
        found = {
            "eval_pearson": np.corrcoef(logits[:, 0], values)[0, 1],
            "eval_mse": losses.mean(),
        }
    else:
        marks = marks_of(labels)
        if kind == "single":
            predicted = np.eye(3, dtype=bool)[logits.argmax(axis=1)]
            losses = -np.log(softmax(logits)[marks])
        else:
            predicted = logits > 0
            right = np.where(marks, sigmoid(logits), sigmoid(-logits))
            losses = -np.log(right).mean(axis=1)
        found = {"eval_accuracy": (marks == predicted).all(axis=1).mean()}
        macro = np.mean([f1(marks[:, x], predicted[:, x]) for x in range(3)])
        if kind == "single":
            found["eval_f1"] = macro
        else:
            found |= {"eval_f1_macro": macro, "eval_f1_micro": f1(marks, predicted)}
    batches = [losses[start : start + 8].mean() for start in range(0, 21, 8)]
    return {**found, "eval_loss": losses.mean(), "loss": np.mean(batches)}


ALL_METRICS = {
    "single": {"eval_accuracy", "eval_f1", "eval_matthews"},
    "multi": {"eval_accuracy", "eval_f1_macro", "eval_f1_micro"},
    "regression": {"eval_mse", "eval_pearson", "eval_spearman"},
}


def test_metrics_are_numpys(trained):
    kind, _, folder, _ = trained
    found = results(folder)
    assert found.keys() == ALL_METRICS[kind] | {"eval_loss", "loss", "global_step"}
    assert found["global_step"] == 22
    texts, labels = read_dev(folder)
    logits = logits_of(folder, 1 if kind == "regression" else 3, texts)
    for name, value in expected(kind, logits, labels).items():
        assert found[name] == pytest.approx(value, abs=1e-5), name


def test_predictions(trained):
    """Both files say the same, and hold the texts as they were."""
    kind, _, folder, _ = trained
    output = folder / "output"
    logits = logits_of(folder, 1 if kind == "regression" else 3, NASTY)
    numbers = np.loadtxt(output / "test_results.tsv", delimiter="\t", ndmin=2)
    says = {"single": softmax, "multi": sigmoid, "regression": lambda x: x}[kind]
    np.testing.assert_allclose(numbers, says(logits), atol=1e-5)

    with (output / "predictions.tsv").open(newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    probabilities = [f"probability_{name}" for name in sorted(WORDS)]
    assert header == ["id", "text_a"] + (
        ["score"] if kind == "regression" else ["label", *probabilities]
    )
    assert [row[1] for row in rows] == NASTY
    assert [row[0] for row in rows] == [f"test-{x}" for x in range(len(NASTY))]
    np.testing.assert_array_equal(
        np.array([row[-numbers.shape[1] :] for row in rows], float), numbers
    )
    if kind != "regression":
        names = np.array(sorted(WORDS))
        chosen = numbers == numbers.max(axis=1, keepdims=True)
        marks = chosen if kind == "single" else numbers > 0.5
        assert [row[2] for row in rows] == ["|".join(names[row]) for row in marks]
    frame = pandas.read_csv(output / "predictions.tsv", sep="\t", keep_default_na=False)
    assert list(frame.columns) == header
    assert frame["text_a"].tolist() == NASTY
    np.testing.assert_allclose(frame[header[-1]], numbers[:, -1])


def test_the_export_answers_as_the_script_predicted(trained, measured):
    kind, _, folder, _ = trained
    signature = tf.saved_model.load(str(folder / "export" / "1")).signatures
    answer = signature["serving_default"](text_a=tf.constant(NASTY))
    numbers = np.loadtxt(folder / "output" / "test_results.tsv", delimiter="\t")
    if kind == "regression":
        assert answer.keys() == {"score"}
        found = answer["score"].numpy()
        assert found.shape == (len(NASTY),)
    else:
        several = {"labels", "probabilities"}
        assert answer.keys() == (several | {"label"} if kind == "single" else several)
        names = [name.encode() for name in sorted(WORDS)]
        assert answer["labels"].numpy().tolist() == [names] * len(NASTY)
        found = answer["probabilities"].numpy()
    assert found.dtype == np.float32
    worst = float(np.abs(found - numbers).max())
    measured(f"export of kind {kind} against --do_predict", worst, at_most=1e-5)


def test_reports(trained):
    kind, _, folder, log = trained
    output = folder / "output"
    figures = {"single": {"confusion_matrix.png"}, "regression": {"eval_scatter.png"}}
    drawn = {path.name for path in output.glob("*.png")}
    assert drawn == figures.get(kind, set())
    for name in drawn:
        image = tf.io.decode_png((output / name).read_bytes())
        assert min(image.shape[:2]) > 300 and int(tf.reduce_min(image)) < 100
    if kind == "regression":
        assert not (output / "eval_report.txt").exists()
        return
    report = (output / "eval_report.txt").read_text()
    assert report in log
    texts, labels = read_dev(folder)
    marks = marks_of(labels)
    logits = logits_of(folder, 3, texts)
    predicted = logits > 0
    if kind == "single":
        predicted = np.eye(3, dtype=bool)[logits.argmax(axis=1)]
    for index, name in enumerate(sorted(WORDS)):
        (line,) = [
            line.split()[1:]
            for line in report.split("confusion")[0].splitlines()
            if line.strip().startswith(name)
        ]
        both = (marks[:, index] & predicted[:, index]).sum()
        assert [float(x) for x in line] == pytest.approx(
            [
                both / max(predicted[:, index].sum(), 1),
                both / marks[:, index].sum(),
                f1(marks[:, index], predicted[:, index]),
                marks[:, index].sum(),
            ],
            abs=1e-4,
        )
        if kind == "single":
            counts = [(marks[:, index] & predicted[:, x]).sum() for x in range(3)]
            row = " ".join([name, *map(str, counts)])
            assert row in [" ".join(x.split()) for x in report.splitlines()]


@pytest.mark.acceptance
def test_the_kind_is_known_again(trained, tmp_path, capsys):
    kind, flags, folder, _ = trained
    note = json.loads((folder / "output" / "run_config.json").read_text())
    assert note["label_kind"] == kind
    labels = json.loads((folder / "output" / "labels.json").read_text())
    assert labels == ([] if kind == "regression" else sorted(WORDS))
    before = results(folder)
    again = {k: v for k, v in flags.items() if k not in ("do_train", "export_dir")}
    assert main(as_arguments(again)) == 0
    assert results(folder) == before
    # Beside an initial checkpoint, too, from which an export is made elsewhere.
    elsewhere = {k: v for k, v in again.items() if not k.startswith("do_")} | {
        "init_checkpoint": str(folder / "output" / "model.ckpt-22"),
        "output_dir": str(tmp_path / "elsewhere"),
        "export_dir": str(tmp_path / "export"),
    }
    assert main(as_arguments(elsewhere)) == 0
    one, two = (
        tf.saved_model.load(str(path / "export" / "1")).signatures["serving_default"]
        for path in (folder, tmp_path)
    )
    assert one.structured_outputs.keys() == two.structured_outputs.keys()
    # Another kind is another run.
    other = "multi" if kind == "single" else "single"
    capsys.readouterr()
    assert main(as_arguments({**again, "label_kind": other})) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "label" in last and "Traceback" not in last


def test_whole_numbers_are_numbers_when_said(tmp_path, testdata, capsys):
    flags = write_small_task(tmp_path, testdata) | {
        "label_kind": "regression",
        "do_train": "true",
        "train_batch_size": "4",
        "num_train_epochs": "1",
    }
    rows = [("the sun", "5"), ("snow", "1"), ("rain", "3"), ("ice", "1")]
    write(tmp_path / "train.tsv", rows)
    assert main(as_arguments(flags)) == 0
    assert "labels: regression, from 1 to 5" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_balanced_training_minimises_the_weighted_loss(tmp_path, testdata, kind):
    """The loss of a first step over all rows, without dropout."""
    flags = write_task(tmp_path, testdata, kind, "tsv") | {
        "do_train": "true",
        "do_eval": "true",
        "class_weights": "balanced",
        "train_batch_size": "60",
        "num_train_epochs": "1",
        "learning_rate": "0",
        "dev_file": str(tmp_path / "train.tsv"),
        "init_checkpoint": str(tmp_path / "init.ckpt"),
    }
    path = tmp_path / "bert_config.json"
    config = json.loads(path.read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    path.write_text(json.dumps(config))
    tf.keras.utils.set_random_seed(4)
    model = BertClassifier(BertConfig.from_json_file(path), 3)
    # So small that the dropout of the pooled output, which is fixed, does not matter;
    # the bias makes the losses of the classes differ.
    model.output_weights.assign(model.output_weights * 1e-5)
    model.output_bias.assign([1.0, -2.0, 0.25])
    save_checkpoint(model, tmp_path / "init.ckpt")
    assert main(as_arguments(flags)) == 0
    lines = (tmp_path / "train.tsv").read_text().splitlines()[1:]
    marks = marks_of([line.split("\t")[1] for line in lines])
    logits = np.tile([1.0, -2.0, 0.25], [60, 1])
    counts = marks.sum(axis=0)
    if kind == "single":
        weights = (60 / (3 * counts))[marks.argmax(axis=1)]
        losses = -np.log(softmax(logits)[marks])
    else:
        weights = np.where(marks, (60 - counts) / counts, 1.0)
        losses = -np.log(np.where(marks, sigmoid(logits), sigmoid(-logits)))
    weighted = (weights * losses).sum() / weights.sum()
    assert abs(weighted - losses.mean()) > 0.01
    seen = {}
    for path in (tmp_path / "output").glob("events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                seen[value.tag] = tf.make_ndarray(value.tensor).item()
    assert seen["loss"] == pytest.approx(weighted, abs=1e-4)
    assert results(tmp_path)["eval_loss"] == pytest.approx(losses.mean(), abs=1e-4)
