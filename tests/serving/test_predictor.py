"""An export answers lists of texts, in any number and order, traced but once."""

import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.python.eager import context

from bert_tf import ConfigError, DataError, Predictor
from bert_tf.serving.saved_model import SavedModel
from tests.small_export import LABELS
from tests.test_imports import ROOT, imported, is_module

TEXTS = ["a warm day", "", "naïve 北京", "cold", "a b c d e f", "\ud800 half", "x"]


@pytest.fixture(scope="module")
def predictor(small_export):
    return Predictor(small_export, batch_size=3)


def test_each_text_as_alone_and_as_tensorflow_says(small_export, predictor):
    found = predictor(TEXTS)
    assert set(found) == set(predictor.outputs)
    serve = tf.saved_model.load(f"{small_export}/1").signatures["serving_default"]
    clean = [text.encode("utf-8", "ignore") for text in TEXTS]
    expected = {k: v.numpy() for k, v in serve(text_a=tf.constant(clean)).items()}
    np.testing.assert_allclose(
        found["probabilities"], expected["probabilities"], atol=1e-6
    )
    assert list(found["label"]) == [label.decode() for label in expected["label"]]
    assert found["labels"].tolist() == [LABELS] * len(TEXTS)
    for index, text in enumerate(TEXTS):
        assert predictor([text])["label"] == found["label"][index]


def test_no_texts(predictor):
    found = predictor([])
    assert found["label"].shape == (0,)
    assert found["probabilities"].shape == (0, 2)
    assert found["probabilities"].dtype == np.float32


def test_outputs_of_other_widths_are_filled_up(small_export):
    predictor = Predictor(small_export, signature="tags", batch_size=2)
    texts = ["one", "a long row of words", "", "two words", "x y z"]
    found = predictor(text for text in texts)
    assert found["words"].tolist() == [
        text.split() + [""] * (5 - len(text.split())) for text in texts
    ]
    assert found["probabilities"][4].tolist() == [1, 1, 1, 0, 0]
    assert found["probabilities"][3].tolist() == pytest.approx([1 / 3, 0.2, 0, 0, 0])


def test_pairs(small_export):
    predictor = Predictor(small_export, signature="answers", batch_size=2)
    assert predictor.inputs == ("question", "context")
    questions, contexts = ["who", "what", "why"], ["a", "bb", ""]
    expected = ["who|a", "what|bb", "why|"]
    assert predictor(questions, contexts)["answer"].tolist() == expected
    pairs = list(zip(questions, contexts, strict=True))
    assert predictor(pairs)["answer"].tolist() == expected
    assert predictor([])["answer"].shape == (0,)


def test_bytes_stay_bytes(small_export):
    predictor = Predictor(small_export, signature="serialized")
    assert predictor(["é"])["serialized_bytes"].tolist() == ["é".encode() + b"\xff"]


def test_traced_once(predictor):
    predictor(TEXTS)
    before = set(context.context().list_function_names())
    for count, length in ((1, 1), (2, 50), (7, 3), (10, 200)):
        predictor(["word " * length] * count)
    assert set(context.context().list_function_names()) == before


@pytest.mark.parametrize("page", ["README.md", "docs/serve.md"])
def test_the_code_of_the_guides(small_export, tmp_path, monkeypatch, capsys, page):
    text = (ROOT / page).read_text()
    [code] = re.findall(
        r"```python\n(from bert_tf import Predictor\n.*?)```", text, re.S
    )
    (tmp_path / "EXPORT").symlink_to(small_export)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "'long'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("signature", "arguments", "says"),
    [
        ("serving_default", ["a"], "a list of texts, got a single one ('a')"),
        ("serving_default", [["a", 3]], "got int at position 1 (3)"),
        ("serving_default", [[("a", "b")]], "got tuple at position 0"),
        ("serving_default", [["a"], ["b"]], "takes only text_a, got a second one"),
        ("answers", [["a", "b"], ["c"]], "as many texts for context as for question"),
        ("answers", [["a"], "c"], "got a single one ('c')"),
        ("answers", [["ab"]], "pairs of question and context, got 'ab'"),
        ("answers", ["ab"], "pairs of question and context, got 'ab'"),
        ("answers", [[("a", "b"), ("a", None)]], "got NoneType at position 1"),
    ],
)
def test_what_are_no_texts(small_export, signature, arguments, says):
    with pytest.raises(DataError) as caught:
        Predictor(small_export, signature=signature)(*arguments)
    assert says in str(caught.value)


def test_versions(small_export, tmp_path):
    for version in ("1", "9", "10"):
        shutil.copytree(f"{small_export}/1", tmp_path / version)
    (tmp_path / ".writing-11").mkdir()
    assert SavedModel(str(tmp_path)).version == 10
    assert SavedModel(str(tmp_path), version=9).path == str(tmp_path / "9")
    assert SavedModel(str(tmp_path / "9")).version == 9
    with pytest.raises(ConfigError, match=r"version 3 in .*, found 1, 9, 10"):
        SavedModel(str(tmp_path), version=3)
    with pytest.raises(ConfigError, match=r"version 10 in .*9, found 9"):
        SavedModel(str(tmp_path / "9"), version=10)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda version: shutil.rmtree(version.parent), ConfigError, "found none"),
        (lambda version: version.rename(version.parent / "a"), ConfigError, "neither"),
        (lambda v: (v / "saved_model.pb").unlink(), ConfigError, "saved_model.pb in"),
        (lambda v: cut(v / "saved_model.pb"), DataError, "found a damaged file"),
        (lambda v: (v / "saved_model.pb").write_bytes(b""), DataError, "for serving"),
        (
            lambda v: cut(v / "variables" / "variables.index"),
            DataError,
            "cannot be loaded",
        ),
    ],
)
def test_exports_that_are_none(small_export, tmp_path, damage, error, says):
    shutil.copytree(small_export, tmp_path / "export")
    damage(tmp_path / "export" / "1")
    with pytest.raises(error) as caught:
        SavedModel(str(tmp_path / "export"))
    assert says in str(caught.value)


def test_signatures_and_sizes_that_are_none(small_export):
    known = "answers, serialized, serving_default, tags, tf_example"
    for signature in ("ids", "other"):
        with pytest.raises(ConfigError, match=f"{known}, .* got '{signature}'"):
            Predictor(small_export, signature=signature)
    with pytest.raises(ConfigError, match="batch_size of at least 1, got 0"):
        Predictor(small_export, batch_size=0)


def test_ops_of_tf_text_are_looked_for_only_where_needed(
    small_export, tmp_path, monkeypatch
):
    class Folded(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def fold(self, text):
            return {"text": tensorflow_text.case_fold_utf8(text)}

    module = Folded()
    tf.saved_model.save(module, str(tmp_path / "1"), module.fold)
    assert Predictor(str(tmp_path))(["Ä"])["text"].tolist() == ["ä"]

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    SavedModel(small_export)
    with pytest.raises(ConfigError, match=r"whose op CaseFold\w+ .* pip install"):
        SavedModel(str(tmp_path))


def test_neither_keras_nor_the_models_are_imported():
    found, todo = set(), ["bert_tf.serving.predictor", "bert_tf.serving.server"]
    while todo:
        name = todo.pop()
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        for _, each in imported(path) if path.is_file() else ():
            module = each if is_module(each) else each.rpartition(".")[0]
            if module not in found:
                found.add(module)
                todo.append(module)
    assert "bert_tf.serving.rows" in found
    assert not [x for x in found if x.startswith(("keras", "bert_tf.modeling"))]
