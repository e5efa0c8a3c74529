"""A small pretrained encoder learns names from 240 sentences."""

import statistics
from collections import Counter, defaultdict

import pytest
from seqeval.metrics import f1_score

from tests.minilm import fetched
from tests.programs import ROOT, run

DATA = ROOT / "examples" / "tagging"
SEEDS = (1, 2, 3)


def sentences(name: str) -> list[list[list[str]]]:
    """Returns word and tag of each word of each sentence."""
    blocks = (DATA / name).read_text("utf-8").strip().split("\n\n")
    return [[line.split("\t") for line in block.split("\n")] for block in blocks]


def f1_of_the_commonest_tags() -> float:
    """Returns what the commonest tag of each word in training reaches; O of others."""
    seen: dict[str, Counter] = defaultdict(Counter)
    for sentence in sentences("train.conll"):
        for word, tag in sentence:
            seen[word][tag] += 1
    tags = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
    dev = sentences("dev.conll")
    return f1_score(
        [[tag for _, tag in sentence] for sentence in dev],
        [[tags.get(word, "O") for word, _ in sentence] for sentence in dev],
    )


def fine_tune(model, output, seed: int) -> float:
    """Returns the F1 of the entities of the dev file."""
    run(
        "-m",
        "bert_tf.tools.run_tagger",
        f"--data_dir={DATA}",
        f"--bert_config_file={model}/bert_config.json",
        f"--vocab_file={model}/vocab.txt",
        f"--init_checkpoint={model}/bert_model.ckpt",
        f"--output_dir={output}",
        f"--random_seed={seed}",
        "--do_train",
        "--do_eval",
        "--max_seq_length=64",
        "--length_buckets=16,32",
        "--train_batch_size=8",
        "--eval_batch_size=32",
        "--num_train_epochs=10",
        timeout=900,
    )
    lines = (output / "eval_results.txt").read_text().splitlines()
    return float(dict(line.split(" = ") for line in lines)["eval_f1"])


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_names_in_examples_tagging(tmp_path, measured):
    model = fetched(tmp_path / "model")
    found = [fine_tune(model, tmp_path / f"seed{seed}", seed) for seed in SEEDS]
    what = "examples/tagging, MiniLM, F1 of entities"
    baseline = f1_of_the_commonest_tags()
    measured(f"{what}: each word's commonest tag", baseline, at_most=0.2)
    measured(f"{what}: mean of seeds 1, 2, 3", statistics.mean(found), at_least=0.6)
    measured(f"{what}: deviation", statistics.stdev(found))
