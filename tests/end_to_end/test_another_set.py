"""A model on a set that is not the one it was trained with: GLUE's and XNLI's."""

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.tools.run_classifier import main
from tests.small_task import as_arguments, write_model_files

SENTENCES = {
    "en": ("the sun is warm", "snow is cold"),
    "fr": ("le soleil", "la neige"),
}


def write_mnli(folder, *names: str) -> None:
    header = "\t".join(["index"] * 12) + "\n"
    row = "{}\tp\tq\tg\tb\tb\tp\tp\t{}\t{}\tneutral\t{}\n"
    labels = ("contradiction", "entailment", "neutral")
    rows = [row.format(i, *SENTENCES["en"], labels[i % 3]) for i in range(6)]
    for name in names:
        (folder / f"{name}.tsv").write_text(header + "".join(rows))


@pytest.fixture(scope="module")
def mnli(tmp_path_factory, testdata):
    """Flags and folder of a model of MultiNLI, which is evaluated on `matched`."""
    folder = tmp_path_factory.mktemp("mnli")
    write_model_files(folder, testdata, num_hidden_layers=1)
    write_mnli(folder, "train", "dev_matched", "dev_mismatched")
    flags = {
        "task_name": "mnli",
        "data_dir": str(folder),
        "bert_config_file": str(folder / "bert_config.json"),
        "vocab_file": str(folder / "vocab.txt"),
        "output_dir": str(folder / "output"),
        "max_seq_length": "24",
        "train_batch_size": "3",
        "num_train_epochs": "1",
    }
    assert main(as_arguments({**flags, "do_train": "true", "do_eval": "true"})) == 0
    return flags, folder


def elsewhere(flags, task: str, output) -> dict:
    """Flags for another task with the same model; the length is as noted."""
    return {
        **flags,
        "task_name": task,
        "init_checkpoint": flags["output_dir"],
        "output_dir": str(output),
        "max_seq_length": None,
    }


def test_the_mismatched_set_with_a_model_of_mnli(mnli, tmp_path):
    flags, folder = mnli
    flags = elsewhere(flags, "MNLI_mismatched", tmp_path / "mm")
    assert main(as_arguments({**flags, "do_eval": "true"})) == 0
    # Both sets hold the same rows here, and the same model was asked.
    ours, matched = (
        dict(line.split(" = ") for line in (path / "eval_results.txt").open())
        for path in (tmp_path / "mm", folder / "output")
    )
    assert float(ours["eval_loss"]) == float(matched["eval_loss"])
    assert ours["eval_accuracy"] == matched["eval_accuracy"]
    [record] = tf.data.TFRecordDataset(str(tmp_path / "mm/eval.tf_record")).take(1)
    features = tf.train.Example.FromString(record.numpy()).features.feature
    assert len(features["input_ids"].int64_list.value) == 24


def test_the_folder_of_mnli_itself_is_refused(mnli, capsys):
    flags, _ = mnli
    flags = {**flags, "task_name": "mnli-mm", "do_eval": "true"}
    assert main(as_arguments(flags)) == 1
    line = capsys.readouterr().err.rstrip("\n").split("\n")[-1]
    assert "task_name=mnli-mm" in line and "another --output_dir" in line


def test_the_diagnostic_set_with_a_model_of_mnli(mnli, tmp_path):
    flags, _ = mnli
    (tmp_path / "AX").mkdir()
    rows = ["index\tsentence1\tsentence2", "0\tthe sun\tsnow", "1\tsnow\tthe sun"]
    (tmp_path / "AX/diagnostic.tsv").write_text("\n".join([*rows, ""]))
    flags = elsewhere(flags, "ax", tmp_path / "out") | {"data_dir": tmp_path / "AX"}
    assert main(as_arguments({**flags, "do_predict": "true"})) == 0
    found = np.loadtxt(tmp_path / "out/test_results.tsv", delimiter="\t")
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    names = ["contradiction", "entailment", "neutral"]
    best = [f"{index}\t{names[row.argmax()]}" for index, row in enumerate(found)]
    submitted = (tmp_path / "out/AX.tsv").read_text().split("\n")
    assert submitted == ["index\tprediction", *best, ""]


def test_a_model_trained_in_one_language_is_evaluated_in_another(mnli, tmp_path):
    of_mnli, _ = mnli
    (tmp_path / "multinli").mkdir()
    rows = ["premise\thypo\tlabel", *["the sun\tsnow\tneutral"] * 6, ""]
    (tmp_path / "multinli/multinli.train.en.tsv").write_text("\n".join(rows))
    dev = [
        "\t".join([language, label, *[""] * 4, *SENTENCES[language]])
        for language, label in (("en", "neutral"), ("fr", "entailment"))
    ]
    (tmp_path / "xnli.dev.tsv").write_text("\n".join(["language", *dev, ""]))
    flags = of_mnli | {
        "task_name": "xnli",
        "data_dir": str(tmp_path),
        "output_dir": str(tmp_path / "output"),
        "xnli_language": "en",
    }
    assert main(as_arguments({**flags, "do_train": "true"})) == 0
    for language, label in (("en", 2), ("fr", 1)):
        flags |= {"xnli_language": language, "do_eval": "true"}
        assert main(as_arguments(flags)) == 0
        # The dev set of this language, with the model of the other.
        [record] = tf.data.TFRecordDataset(str(tmp_path / "output/eval.tf_record"))
        features = tf.train.Example.FromString(record.numpy()).features.feature
        assert list(features["label_ids"].int64_list.value) == [label]
        text = (tmp_path / "output/eval_results.txt").read_text()
        assert "global_step = 2" in text
    # MultiNLI has the labels of XNLI, in the same order.
    flags = elsewhere(of_mnli, "xnli", tmp_path / "of_mnli")
    flags |= {"data_dir": str(tmp_path), "xnli_language": "fr", "do_eval": "true"}
    assert main(as_arguments(flags)) == 0
