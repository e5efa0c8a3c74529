"""Tags of words, held against plain Python, numpy and seqeval."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import seqeval.metrics
import tensorflow as tf
import tensorflow_text  # noqa: F401  the ops of an export

from bert_tf import BertConfig, create_optimizer, load_checkpoint
from bert_tf.modeling import BertTokenClassifier
from bert_tf.optimization import clip_and_reduce
from bert_tf.tasks.tag_files import TaggedSentence, read_tagged
from bert_tf.tasks.tagging import Outcome, TaggingTask
from bert_tf.tokenization import FullTokenizer, GraphTokenizer
from bert_tf.tools.run_tagger import main
from bert_tf.training.distribution import create_strategy
from bert_tf.training.trainer import Trainer
from tests.plain_conlleval import conlleval
from tests.plain_tagging import plain_rows
from tests.small_task import as_arguments, write_model_files

LABELS = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
ODD = [
    "don't",
    "Zoë",
    "東京都",
    "\u200b",
    "a\u00a0b",
    "x\u0301",
    "-",
    "a" * 300,
    "\ufffd",
]
# Of many pieces, as no word in the vocabulary is.
ENDLESS = "x" * 150


def sentence(words: list[str], tags: list[str] | None = None) -> TaggedSentence:
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    offsets = [(end - len(x), end) for x, end in zip(words, ends.tolist(), strict=True)]
    return TaggedSentence(" ".join(words), offsets, tags, "a file", range(len(words)))


def random_sentences(count: int) -> list[TaggedSentence]:
    draw = random.Random(count)
    found = []
    for _ in range(count):
        words = draw.choices(
            ["the", "sun", "unaffable", "Rome", *ODD], k=draw.randint(1, 30)
        )
        found.append(sentence(words, draw.choices(LABELS, k=len(words))))
    return [*found, sentence(["the", ENDLESS, "sun"], ["O", "B-PER", "O"])]


@pytest.fixture(scope="module")
def tokenizers(testdata) -> tuple[FullTokenizer, GraphTokenizer]:
    path = str(testdata / "vocab_uncased.txt")
    return FullTokenizer(path), GraphTokenizer(path)


def make_task(testdata, tokenizer, length: int = 16, doc_stride=None) -> TaggingTask:
    values = json.loads((testdata / "bert_config.json").read_text())
    values |= {"num_hidden_layers": 1, "hidden_dropout_prob": 0.0}
    config = BertConfig.from_dict(values | {"attention_probs_dropout_prob": 0.0})
    return TaggingTask(
        config, tokenizer, LABELS, max_seq_length=length, doc_stride=doc_stride
    )


def stacked(task: TaggingTask, sentences) -> dict[str, np.ndarray]:
    parts = list(task.features(sentences))
    return {name: np.concatenate([x[name] for x in parts]) for name in parts[0]}


# From sentences to rows, and back.


@pytest.mark.parametrize(
    ("length", "doc_stride"), [(16, None), (16, 5), (64, 62), (3, 1)]
)
def test_rows_are_those_of_plain_python(testdata, tokenizers, length, doc_stride):
    full, graph = tokenizers
    task = make_task(testdata, graph, length, doc_stride)
    sentences = random_sentences(30)
    features = stacked(task, sentences)
    counts, before = task.count_rows(sentences), 0
    picked = []
    for each, count in zip(sentences, counts, strict=True):
        rows, places = plain_rows(full, each.words, length, doc_stride)
        assert len(rows) == count
        tag_ids = np.full([count, length], -1)
        for tag, place in zip(each.tags, places, strict=True):
            tag_ids[place] = LABELS.index(tag)
        here = slice(before, before + count)
        np.testing.assert_array_equal(features["tag_ids"][here], tag_ids)
        for name, row in (
            ("input_ids", rows),
            ("input_mask", [[1] * len(x) for x in rows]),
        ):
            padded = [x + [0] * (length - len(x)) for x in row]
            assert features[name][here].tolist() == padded
        picked += [(before + row, place) for row, place in places]
        before += count
    assert not features["segment_ids"].any() and features["is_real_example"].all()
    # What is said at these places is what is said of the words.
    said = np.arange(features["input_ids"].size).reshape(-1, length)
    rows = {"tags": said, "probabilities": said / 2.0, "losses": said / 4.0}
    outcome = task.join(sentences, rows)
    expected = [row * length + place for row, place in picked]
    assert outcome.tags.tolist() == expected
    np.testing.assert_array_equal(outcome.losses, np.array(expected) / 4.0)


def test_a_sentence_of_5000_words(testdata, tokenizers):
    full, graph = tokenizers
    task = make_task(testdata, graph, 64)
    long = sentence([f"word{number}" for number in range(5000)], ["O"] * 5000)
    tag_ids = stacked(task, [long])["tag_ids"]
    assert (tag_ids >= 0).sum() == 5000
    assert len(plain_rows(full, long.words, 64, None)[0]) == len(tag_ids)


# Loss and metrics.


def test_sums_are_numpys(testdata, tokenizers):
    """A row without any word's first piece weighs nothing."""
    task = make_task(testdata, tokenizers[1])
    batch = stacked(task, [*random_sentences(4)])
    logits = np.random.default_rng(0).normal(size=[*batch["tag_ids"].shape, 5])
    here = batch["tag_ids"] >= 0
    assert not here.all(axis=1).all() and not here.any(axis=1).all()
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    of_right = np.take_along_axis(log_probs, batch["tag_ids"].clip(0)[..., None], -1)
    losses = -of_right[..., 0]
    hits = logits.argmax(axis=-1) == batch["tag_ids"]
    batch = {name: tf.constant(x, tf.int32) for name, x in batch.items()}
    outputs = tf.constant(logits, tf.float32)
    means = task.means(task.sums(outputs, batch), task.weights(batch))
    assert float(means["loss"]) == pytest.approx(losses[here].mean(), rel=1e-5)
    assert float(means["accuracy"]) == pytest.approx(hits[here].mean(), rel=1e-5)
    rows = task.per_example(outputs, batch)
    np.testing.assert_allclose(rows["losses"].numpy()[here], losses[here], atol=1e-5)
    np.testing.assert_array_equal(rows["tags"], logits.argmax(axis=-1))
    np.testing.assert_allclose(
        rows["probabilities"], np.exp(log_probs).max(axis=-1), atol=1e-6
    )
    nothing = {name: x[~here.any(axis=1)] for name, x in batch.items()}
    outputs = tf.boolean_mask(outputs, ~here.any(axis=1))
    assert (
        float(task.means(task.sums(outputs, nothing), task.weights(nothing))["loss"])
        == 0
    )


def random_outcome(sentences) -> Outcome:
    count = sum(len(each.words) for each in sentences)
    rng = np.random.default_rng(1)
    tags, losses = rng.integers(0, 5, count), rng.random(count, np.float32)
    return Outcome(sentences, tags, rng.random(count, np.float32), losses)


def test_metrics_are_seqevals(testdata, tokenizers):
    task = make_task(testdata, tokenizers[1])
    sentences = random_sentences(60)
    outcome = random_outcome(sentences)
    names = iter(LABELS[index] for index in outcome.tags)
    predicted = [[next(names) for _ in each.words] for each in sentences]
    right = [each.tags for each in sentences]
    found = task.metrics(outcome, 8)
    assert set(found) == set(task.metric_names)
    for name in ("f1", "precision", "recall", "accuracy"):
        expected = getattr(seqeval.metrics, f"{name}_score")(right, predicted)
        assert found[f"eval_{name}"] == pytest.approx(expected, rel=1e-6), name
    assert found["eval_loss"] == pytest.approx(outcome.losses.mean(), rel=1e-6)
    files = task.prediction_files(sentences, outcome)
    for name, value in conlleval(files["predictions.conll"]).items():
        assert found[f"eval_{name}"] == pytest.approx(value, rel=1e-6), name
    assert f"{found['eval_f1']:.4f}" in task.report(outcome)
    assert task.figure(outcome)[0] == "confusion_matrix.png"


def test_parts_of_speech_have_no_entities(tokenizers):
    task = TaggingTask(BertConfig(1600), tokenizers[1], ["NOUN", "VERB"])
    outcome = Outcome(
        [sentence(["sun", "goes"], ["NOUN", "VERB"])],
        np.array([0, 0]),
        np.float32([0.75, 0.5]),
        np.float32([0.5, 1.5]),
    )
    assert task.metrics(outcome, 8) == {"eval_accuracy": 0.5, "eval_loss": 1.0}
    assert set(task.metric_names) == {"eval_accuracy", "eval_loss"}
    assert "VERB" in task.report(outcome)
    files = task.prediction_files(outcome.sentences, outcome)
    assert files["predictions.conll"] == "sun\tNOUN\tNOUN\ngoes\tVERB\tNOUN\n\n"
    assert "entities" not in json.loads(files["predictions.jsonl"])


def test_predictions_name_words_and_entities_by_their_places(testdata, tokenizers):
    task = make_task(testdata, tokenizers[1])
    known = sentence(["Zoë", "Li", "in", "東京都"], ["B-PER", "I-PER", "O", "B-LOC"])
    unknown = sentence(ODD)
    outcome = random_outcome([known, unknown])
    tags = [LABELS.index(tag) for tag in known.tags] + [4] * len(ODD)
    files = task.prediction_files(
        [known, unknown], outcome._replace(tags=np.array(tags))
    )
    assert files["predictions.conll"].split("\n")[:2] == ["Zoë\tB-PER", "Li\tI-PER"]
    first, second = map(json.loads, files["predictions.jsonl"].strip().split("\n"))
    for said, words in ((first, known.words), (second, ODD)):
        assert [x["word"] for x in said["words"]] == words
        assert all(
            x["word"] == said["text"][x["start"] : x["end"]] for x in said["words"]
        )
    assert [
        (x["type"], x["text"], x["start"], x["end"]) for x in first["entities"]
    ] == [
        ("PER", "Zoë Li", 0, 6),
        ("LOC", "東京都", 10, 13),
    ]
    assert second["entities"] == []


# A model that has learned which words are names.

FIRST = {"PER": ["winter", "fire", "company"], "LOC": ["boat", "ship", "light"]}
LAST = {"PER": "le", "LOC": "of"}


def small_sentence(draw: random.Random) -> str:
    """Returns lines; an entity has two words."""
    lines = []
    for _ in range(draw.randint(1, 8)):
        kind = draw.choice(["PER", "LOC", None, None])
        if kind is None:
            lines.append(f"{draw.choice(['the', 'and', 'Zoë'])}\tO")
        else:
            lines.append(f"{draw.choice(FIRST[kind])}\tB-{kind}")
            lines.append(f"{LAST[kind]}\tI-{kind}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, testdata) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("tagger")
    write_model_files(folder, testdata, num_hidden_layers=1)
    draw = random.Random(2)
    for name, count in (("train", 120), ("dev", 30)):
        text = "\n".join(small_sentence(draw) for _ in range(count))
        (folder / f"{name}.conll").write_text(text)
    long = "".join(small_sentence(draw) for _ in range(30))
    odd = "".join(f"{word}\tO\n" for word in ODD)
    dev = (folder / "dev.conll").read_text()
    (folder / "test.conll").write_text(f"{dev}\n{long}\n{odd}\n{ENDLESS}\tO\n")
    flags = {
        "data_dir": str(folder),
        "bert_config_file": str(folder / "bert_config.json"),
        "vocab_file": str(folder / "vocab.txt"),
        "output_dir": str(folder / "output"),
        "max_seq_length": "24",
        "do_predict": "true",
    }
    training = {
        "do_train": "true",
        "do_eval": "true",
        "export_dir": str(folder / "export"),
        "train_batch_size": "8",
        "num_train_epochs": "4",
        "learning_rate": "2e-3",
    }
    assert main(as_arguments(flags | training)) == 0
    return folder, flags


def results(folder: Path, name: str) -> dict[str, float]:
    lines = (folder / "output" / name).read_text().splitlines()
    return {k: float(x) for k, x in (line.split(" = ") for line in lines)}


def test_a_trained_model_knows_its_words(trained):
    folder, _ = trained
    found = results(folder, "eval_results.txt")
    assert found["eval_f1"] > 0.95 and found["global_step"] > 30
    assert "micro avg" in (folder / "output" / "eval_report.txt").read_text()
    scores = results(folder, "predict_results.txt")
    said = conlleval((folder / "output" / "predictions.conll").read_text())
    assert scores["eval_f1"] == pytest.approx(said["f1"], rel=1e-6)


def test_tags_are_those_of_the_logits_at_the_best_row(trained, tokenizers):
    folder, _ = trained
    labels = json.loads((folder / "output" / "labels.json").read_text())
    model = BertTokenClassifier(
        BertConfig.from_json_file(folder / "bert_config.json"), len(labels)
    )
    load_checkpoint(model, folder / "output")
    said = (folder / "output" / "predictions.jsonl").read_text().strip().split("\n")
    several = 0
    sentences = read_tagged(str(folder / "test.conll"))
    for each, line in zip(sentences, said, strict=True):
        rows, places = plain_rows(tokenizers[0], each.words, 24, None)
        several += len(rows) > 1
        ids = np.array([row + [0] * (24 - len(row)) for row in rows], np.int32)
        mask = np.array(
            [[1] * len(row) + [0] * (24 - len(row)) for row in rows], np.int32
        )
        features = {"input_ids": ids, "input_mask": mask, "segment_ids": 0 * ids}
        logits = model(features).numpy()[tuple(zip(*places, strict=True))]
        words = json.loads(line)["words"]
        assert [x["tag"] for x in words] == [labels[i] for i in logits.argmax(axis=-1)]
        likeliest = np.exp(logits).max(axis=-1) / np.exp(logits).sum(axis=-1)
        np.testing.assert_allclose(
            [x["probability"] for x in words], likeliest, atol=2e-6
        )
    assert several >= 2


def test_the_export_says_what_predictions_say(trained):
    folder, _ = trained
    serve = tf.saved_model.load(str(folder / "export" / "1"))
    serve = serve.signatures["serving_default"]
    lines = (folder / "output" / "predictions.jsonl").read_text().strip().split("\n")
    objects = [json.loads(line) for line in lines]
    texts = ["", *(x["text"] for x in objects), " \t "]
    answer = {k: x.numpy() for k, x in serve(text=tf.constant(texts)).items()}
    assert set(answer) == {"words", "tags", "probabilities"}
    for row, said in enumerate([[], *(x["words"] for x in objects), []]):
        count = len(said)
        for name, key in (("words", "word"), ("tags", "tag")):
            got = [x.decode() for x in answer[name][row]]
            assert got[:count] == [x[key] for x in said] and set(got[count:]) <= {""}
        np.testing.assert_allclose(
            answer["probabilities"][row, :count],
            [x["probability"] for x in said],
            atol=1e-5,
        )
        assert not answer["probabilities"][row, count:].any()
    for nothing in ([], ["", "  "]):
        answer = serve(text=tf.constant(nothing, tf.string))
        assert all(x.shape == [len(nothing), 0] for x in answer.values())


def test_length_buckets_change_no_tag(trained):
    folder, flags = trained
    before = (folder / "output" / "predictions.conll").read_text()
    assert main(as_arguments(flags | {"length_buckets": "8,16"})) == 0
    assert (folder / "output" / "predictions.conll").read_text() == before


def test_plain_text_is_tagged_with_places_in_it(trained):
    folder, flags = trained
    text = "  Winter le, the\u00a0Zoë and 東京!"
    (folder / "test.txt").write_text(text + "\n\n")
    output = folder / "plain"
    shutil.copytree(folder / "output", output)
    more = {"test_format": "text", "output_dir": str(output)}
    assert main(as_arguments(flags | more)) == 0
    (line,) = (output / "predictions.jsonl").read_text().strip().split("\n")
    said = json.loads(line)
    words = ["Winter", "le", ",", "the", "Zoë", "and", "東", "京", "!"]
    assert said["text"] == text and [x["word"] for x in said["words"]] == words
    assert all(text[x["start"] : x["end"]] == x["word"] for x in said["words"])
    assert said["entities"][0]["text"] == "Winter le"


# In parts.


def test_parts_of_a_batch_give_the_gradients_of_the_whole(testdata, tokenizers):
    """Although rows hold different numbers of words."""
    task = make_task(testdata, tokenizers[1])
    strategy = create_strategy("one_device")
    rows = {n: x[:4] for n, x in stacked(task, random_sentences(4)).items()}
    assert len(set((rows["tag_ids"] >= 0).sum(axis=1))) > 1
    batch = {name: tf.constant(x, tf.int32) for name, x in rows.items()}
    found, weights = [], None
    for micro_batch_size in (None, 1):
        with strategy.scope():
            model = task.create_model()
            model.dropout.rate = 0.0
            optimizer = create_optimizer(1e-3, num_train_steps=8, num_warmup_steps=0)
            optimizer.build(model.trainable_variables)
        weights = weights or model.get_weights()
        model.set_weights(weights)
        trainer = Trainer(
            task, model, strategy, optimizer, micro_batch_size=micro_batch_size
        )

        @tf.function
        def step(batch, trainer=trainer):
            gradients, means = trainer.gradients(batch)
            return clip_and_reduce(gradients, 1.0, trainer.reduction), means

        found.append(strategy.run(step, (batch,)))
    (whole, norm), means = found[0]
    (in_parts, norm_in_parts), means_in_parts = found[1]
    for one, other in zip(whole, in_parts, strict=True):
        if one is None:  # the pooler's
            assert other is None
        else:
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert float(norm_in_parts) == pytest.approx(float(norm), rel=1e-5)
    assert float(means_in_parts["loss"]) == pytest.approx(
        float(means["loss"]), rel=1e-5
    )
