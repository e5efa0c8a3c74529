"""Two epochs of fine-tuning on real data reach what BERT-Tiny can."""

import statistics

import pytest

from tests.programs import run

SEEDS = (1, 2, 3)


def mean_accuracy(real_data, tmp_path, *flags: str) -> float:
    """Fine-tunes the small checkpoint once per seed; returns the mean accuracy."""
    bert = real_data / "checkpoints" / "splade_tiny_uncased_L-2_H-128_A-2"
    found = []
    for seed in SEEDS:
        output = tmp_path / str(seed)
        run(
            "run_classifier.py",
            f"--bert_config_file={bert}/bert_config.json",
            f"--vocab_file={bert}/vocab.txt",
            f"--init_checkpoint={bert}/bert_model.ckpt",
            f"--output_dir={output}",
            f"--random_seed={seed}",
            "--do_train",
            "--do_eval",
            "--learning_rate=3e-4",
            "--train_batch_size=32",
            "--num_train_epochs=2",
            "--eval_batch_size=32",
            *flags,
            timeout=1500,
        )
        lines = (output / "eval_results.txt").read_text().splitlines()
        found.append(float(dict(x.split(" = ") for x in lines)["eval_accuracy"]))
    return statistics.mean(found)


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_sms_spam(real_data, tmp_path, measured):
    accuracy = mean_accuracy(
        real_data,
        tmp_path,
        "--task_name=custom",
        f"--train_file={real_data}/sms_spam/SMSSpamCollection",
        "--label=0",
        "--text_a=1",
        "--dev_fraction=0.2",
    )
    measured("SMS Spam, mean of seeds 1, 2, 3", accuracy, at_least=0.985)


@pytest.mark.acceptance
@pytest.mark.timeout(5000)
def test_sst2(real_data, tmp_path, measured):
    accuracy = mean_accuracy(
        real_data,
        tmp_path,
        "--task_name=sst-2",
        f"--data_dir={real_data}/glue/SST-2",
        "--max_seq_length=64",
    )
    measured("SST-2, mean of seeds 1, 2, 3", accuracy, at_least=0.80)
