"""Serves an export over HTTP, in the way of TF Serving's REST API."""

import dataclasses
import importlib.util
import sys
from collections.abc import Sequence

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.tools.command_line import Group, run_tool
from bert_tf.tools.flags import require

_NEEDED = ("starlette", "tensorflow_serving", "uvicorn")


def _define_model_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "model_dir",
        None,
        "Folder of an export: one with a folder per version, or such a folder itself.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "model_name",
        None,
        "What the model is called in paths, /v1/models/NAME. Unset: the name of the "
        "export's folder.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "version",
        None,
        "Which version to serve. Unset: the newest.",
        lower_bound=0,
        flag_values=values,
    )


def _define_address_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Name or address to listen at. The default is reached from this machine only; "
        "0.0.0.0 is all that the machine has.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "port",
        8501,
        "Port to listen at. 0 takes a free one, which is logged.",
        lower_bound=0,
        upper_bound=65535,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "access_log", False, "Log a line for each request.", flag_values=values
    )


def _define_batching_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "max_batch_size",
        32,
        "Most rows that the model takes at a time, of one request or of several.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "batch_timeout_micros",
        0,
        "How long a batch that is not full waits for more, in microseconds. Whatever "
        "comes while another batch runs is taken together in any case.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_enqueued_batches",
        100,
        "How many full batches may wait; requests beyond are answered with 503.",
        lower_bound=1,
        flag_values=values,
    )


def _define_limit_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "max_body_bytes",
        8 * 2**20,
        "How long the body of a request may be.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_rows",
        1024,
        "How many rows a request may have.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_text_chars",
        10_000,
        "How many characters a text may have, or how many numbers a row of them.",
        lower_bound=1,
        flag_values=values,
    )


GROUPS = (
    Group("Model", _define_model_flags),
    Group("Address", _define_address_flags),
    Group("Batching", _define_batching_flags),
    Group("Limits", _define_limit_flags),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def run(values: flags.FlagValues) -> None:
        require(values, "model_dir")
        for name in _NEEDED:
            if importlib.util.find_spec(name) is None:
                raise ConfigError(
                    f"Expected {name}, which serving needs, found that it is not "
                    "installed; run pip install 'bert-tf[serve]'."
                )
        from bert_tf.serving.server import ServerConfig, serve

        fields = [field.name for field in dataclasses.fields(ServerConfig)]
        serve(ServerConfig(**{name: values[name].value for name in fields}))

    return run_tool(
        "serve",
        "Serves an export over HTTP, in the way of TF Serving's REST API: status, "
        "metadata and predictions at /v1/models/NAME, for every signature. Requests "
        "that come at the same time are run in one batch. SIGTERM and Ctrl-C end it "
        "when all requests are answered, a second one at once.",
        GROUPS,
        run,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
