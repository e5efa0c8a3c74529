"""The whole script on real files: train, evaluate, predict, export, continue."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import BertConfig, BertModel, save_checkpoint
from bert_tf.checkpoint import CheckpointReader
from bert_tf.tasks.classification import DataProcessor, InputExample
from bert_tf.tools.run_classifier import ClassifierConfig, main, run
from tests.programs import run as run_program
from tests.small_task import as_arguments, write_small_task

TEXTS = [
    "the sun and the heat",
    "snow and ice",
    "",
    "雪が降る 冬の寒さ mixed with english",
    "zero\u200bwidth, nul\x00, bell\x07 and a lone\ufffdcharacter",
    "Ünïcödé ΣΊΣΥΦΟΣ İstanbul ﬁ ａｂｃ 👩‍👩‍👧",
    "summer " * 1429,
]

# What a server has: TensorFlow and TF Text's ops; nothing of this package.
ASK = """
import json, sys
import tensorflow as tf
import tensorflow_text
folder, texts = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
signature = tf.saved_model.load(folder).signatures["serving_default"]
names = sorted(signature.structured_input_signature[1])
feeds = {name: tf.constant(texts) for name in names}
if "text_b" in feeds:
    feeds["text_b"] = tf.constant(texts[::-1])
answer = {k: v.numpy() for k, v in signature(**feeds).items()}
graph = tf.Graph()
with tf.compat.v1.Session(graph=graph) as session:
    meta = tf.compat.v1.saved_model.load(session, ["serve"], folder)
    inputs = meta.signature_def["serving_default"].inputs
    session_probabilities = session.run(
        meta.signature_def["serving_default"].outputs["probabilities"].name,
        {inputs[n].name: feeds[n].numpy() for n in names},
    )
assert not [m for m in sys.modules if m.startswith("bert_tf")]
json.dump({
    "label": [x.decode() for x in answer["label"]],
    "labels": [[x.decode() for x in row] for row in answer["labels"]],
    "probabilities": answer["probabilities"].tolist(),
    "session": session_probabilities.tolist(),
    "inputs": names,
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, testdata):
    """A run that did everything at once; returns its flags and folder."""
    folder = tmp_path_factory.mktemp("run")
    flags = write_small_task(folder, testdata, rows=200)
    assert all("\t" not in text and "\n" not in text for text in TEXTS)
    # As JSON lines, which any text survives.
    (folder / "test.jsonl").write_text(
        "\n".join(json.dumps({"text": text}) for text in TEXTS) + "\n"
    )
    flags |= {
        "do_train": "true",
        "do_eval": "true",
        "do_predict": "true",
        "dev_fraction": "0.2",
        "train_batch_size": "8",
        "num_train_epochs": "8",
        "learning_rate": "1e-3",
        "save_checkpoints_steps": "60",
        "export_dir": str(folder / "export"),
    }
    assert main(as_arguments(flags)) == 0
    return flags, folder


def results(folder):
    lines = (folder / "output" / "eval_results.txt").read_text().splitlines()
    return dict(line.split(" = ") for line in lines)


def test_it_learns_and_writes_googles_files(trained):
    _, folder = trained
    found = results(folder)
    googles = {"eval_accuracy", "eval_loss", "global_step", "loss"}
    assert list(found) == sorted(googles | {"eval_f1", "eval_matthews"})
    assert found["global_step"] == "160"
    assert float(found["eval_accuracy"]) >= 0.9
    names = {path.name for path in (folder / "output").iterdir()}
    assert {"train.tf_record", "eval.tf_record", "predict.tf_record"} <= names
    assert {"test_results.tsv", "labels.json", "bert_config.json", "vocab.txt"} <= names
    assert json.loads((folder / "output" / "labels.json").read_text()) == [
        "cold",
        "warm",
    ]
    rows = np.loadtxt(folder / "output" / "test_results.tsv", delimiter="\t")
    assert rows.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert rows[0, 1] > 0.5 > rows[1, 1]
    reader = CheckpointReader(folder / "output")
    assert reader.step() == 160
    assert "output_weights/adam_m" in reader.shapes


def test_tensorboard_holds_the_curves(trained):
    _, folder = trained
    tags = {}
    for path in (folder / "output").rglob("events.out.tfevents.*"):
        place = path.parent.name
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                tags.setdefault(f"{place}/{value.tag}", []).append(event.step)
    assert tags["output/loss"] == list(range(10, 161, 10))
    assert {"output/accuracy", "output/learning_rate"} <= tags.keys()
    assert tags["eval/eval_accuracy"] == list(range(20, 161, 20))


def test_the_export_answers_as_the_script_predicted(trained, tmp_path, measured):
    _, folder = trained
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    (tmp_path / "ask.py").write_text(ASK)
    answer = json.loads(
        run_program(
            tmp_path / "ask.py", folder / "export" / "1", tmp_path / "texts.json"
        )
    )
    predicted = np.loadtxt(folder / "output" / "test_results.tsv", delimiter="\t")
    worst = np.abs(np.array(answer["probabilities"]) - predicted).max()
    measured("export against --do_predict", float(worst), at_most=1e-5)
    worst = np.abs(np.array(answer["session"]) - predicted).max()
    measured("export in a TF1 session against --do_predict", float(worst), at_most=1e-5)
    assert answer["inputs"] == ["text_a"]
    assert answer["labels"] == [["cold", "warm"]] * len(TEXTS)
    assert answer["label"] == [["cold", "warm"][i] for i in predicted.argmax(axis=1)]


def test_evaluating_again_finds_the_checkpoint(trained, capsys):
    flags, folder = trained
    before = results(folder)
    again = {
        name: flags[name]
        for name in flags
        if name not in ("do_train", "do_predict", "export_dir")
    }
    (folder / "output" / "eval_results.txt").unlink()
    assert main(as_arguments(again)) == 0
    assert "using step 160" in capsys.readouterr().err
    assert results(folder) == before


def test_a_complete_run_is_not_trained_again(trained, capsys):
    flags, folder = trained
    index = folder / "output" / "model.ckpt-160.index"
    before = index.stat().st_mtime_ns
    again = {n: v for n, v in flags.items() if n not in ("do_predict", "export_dir")}
    assert main(as_arguments(again)) == 0
    assert "training is complete" in capsys.readouterr().err
    assert index.stat().st_mtime_ns == before


def test_an_export_takes_the_next_number(trained):
    flags, folder = trained
    names = ("do_train", "do_eval", "do_predict", "dev_fraction")
    again = {name: value for name, value in flags.items() if name not in names}
    assert main(as_arguments(again)) == 0
    names = ["1", "2", "batching.config", "models.config"]
    assert sorted(p.name for p in (folder / "export").iterdir()) == names


class PairProcessor(DataProcessor):
    """Somebody's own subclass, as they wrote it for the release."""

    def get_train_examples(self, data_dir):
        texts = [("sun", "heat", "same"), ("sun", "ice", "other")] * 8
        return [InputExample(f"train-{i}", *row) for i, row in enumerate(texts)]

    def get_dev_examples(self, data_dir):
        return self.get_train_examples(data_dir)[:5]

    def get_test_examples(self, data_dir):
        pairs = zip(TEXTS, reversed(TEXTS), strict=True)
        return [
            InputExample(f"test-{i}", *pair, "same") for i, pair in enumerate(pairs)
        ]

    def get_labels(self):
        return ["other", "same"]


def test_a_processor_of_ones_own(tmp_path, testdata, measured):
    flags = write_small_task(tmp_path, testdata)
    config = ClassifierConfig(
        task_name="pairs",
        bert_config_file=flags["bert_config_file"],
        vocab_file=flags["vocab_file"],
        output_dir=flags["output_dir"],
        max_seq_length=16,
        do_train=True,
        do_eval=True,
        do_predict=True,
        train_batch_size=4,
        num_train_epochs=1,
        export_dir=str(tmp_path / "export"),
    )
    run(config, PairProcessor())
    assert results(tmp_path)["global_step"] == "4"
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    (tmp_path / "ask.py").write_text(ASK)
    answer = json.loads(
        run_program(
            tmp_path / "ask.py", tmp_path / "export" / "1", tmp_path / "texts.json"
        )
    )
    assert answer["inputs"] == ["text_a", "text_b"]
    predicted = np.loadtxt(tmp_path / "output" / "test_results.tsv", delimiter="\t")
    worst = np.abs(np.array(answer["probabilities"]) - predicted).max()
    measured("export of a pair task against --do_predict", float(worst), at_most=1e-5)

    # The folder remembers what the examples no longer tell.
    again = dataclasses.replace(config, do_train=False, do_eval=False, do_predict=False)
    run(again, PairProcessor())
    signature = tf.saved_model.load(str(tmp_path / "export" / "2")).signatures
    names = signature["serving_default"].structured_input_signature[1]
    assert sorted(names) == ["text_a", "text_b"]


class NumberProcessor(PairProcessor):
    """Labels that are numbers; the base class's `get_labels` is not asked."""

    get_labels = DataProcessor.get_labels
    labels = (0.5, 3)

    def get_train_examples(self, data_dir):
        return [
            InputExample(f"train-{i}", "sun", None, self.labels[i % 2])
            for i in range(8)
        ]


class NamedNumberProcessor(NumberProcessor):
    """Numbers that are listed as labels are classes."""

    def get_labels(self):
        return ["0.5", "3"]


class ListProcessor(NumberProcessor):
    """Several labels each."""

    labels = (["a", "b"], [])

    def get_labels(self):
        return ["a", "b"]


@pytest.mark.parametrize(
    ("processor", "label_kind", "says"),
    [
        (NumberProcessor, "auto", "labels: regression, from 0.5 to 3"),
        (NamedNumberProcessor, "auto", "labels: 2 of kind single (0.5, 3)"),
        (NamedNumberProcessor, "regression", "labels: regression, from 0.5 to 3"),
        (
            ListProcessor,
            "auto",
            "labels: 2 of kind multi, separated by |, 1.0 per example",
        ),
    ],
)
def test_the_kind_of_a_processors_labels(
    tmp_path, testdata, caplog, processor, label_kind, says
):
    flags = write_small_task(tmp_path, testdata)
    config = ClassifierConfig(
        task_name="mine",
        bert_config_file=flags["bert_config_file"],
        vocab_file=flags["vocab_file"],
        output_dir=flags["output_dir"],
        max_seq_length=8,
        do_train=True,
        train_batch_size=8,
        num_train_epochs=1,
        label_kind=label_kind,
    )
    with caplog.at_level("INFO", logger="absl"):
        run(config, processor())
    assert says in caplog.messages


def test_the_dev_set_must_be_the_one_held_out(trained, capsys):
    flags, folder = trained
    names = ("do_train", "do_predict", "export_dir")
    other = {name: value for name, value in flags.items() if name not in names}
    before = results(folder)
    for change in ({"random_seed": "7"}, {"dev_fraction": "0.3"}):
        assert main(as_arguments({**other, **change})) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert f"held_out.{next(iter(change))}" in last
    assert results(folder) == before


def test_a_text_column_more_or_less_is_another_task(trained, capsys):
    flags, _ = trained
    names = ("do_train", "do_eval", "export_dir", "dev_fraction")
    other = {name: value for name, value in flags.items() if name not in names}
    assert main(as_arguments({**other, "text_b": "text"})) == 1
    assert "is_pair" in capsys.readouterr().err.splitlines()[-1]


def test_predicting_elsewhere_from_a_trained_checkpoint(trained, tmp_path):
    """As the release's README predicts: labels come from beside the checkpoint."""
    flags, folder = trained
    names = ("do_train", "do_eval", "export_dir", "dev_fraction")
    other = {name: value for name, value in flags.items() if name not in names}
    other |= {
        "init_checkpoint": str(folder / "output" / "model.ckpt-160"),
        "output_dir": str(tmp_path / "elsewhere"),
        "max_seq_length": "32",
    }
    assert main(as_arguments(other)) == 0
    one, two = (
        np.loadtxt(path / "test_results.tsv", delimiter="\t")
        for path in (folder / "output", tmp_path / "elsewhere")
    )
    # All but the last text are shorter than both lengths.
    np.testing.assert_allclose(one[:5], two[:5], atol=1e-5)


def test_a_checkpoint_that_lacks_the_head_is_not_taken_for_the_run(
    trained, testdata, tmp_path, capsys
):
    flags, folder = trained
    output = tmp_path / "output"
    config = BertConfig.from_json_file(folder / "bert_config.json")
    save_checkpoint(BertModel(config), output / "model.ckpt-1000", step=1000)
    other = {n: v for n, v in flags.items() if n != "export_dir"}
    assert main(as_arguments({**other, "output_dir": str(output)})) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "lacks output_bias" in last and "--init_checkpoint" in last
    assert not (output / "eval_results.txt").exists()
