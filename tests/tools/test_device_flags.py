"""Flags of devices that contradict each other are answered at once."""

import json

import pytest

from bert_tf.errors import ConfigError
from bert_tf.tools.device_flags import DeviceConfig
from bert_tf.training.cluster import Cluster

WORKERS = {"workers": "a:1,b:2", "worker_index": 1}
TF_CONFIG = json.dumps(
    {"cluster": {"worker": ["c:1", "d:2"]}, "task": {"type": "worker", "index": 0}}
)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**WORKERS, "distribution_strategy": "mirrored"}, "got mirrored; drop one"),
        ({**WORKERS, "use_tpu": True}, "beside --workers, got a TPU"),
        ({"distribution_strategy": "multi_worker_mirrored"}, "workers .* got none"),
        (
            {"distribution_strategy": "multi_worker_mirrored", "workers": "a:1"},
            "--worker_index to say which",
        ),
        (
            {
                "distribution_strategy": "multi_worker_mirrored",
                "workers": "a:1",
                "worker_index": 0,
            },
            "Expected several workers",
        ),
        ({"worker_index": 0}, "--workers beside --worker_index"),
    ],
)
def test_contradictions_are_named(monkeypatch, settings, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ConfigError, match=message):
        DeviceConfig(**settings).check_devices()


@pytest.mark.parametrize("strategy", ["auto", "multi_worker_mirrored"])
def test_several_hosts_are_taken(monkeypatch, strategy):
    monkeypatch.setenv("TF_CONFIG", TF_CONFIG)
    config = DeviceConfig(distribution_strategy=strategy)
    config.check_devices()
    assert config.cluster == Cluster(("c:1", "d:2"), 0)
    config = DeviceConfig(distribution_strategy=strategy, **WORKERS)
    config.check_devices()
    assert config.cluster == Cluster(("a:1", "b:2"), 1)


@pytest.mark.parametrize("strategy", ["one_device", "mirrored", "tpu"])
def test_one_host_is_one_whatever_a_scheduler_says(monkeypatch, strategy):
    monkeypatch.setenv("TF_CONFIG", TF_CONFIG)
    config = DeviceConfig(distribution_strategy=strategy)
    config.check_devices()
    assert config.cluster is None
