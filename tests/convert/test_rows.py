"""A transform and its inverse agree, on shapes and on values."""

import numpy as np
import pytest

from vglamm_jax.convert.rows import CONV2D, CONV3D, CONV_TRANSPOSE, LINEAR, SAME, Row, Transform, linear, under

CASES = [
    (SAME, (5,), (5,)),
    (LINEAR, (4, 3), (3, 4)),
    (CONV2D, (5, 4, 3, 2), (3, 2, 4, 5)),
    (CONV3D, (6, 3, 1, 2, 2), (1, 2, 2, 3, 6)),
    (CONV_TRANSPOSE, (5, 4, 3, 2), (3, 2, 4, 5)),
    (Transform(ones=(0,)), (1, 7), (7,)),
    (Transform(ones=(0, 2), axes=(1, 0)), (1, 3, 1, 7), (7, 3)),
    (Transform(rows=5), (5, 3), (128, 3)),
    (Transform(axes=(1, 0), rows=5), (5, 3), (3, 128)),
]


@pytest.mark.parametrize("transform,torch_shape,ours", CASES)
def test_round_trip(transform, torch_shape, ours):
    tensor = np.arange(1, 1 + np.prod(torch_shape), dtype=np.float32).reshape(torch_shape)
    assert transform.torch_shape(ours) == torch_shape
    out = np.zeros(ours, np.float32)
    transform.to_ours(tensor, out)
    assert np.count_nonzero(out) == tensor.size
    back = transform.to_torch(out)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, tensor)


def test_linear_computes_the_same():
    weight, x = np.random.default_rng(0).normal(size=(4, 3)), np.ones((2, 3))
    kernel = np.zeros((3, 4))
    LINEAR.to_ours(weight, kernel)
    np.testing.assert_array_equal(x @ kernel, x @ weight.T)


def test_prefixes_carry_the_index():
    rows = under("model.layers.{i}.", "llm/blocks/{i}/", linear("mlp.fc1"), range(2, 4))
    assert [row.names() for row in rows] == [
        ["model.layers.2.mlp.fc1.weight", "model.layers.3.mlp.fc1.weight"],
        ["model.layers.2.mlp.fc1.bias", "model.layers.3.mlp.fc1.bias"],
    ]
    assert rows[0].stacked_path == "llm/blocks/mlp/fc1/kernel"
    assert rows[0].listed_paths() == ["llm/blocks/0/mlp/fc1/kernel", "llm/blocks/1/mlp/fc1/kernel"]
    assert under("a.", "b/", rows)[0] == Row(
        "a.model.layers.{i}.mlp.fc1.weight", "b/llm/blocks/{i}/mlp/fc1/kernel", LINEAR, range(2, 4)
    )
