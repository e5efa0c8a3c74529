"""As far as a TPU's door: what reaches it, and what is done under a stand-in for it."""

import dataclasses
import socket

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import BertClassifier, ConfigError
from bert_tf.checkpoint import CheckpointReader
from bert_tf.tasks.classification import ClassificationTask
from bert_tf.tools.device_flags import DeviceConfig
from bert_tf.tools.run_classifier import main
from bert_tf.training.distribution import create_strategy
from tests.small_task import as_arguments, write_small_task

# Where the stand-in is that flags name.
ADDRESS = ("127.0.0.1", 8470)
GRPC = "grpc://{}:{}".format(*ADDRESS)
# Two hosts with four chips each, of two cores, as TensorFlow describes a v3-16.
CHIPS = [[x, y, 0, core] for y in range(2) for x in range(2) for core in range(2)]
COORDINATES = [CHIPS, [[x + 2, y, z, core] for x, y, z, core in CHIPS]]


@dataclasses.dataclass
class Door:
    """What came as far as the TPU, in the order in which it came."""

    coordinates: list
    calls: list

    def called(self, name: str):
        found = [given for each, given in self.calls if each == name]
        return found[0] if found else None


@pytest.fixture
def door(monkeypatch):
    """Stands in for a TPU; the topology and what is made of it are TensorFlow's own."""
    door = Door(COORDINATES[:1], [])
    real = tf.distribute.cluster_resolver.TPUClusterResolver

    def resolver(**given):
        door.calls.append(("resolver", given))
        # A name would be asked for at Google's API.
        own = "local" if given["tpu"] == "local" else GRPC
        return real(tpu=own)

    def initialize(resolver):
        door.calls.append(("initialize", resolver.master()))
        return topology_of(door.coordinates)

    def strategy(resolver, experimental_device_assignment):
        door.calls.append(("strategy", experimental_device_assignment))
        return tf.distribute.OneDeviceStrategy("/cpu:0")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    monkeypatch.setattr(
        tf.config,
        "experimental_connect_to_cluster",
        lambda resolver: door.calls.append(("connect", resolver.master())),
    )
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", initialize)
    monkeypatch.setattr(tf.distribute, "TPUStrategy", strategy)
    return door


def topology_of(coordinates):
    mesh = np.max(coordinates, axis=(0, 1)) + 1
    return tf.tpu.experimental.Topology(
        mesh_shape=mesh.tolist(), device_coordinates=np.array(coordinates, np.int32)
    )


@pytest.mark.parametrize("address", [{"tpu_name": "my-tpu"}, {"master": "my-tpu"}])
def test_every_flag_reaches_the_resolver(door, address):
    config = DeviceConfig(
        use_tpu=True, tpu_zone="zone", gcp_project="project", num_tpu_cores=8, **address
    )
    config.check_devices()
    with socket.create_server(ADDRESS):
        create_strategy(**config.devices)
    assert door.calls == [
        ("resolver", {"tpu": "my-tpu", "zone": "zone", "project": "project"}),
        ("connect", GRPC),
        ("initialize", GRPC),
        ("strategy", None),
    ]


@pytest.mark.parametrize("name", [None, "", "local"])
def test_a_tpu_of_this_machine_is_not_connected_to(door, name):
    create_strategy("tpu", tpu_name=name)
    assert door.called("resolver")["tpu"] == "local"
    assert door.called("initialize") == ""
    assert door.called("connect") is None


@pytest.mark.parametrize(
    ("hosts", "cores"), [(1, 8), (1, 4), (1, 1), (2, 16), (2, 8), (2, None)]
)
def test_the_cores_that_were_asked_for_are_used(door, hosts, cores):
    door.coordinates = COORDINATES[:hosts]
    create_strategy("tpu", num_tpu_cores=cores)
    assignment = door.called("strategy")
    if cores in (None, 8 * hosts):
        assert assignment is None
        return
    assert assignment.num_replicas == cores
    used = {
        (assignment.host_device(replica), assignment.tpu_ordinal(replica))
        for replica in range(cores)
    }
    assert len(used) == cores


def test_more_cores_than_there_are(door):
    with pytest.raises(
        ConfigError, match="--num_tpu_cores=16, found 8 at this machine"
    ):
        create_strategy("tpu", num_tpu_cores=16)
    assert door.called("strategy") is None


def test_a_tpu_that_does_not_answer(door):
    """Without being asked first, TensorFlow would wait for it for ever."""
    with pytest.raises(ConfigError, match="my-tpu to answer within 1 s, but 127"):
        create_strategy("tpu", tpu_name="my-tpu", worker_timeout_secs=1)
    assert door.called("connect") is None


def test_a_tpu_is_named_once():
    with pytest.raises(ConfigError, match="one of --tpu_name and --master"):
        DeviceConfig(use_tpu=True, tpu_name="a", master="b").check_devices()


@pytest.mark.parametrize(
    ("flags", "by_matmul"),
    [
        ({}, False),
        ({"use_one_hot_embeddings": "true"}, True),
        ({"use_tpu": "true", "num_tpu_cores": "2"}, True),
        ({"use_tpu": "true", "use_one_hot_embeddings": "false"}, False),
    ],
)
def test_words_are_looked_up_by_a_matmul_on_a_tpu(
    door, tmp_path, testdata, monkeypatch, flags, by_matmul
):
    made = []

    def create_model(task, **options):
        made.append(options)
        return BertClassifier(task.config, task.num_outputs, **options)

    monkeypatch.setattr(ClassificationTask, "create_model", create_model)
    flags |= write_small_task(tmp_path, testdata, rows=8)
    flags |= {"do_train": "true", "num_train_epochs": "1", "train_batch_size": "8"}
    assert main(as_arguments(flags)) == 0
    assert [options["use_one_hot_embeddings"] for options in made] == [by_matmul]
    assert CheckpointReader(flags["output_dir"]).step() == 1
    assert (door.called("strategy") is not None) == ("num_tpu_cores" in flags)
