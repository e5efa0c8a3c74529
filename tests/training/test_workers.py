"""Several workers compute what one does, and know who they are."""

import json
import socket
import threading

import numpy as np
import pytest

from bert_tf.errors import ConfigError
from bert_tf.training.cluster import Cluster, find_cluster, meet
from tests.programs import free_addresses, start
from tests.training import equal_batches
from tests.training.two_workers import predicted

# What they compute.


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two processes end with, beside what this one ends with."""
    output = tmp_path_factory.mktemp("workers") / "found.npz"
    workers = ",".join(free_addresses(2))
    processes = [
        start("-m", "tests.training.two_workers", workers, str(index), output)
        for index in range(2)
    ]
    weights, scalars, trainer = equal_batches.trained("whole")
    expected = {f"weights/{name}": x for name, x in weights.items()}
    expected |= {f"scalars/{n}": [s[n][0] for s in scalars] for n in scalars[0]}
    expected["losses"] = predicted(trainer)
    for process in processes:
        _, log = process.communicate(timeout=200)
        assert process.returncode == 0, log[-3000:]
    with np.load(output) as arrays:
        return dict(arrays), expected


def test_two_workers_are_one_after_eight_golden_steps(found, measured):
    ours, expected = found
    assert ours.keys() == expected.keys()
    differences = {
        name: float(np.abs(ours[name] - x).max())
        for name, x in expected.items()
        if name.startswith("weights/")
    }
    # The gradient of a key's bias is 0 but for rounding, which Adam divides by itself.
    biases = [x for name, x in differences.items() if "key/bias" in name]
    others = [x for name, x in differences.items() if "key/bias" not in name]
    measured("8 golden steps, two workers = one", max(others), at_most=1e-6)
    assert max(biases) < 2e-5
    for name, x in expected.items():
        if name.startswith("scalars/"):
            np.testing.assert_allclose(ours[name], x, rtol=1e-5, err_msg=name)


def test_all_rows_come_back_in_order(found):
    ours, expected = found
    assert len(expected["losses"]) == 11
    np.testing.assert_allclose(ours["losses"], expected["losses"], rtol=1e-4)


# Who they are.


def tf_config(cluster, job="worker", index=0) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (tf_config({"worker": ["a:1", "b:2"]}, index=1), Cluster(("a:1", "b:2"), 1)),
        (
            tf_config({"chief": ["c:1"], "worker": ["a:1", "b:2"]}, index=1),
            Cluster(("c:1", "a:1", "b:2"), 2),
        ),
        (
            tf_config({"chief": ["c:1"], "worker": ["[::1]:2"]}, "chief"),
            Cluster(("c:1", "[::1]:2"), 0),
        ),
        ("{}", None),
        ('{"cluster": {}, "task": {"type": "worker", "index": 0}}', None),
    ],
)
def test_schedulers_say_who_there_is(monkeypatch, text, expected):
    monkeypatch.setenv("TF_CONFIG", text)
    assert find_cluster(None, None) == expected
    # What was said on purpose goes before.
    assert find_cluster("x:1,y:2", 1) == Cluster(("x:1", "y:2"), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "TF_CONFIG to be JSON"),
        ("[1]", "TF_CONFIG to be JSON"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG to be JSON"),
        (tf_config({"worker": ["a:1"], "ps": ["b:2"]}), "workers alone .* found ps"),
        (tf_config({"worker": ["a:1"]}, "evaluator"), "found evaluator"),
        (tf_config({"worker": ["a:1", "b:2"]}, index=2), "from 0 to 1, got 2"),
        (tf_config({"worker": ["a", "b:2"]}), "host:port .* got 'a'"),
        (tf_config({"worker": ["a:1", "a:1"]}), "one twice"),
    ],
)
def test_a_wrong_environment_is_explained(monkeypatch, text, message):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=message):
        find_cluster(None, None)


@pytest.mark.parametrize(
    ("workers", "index", "message"),
    [
        ("a:1,b:2", None, "--worker_index to say which .* got none"),
        ("a:1,b:2", 2, "--worker_index to say .* from 0 to 1, got 2"),
        ("a:1,b:99999", 0, "host:port of each worker in --workers, got 'b:99999'"),
        ("a:1,,b:2", 0, "got ''"),
        ("a:1,a:1", 0, "one twice"),
        (None, 1, "--workers beside --worker_index"),
    ],
)
def test_wrong_workers_are_explained(workers, index, message):
    with pytest.raises(ConfigError, match=message):
        find_cluster(workers, index)


# How they meet.


def test_workers_wait_for_each_other():
    addresses = tuple(free_addresses(3))
    met = []

    def worker(index: int) -> None:
        meet(Cluster(addresses, index), 20)
        # As TensorFlow does, and late.
        with socket.create_server(("127.0.0.1", int(addresses[index].split(":")[1]))):
            met.append(index)
            while len(met) < 3:
                pass

    threads = [threading.Thread(target=worker, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(met) == [0, 1, 2]


def test_a_worker_that_does_not_come_is_named():
    addresses = tuple(free_addresses(2))
    with pytest.raises(ConfigError, match=rf"reach worker 0 \({addresses[0]}\)"):
        meet(Cluster(addresses, 1), 0.5)


def test_a_port_that_is_taken_is_named():
    one, other = free_addresses(2)
    port = int(one.split(":")[1])
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(ConfigError, match=f"port {port} as worker 0"),
    ):
        meet(Cluster((one, other), 0), 5)
