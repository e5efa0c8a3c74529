"""Draws the training curves of one or several runs as one picture."""

import os
import sys
from collections.abc import Sequence

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote
from bert_tf.tools.command_line import Group, run_tool


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output",
        None,
        "PNG file to write. Unset: curves.png in the run's folder, or in this one if "
        "there are several runs.",
        flag_values=values,
    )


GROUPS = (Group("Picture", _define_flags),)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def plot(values: flags.FlagValues, *folders: str) -> None:
        from bert_tf.training import curves

        for folder in filter(is_remote, folders):
            raise ConfigError(
                f"Expected folders of this machine, got {folder}; copy its files of "
                "events, or show them with TensorBoard, which reads them there."
            )
        folders = tuple({os.path.realpath(each): each for each in folders}.values())
        names = curves.short_names(folders)
        runs = [curves.read_run(folder) for folder in folders]
        figure = curves.draw_runs(dict(zip(names, runs, strict=True)))
        alone = folders[0] if len(folders) == 1 else ""
        path = values.output or os.path.join(alone, "curves.png")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        curves.save_figure(figure, path)
        print(path)

    return run_tool(
        "plot",
        "Draws what training runs logged for TensorBoard: a panel each for loss, "
        "metrics, learning rate, gradient norm and speed, a colour for each run.",
        GROUPS,
        plot,
        argv,
        positional="RUN_DIR...",
    )


if __name__ == "__main__":
    sys.exit(main())
