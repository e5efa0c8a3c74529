"""An area of benchmarks that costs nothing: sums, and those who get them wrong."""

import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.contender import Contender, Ready, repeated


def _sum(pause: float, error: float = 0.0) -> Callable[[Any, Any], Ready]:
    def make(settings: Any, folder: Any) -> Ready:
        run = repeated(lambda: time.sleep(pause))
        return Ready({"sum": run}, {"sum": [sum(settings) + error]})

    return make


def _dies(settings: Any, folder: Any) -> Ready:
    raise ValueError("Expected to live, died.")


def _dies_later(settings: Any, folder: Any) -> Ready:
    return Ready({"sum": lambda count: os._exit(3)})


CONTENDERS = {
    "bert_tf": Contender(_sum(0.01)),
    "slow": Contender(_sum(0.03)),
    "absent": Contender(_sum(0.01), needs=("no_such_package",)),
    "wrong": Contender(_sum(0.01, error=0.5)),
    "dies": Contender(_dies),
    "dies later": Contender(_dies_later),
}
