"""A folder of a model becomes an export with all that servers need; mistakes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  the ops of an export
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from bert_tf import BertClassifier, BertConfig, save_checkpoint
from bert_tf.tools import export_model


@pytest.fixture
def model(tmp_path, testdata) -> Path:
    """A folder in Google's layout."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in testdata.glob("bert_*"):
        shutil.copy(path, folder)
    shutil.copy(testdata / "vocab_uncased.txt", folder / "vocab.txt")
    return folder


def test_a_pretrained_model(model, tmp_path, capsys):
    folder = tmp_path / "my export"
    assert export_model.main([f"--model_dir={model}", f"--export_dir={folder}"]) == 0
    out, err = capsys.readouterr()
    assert f"exported a SavedModel to {folder}/1\n" in err
    for line in (
        "  fill_mask(text)",
        "  ids(input_ids, input_mask, segment_ids)",
        f"  docker run --rm -p 127.0.0.1:8501:8501 -v '{folder}:/models/my_export' ",
        "http://localhost:8501/v1/models/my_export:predict\n",
        "  bert-tf serve --model_dir=",
    ):
        assert line in out
    version = folder / "1"
    vocab = (model / "vocab.txt").read_bytes()
    assert (version / "assets" / "vocab.txt").read_bytes() == vocab
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((folder / "models.config").read_text(), config)
    [one] = config.model_config_list.config
    assert (one.name, one.base_path) == ("my_export", "/models/my_export")

    signatures = tf.saved_model.load(str(version)).signatures
    asked = {}
    path = str(version / "assets.extra" / "tf_serving_warmup_requests")
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        inputs = {
            key: tf.constant(tf.make_ndarray(value))
            for key, value in request.inputs.items()
        }
        name = request.model_spec.signature_name
        said = signatures[name](**inputs)
        asked.setdefault(name, []).append({len(x) for x in said.values()})
    assert set(asked) == set(signatures)
    assert all(sizes == [{1}, {8}] for sizes in asked.values())


def test_the_next_version_leaves_configs_as_they_are(model, tmp_path, capsys):
    folder = tmp_path / "export"
    (folder / "3").mkdir(parents=True)
    (folder / ".writing-4").mkdir()  # of a writer that was killed
    (folder / "batching.config").write_text("max_batch_size { value: 7 }\n")
    flags = [f"--model_dir={model}", f"--export_dir={folder}", "--model_name=mine"]
    assert export_model.main([*flags, "--pooling=cls", "--top_k=2"]) == 0
    assert sorted(x.name for x in folder.iterdir()) == [
        "3",
        "4",
        "batching.config",
        "models.config",
    ]
    assert "7" in (folder / "batching.config").read_text()
    assert '"/models/mine"' in (folder / "models.config").read_text()
    signatures = tf.saved_model.load(str(folder / "4")).signatures
    text = tf.constant(["the [MASK]"])
    assert signatures["fill_mask"](text)["pieces"].shape == (1, 1, 2)
    ids = {
        "input_ids": tf.constant([[5, 6]]),
        "input_mask": tf.ones([1, 2], tf.int32),
        "segment_ids": tf.zeros([1, 2], tf.int32),
    }
    said = signatures["ids"](**ids)
    np.testing.assert_array_equal(said["embedding"], said["sequence_output"][:, 0])


def fine_tuned(model: Path) -> None:
    config = BertConfig.from_json_file(str(model / "bert_config.json"))
    for path in model.glob("bert_model*"):
        path.unlink()
    save_checkpoint(BertClassifier(config, 2), str(model / "model.ckpt-5"))


def note(model: Path, **changes: object) -> None:
    fine_tuned(model)
    said = {
        "task_name": "mine",
        "label_kind": "single",
        "is_pair": False,
        "max_seq_length": 32,
        **changes,
    }
    said = {key: value for key, value in said.items() if value is not None}
    (model / "run_config.json").write_text(json.dumps(said))
    (model / "labels.json").write_text('["no", "yes"]')


def no_folder(model):
    return ["--model_dir=nowhere"], ["folder at --model_dir=nowhere"]


def no_model(model):
    return ["--model_dir="], ["Expected --model_dir, got none"]


def no_vocabulary(model):
    (model / "vocab.txt").unlink()
    return [], ["vocab.txt, found none", "--vocab_file"]


def a_head_without_a_note(model):
    fine_tuned(model)
    return [], ["run_config.json", "output_weights", "--task=pretrained"]


def half_a_note(model):
    note(model, label_kind=None)
    return [], ["run_config.json of a whole run", "'label_kind'"]


def another_casing(model):
    note(model, do_lower_case=False)
    return ["--do_lower_case"], ["--model_dir of a run with do_lower_case=True"]


def no_labels(model):
    note(model)
    (model / "labels.json").unlink()
    return [], ["Expected the labels", "labels.json"]


def an_option_of_another_task(model):
    note(model)
    return ["--pooling=cls"], ["a pretrained model for --pooling"]


def answers_of_a_classifier(model):
    note(model)
    return ["--max_answer_length=3"], ["answers questions for --max_answer_length"]


def too_long(model):
    return ["--max_seq_length=81"], ["max_position_embeddings=80", "81"]


def a_damaged_checkpoint(model):
    path = model / "bert_model.ckpt.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:1000])
    return [], ["cannot be read", "bert_model.ckpt"]


def a_name_with_a_quote(model):
    return ["--model_name=a'b"], ["letters, digits", "a'b"]


@pytest.mark.parametrize(
    "spoil",
    [
        no_folder,
        no_model,
        no_vocabulary,
        a_head_without_a_note,
        half_a_note,
        another_casing,
        no_labels,
        an_option_of_another_task,
        answers_of_a_classifier,
        too_long,
        a_damaged_checkpoint,
        a_name_with_a_quote,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_a_mistake_ends_in_one_sentence(model, tmp_path, capsys, spoil):
    more, says = spoil(model)
    folder = tmp_path / "export"
    flags = [f"--model_dir={model}", f"--export_dir={folder}", "--verbosity=-1"]
    assert export_model.main([*flags, *more]) == 1
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert line.startswith("export_model: Expected ") and captured.out == ""
    for part in says:
        assert part in line
    assert not folder.exists()


def test_a_file_in_the_way(model, tmp_path, capsys):
    (tmp_path / "export").write_text("mine")
    flags = [f"--model_dir={model}", f"--export_dir={tmp_path / 'export'}"]
    assert export_model.main(flags) == 1
    assert "found a file; name another" in capsys.readouterr().err
    assert (tmp_path / "export").read_text() == "mine"


def test_the_encoder_of_a_fine_tuned_model(model, tmp_path, capsys):
    fine_tuned(model)
    folder = tmp_path / "export"
    flags = [f"--model_dir={model}", f"--export_dir={folder}", "--task=pretrained"]
    assert export_model.main(flags) == 0
    assert "fill_mask" not in capsys.readouterr().out
