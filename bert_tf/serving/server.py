"""An export behind HTTP: from a free port to the last answer."""

import asyncio
import contextlib
import dataclasses
import gc
import ipaddress
import logging as python_logging
import os
import re
import signal
import socket
from collections.abc import Iterator
from types import FrameType
from typing import Any

import uvicorn
from absl import logging

from bert_tf.errors import ConfigError
from bert_tf.serving.batching import Batcher
from bert_tf.serving.json_tensors import Limits
from bert_tf.serving.rest import Service
from bert_tf.serving.saved_model import SavedModel
from bert_tf.serving.tf_serving import model_name_of
from bert_tf.serving.warm_up import warm_up

# How long connections that are open at the end may be used for a last request.
_LINGER_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What to serve, where and how. The fields are the flags of the same names."""

    model_dir: str
    model_name: str | None
    version: int | None
    host: str
    port: int
    max_batch_size: int
    batch_timeout_micros: int
    max_enqueued_batches: int
    max_body_bytes: int
    max_rows: int
    max_text_chars: int
    access_log: bool


def serve(config: ServerConfig) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what was accepted.

    The port answers once the model is loaded and has been warmed up. A second signal
    ends at once.

    Raises:
      ConfigError, DataError: The port cannot be had, or the export cannot be served.
    """
    if config.model_name and not re.fullmatch("[^/:]+", config.model_name):
        raise ConfigError(
            "Expected a name without / and : in --model_name, got "
            f"{config.model_name!r}; it is a part of paths."
        )
    with _bound(config.host, config.port) as bound:
        model = SavedModel(config.model_dir, config.version)
        name = config.model_name or _name_of(model)
        batcher = Batcher(
            model,
            config.max_batch_size,
            config.batch_timeout_micros,
            config.max_enqueued_batches,
        )
        service = Service(
            model,
            name,
            batcher,
            Limits(config.max_rows, config.max_text_chars),
            config.max_body_bytes,
        )
        warm_up(model)
        # What is there stays: to look through all of TensorFlow's objects for garbage
        # would stop the requests for a third of a second, now and then.
        gc.collect()
        gc.freeze()
        for kind, level in (("error", "WARNING"), ("access", "INFO")):
            logger = python_logging.getLogger(f"uvicorn.{kind}")
            logger.setLevel(level)
            logger.handlers = logging.get_absl_logger().handlers
            logger.propagate = False
        server = _Server(
            uvicorn.Config(
                service.app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=config.access_log,
                server_header=False,
            ),
            service,
            f"{name} version {model.version}",
        )
        server.run([bound])
        batcher.close()


def _name_of(model: SavedModel) -> str:
    """Returns what a model is called if nobody says, as when it is exported."""
    folder = os.path.abspath(model.path)
    if os.path.basename(folder).isdecimal():  # is that of a version
        folder = os.path.dirname(folder)
    return model_name_of(folder)


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Yields a socket that has the port, but takes no connections yet."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(
            f"Expected a name or an address of this machine in --host={host}, got "
            f"another ({error.strerror}); change it."
        ) from error
    with socket.socket(family, kind, protocol) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as error:
            raise ConfigError(
                f"Expected a port that is free at --host={host} --port={port}, found "
                f"that it cannot be had ({error.strerror}); name another."
            ) from error
        if not ipaddress.ip_address(bound.getsockname()[0]).is_loopback:
            logging.warning(
                "--host=%s: whoever reaches this machine reaches the model, which asks "
                "nobody for a password",
                host,
            )
        yield bound


class _Server(uvicorn.Server):
    """A server that loses no request when it is told to end, and then ends with 0."""

    def __init__(self, config: uvicorn.Config, service: Service, what: str):
        super().__init__(config)
        self._service = service
        self._what = what

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or []:
            host, port = each.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            logging.info("serving %s at %s", self._what, url)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Notes the first signal, which leaves the next to do what they always do."""
        former: dict[int, Any] = {}

        def note(number: int, frame: FrameType | None) -> None:
            self.should_exit = True
            restore()

        def restore() -> None:
            for number, handler in former.items():
                signal.signal(number, handler)

        for number in (signal.SIGINT, signal.SIGTERM):
            former[number] = signal.signal(number, note)
        try:
            yield
        finally:
            restore()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends once all that was accepted is answered.

        A client that keeps its connection may send the next request just now: it is
        answered too, and told that it was the last.
        """
        self._service.closing = True
        await asyncio.sleep(0)  # takes the connections that wait
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + _LINGER_SECONDS
        while self.server_state.connections and loop.time() < end:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
