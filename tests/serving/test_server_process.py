"""A server as its user starts it: its port, its end, what keeps it from starting."""

import json
import shutil
import signal
import socket
import threading
import time

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from bert_tf import DataError
from bert_tf.serving.saved_model import SavedModel
from bert_tf.serving.warm_up import REQUESTS_FILE, warm_up
from bert_tf.tools import serve
from tests.server_process import SECONDS, Server

PATH = "/v1/models/words:predict"


def ask(connection, text):
    """Returns the words of an answer, and whether it is the connection's last."""
    body = {"signature_name": "tags", "instances": [text]}
    connection.request("POST", PATH, json.dumps(body))
    answer = connection.getresponse()
    content = json.loads(answer.read())
    assert answer.status == 200, content
    is_last = answer.getheader("Connection") == "close"
    return content["predictions"][0]["words"], is_last


def test_every_request_is_answered_when_the_server_is_told_to_end(
    small_export, tmp_path
):
    server = Server(small_export, tmp_path / "log")
    told = threading.Event()
    answered, wrong = [], []

    def client(number):
        connection = server.connection()
        is_last = False
        try:
            while not is_last:
                text = f"{number} {len(answered)}"
                words, is_last = ask(connection, text)
                answered.append(told.is_set())
                assert words == text.split()
            assert told.is_set()
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    while len(answered) < 100 and not wrong:
        time.sleep(0.01)
    told.set()
    server.process.send(signal.SIGTERM)
    for thread in threads:
        thread.join(SECONDS)
    assert server.process.wait() == 0
    assert not wrong
    assert sum(answered) >= len(threads)  # each got its last answer after the signal
    assert server.process.output().count("\n") == 1
    with pytest.raises(OSError):
        ask(server.connection(), "late")


def test_a_second_signal_ends_it_at_once(small_export, tmp_path):
    server = Server(f"{small_export}/1", tmp_path / "log", access_log="true")
    connection = server.connection()
    ask(connection, "kept open")
    assert 'predict HTTP/1.1" 200' in server.process.output()
    # With this connection open, the end would take a second.
    server.process.send(signal.SIGINT)
    time.sleep(0.2)
    server.process.send(signal.SIGINT)
    assert server.process.wait() == 130
    assert server.process.output().endswith("serve: interrupted.\n")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({}, "Expected --model_dir, got none"),
        ({"model_dir": "no/such"}, "Expected the folder of an export at no/such"),
        ({"model_dir": "x", "model_name": "a/b"}, "without / and : in --model_name"),
        ({"model_dir": "x", "host": "no.such.name.invalid"}, "--host=no.such.name"),
    ],
)
def test_what_keeps_it_from_starting(capsys, flags, says):
    flags = {"port": 0, **flags}
    assert serve.main([f"--{name}={value}" for name, value in flags.items()]) == 1
    assert says in capsys.readouterr().err


def test_a_port_in_use(capsys, small_export):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert serve.main([f"--model_dir={small_export}", f"--port={port}"]) == 1
    assert f"--port={port}, found that it cannot be had (Address already in use)" in (
        capsys.readouterr().err
    )


def test_without_what_serving_needs(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert serve.main(["--model_dir=x"]) == 1
    assert "run pip install 'bert-tf[serve]'." in capsys.readouterr().err


def write_requests(folder, *requests):
    """Writes warm-up requests of `(signature, inputs)` beside a graph."""
    path = folder / REQUESTS_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
    return path


def test_warm_up(small_export, tmp_path, monkeypatch):
    shutil.copytree(f"{small_export}/1", tmp_path / "1")
    model = SavedModel(str(tmp_path))
    asked = []
    run = model.run

    def noting(signature, inputs):
        asked.append((signature, {name: x.tolist() for name, x in inputs.items()}))
        return run(signature, inputs)

    monkeypatch.setattr(model, "run", noting)
    warm_up(model)
    texts = {"answers", "serialized", "serving_default", "tags", "tf_example"}
    assert {signature for signature, _ in asked} == texts

    asked.clear()
    path = write_requests(
        tmp_path / "1", ("", {"text_a": ["a", "b"]}), ("tags", {"text": ["c"]})
    )
    warm_up(model)
    assert asked == [
        ("serving_default", {"text_a": [b"a", b"b"]}),
        ("tags", {"text": [b"c"]}),
    ]
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(DataError, match="Expected requests that this model takes in "):
        warm_up(model)
    shutil.rmtree(path.parent)
    for request in (("no_such", {}), ("tags", {"other": ["a"]}), ("tags", {"text": 1})):
        write_requests(tmp_path / "1", request)
        with pytest.raises(DataError, match="Expected requests that this model takes"):
            warm_up(model)
        shutil.rmtree(path.parent)
