"""Exports say what the trainer predicts: of strings and of ids, from anywhere.

All kinds of tasks are exported from folders as runs leave them, with both tokenizers;
the exports are moved, and asked in a process that knows TensorFlow only.
"""

import base64
import dataclasses
import functools
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bert_tf import BertConfig, FullTokenizer, GraphTokenizer, save_checkpoint
from bert_tf.data.input_pipeline import evaluation_batches
from bert_tf.data.records import write_records
from bert_tf.files import sha256
from bert_tf.run_folder import RunFolder
from bert_tf.serving.export import export
from bert_tf.tasks.answers import Rules
from bert_tf.tasks.classification import ClassificationTask, InputExample
from bert_tf.tasks.graph_answers import split_context
from bert_tf.tasks.squad import SquadTask
from bert_tf.tasks.squad_files import SquadExample
from bert_tf.tasks.tag_files import TaggedSentence
from bert_tf.tasks.tagging import TaggingTask
from bert_tf.tools.model_files import ModelFiles
from bert_tf.tools.trained_model import ServingFlags, load_servable
from bert_tf.training.distribution import create_strategy
from bert_tf.training.trainer import Trainer
from tests import plain_packing, plain_tagging
from tests.programs import run as run_program

LENGTH = 24
OPS = ("core", "tf_text")  # in this order: the second imports TF Text

# Answers each question that a file holds, in a process without this package.
ASK = """
import base64, json, sys
import numpy as np
import tensorflow as tf

asked = json.load(open(sys.argv[1]))
loaded = {}
for number, each in enumerate(asked):
    if each["ops"] == "tf_text":
        import tensorflow_text
    else:
        assert "tensorflow_text" not in sys.modules
    if each["folder"] not in loaded:
        loaded = {each["folder"]: tf.saved_model.load(each["folder"])}
    signature = loaded[each["folder"]].signatures[each["signature"]]
    inputs = {
        name: tf.constant([base64.b64decode(x) for x in value])
        if isinstance(value[0], str) else tf.constant(value, tf.int32)
        for name, value in each["inputs"].items()
    }
    said = {name: value.numpy() for name, value in signature(**inputs).items()}
    said = {k: v.astype("S") if v.dtype == object else v for k, v in said.items()}
    np.savez(f"{sys.argv[2]}/{number}.npz", **said)
assert not [name for name in sys.modules if name.startswith("bert_tf")]
"""


def texts_of(testdata: Path) -> list[str]:
    golden = json.loads((testdata / "tokenization.json").read_text("utf-8"))
    texts = [each["text"] for each in golden]
    return [*texts[:: max(1, len(texts) // 24)], "", " ", "snow and " * 1112]


@dataclasses.dataclass(frozen=True)
class Case:
    """A task, what it is asked, and what is to be said.

    Attributes:
      task: With its tokenizer.
      examples: What the trainer predicts of.
      inputs: The same as strings, by name.
      expected: Returns the outputs of an export by what `join` returned.
      rows: The same as rows of ids, made with `FullTokenizer`; None for none.
      of_rows: Returns what the outputs for these rows say of the inputs.
    """

    task: Any
    examples: list
    inputs: dict[str, list[str]]
    expected: Callable[[Any], dict[str, np.ndarray]]
    rows: dict[str, list] | None = None
    of_rows: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = dict


def padded(rows: list[list[int]]) -> dict[str, list]:
    """Returns the features of rows of one segment."""
    widest = max(map(len, rows))
    return {
        "input_ids": [row + [0] * (widest - len(row)) for row in rows],
        "input_mask": [[1] * len(row) + [0] * (widest - len(row)) for row in rows],
        "segment_ids": [[0] * widest for _ in rows],
    }


def classification(kind: str, second: bool = False, **options: Any) -> Callable:
    def make(config: BertConfig, tokenizer: GraphTokenizer, texts: list[str]) -> Case:
        labels = [] if kind == "regression" else ["cold", "so so", "warm"]
        task = ClassificationTask(
            "mine", config, tokenizer, labels, LENGTH, second, kind, **options
        )
        others = texts[::-1] if second else [""] * len(texts)
        pairs = list(zip(texts, others, strict=True))
        full = FullTokenizer(tokenizer.vocab_file)
        parts = []
        for pair in pairs:
            a, b = map(full.tokenize, pair)
            kept_a, kept_b = plain_packing.kept(a, b, LENGTH)
            parts.append((a[:kept_a], b[:kept_b]))

        def expected(outcome: Any) -> dict[str, np.ndarray]:
            said = task.kind.predict(outcome["logits"])
            return {"probabilities": said} if labels else {"score": said[:, 0]}

        return Case(
            task,
            [InputExample("", *pair, task.kind.placeholder) for pair in pairs],
            {"text_a": texts} | ({"text_b": others} if second else {}),
            expected,
            None if options else plain_packing.features(full, parts),
        )

    return make


def tagging(config: BertConfig, tokenizer: GraphTokenizer, texts: list[str]) -> Case:
    labels = ["O", "B-PER", "I-PER", "B-LOC"]
    task = TaggingTask(config, tokenizer, labels, max_seq_length=LENGTH)
    # Where TensorFlow sees spaces.
    words = [[x.decode() for x in row.numpy()] for row in tf.strings.split(texts)]
    full = FullTokenizer(tokenizer.vocab_file)
    rows: list[list[int]] = []
    places = []
    for each in words:
        found, firsts = plain_tagging.plain_rows(full, each, LENGTH, None)
        places.append([(row + len(rows), place) for row, place in firsts])
        rows += found

    def table(values: dict[str, Any]) -> dict[str, np.ndarray]:
        """Returns values of all words as an export has them."""
        said = {}
        for name, each in values.items():
            each = np.asarray(each)
            said[name] = np.zeros([len(words), max(map(len, words))], each.dtype)
            mask = np.arange(said[name].shape[1]) < np.array([[len(x)] for x in words])
            said[name][mask] = each
        return said

    return Case(
        task,
        [sentence(each) for each in words],
        {"text": texts},
        lambda outcome: table(
            {
                "tags": np.array(labels, "S")[outcome.tags],
                "probabilities": outcome.probabilities,
            }
        ),
        padded(rows),
        lambda said: table(
            {
                name: [said[name][place] for row in places for place in row]
                for name in ("tags", "probabilities")
            }
        ),
    )


def sentence(words: list[str]) -> TaggedSentence:
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    offsets = [(end - len(x), end) for end, x in zip(ends, words, strict=True)]
    return TaggedSentence(" ".join(words), offsets, None, "", [1] * len(words))


def answers(config: BertConfig, tokenizer: GraphTokenizer, texts: list[str]) -> Case:
    # Of all places any may be the best, or padding could take those of answers.
    rules = Rules(n_best_size=LENGTH, version_2_with_negative=True)
    task = SquadTask(
        config,
        tokenizer,
        rules,
        max_seq_length=LENGTH,
        doc_stride=6,
        max_query_length=8,
    )
    contexts = texts[::-1]
    words = [[x.decode() for x in row.numpy()] for row in split_context(contexts)]
    full = FullTokenizer(tokenizer.vocab_file)
    short = [
        (index, full.tokenize(texts[index])[:8], pieces)
        for index, pieces in enumerate(map(full.tokenize, contexts))
        if 0 < len(pieces) <= LENGTH - 3 - 8
    ]

    def best(said: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the best sums of both ends, of contexts of one row."""
        found = np.full([len(texts)], np.nan, np.float32)
        for row, (index, query, pieces) in enumerate(short):
            start, stop = len(query) + 2, len(query) + 2 + len(pieces)
            sums = (
                said["start_logits"][row, start:stop, None]
                + said["end_logits"][row, None, start:stop]
            )
            found[index] = sums[np.triu_indices(len(pieces))].max()
        return {"score": found}

    return Case(
        task,
        [
            SquadExample(str(i), question, context)
            for i, (question, context) in enumerate(zip(texts, words, strict=True))
        ],
        {"question": texts, "context": contexts},
        lambda outcome: {
            "answer": np.array(
                [
                    x.text.encode() if context else b""  # the release says "empty"
                    for x, context in zip(outcome.answers, words, strict=True)
                ]
            ),
            "null_odds": np.array([x.null_odds for x in outcome.answers]),
        },
        plain_packing.features(full, [(query, pieces) for _, query, pieces in short]),
        best,
    )


CASES = {
    "label": classification("single"),
    "pair": classification("single", second=True),
    "labels": classification("multi"),
    "number": classification("regression"),
    "windows": classification("single", long_text="windows"),
    "tags": tagging,
    "answers": answers,
}
SIGNATURES = {"tags": "tags", "answers": "answer"}
# An export takes seconds: most are left to the acceptance tests.
EXPORTS = {
    "some": [("pair", "core"), ("tags", "core"), ("answers", "tf_text")],
    "all": list(itertools.product(CASES, OPS)),
}


def over_exports(test: Callable) -> Callable:
    """Parametrizes a test by which exports are made, and one of these."""
    return pytest.mark.parametrize(
        ("which", "name", "ops"),
        [
            pytest.param(
                which, *each, marks=pytest.mark.acceptance if which == "all" else ()
            )
            for which, exports in EXPORTS.items()
            for each in exports
        ],
    )(test)


def random_model(task: Any) -> keras.Model:
    """Returns a model whose outputs differ: nothing in it is zero or one."""
    model = task.create_model()
    draw = np.random.default_rng(7)
    model.set_weights(
        [x + draw.normal(0, 0.2, x.shape).astype(x.dtype) for x in model.get_weights()]
    )
    return model


def leave_run(folder: Path, case: Case, model: keras.Model, config_file: Path) -> None:
    """Leaves in a folder what a training run leaves."""
    task = case.task
    note = {
        **task.model_note,
        **task.row_note,
        **task.training_note,
        "labels": task.labels,
        "do_lower_case": True,
        "vocab_sha256": sha256(task.tokenizer.vocab_file),
        "bert_config": task.config.to_dict(),
    }
    folder.mkdir()
    run_folder = RunFolder(str(folder))
    run_folder.describe(
        note, str(config_file), task.tokenizer.vocab_file, task.labels or None
    )
    save_checkpoint(model, str(folder / "model.ckpt-1"))


def predicted(case: Case, model: keras.Model, folder: Path) -> dict[str, np.ndarray]:
    """Returns what the trainer predicts, as an export has it."""
    task = case.task
    records = str(folder / "records")
    write_records(records, task.features(case.examples), task.feature_spec)
    trainer = Trainer(task, model, create_strategy("one_device"))
    rows = trainer.predict(
        lambda share: evaluation_batches(records, task.feature_spec, batch_size=8)
    )
    return case.expected(task.join(case.examples, rows))


@pytest.fixture(scope="module")
def all_said(tmp_path_factory, testdata) -> Callable[[str], dict]:
    """Returns what some exports say, and what they should."""

    @functools.cache
    def of(which: str) -> dict:
        return said(EXPORTS[which], tmp_path_factory.mktemp(which), testdata)

    return of


def said(exports: list[tuple[str, str]], folder: Path, testdata: Path) -> dict:
    """Returns `(expected, case)` by name, and outputs by name, ops and signature."""
    config_file = testdata / "bert_config.json"
    config = BertConfig.from_json_file(str(config_file))
    vocab_file = str(testdata / "vocab_uncased.txt")
    texts = texts_of(testdata)
    found: dict[Any, Any] = {}
    asked = []
    for name in dict.fromkeys(name for name, _ in exports):
        case = CASES[name](config, GraphTokenizer(vocab_file), texts)
        model = random_model(case.task)
        leave_run(folder / name, case, model, config_file)
        found[name] = predicted(case, model, folder / name), case
        for ops in (ops for each, ops in exports if each == name):
            files = ModelFiles(
                str(folder / name),
                str(folder / name / "bert_config.json"),
                str(folder / name / "vocab.txt"),
                str(folder / name),
                do_lower_case=True,
                check_casing=True,
            )
            servable, loaded = load_servable(files, ServingFlags(tokenizer_ops=ops))
            version = export(servable, loaded, str(folder / f"{name} {ops}"))
            moved = shutil.move(version, folder / f"moved {name} {ops}")
            found[name, ops, "foreign"] = foreign_ops(moved)
            inputs: dict[str, Any] = {
                key: [base64.b64encode(x.encode()).decode() for x in value]
                for key, value in case.inputs.items()
            }
            key = {"folder": str(moved), "ops": ops}
            signature = SIGNATURES.get(name, "serving_default")
            asked.append({**key, "signature": signature, "inputs": inputs})
            if case.rows:
                asked.append({**key, "signature": "ids", "inputs": case.rows})
                asked.append(
                    {
                        **key,
                        "signature": "tf_example",
                        "inputs": {"examples": as_examples(case.rows)},
                    }
                )
        shutil.rmtree(folder / name)
    asked.sort(key=lambda each: OPS.index(each["ops"]))
    (folder / "asked.json").write_text(json.dumps(asked))
    (folder / "ask.py").write_text(ASK)
    run_program(folder / "ask.py", folder / "asked.json", folder)
    for number, each in enumerate(asked):
        name = Path(each["folder"]).name.split()[1]
        with np.load(folder / f"{number}.npz") as arrays:
            found[name, each["ops"], each["signature"]] = dict(arrays)
    return found


def foreign_ops(folder: Path) -> list[str]:
    """Returns the ops of a SavedModel that are not TensorFlow's own."""
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(folder) / "saved_model.pb").read_bytes())
    [meta_graph] = saved.meta_graphs
    graph = meta_graph.graph_def
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    names = {f.signature.name for f in graph.library.function}
    return [x.op for x in nodes if not hasattr(tf.raw_ops, x.op) and x.op not in names]


def as_examples(rows: dict[str, list]) -> list[str]:
    """Returns rows as serialized examples, each as long as its text."""
    examples = []
    for values in zip(*rows.values(), strict=True):
        features = {}
        for name, value in zip(rows, values, strict=True):
            value = value[: sum(values[list(rows).index("input_mask")])]
            features[name] = tf.train.Feature(
                int64_list=tf.train.Int64List(value=value)
            )
        example = tf.train.Example(features=tf.train.Features(feature=features))
        examples.append(base64.b64encode(example.SerializeToString()).decode())
    return examples


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, value in expected.items():
        if value.dtype.kind == "S":
            np.testing.assert_array_equal(found[name], value)
        else:
            known = ~np.isnan(value)
            assert known.mean() > 0.3
            np.testing.assert_allclose(
                found[name][known], value[known], atol=1e-5, rtol=1e-5, err_msg=name
            )


@over_exports
def test_strings_are_answered_as_the_trainer_predicts(all_said, which, name, ops):
    said = all_said(which)
    expected, _ = said[name]
    assert_same(said[name, ops, SIGNATURES.get(name, "serving_default")], expected)


@over_exports
def test_ops_are_tensorflows_own_where_asked(all_said, which, name, ops):
    found = set(all_said(which)[name, ops, "foreign"])
    expected = {"FastWordpieceTokenizeWithOffsets"} if ops == "tf_text" else set()
    assert found == expected


@over_exports
def test_ids_are_answered_as_strings(all_said, which, name, ops):
    said = all_said(which)
    _, case = said[name]
    if case.rows is None:
        pytest.skip("a text has several rows")
    strings = said[name, ops, SIGNATURES.get(name, "serving_default")]
    for signature in ("ids", "tf_example"):
        assert_same(strings, case.of_rows(said[name, ops, signature]))
