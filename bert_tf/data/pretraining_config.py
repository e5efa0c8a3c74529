"""What pretraining data is made of, and how: the flags of create_pretraining_data."""

import dataclasses
import os

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote

MODES = ("reference", "stream")
MASKINGS = ("token", "whole_word", "span")
WORD_SEGMENTERS = ("none", "jieba")
RUNNERS = ("local", "beam")

# No BERT has positions for more, and memory is taken by it.
LONGEST_SEQUENCE = 4096
# What their names have digits for.
MOST_SHARDS = 99_999

# Fields that say where and how fast to work, not what comes out.
_HOW = (
    *("input_file", "output_file", "vocab_file", "check_casing", "num_workers"),
    *("runner", "beam_options"),
)


@dataclasses.dataclass(frozen=True)
class PretrainingDataConfig:
    """Everything that making pretraining data needs to know.

    The fields are the flags of the same names; `--help` says what each does. Unset
    are `masking`, which then follows from `do_whole_word_mask`; `work_dir`, which is
    then beside the output; `num_shards` (one file per name of `output_file`) and
    `num_workers` (one per core).
    """

    input_file: str
    output_file: str
    vocab_file: str
    do_lower_case: bool = True
    check_casing: bool = True
    do_whole_word_mask: bool = False
    max_seq_length: int = 128
    max_predictions_per_seq: int = 20
    random_seed: int = 12345
    dupe_factor: int = 10
    masked_lm_prob: float = 0.15
    short_seq_prob: float = 0.1
    mode: str = "reference"
    masking: str | None = None
    unmasked: bool = False
    word_segmenter: str = "none"
    sentence_split: bool = False
    language: str | None = None
    num_shards: int | None = None
    num_workers: int | None = None
    work_dir: str | None = None
    runner: str = "local"
    beam_options: str | None = None

    def check(self) -> None:
        """Raises a ConfigError for values that contradict each other."""
        for name, value, choices in (
            ("mode", self.mode, MODES),
            ("masking", self.masking or "token", MASKINGS),
            ("word_segmenter", self.word_segmenter, WORD_SEGMENTERS),
            ("runner", self.runner, RUNNERS),
        ):
            if value not in choices:
                raise ConfigError(
                    f"Expected --{name} to be one of {', '.join(choices)}, got {value}."
                )
        for name, number, least in (
            ("max_seq_length", self.max_seq_length, 5),
            ("max_predictions_per_seq", self.max_predictions_per_seq, 1),
            ("dupe_factor", self.dupe_factor, 1),
            ("num_shards", self.num_shards, 1),
            ("num_workers", self.num_workers, 1),
        ):
            if number is not None and number < least:
                raise ConfigError(
                    f"Expected --{name} to be at least {least}, got {number}."
                )
        for name, share in (
            ("masked_lm_prob", self.masked_lm_prob),
            ("short_seq_prob", self.short_seq_prob),
        ):
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"Expected --{name} from 0 to 1, got {share}.")
        self._check_masking()
        self._check_runner()
        if self.language is not None and not self.sentence_split:
            raise ConfigError(
                "Expected --sentence_split beside --language, got none; the language "
                "says how lines are split into sentences."
            )
        if self.max_seq_length > LONGEST_SEQUENCE:
            raise ConfigError(
                f"Expected --max_seq_length to be at most {LONGEST_SEQUENCE}, "
                f"got {self.max_seq_length}."
            )
        if self.work_dir is not None and is_remote(self.work_dir):
            raise ConfigError(
                f"Expected a local folder in --work_dir, got {self.work_dir}; the "
                "tokenized text is read from all over."
            )
        names = self.output_file.split(",")
        if not all(map(os.path.basename, names)):
            raise ConfigError(
                f"Expected the names of files in --output_file, got "
                f"{self.output_file!r}; name each, as in DIR/records.tfrecord."
            )
        if len(set(names)) < len(names):
            raise ConfigError(
                "Expected different files in --output_file, got "
                f"--output_file={self.output_file}; name each once."
            )
        if self.num_shards is not None and len(names) > 1:
            raise ConfigError(
                f"Expected one name in --output_file beside --num_shards, got "
                f"{len(names)}; drop --num_shards, or all names but one."
            )
        if len({os.path.dirname(name) for name in names}) > 1:
            raise ConfigError(
                "Expected all of --output_file in one folder, which says in "
                "metadata.json what they are, got several; name files of one folder."
            )

    def _check_runner(self) -> None:
        if self.runner == "beam":
            if self.mode != "stream":
                raise ConfigError(
                    f"Expected --mode=stream beside --runner=beam, got --mode="
                    f"{self.mode}, which draws one record after the other; add it."
                )
            if self.work_dir is not None:
                raise ConfigError(
                    "Expected no --work_dir beside --runner=beam, whose workers keep "
                    "nothing there; leave it out."
                )
        elif self.beam_options is not None:
            raise ConfigError(
                "Expected --runner=beam beside --beam_options, got --runner="
                f"{self.runner}; add it, or leave out the options."
            )

    def _check_masking(self) -> None:
        if self.do_whole_word_mask and self.masking not in (None, "whole_word"):
            raise ConfigError(
                f"Expected --masking=whole_word beside --do_whole_word_mask, got "
                f"--masking={self.masking}; drop one of the two."
            )
        if self.unmasked:
            for flag, given in (
                ("--masking", self.masking is not None),
                ("--do_whole_word_mask", self.do_whole_word_mask),
                ("--word_segmenter", self.word_segmenter != "none"),
            ):
                if given:
                    raise ConfigError(
                        f"Expected either --unmasked or {flag}, got both; masks that "
                        "are drawn while training are chosen there."
                    )
        if self.word_segmenter != "none" and self.chosen_masking == "token":
            raise ConfigError(
                f"Expected --masking=whole_word or --masking=span beside "
                f"--word_segmenter={self.word_segmenter}, got --masking=token, which "
                "knows no words; pass one of them."
            )

    @property
    def chosen_masking(self) -> str:
        """The masking that the flags ask for."""
        return self.masking or ("whole_word" if self.do_whole_word_mask else "token")

    @property
    def folder(self) -> str:
        """The folder that the records go to."""
        return os.path.dirname(self.output_file.split(",")[0])

    @property
    def output_files(self) -> list[str]:
        """The paths of the record files, in order."""
        if self.num_shards is None:
            return self.output_file.split(",")
        return [
            f"{self.output_file}-{shard:05d}-of-{self.num_shards:05d}"
            for shard in range(self.num_shards)
        ]

    @property
    def workers(self) -> int:
        """How many threads to work with."""
        if self.num_workers is not None:
            return self.num_workers
        # Not every system tells which cores are ours.
        allowed = getattr(os, "sched_getaffinity", lambda _: None)(0)
        return len(allowed) if allowed else os.cpu_count() or 1

    def settings(self) -> dict[str, object]:
        """Returns what the records are a function of, besides texts and vocabulary."""
        values = dataclasses.asdict(self)
        for name in (*_HOW, "do_whole_word_mask", "work_dir", "num_shards"):
            del values[name]
        values["masking"] = None if self.unmasked else self.chosen_masking
        values["files"] = [os.path.basename(name) for name in self.output_files]
        return values
