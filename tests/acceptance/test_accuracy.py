"""Fine-tuning on real data reaches what BERT-Tiny can, in either precision."""

import statistics

import numpy as np
import pytest
import tensorflow as tf

from tests.programs import run

SEEDS = (1, 2, 3)
BUCKETS = "--length_buckets=8,16,24,32,48,64"


def fine_tune(real_data, output, *flags: str) -> dict[str, float]:
    """Fine-tunes the small checkpoint; returns what `eval_results.txt` says."""
    bert = real_data / "checkpoints" / "splade_tiny_uncased_L-2_H-128_A-2"
    run(
        "run_classifier.py",
        f"--bert_config_file={bert}/bert_config.json",
        f"--vocab_file={bert}/vocab.txt",
        f"--init_checkpoint={bert}/bert_model.ckpt",
        f"--output_dir={output}",
        "--do_train",
        "--do_eval",
        "--train_batch_size=32",
        "--eval_batch_size=32",
        *flags,
        timeout=1500,
    )
    lines = (output / "eval_results.txt").read_text().splitlines()
    return {name: float(x) for name, x in (line.split(" = ") for line in lines)}


def per_seed(real_data, tmp_path, metric: str, *flags: str) -> list[float]:
    return [
        fine_tune(real_data, tmp_path / f"seed{seed}", f"--random_seed={seed}", *flags)[
            metric
        ]
        for seed in SEEDS
    ]


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_sms_spam(real_data, tmp_path, measured):
    found = per_seed(
        real_data,
        tmp_path,
        "eval_accuracy",
        "--task_name=custom",
        f"--train_file={real_data}/sms_spam/SMSSpamCollection",
        "--label=0",
        "--text_a=1",
        "--dev_fraction=0.2",
        "--learning_rate=3e-4",
        "--num_train_epochs=2",
    )
    mean = statistics.mean(found)
    measured("SMS Spam, mean accuracy of seeds 1, 2, 3", mean, at_least=0.985)


@pytest.mark.acceptance
@pytest.mark.timeout(5000)
def test_sst2_in_both_precisions(real_data, tmp_path, measured):
    flags = [
        "--task_name=sst-2",
        f"--data_dir={real_data}/glue/SST-2",
        "--max_seq_length=64",
        "--learning_rate=3e-4",
        "--num_train_epochs=2",
        BUCKETS,
    ]
    means = {}
    for precision in ("float32", "bfloat16"):
        found = per_seed(
            real_data,
            tmp_path / precision,
            "eval_accuracy",
            *flags,
            f"--precision={precision}",
        )
        means[precision] = statistics.mean(found)
    measured("SST-2, mean of seeds 1, 2, 3", means["float32"], at_least=0.80)
    measured("the same in bfloat16", means["bfloat16"], at_least=0.80)
    apart = abs(means["float32"] - means["bfloat16"])
    measured("SST-2, bfloat16 from float32", apart, at_most=0.005)


# Task -> metric, the least that its mean may be, rate, epochs. Only STS-B is promised;
# the others are shown: this checkpoint, made for retrieval, is a weak start.
GLUE = {
    "STS-B": ("eval_pearson", 0.74, "1e-4", "10"),
    "MRPC": ("eval_accuracy", None, "1e-4", "6"),
    "RTE": ("eval_accuracy", None, "1e-4", "6"),
    "CoLA": ("eval_matthews", None, "1e-4", "6"),
}


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("task", GLUE)
def test_glue(real_data, tmp_path, measured, task):
    metric, least, rate, epochs = GLUE[task]
    found = per_seed(
        real_data,
        tmp_path,
        metric,
        f"--task_name={task.lower()}",
        f"--data_dir={real_data}/glue/{task}",
        f"--learning_rate={rate}",
        f"--num_train_epochs={epochs}",
        "--max_seq_length=128",
        "--length_buckets=16,24,32,48,64,96",
    )
    name = f"{task}, {metric}"
    measured(f"{name}: mean of seeds 1, 2, 3", statistics.mean(found), at_least=least)
    measured(f"{name}: deviation", statistics.stdev(found))


def training_pace(output) -> float:
    """Returns the steps per second between a run's first and last curve points."""
    times = {
        event.step: event.wall_time
        for path in output.glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        if event.summary.value
    }
    first, last = min(times), max(times)
    return (last - first) / (times[last] - times[first])


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_buckets_lose_nothing_and_are_faster(real_data, tmp_path, measured):
    task = ["--task_name=sst-2", f"--data_dir={real_data}/glue/SST-2"]
    flags = [*task, "--learning_rate=3e-4", "--num_train_epochs=1", "--do_predict"]
    padded, bucketed = tmp_path / "padded", tmp_path / "bucketed"
    evaluated = fine_tune(real_data, padded, *flags)
    fine_tune(real_data, bucketed, *flags, BUCKETS)
    ratio = training_pace(bucketed) / training_pace(padded)
    measured("one epoch of SST-2: buckets against 128", ratio, at_least=2.5)
    # The weights of one run, evaluated and predicted with in both ways.
    whole = np.loadtxt(padded / "test_results.tsv")
    cut = fine_tune(real_data, padded, *flags, BUCKETS)
    rows = np.loadtxt(padded / "test_results.tsv")
    losses = np.abs(np.log(whole) - np.log(rows)).max()
    measured("losses per example, buckets against 128", float(losses), at_most=1e-5)
    assert cut["eval_loss"] == pytest.approx(evaluated["eval_loss"], abs=1e-5)
