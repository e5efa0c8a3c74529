"""Hugging Face folders become Google's, and compute what a plain forward pass does."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from bert_tf.checkpoint import load_checkpoint
from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError, ConfigError
from bert_tf.interchange import config_from_hugging_face
from bert_tf.interchange import convert as convert_folder
from bert_tf.modeling import BertModel
from bert_tf.tools import convert_checkpoint

V, H, N, INNER, LAYERS, P, T = 37, 12, 3, 20, 2, 11, 2
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": V,
    "hidden_size": H,
    "num_attention_heads": N,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "max_position_embeddings": P,
    "type_vocab_size": T,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.3,
    "initializer_range": 0.05,
    "position_embedding_type": "absolute",
}


def shapes() -> dict[str, tuple[int, ...]]:
    """The state dict of Hugging Face's `BertModel`; `Linear` is `[out, in]`."""
    linear = {"pooler.dense": (H, H)}
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        block = f"encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            linear[f"{block}.attention.self.{name}"] = (H, H)
        linear[f"{block}.attention.output.dense"] = (H, H)
        linear[f"{block}.intermediate.dense"] = (INNER, H)
        linear[f"{block}.output.dense"] = (H, INNER)
        norms += [f"{block}.attention.output.LayerNorm", f"{block}.output.LayerNorm"]
    return {
        "embeddings.word_embeddings.weight": (V, H),
        "embeddings.position_embeddings.weight": (P, H),
        "embeddings.token_type_embeddings.weight": (T, H),
        **{f"{name}.weight": shape for name, shape in linear.items()},
        **{f"{name}.bias": shape[:1] for name, shape in linear.items()},
        **{f"{name}.{leaf}": (H,) for name in norms for leaf in ("weight", "bias")},
    }


def random_tensors(dtype=np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        name: rng.normal(0.1, 0.5, shape).astype(dtype)
        for name, shape in shapes().items()
    }


@pytest.fixture
def folder(tmp_path):
    """Writes a Hugging Face folder."""

    def write(tensors=None, config=CONFIG, name="hf") -> Path:
        path = tmp_path / name
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config))
        pieces = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(V - 4))]
        (path / "vocab.txt").write_text("\n".join(pieces) + "\n")
        tensors = random_tensors() if tensors is None else tensors
        safetensors.numpy.save_file(
            {name: np.ascontiguousarray(x) for name, x in tensors.items()},
            path / "model.safetensors",
        )
        return path

    return write


def forward(w: dict, ids, mask, segments, gelu):
    """BERT by the paper and Hugging Face's names, in float64."""
    w = {name: value.astype(np.float64) for name, value in w.items()}

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    length = ids.shape[1]
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][:length]
    x = x + w["embeddings.token_type_embeddings.weight"][segments]
    x = norm(x, "embeddings.LayerNorm")
    layers = []
    for layer in range(LAYERS):
        block = f"encoder.layer.{layer}"
        heads = {
            name: linear(x, f"{block}.attention.self.{name}").reshape(
                -1, length, N, H // N
            )
            for name in ("query", "key", "value")
        }
        scores = np.einsum("bind,bjnd->bnij", heads["query"], heads["key"])
        scores = scores / math.sqrt(H // N) + (mask[:, None, None, :] - 1) * 10000.0
        exps = np.exp(scores - scores.max(-1, keepdims=True))
        probs = exps / exps.sum(-1, keepdims=True)
        context = np.einsum("bnij,bjnd->bind", probs, heads["value"])
        context = context.reshape(-1, length, H)
        attended = linear(context, f"{block}.attention.output.dense")
        x = norm(x + attended, f"{block}.attention.output.LayerNorm")
        inner = gelu(linear(x, f"{block}.intermediate.dense"))
        outer = linear(inner, f"{block}.output.dense")
        x = norm(x + outer, f"{block}.output.LayerNorm")
        layers.append(x)
    return layers, np.tanh(linear(x[:, 0], "pooler.dense"))


def erf_gelu(x):
    return x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def inputs():
    rng = np.random.default_rng(3)
    ids = rng.integers(0, V, (3, 9))
    mask = np.array([[1] * 9, [1] * 5 + [0] * 4, [1] + [0] * 8])
    segments = rng.integers(0, T, (3, 9))
    return ids, mask, segments


@pytest.mark.parametrize(
    ("hidden_act", "prefix", "gelu"),
    [
        ("gelu", "", erf_gelu),
        ("gelu", "bert.", erf_gelu),
        ("gelu_new", "", tanh_gelu),
        ("gelu_pytorch_tanh", "bert.", tanh_gelu),
        ("relu", "", lambda x: np.maximum(x, 0)),
    ],
)
def test_outputs_equal_a_plain_forward_pass(folder, tmp_path, hidden_act, prefix, gelu):
    tensors = random_tensors()
    others = {
        "cls.predictions.bias": np.zeros(V, np.float32),
        f"{prefix}embeddings.position_ids": np.arange(P)[None],
    }
    source = folder(
        {**{prefix + name: x for name, x in tensors.items()}, **others},
        {**CONFIG, "hidden_act": hidden_act},
    )
    convert_folder(str(source), str(tmp_path / "google"))
    model = BertModel(BertConfig.from_json_file(tmp_path / "google/bert_config.json"))
    report = load_checkpoint(model, tmp_path / "google")
    assert report.fresh == [] and report.unused == []
    ids, mask, segments = inputs()
    actual = model({"input_ids": ids, "input_mask": mask, "segment_ids": segments})
    layers, pooled = forward(tensors, ids, mask, segments, gelu)
    for ours, theirs in zip(actual["encoder_layers"], layers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(actual["pooled_output"], pooled, atol=1e-5)


def test_the_forward_pass_tells_the_two_gelus_apart():
    layers = [forward(random_tensors(), *inputs(), g)[0] for g in (erf_gelu, tanh_gelu)]
    assert np.abs(layers[0][-1] - layers[1][-1]).max() > 1e-4


def test_config_and_vocabulary_come_along(folder, tmp_path):
    source = folder()
    convert_folder(str(source), str(tmp_path / "google"))
    written = json.loads((tmp_path / "google/bert_config.json").read_text())
    own = ("model_type", "architectures", "layer_norm_eps", "position_embedding_type")
    expected = {key: value for key, value in CONFIG.items() if key not in own}
    assert written == {**expected, "hidden_act": "gelu_erf"}
    vocab = (tmp_path / "google/vocab.txt").read_bytes()
    assert vocab == (source / "vocab.txt").read_bytes()


def test_half_precision_weights_are_widened(folder, tmp_path):
    import tensorflow as tf

    tensors = random_tensors(np.float16)
    convert_folder(str(folder(tensors)), str(tmp_path / "google"))
    prefix = str(tmp_path / "google/bert_model.ckpt")
    table = tf.train.load_variable(prefix, "bert/embeddings/word_embeddings")
    assert table.dtype == np.float32
    theirs = tensors["embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(table, theirs.astype(np.float32))


def test_bfloat16_weights_are_widened(folder, tmp_path):
    """The upper halves of float32 words, written as safetensors lays them out."""
    import tensorflow as tf

    source = folder()
    header, body = {}, b""
    for name, value in random_tensors().items():
        words = (value.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(value.shape),
            "data_offsets": [len(body), len(body) + len(words)],
        }
        body += words
    text = json.dumps(header).encode()
    (source / "model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + body
    )
    convert_folder(str(source), str(tmp_path / "google"))
    prefix = str(tmp_path / "google/bert_model.ckpt")
    table = tf.train.load_variable(prefix, "bert/embeddings/word_embeddings")
    full = random_tensors()["embeddings.word_embeddings.weight"]
    cut = (full.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(table, cut)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "roberta"}, "got roberta"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"hidden_act": "silu"}, "'silu'"),
        ({"vocab_size": None}, "vocab_size"),
        ({"hidden_size": 13}, "13"),
    ],
)
def test_another_architecture(folder, tmp_path, change, says):
    source = folder(config={**CONFIG, **change})
    with pytest.raises(ConfigError, match=says):
        convert_folder(str(source), str(tmp_path / "google"))
    assert not (tmp_path / "google").exists()


def test_two_segments_are_assumed_where_the_config_does_not_say():
    values = {key: value for key, value in CONFIG.items() if key != "type_vocab_size"}
    assert config_from_hugging_face(values).type_vocab_size == 2


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("encoder.layer.1.output.dense.bias", None, "2 layers"),
        ("pooler.dense.weight", None, "bert/pooler/dense/kernel"),
        ("embeddings.word_embeddings.weight", np.ones((V + 1, H)), r"\[38, 12\]"),
        ("encoder.layer.0.output.dense.weight", np.ones((INNER, H)), r"\[12, 20\]"),
    ],
)
def test_a_tensor_missing_or_of_another_shape(folder, tmp_path, name, value, says):
    tensors = random_tensors()
    del tensors[name]
    if value is not None:
        tensors[name] = value.astype(np.float32)
    with pytest.raises(CheckpointError, match=says) as error:
        convert_folder(str(folder(tensors)), str(tmp_path / "google"))
    assert name in str(error.value)
    assert not (tmp_path / "google").exists()


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_a_safetensors_file_cut_short(folder, tmp_path, keep):
    source = folder()
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors, found damage"):
        convert_folder(str(source), str(tmp_path / "google"))
    assert not (tmp_path / "google").exists()


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "model.safetensors"])
def test_a_missing_file(folder, tmp_path, name):
    source = folder()
    (source / name).unlink()
    with pytest.raises(CheckpointError, match=f"Expected {name} in {source}"):
        convert_folder(str(source), str(tmp_path / "google"))


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_config(folder, tmp_path, content):
    source = folder()
    (source / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"JSON.*config\.json"):
        convert_folder(str(source), str(tmp_path / "google"))


# The command.


def convert(*args: str) -> int:
    return convert_checkpoint.main(list(args))


def test_the_command_converts(folder, tmp_path):
    source = folder()
    (tmp_path / "empty").mkdir()
    for target in ("new", "empty"):
        assert convert(f"--input={source}", f"--output_dir={tmp_path / target}") == 0
    convert_folder(str(source), str(tmp_path / "by_library"))
    for path in (tmp_path / "by_library").iterdir():
        for target in ("new", "empty"):
            copy = tmp_path / target / path.name
            assert copy.read_bytes() == path.read_bytes(), copy


def test_a_runs_weights_as_google_releases_them(tmp_path, testdata):
    """What Google's scripts read into a model of the same graph, and no more."""
    source = tmp_path / "run"
    source.mkdir()
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(testdata / f"trained.ckpt{suffix}", source / f"m.ckpt-8{suffix}")
    (source / "checkpoint").write_text('model_checkpoint_path: "m.ckpt-8"\n')
    arguments = (f"--input={source}", f"--output_dir={tmp_path / 'google'}")
    assert convert("--from=google", *arguments) == 1  # neither config nor vocabulary
    shutil.copy(testdata / "bert_config.json", source)
    shutil.copy(testdata / "vocab_uncased.txt", source / "vocab.txt")
    assert not (tmp_path / "google").exists()
    assert convert("--from=google", *arguments) == 0
    found = tf.train.load_checkpoint(str(tmp_path / "google" / "bert_model.ckpt"))
    trained = tf.train.load_checkpoint(str(testdata / "trained.ckpt"))
    initial = tf.train.load_checkpoint(str(testdata / "bert_model.ckpt"))
    names = initial.get_variable_to_shape_map().keys()
    assert found.get_variable_to_shape_map().keys() == names
    for name in names:
        np.testing.assert_array_equal(found.get_tensor(name), trained.get_tensor(name))
    written, given = tmp_path / "google", source
    assert (written / "vocab.txt").read_bytes() == (given / "vocab.txt").read_bytes()
    configs = [
        json.loads((x / "bert_config.json").read_text()) for x in (written, given)
    ]
    assert configs[0] == configs[1]


@pytest.mark.parametrize("case", ["full", "file", "no_input", "no_folder", "damaged"])
def test_the_command_refuses_in_one_sentence(folder, tmp_path, capsys, case):
    source, target = folder(), tmp_path / "google"
    args = [f"--input={source}", f"--output_dir={target}"]
    if case == "full":
        target.mkdir()
        (target / "notes.txt").write_text("mine")
        says = f"--output_dir={target}"
    elif case == "file":
        target.write_text("mine")
        says = f"--output_dir={target}"
    elif case == "no_input":
        args, says = args[1:], "--input"
    elif case == "no_folder":
        args, says = [f"--input={tmp_path / 'none'}", args[1]], f"{tmp_path / 'none'}"
    else:
        (source / "model.safetensors").write_bytes(b"PK")
        says = f"{source / 'model.safetensors'}"
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert convert(*args) == 1
    stderr = capsys.readouterr().err
    last = stderr.rstrip("\n").split("\n")[-1]
    assert last.startswith("convert_checkpoint: Expected") and says in last
    assert "Traceback" not in stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
