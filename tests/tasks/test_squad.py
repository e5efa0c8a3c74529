"""SQuAD against what the release computed, the official evaluators and plain loops."""

import dataclasses
import functools
import json
import random

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  the ops of an export

from bert_tf import BertConfig, BertSpanLabeler, GraphTokenizer
from bert_tf.serving.export import export
from bert_tf.tasks import squad_scores
from bert_tf.tasks.answers import NO_NULL_SCORE, AnswerFinder, Answers, Context, Rules
from bert_tf.tasks.graph_answers import GraphAnswers, split_context
from bert_tf.tasks.squad import SquadTask
from bert_tf.tasks.squad_files import SquadExample, read_squad_examples

SMALL = BertConfig(
    vocab_size=1600,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=64,
)
# Without spaces but for one context, and with characters that the vocabulary lacks.
CHINESE = [
    (
        "他几点起床？",
        "小明在北京大学学习数学。他每天早上六点起床，先跑步，再去图书馆看书。",
    ),
    ("他说了什么？", "“这本书很有意思，”他说，“我想再看一次。”那是去年冬天的事。"),
    ("他用什么写程序？", "他用Python 3写程序，每小时约2.5页，\u202f晚上 也写。"),
    ("没有什么？", ""),
    ("没有什么？", " \t"),
    ("", "我们"),
]
UNKNOWN = "“”数"


@pytest.fixture(scope="module")
def golden(testdata):
    def read(name: str) -> str:
        return (testdata / f"squad_{name}.json").read_text()

    return read


@pytest.fixture(scope="module")
def tokenizer(testdata) -> GraphTokenizer:
    return GraphTokenizer(str(testdata / "vocab_uncased.txt"))


@pytest.fixture(scope="module")
def chinese_tokenizer(tmp_path_factory) -> GraphTokenizer:
    known = sorted({char for pair in CHINESE for char in "".join(pair).lower()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "py", "##thon", *known, "##5"]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    kept = [piece for piece in pieces if piece.strip() and piece not in UNKNOWN]
    path.write_text("\n".join(kept) + "\n", "utf-8")
    return GraphTokenizer(str(path))


@pytest.fixture(scope="module")
def make_task(golden, tokenizer):
    args = json.loads(golden("args"))
    rows = {k: args[k] for k in ("max_seq_length", "doc_stride", "max_query_length")}

    @functools.cache
    def make(version_2: bool, tokenizer=tokenizer, **changes) -> SquadTask:
        rules = Rules(
            n_best_size=args["n_best_size"],
            max_answer_length=args["max_answer_length"],
            version_2_with_negative=version_2,
            null_score_diff_threshold=version_2 * args["null_score_diff_threshold"],
        )
        return SquadTask(
            SMALL, tokenizer, dataclasses.replace(rules, **changes), **rows
        )

    return make


@pytest.fixture(scope="module")
def logits(testdata) -> dict[str, np.ndarray]:
    found = np.load(testdata / "squad_predict.npz")
    return {name: found[name] for name in ("start_logits", "end_logits")}


def read(testdata, is_training: bool, version_2: bool) -> list[SquadExample]:
    path = str(testdata / "squad.json")
    return read_squad_examples(path, is_training, version_2)


def all_features(task, examples) -> dict[str, np.ndarray]:
    parts = list(task.features(examples))
    return {name: np.concatenate([x[name] for x in parts]) for name in parts[0]}


# Against the release.


def test_features_are_the_releases(testdata, make_task):
    expected = np.load(testdata / "squad_train_features.npz")
    task = make_task(True)
    examples = read(testdata, True, True)
    found = all_features(task, examples)
    names = {"start_position": "start_positions", "end_position": "end_positions"}
    names["unique_id"] = "unique_ids"
    for name in expected.files:
        if name not in ("example_index", "doc_span_index"):
            np.testing.assert_array_equal(
                found[names.get(name, name)], expected[name], name
            )
    counts = task.count_rows(examples)
    of_example = np.repeat(np.arange(len(examples)), counts)
    np.testing.assert_array_equal(of_example, expected["example_index"])
    of_span = np.concatenate([np.arange(count) for count in counts])
    np.testing.assert_array_equal(of_span, expected["doc_span_index"])
    assert set(found) == set(task.feature_spec)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_predictions_are_the_releases(testdata, golden, make_task, logits, version):
    task = make_task(version == "v2")
    examples = read(testdata, False, version == "v2")
    files = task.prediction_files(examples, task.join(examples, logits))
    expected = {
        "predictions.json": golden(f"predictions_{version}"),
        "nbest_predictions.json": golden(f"nbest_{version}"),
    }
    if version == "v2":
        expected["null_odds.json"] = golden("null_odds_v2")
    assert files == expected


# Scores.


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_scores_are_the_evaluators(testdata, golden, make_task, logits, version):
    task = make_task(version == "v2")
    examples = read(testdata, False, version == "v2")
    outcome = task.join(examples, logits)
    assert task.labelled(examples) == (version == "v2")
    if version == "v1":
        kept = [i for i, example in enumerate(examples) if example.answers]
        outcome = dataclasses.replace(
            outcome,
            examples=[examples[i] for i in kept],
            answers=[outcome.answers[i] for i in kept],
        )
        assert task.labelled(outcome.examples)
    found = task.metrics(outcome, 8)
    expected = json.loads(golden("scores"))[version]
    if version == "v1":
        expected = {
            "exact_match": 100 * expected["exact_match"],
            "f1": 100 * expected["final_f1"],
        }
        assert found == expected
        return
    ours = {name: found[name] for name in found if not name.startswith("best_")}
    assert ours == {name: expected[name] for name in ours}
    left = {name.split("_")[0] for name in set(expected) - set(ours)}
    assert left == {"final", "pr"}
    assert set(task.metric_names) <= set(found)


@pytest.mark.parametrize("kind", ["mixed", "wrong", "right"])
def test_best_thresholds_are_the_best_of_all(kind):
    draw = random.Random(7)
    examples, answers = [], []
    for number in range(40):
        right = [] if number % 3 == 0 else [f"w{number} w{number + 1}"]
        wrong = draw.random() < {"mixed": 0.4, "wrong": 1.0, "right": 0.0}[kind]
        text = "nothing" if wrong or not right else draw.choice([*right, f"w{number}"])
        # As if sure of itself now and then.
        odds = draw.gauss(3.0 if not right else -3.0, 4.0)
        examples.append(SquadExample(str(number), "", [], answers=right))
        answers.append(Answers("", [], text, odds))

    def score(threshold: float) -> dict[str, float]:
        given = [
            dataclasses.replace(x, text="" if x.null_odds > threshold else x.best_text)
            for x in answers
        ]
        return squad_scores.scores(examples, given, True)

    thresholds = [-100.0, *(answer.null_odds for answer in answers)]
    found = score(0.0)
    for name in ("exact", "f1"):
        best = max(score(threshold)[name] for threshold in thresholds)
        assert found[f"best_{name}"] == pytest.approx(best)
        at_best = score(found[f"best_{name}_thresh"])
        assert at_best[name] == pytest.approx(best)
    if kind == "wrong":  # best is to answer nothing at all
        assert found["best_f1_thresh"] < min(x.null_odds for x in answers)


# The cases in which the release fails, or that its test data lack.


def context_of(words: list[str]) -> Context:
    """A context of one piece a word, in one window behind `[CLS] [SEP]`."""
    count = len(words)
    windows = [np.array(x) for x in ([0], [count], [2])]
    return Context(words, words, np.arange(count), *windows, np.zeros(count, int))


@pytest.mark.parametrize("n_best_size", [1, 3])
def test_none_may_be_the_only_candidate(n_best_size):
    rules = Rules(n_best_size=n_best_size, version_2_with_negative=True)
    starts = np.array([[2.0, 0, 5, 1, 0]], np.float32)
    ends = np.array([[9.0, 0, 4, 1, 0]], np.float32)
    found = AnswerFinder(rules)(context_of(["a", "b"]), starts, ends)
    if n_best_size == 3:
        assert (found.best_text, found.null_odds) == ("a", 2.0)
        assert [x["text"] for x in found.nbest] == ["", "a", "a b"]
    else:  # no answer ends at the only place that is looked at
        assert (found.best_text, found.null_odds) == ("", NO_NULL_SCORE)
        assert [x["text"] for x in found.nbest] == [""]


def test_a_context_without_pieces(make_task):
    examples = [SquadExample("q", "what?", words) for words in ([], ["\a"])]
    no_rows = np.zeros([0, 64], np.float32)
    nothing = {"start_logits": no_rows, "end_logits": no_rows}
    for version_2, text, odds in ((False, "empty", None), (True, "", NO_NULL_SCORE)):
        task = make_task(version_2)
        assert task.count_rows(examples).tolist() == [0, 0]
        for answer in task.join(examples, nothing).answers:
            assert (answer.text, answer.null_odds) == (text, odds)


# In Chinese, a word is what stands between two spaces: a sentence, or a whole text.


@pytest.mark.parametrize(
    ("said", "text", "expected"),
    [
        ("六 点", "他每天早上六点起床", "六点"),
        ("python 3 写", "他用Python 3写程序", "Python 3写"),
        ("2 . 5 页", "约2.5页，晚上", "2.5页"),
        ("[UNK] 学", "数学", "数学"),  # not found: all of it
        ("fi", "ﬁ 3", "ﬁ 3"),  # one character becomes two: all of it
    ],
)
def test_parts_of_words(said, text, expected):
    text_of = AnswerFinder(Rules()).project
    assert text_of(said, text) == expected


def test_answers_inside_a_word_are_trained_on(tmp_path, make_task, chinese_tokenizer):
    question, context = CHINESE[0]
    answer = {"text": "六点", "answer_start": context.index("六点")}
    # Ids may be numbers: JSON's keys are texts.
    qa = {"id": 5, "question": question, "answers": [answer]}
    paragraphs = [{"context": context, "qas": [qa]}]
    content = {"data": [{"paragraphs": paragraphs}]}
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    task = make_task(False, chinese_tokenizer)
    examples = read_squad_examples(str(path), True, False)
    features = all_features(task, examples)
    piece = {index: piece for piece, index in chinese_tokenizer.vocab.items()}
    start, end = features["start_positions"][0], features["end_positions"][0]
    ids = features["input_ids"][0, start : end + 1]
    assert "".join(piece[index] for index in ids) == "六点"
    outcome = task.join(
        examples,
        {
            "start_logits": np.eye(64, dtype=np.float32)[[start]],
            "end_logits": np.eye(64, dtype=np.float32)[[end]],
        },
    )
    files = task.prediction_files(examples, outcome)
    assert json.loads(files["predictions.json"]) == {"5": "六点"}


# As TensorFlow ops.


def graph_answers(task, examples, rows) -> dict[str, list]:
    words = split_context(tf.constant([" ".join(each.doc_tokens) for each in examples]))
    questions = tf.constant([example.question_text for example in examples])
    windows = task._rows.pack(words, questions)
    rows = {name: tf.constant(x) for name, x in rows.items()}
    found = GraphAnswers(task.rules, task.tokenizer)(words, windows, rows)
    answers = [text.decode() for text in found.pop("answer").numpy()]
    return {"answer": answers} | {name: x.numpy() for name, x in found.items()}


def assert_same(task, found, answers) -> None:
    assert found["answer"] == [answer.text for answer in answers]
    if task.rules.version_2_with_negative:
        odds = [answer.null_odds for answer in answers]
        np.testing.assert_allclose(found["null_odds"], odds, rtol=1e-6, atol=1e-5)
    else:
        assert "null_odds" not in found


@pytest.mark.parametrize("version_2", [False, True])
def test_graph_answers_on_the_golden_logits(testdata, make_task, logits, version_2):
    task = make_task(version_2)
    examples = read(testdata, False, version_2)
    found = graph_answers(task, examples, logits)
    assert_same(task, found, task.join(examples, logits).answers)


def examples_of(pairs) -> list[SquadExample]:
    words = split_context(tf.constant([context for _, context in pairs])).to_list()
    return [
        SquadExample(str(number), question, [word.decode() for word in words[number]])
        for number, (question, _) in enumerate(pairs)
    ]


@pytest.mark.parametrize("language", ["english", "chinese"])
@pytest.mark.parametrize("version_2", [False, True])
def test_graph_answers_on_random_logits(
    testdata, make_task, chinese_tokenizer, version_2, language
):
    if language == "english":
        task, examples = make_task(version_2), read(testdata, False, version_2)
    else:
        task = make_task(version_2, chinese_tokenizer)
        examples = examples_of([pair for pair in CHINESE if pair[1].strip()])
    examples = [*examples] * 20
    rng = np.random.default_rng(3)
    count = task.count_rows(examples).sum()
    rows = {
        name: rng.normal(size=[count, 64]).astype(np.float32)
        for name in ("start_logits", "end_logits")
    }
    answers = task.join(examples, rows).answers
    if not version_2:
        # Where nothing can be an answer, the release says "empty".
        answers = [
            dataclasses.replace(x, text=x.text * (x.text != "empty")) for x in answers
        ]
    assert_same(task, graph_answers(task, examples, rows), answers)
    assert len({answer.text for answer in answers}) > 40


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Weights that are so large that no two places have like logits."""
    keras.utils.set_random_seed(4)
    made = BertSpanLabeler(dataclasses.replace(SMALL, initializer_range=0.5))
    made.squad.output_weights.assign(made.squad.output_weights * 50)
    return made


def predict(task, model, examples, length: int | None = None):
    """Returns what is answered when rows are cut to a length, and how long they are."""
    features = all_features(task, examples)
    batch = {
        name: features[name][:, :length].astype(np.int32)
        for name in ("input_ids", "input_mask", "segment_ids")
    }
    rows = task.per_example(model(batch), batch)
    rows = {name: x.numpy() for name, x in rows.items()}
    assert all(x.shape[1] == task.max_seq_length for x in rows.values())
    return task.join(examples, rows), int(features["input_mask"].sum(axis=1).max())


@pytest.mark.parametrize(
    ("language", "version_2"), [("english", False), ("chinese", True)]
)
def test_exports_answer_as_predictions_say(
    tmp_path, testdata, make_task, chinese_tokenizer, model, version_2, language
):
    changes = {"n_best_size": 64}  # or padding could take the places of answers
    if language == "english":
        task = make_task(version_2, **changes)
        examples = read(testdata, False, version_2)
        pairs = [(x.question_text, " ".join(x.doc_tokens)) for x in examples]
    else:
        task = make_task(version_2, chinese_tokenizer, **changes)
        pairs = CHINESE
        examples = examples_of(pairs)
    outcome, _ = predict(task, model, examples)
    loaded = tf.saved_model.load(export(task, model, str(tmp_path)))
    serve = loaded.signatures["serving_default"]

    def ask(pairs) -> dict:
        questions, contexts = (
            tf.constant(x, tf.string, [len(pairs)])
            for x in (list(zip(*pairs, strict=True)) or [[], []])
        )
        found = serve(question=questions, context=contexts)
        names = {"answer", "score"} | ({"null_odds"} if version_2 else set())
        assert set(found) == names
        assert all(x.shape == [len(pairs)] for x in found.values())
        found["answer"] = [text.decode() for text in found["answer"].numpy()]
        return found

    answers = [
        # An export says nothing where the release says "empty".
        dataclasses.replace(x, text=x.text if example.doc_tokens else "")
        for x, example in zip(outcome.answers, examples, strict=True)
    ]
    found = ask(pairs)
    assert_same(task, found, answers)
    assert len(set(found["answer"])) > 2
    for answer, score in zip(answers, found["score"].numpy(), strict=True):
        if answer.best_text not in ("", "empty"):
            best = next(x for x in answer.nbest if x["text"] == answer.best_text)
            total = best["start_logit"] + best["end_logit"]
            assert score == pytest.approx(total, rel=1e-5)
    assert ask([])["answer"] == []
    assert ask([("what?", ""), ("", " ")])["answer"] == ["", ""]


def test_an_answer_does_not_depend_on_what_else_is_asked(testdata, make_task, model):
    """Of the few best places none is padding, of which a longer text brings more."""
    task = make_task(True, n_best_size=3)
    examples = read(testdata, False, True)
    pairs = [(x.question_text, " ".join(x.doc_tokens[:6])) for x in examples]

    def ask(*asked) -> list[np.ndarray]:
        questions, contexts = (tf.constant(x) for x in zip(*asked, strict=True))
        return [x.numpy() for x in task.serve(model, questions, contexts).values()]

    together = ask(*pairs, (pairs[0][0], "a longer text " * 20))
    for index, pair in enumerate(pairs[:4]):
        for alone, among_others in zip(ask(pair), together, strict=True):
            if alone.dtype == np.float32:
                np.testing.assert_allclose(alone[0], among_others[index], rtol=1e-5)
            else:
                assert alone[0] == among_others[index]


def test_buckets_change_no_answer(testdata, make_task, model):
    task = make_task(True, n_best_size=64)
    examples = read(testdata, False, True)[:6]
    examples = [dataclasses.replace(x, doc_tokens=x.doc_tokens[:20]) for x in examples]
    whole, longest = predict(task, model, examples)
    cut, _ = predict(task, model, examples, longest)
    assert longest < 64
    for before, after in zip(whole.answers, cut.answers, strict=True):
        assert before.text == after.text
        assert [x["text"] for x in before.nbest] == [x["text"] for x in after.nbest]
        for x, y in zip(before.nbest, after.nbest, strict=True):
            for name in ("probability", "start_logit", "end_logit"):
                assert y[name] == pytest.approx(x[name], abs=1e-3)


# The loss.


def test_loss_is_the_releases_formula(make_task):
    rng = np.random.default_rng(5)
    outputs = {
        name: rng.normal(size=[6, 9]).astype(np.float32) * 3
        for name in ("start_logits", "end_logits")
    }
    starts, ends = rng.integers(0, 9, 6), rng.integers(0, 9, 6)
    starts[:2] = outputs["start_logits"][:2].argmax(axis=1)
    ends[:1] = outputs["end_logits"][:1].argmax(axis=1)
    batch = {
        "input_ids": np.zeros([6, 9], np.int32),
        "start_positions": tf.constant(starts, tf.int32),
        "end_positions": tf.constant(ends, tf.int32),
    }

    def loss(logits, places):
        logits = logits.astype(np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -np.mean(
            [row[place] for row, place in zip(log_probs, places, strict=True)]
        )

    expected = loss(outputs["start_logits"], starts), loss(outputs["end_logits"], ends)
    task = make_task(False)
    means = task.means(task.sums(outputs, batch), task.weights(batch))
    assert float(means["loss"]) == pytest.approx(sum(expected) / 2, rel=1e-6)
    right = (outputs["start_logits"].argmax(axis=1) == starts) & (
        outputs["end_logits"].argmax(axis=1) == ends
    )
    assert float(means["accuracy"]) == pytest.approx(right.mean())
