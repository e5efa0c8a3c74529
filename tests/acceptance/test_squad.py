"""SQuAD on real data: what rows and answers take, what a small model reaches."""

import json
import time

import numpy as np
import pytest

from bert_tf import BertConfig, GraphTokenizer
from bert_tf.tasks.answers import Rules
from bert_tf.tasks.squad import SquadTask
from bert_tf.tasks.squad_files import read_squad_examples
from bert_tf.tokenization import FullTokenizer
from tests.minilm import fetched
from tests.programs import run

# F1 of a model that answers nothing: 244 of the 486 questions have no answer.
ALWAYS_NONE = 50.2
QUESTIONS = 10_000


def plain_count(full: FullTokenizer, example) -> int:
    """Returns how many windows a question has, by Google's defaults."""
    room = 384 - 3 - min(64, len(full.tokenize(example.question_text)))
    pieces = sum(len(full.tokenize(word)) for word in example.doc_tokens)
    return 1 + max(0, -(-(pieces - room) // min(128, room)))


@pytest.mark.acceptance
@pytest.mark.timeout(900)
def test_xquad_in_english_and_chinese(real_data, measured):
    seconds, per_question = 0.0, []
    for language, vocabulary in (("en", "uncased"), ("zh", "chinese")):
        path = real_data / "vocab" / f"{vocabulary}_vocab.txt"
        tokenizer = GraphTokenizer(str(path))
        config = BertConfig(vocab_size=len(tokenizer.vocab))
        task = SquadTask(config, tokenizer, Rules())
        source = real_data / "squad" / f"xquad.{language}.json"
        examples = read_squad_examples(str(source), True, False)
        start = time.monotonic()
        count = sum(len(part["input_ids"]) for part in task.features(examples))
        seconds += time.monotonic() - start
        full = FullTokenizer(str(path))
        expected = sum(plain_count(full, example) for example in examples)
        measured(
            f"xquad.{language}: windows of its {len(examples)} questions, "
            "other than by plain Python",
            abs(count - expected),
            at_most=0,
        )
        many = [examples[index % len(examples)] for index in range(QUESTIONS)]
        rng = np.random.default_rng(1)
        shape = [int(task.count_rows(many).sum()), 384]
        rows = {
            name: rng.normal(size=shape).astype(np.float32)
            for name in ("start_logits", "end_logits")
        }
        start = time.monotonic()
        task.join(many, rows)
        per_question.append((time.monotonic() - start) / QUESTIONS)
    measured("seconds for the features of both", seconds, at_most=30)
    for language, each in zip(("English", "Chinese"), per_question, strict=True):
        name = f"milliseconds from random logits to n-best answers, {language}"
        measured(name, 1000 * each, at_most=2)


@pytest.mark.acceptance
@pytest.mark.timeout(9000)
def test_squad_2(real_data, tmp_path, measured):
    bert = fetched(tmp_path / "model")
    squad = real_data / "squad"
    run(
        "run_squad.py",
        f"--bert_config_file={bert}/bert_config.json",
        f"--vocab_file={bert}/vocab.txt",
        f"--init_checkpoint={bert}/bert_model.ckpt",
        f"--output_dir={tmp_path / 'output'}",
        f"--train_file={squad}/train_small_v2.0.json",
        f"--predict_file={squad}/dev_small_v2.0.json",
        "--version_2_with_negative",
        "--do_train",
        "--do_eval",
        "--do_predict",
        "--max_seq_length=256",
        "--num_train_epochs=2",
        "--train_batch_size=16",
        "--learning_rate=1e-4",
        "--precision=bfloat16",
        "--length_buckets=128,160,192,256",
        timeout=8000,
    )
    lines = (tmp_path / "output/predict_results.txt").read_text().splitlines()
    found = {name: float(x) for name, x in (line.split(" = ") for line in lines)}
    assert found["total"] == len(
        json.loads((tmp_path / "output/predictions.json").read_text())
    )
    what = "SQuAD 2.0, 12,720 questions, MiniLM: F1"
    measured(f"{what}, best threshold", found["best_f1"], at_least=ALWAYS_NONE + 4)
    measured(f"{what} of questions with an answer", found["HasAns_f1"], at_least=65)
