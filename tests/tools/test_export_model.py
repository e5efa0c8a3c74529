"""A folder of a model becomes an export with all that servers need; mistakes."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  the ops of an export
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from bert_tf import BertClassifier, BertConfig, load_checkpoint, save_checkpoint
from bert_tf.serving import export, formats, tf_serving
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
        for text in inputs.get("text", tf.constant([]))[1:2].numpy():
            assert not text.decode().isascii()
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
    return [], ["which has 1,000", "bert_model.ckpt"]


def an_option_of_another_format(model):
    return ["--format=onnx", "--freeze"], ["--format=saved_model beside --freeze"]


def a_length_of_a_file(model):
    return ["--format=keras", "--max_seq_length=9"], ["--max_seq_length", "=keras"]


def answers_of_a_file(model):
    return ["--format=onnx", "--top_k=2"], ["--top_k", "leave it out"]


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
        an_option_of_another_format,
        a_length_of_a_file,
        answers_of_a_file,
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


def test_an_interrupted_export_leaves_nothing_behind(
    model, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "export"

    def interrupted(*_):
        (folder / ".writing-1" / "variables").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write_assets", interrupted)
    assert export_model.main([f"--model_dir={model}", f"--export_dir={folder}"]) == 130
    said = capsys.readouterr().err
    assert said.endswith("export_model: interrupted; nothing was added.\n")
    assert list(folder.iterdir()) == []


def test_configs_of_another_name_are_not_passed_over(tmp_path, monkeypatch):
    warned = []
    monkeypatch.setattr(tf_serving.logging, "warning", lambda *x: warned.append(x))
    tf_serving.write_configs(str(tmp_path), "reviews")
    written = (tmp_path / "models.config").read_text()
    tf_serving.write_configs(str(tmp_path), "reviews")
    assert not warned
    tf_serving.write_configs(str(tmp_path), "view")
    [(_, path, name)] = warned
    assert (path, name) == (str(tmp_path / "models.config"), "view")
    assert (tmp_path / "models.config").read_text() == written


def test_tf_serving_reads_a_store_itself(monkeypatch):
    written = {}
    monkeypatch.setattr(tf_serving, "write_file", written.__setitem__)
    monkeypatch.setattr(tf_serving, "read_bytes", lambda path: written[path].encode())
    monkeypatch.setattr(tf_serving.tf.io.gfile, "exists", lambda path: False)
    tf_serving.write_configs("gs://bucket/reviews", "reviews")
    assert (
        'base_path: "gs://bucket/reviews"'
        in written["gs://bucket/reviews/models.config"]
    )
    start, _ = tf_serving.command_lines("gs://bucket/reviews", "reviews", ["text"])
    assert "--model_config_file=gs://bucket/reviews/models.config" in start
    assert " -v " not in start


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


def test_a_run_as_onnx_and_nothing_over_it(model, tmp_path, capfd):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    note(model)
    folder = tmp_path / "export"
    flags = [f"--model_dir={model}", f"--export_dir={folder}"]
    assert export_model.main([*flags, "--format=onnx"]) == 0
    out, err = capfd.readouterr()
    path = folder / "model.onnx"
    assert f'onnxruntime.InferenceSession("{path}")' in out
    assert [line.split()[0] for line in err.splitlines()] == ["loaded", "exported"]
    files = {x.name: x.read_bytes() for x in folder.iterdir()}
    assert set(files) == {"model.onnx", "vocab.txt", "labels.txt"}
    assert files["vocab.txt"] == (model / "vocab.txt").read_bytes()
    assert files["labels.txt"] == b"no\nyes\n"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    row = np.array([[5, 6, 7]])
    said = session.run(
        None, {"input_ids": row, "input_mask": row // row, "segment_ids": row * 0}
    )
    config = BertConfig.from_json_file(str(model / "bert_config.json"))
    classifier = BertClassifier(config, 2)
    load_checkpoint(classifier, str(model / "model.ckpt-5"))
    expected = classifier({"input_ids": row})
    np.testing.assert_allclose(said[0], expected, atol=1e-5)

    for form, name in (("onnx", "model.onnx"), ("keras", "vocab.txt")):
        assert export_model.main([*flags, f"--format={form}"]) == 1
        assert f"Expected no {name} in --export_dir" in capfd.readouterr().err
    assert {x.name: x.read_bytes() for x in folder.iterdir()} == files


def test_onnx_without_its_converter(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    folder = tmp_path / "export"
    flags = [f"--model_dir={model}", f"--export_dir={folder}", "--format=onnx"]
    assert export_model.main([*flags, "--verbosity=-1"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("run pip install 'bert-tf[onnx]'.")
    assert not folder.exists()


def test_a_file_that_cannot_be_written(model, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "write_assets", full)
    folder = tmp_path / "export"
    flags = [f"--model_dir={model}", f"--export_dir={folder}", "--format=keras"]
    assert export_model.main(flags) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
