"""Every flag of the release's scripts is taken, with the release's default."""

import importlib
import re
from pathlib import Path

import pytest

from bert_tf.tools.command_line import all_flags

DEVICES = {"use_tpu": False, "master": None, "num_tpu_cores": 8}
CLOUD = {"tpu_name": None, "tpu_zone": None, "gcp_project": None}
MODEL = {"bert_config_file": None, "init_checkpoint": None, "max_seq_length": 128}
WORDS = {"vocab_file": None, "do_lower_case": True}
TRAINING = {
    "output_dir": None,
    "do_train": False,
    "train_batch_size": 32,
    "learning_rate": 5e-5,
    "save_checkpoints_steps": 1000,
    "iterations_per_loop": 1000,
    **DEVICES,
    **CLOUD,
}
EPOCHS = {"num_train_epochs": 3.0, "warmup_proportion": 0.1, "predict_batch_size": 8}
# As google-research/bert has them.
SCRIPTS = {
    "create_pretraining_data": {
        **WORDS,
        "input_file": None,
        "output_file": None,
        "do_whole_word_mask": False,
        "max_seq_length": 128,
        "max_predictions_per_seq": 20,
        "random_seed": 12345,
        "dupe_factor": 10,
        "masked_lm_prob": 0.15,
        "short_seq_prob": 0.1,
    },
    "run_pretraining": {
        **MODEL,
        **TRAINING,
        "input_file": None,
        "max_predictions_per_seq": 20,
        "do_eval": False,
        "eval_batch_size": 8,
        "num_train_steps": 100000,
        "num_warmup_steps": 10000,
        "max_eval_steps": 100,
    },
    "run_classifier": {
        **MODEL,
        **WORDS,
        **TRAINING,
        **EPOCHS,
        "data_dir": None,
        "task_name": None,
        "do_eval": False,
        "do_predict": False,
        "eval_batch_size": 8,
    },
    "run_squad": {
        **MODEL,
        **WORDS,
        **TRAINING,
        **EPOCHS,
        "train_file": None,
        "predict_file": None,
        "max_seq_length": 384,
        "doc_stride": 128,
        "max_query_length": 64,
        "do_predict": False,
        "n_best_size": 20,
        "max_answer_length": 30,
        "verbose_logging": False,
        "version_2_with_negative": False,
        "null_score_diff_threshold": 0.0,
    },
    "extract_features": {
        **MODEL,
        **WORDS,
        **DEVICES,
        "input_file": None,
        "output_file": None,
        "layers": "-1,-2,-3,-4",
        "batch_size": 32,
        "use_one_hot_embeddings": False,
    },
}
PAGE = Path(__file__).resolve().parents[1] / "docs" / "from_the_release.md"


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_and_defaults_are_the_releases(script):
    values = all_flags(importlib.import_module(f"bert_tf.tools.{script}").GROUPS)
    assert {name: values[name].default for name in SCRIPTS[script]} == SCRIPTS[script]


def test_the_page_names_each_flag_with_its_scripts():
    """Each flag stands in one row, which names all scripts that have it, or all but."""
    table = PAGE.read_text().split("## Every flag")[1].split("## In Python")[0]
    listed = {}
    for row in re.findall(r"^\| (`.*?) \| (.*?) \| .* \|$", table, re.M):
        named = set(re.findall(r"`(\w+)`", row[1]))
        if row[1].startswith("all"):
            named = set(SCRIPTS) - named
        for flag in re.findall(r"`(\w+)`", row[0]):
            assert flag not in listed
            listed[flag] = named
    del listed["bert_hub_module_handle"]
    assert listed == {
        flag: {script for script, flags in SCRIPTS.items() if flag in flags}
        for flags in SCRIPTS.values()
        for flag in flags
    }
