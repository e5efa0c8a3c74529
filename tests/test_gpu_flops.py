"""The work that the GPU benchmark takes a row for, counted over a model's weights."""

from benchmarks.gpu import forward_flops
from bert_tf import BertConfig, BertModel
from bert_tf.naming import by_google_name


def test_flops_are_those_of_every_product():
    config = BertConfig(
        vocab_size=11,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=8,
    )
    length, head_size = 7, 4
    count = 0
    for name, variable in by_google_name(BertModel(config).variables).items():
        if name.endswith("/kernel"):
            rows = 1 if name.startswith("bert/pooler/") else length
            inputs, outputs = variable.shape
            count += rows * 2 * inputs * outputs
    for _ in range(config.num_hidden_layers * config.num_attention_heads):
        count += length * length * 2 * head_size  # a score is a product of two heads
        count += length * head_size * 2 * length  # and context a sum over all tokens
    assert forward_flops(config, length) == count
