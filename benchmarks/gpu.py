"""The forward pass on a GPU: on Keras' JAX backend, and Hugging Face's in PyTorch.

    python -m benchmarks.gpu [--sizes=base,large] [--lengths=128,512] [--output=FILE]

Needs keras, absl-py and jax with the plugin of its device, but no TensorFlow; for what
is compared with, torch and transformers. Without a GPU all runs on the CPU.

All have the same random weights, compute in bfloat16 and store their weights so. First
they are given rows with padding: where outputs differ by more than bfloat16 explains,
nothing is timed. What is timed are full rows without a mask, as many as make `--tokens`
a batch: in each round everybody in turn takes `--calls` batches and waits for the last.
The table has the median of the rounds.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_tf.config import BertConfig

# Dense bfloat16, FLOP/s, by the whole name of the device; a V100 has no bfloat16.
_PEAKS = {
    r"NVIDIA H100 80GB HBM3": 989.4e12,  # SXM
    r"NVIDIA H200": 989.4e12,
    r"NVIDIA A100(-SXM4-\d+GB|-PCIE-\d+GB| 80GB PCIe)": 312e12,
    r"NVIDIA L4": 121e12,
}
# Root of the mean square of the difference, over that of the outputs.
_LARGEST_ERROR = 0.05
_PEERS = ("eager", "compiled")


def forward_flops(config: BertConfig, length: int) -> int:
    """Returns the floating-point operations of one row's matmuls, forward.

    Of S tokens, L blocks of width H and inner width I, where a product of `[m, k]` and
    `[k, n]` takes 2mkn:

        L (8 S H² + 4 S H I + 4 S² H) + 2 H²

    for query, key, value and output projection; the two layers between blocks; scores
    and context of all heads; the pooler. Embeddings and what is done element by element
    are not counted.

    Args:
      config: The architecture.
      length: S.
    """
    width = config.hidden_size
    projections = 8 * length * width**2
    inner = 4 * length * width * config.intermediate_size
    attention = 4 * length**2 * width
    return config.num_hidden_layers * (projections + inner + attention) + 2 * width**2


@dataclasses.dataclass(frozen=True)
class Runner:
    """One way to compute `sequence_output` `[B, S, H]` and `pooled_output` `[B, H]`.

    Attributes:
      name: What the table calls it.
      put: Brings features, int32 `[B, S]` by bert_tf's names, to the device.
      run: Starts the forward pass of what `put` returned.
      wait: Returns when the outputs that it is given have been computed.
      read: Returns outputs as float32 arrays.
    """

    name: str
    put: Callable[[Mapping[str, np.ndarray]], Any]
    run: Callable[[Any], Any]
    wait: Callable[[Any], Any]
    read: Callable[[Any], list[np.ndarray]]

    def seconds(self, placed: Any, calls: int) -> float:
        """Returns how long a batch takes, of so many in a row."""
        start = time.perf_counter()
        for _ in range(calls):
            outputs = self.run(placed)
        self.wait(outputs)
        return (time.perf_counter() - start) / calls


def _on_jax(config: BertConfig, tensors: Mapping[str, np.ndarray]) -> Runner:
    """Returns bert_tf's model, with the tensors of Hugging Face's if there are any."""
    import jax
    import keras

    from bert_tf.interchange import google_tensors
    from bert_tf.modeling import BertModel
    from bert_tf.naming import google_name

    model = BertModel(config, dtype="mixed_bfloat16")
    named = google_tensors(tensors, config) if tensors else {}
    weights = [
        jax.numpy.asarray(named.get(google_name(variable), variable.value), "bfloat16")
        for variable in model.variables
    ]

    def forward(weights: list[Any], features: dict[str, Any]) -> list[Any]:
        scope = keras.StatelessScope()
        for variable, weight in zip(model.variables, weights, strict=True):
            # The scope's constructor would make them float32, as the variables are.
            scope.add_update((variable, weight))
        with scope:
            outputs = model(features, training=False)
        return [outputs["sequence_output"], outputs["pooled_output"]]

    compiled = jax.jit(forward)
    return Runner(
        "bert_tf, JAX",
        put=jax.device_put,
        run=lambda features: compiled(weights, features),
        wait=jax.block_until_ready,
        read=lambda outputs: [np.asarray(x, np.float32) for x in outputs],
    )


def _in_torch(config: BertConfig, peers: list[str]) -> tuple[list[Runner], Any]:
    """Returns Hugging Face's model run in these ways, and its tensors by name."""
    import torch
    import transformers

    theirs = transformers.BertConfig(
        **{**config.to_dict(), "hidden_act": "gelu_pytorch_tanh"},
        attn_implementation="sdpa",
    )
    torch.compiler.reset()  # past so many shapes it would no longer compile
    torch.manual_seed(0)
    model = transformers.BertModel(theirs).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # a bias of zero would hide whether it is added
            parameter += 0.1 * torch.randn_like(parameter)
    tensors = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device, torch.bfloat16)

    def put(features: Mapping[str, np.ndarray]) -> dict[str, Any]:
        names = {
            "input_ids": "input_ids",
            "input_mask": "attention_mask",
            "segment_ids": "token_type_ids",
        }
        return {
            names[name]: torch.from_numpy(x).to(device, torch.int64)
            for name, x in features.items()
        }

    def runner(peer: str) -> Runner:
        call = model if peer == "eager" else torch.compile(model, dynamic=False)

        def run(features: dict[str, Any]) -> list[Any]:
            with torch.inference_mode():
                outputs = call(**features)
            return [outputs.last_hidden_state, outputs.pooler_output]

        return Runner(
            f"Hugging Face, {peer}",
            put=put,
            run=run,
            wait=lambda _: torch.cuda.synchronize() if device == "cuda" else None,
            read=lambda outputs: [x.float().cpu().numpy() for x in outputs],
        )

    return [runner(peer) for peer in peers], tensors


def _check_device(platform: str) -> None:
    """Checks that PyTorch finds a device of the kind that JAX has found.

    Raises:
      ImportError: There is no PyTorch.
      SystemExit: It finds another.
    """
    import torch

    other = "gpu" if torch.cuda.is_available() else "cpu"
    if platform != other:
        raise SystemExit(
            f"Expected JAX and PyTorch on devices of one kind, got {platform} and "
            f"{other}; install both for the same, or say --peers= to time JAX alone."
        )


def _differences(runners: list[Runner], config: BertConfig) -> dict[str, float]:
    """Returns the error of each runner against the first, by name.

    Those that fail are left out of the answer, and said to be skipped.
    """
    draw = np.random.default_rng(0)
    mask = (np.arange(32) < np.array([[32], [20], [7], [1]])).astype(np.int32)
    features = {
        "input_ids": draw.integers(0, config.vocab_size, mask.shape, np.int32),
        "input_mask": mask,
        "segment_ids": draw.integers(0, 2, mask.shape, np.int32),
    }

    def outputs(runner: Runner) -> list[np.ndarray]:
        sequence, pooled = runner.read(runner.run(runner.put(features)))
        return [sequence[mask == 1], pooled]

    first, *others = runners
    expected = outputs(first)
    found = {first.name: 0.0}
    for runner in others:
        try:
            pairs = zip(outputs(runner), expected, strict=True)
        except Exception as error:  # torch.compile's are of many kinds
            _skip(runner.name, error)
            continue
        found[runner.name] = max(
            float(np.sqrt(np.mean((x - y) ** 2) / np.mean(y**2))) for x, y in pairs
        )
    return found


def _skip(what: str, error: Exception) -> None:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    print(f"skipped {what}: {reason}", flush=True)


def _runners(config: BertConfig, peers: list[str]) -> list[Runner]:
    """Returns all that can be timed, once they are seen to compute the same.

    Raises:
      SystemExit: They do not.
    """
    others, tensors = _in_torch(config, peers) if peers else ([], {})
    runners = [_on_jax(config, tensors), *others]
    differences = _differences(runners, config)
    for name, error in differences.items():
        if not error <= _LARGEST_ERROR:  # which NaN is not either
            raise SystemExit(
                f"Expected {name} to differ from {runners[0].name} by at most "
                f"{_LARGEST_ERROR}, got {error:.3f}; nothing is timed."
            )
    return [runner for runner in runners if runner.name in differences]


def _versions() -> dict[str, str]:
    found = {}
    for name in ("jax", "keras", "torch", "transformers"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def main(arguments: list[str]) -> None:
    """Measures all rows and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def words(text: str) -> list[str]:
        return [word for word in text.split(",") if word]

    def numbers(text: str) -> list[int]:
        return [int(word) for word in words(text)]

    parser.add_argument("--sizes", type=words, default=["base", "large"])
    parser.add_argument("--lengths", type=numbers, default=[128, 512])
    parser.add_argument("--tokens", type=int, default=8192, help="of a batch")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=20, help="batches in a round")
    parser.add_argument("--peers", type=words, default=list(_PEERS))
    parser.add_argument("--peak_tflops", type=float, help="dense, bfloat16")
    parser.add_argument("--output", type=Path, help="the same as JSON")
    given = parser.parse_args(arguments)
    if unknown := set(given.peers) - set(_PEERS):
        parser.error(f"expected --peers of {','.join(_PEERS)}, got {unknown.pop()}")

    # Read when Keras and JAX are first imported. PyTorch needs memory beside JAX.
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    first = jax.devices()[0]
    if given.peers:
        try:
            _check_device(first.platform)
            import transformers  # noqa: F401
        except ImportError as error:
            _skip("Hugging Face", error)
            given.peers = []
    device, versions = first.device_kind, _versions()
    known = [peak for name, peak in _PEAKS.items() if re.fullmatch(name, device)]
    peak = given.peak_tflops * 1e12 if given.peak_tflops else next(iter(known), None)
    print(f"on {device}:", ", ".join(" ".join(item) for item in versions.items()))
    print(f"{'':<6}{'length':>6}{'batch':>7}  {'':<24}{'ms':>9}", end="")
    print(f"{'rows/s':>10}{'tokens/s':>12}{'of peak':>9}", flush=True)
    rows = []
    for size in given.sizes:
        config = BertConfig.from_name(f"BERT-{size}")
        runners = _runners(config, given.peers)
        for length in given.lengths:
            for row in _time(runners, config, length, given):
                flops = row["sequences_per_second"] * forward_flops(config, length)
                row["utilisation"] = flops / peak if peak else None
                rows.append({"size": size, **row})
                share = f"{row['utilisation']:.1%}" if peak else "unknown"
                print(
                    f"{size:<6}{length:>6}{row['batch_size']:>7}  {row['name']:<24}"
                    f"{row['seconds'] * 1e3:>9.2f}{row['sequences_per_second']:>10.1f}"
                    f"{row['tokens_per_second']:>12.0f}{share:>9}",
                    flush=True,
                )
    if given.output:
        report = {
            "device": device,
            "versions": versions,
            "peak_flops": peak,
            "rows": rows,
        }
        given.output.write_text(json.dumps(report, indent=2) + "\n")


def _time(
    runners: list[Runner], config: BertConfig, length: int, given: argparse.Namespace
) -> list[dict[str, Any]]:
    """Returns what was measured of each runner, in batches of rows of one length."""
    batch_size = max(1, given.tokens // length)
    draw = np.random.default_rng(1)
    shape = [batch_size, length]
    features = {
        "input_ids": draw.integers(0, config.vocab_size, shape, np.int32),
        "segment_ids": draw.integers(0, 2, shape, np.int32),
    }
    placed = [runner.put(features) for runner in runners]
    seconds: list[list[float]] = [[] for _ in runners]
    for round_number in range(given.rounds + 1):
        for runner, on_device, taken in zip(runners, placed, seconds, strict=True):
            found = runner.seconds(on_device, given.calls)
            if round_number:  # the first one compiles
                taken.append(found)
    rows = []
    for runner, taken in zip(runners, seconds, strict=True):
        median = statistics.median(taken)
        rows.append(
            {
                "length": length,
                "batch_size": batch_size,
                "name": runner.name,
                "seconds": median,
                "sequences_per_second": batch_size / median,
                "tokens_per_second": batch_size * length / median,
            }
        )
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
