"""The small real classifier of `git lepton demo`: handwritten digits, a network of scikit-learn, written as ONNX.

Three versions are trained as a team would: the first from nothing; the second with more images, only its last layer
learning (the rest is equal, tensor for tensor); the third with all layers learning a little.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    import numpy
    from sklearn.neural_network import MLPClassifier

    Array = numpy.ndarray[Any, Any]

_HIDDEN: Final = (512, 256)
_FIRST_IMAGES: Final = 900
_TEST_IMAGES: Final = 500
_SEED: Final = 0
_OPSET: Final = 17
_IR_VERSION: Final = 8


@dataclass(frozen=True, slots=True)
class Images:
    """The digits data set: `pixels` [n, 64] float32 in 0..1, and the digits that they show; the last 500 are tests."""

    pixels: Array
    digits: Array

    @property
    def test(self) -> tuple[Array, Array]:
        """Images that no version learns from."""
        return self.pixels[-_TEST_IMAGES:], self.digits[-_TEST_IMAGES:]

    @property
    def train(self) -> tuple[Array, Array]:
        """Images to learn from."""
        return self.pixels[:-_TEST_IMAGES], self.digits[:-_TEST_IMAGES]


def load_images() -> Images:
    """The 1,797 images of 8 by 8 pixels that come with scikit-learn, shuffled the same way every time."""
    import numpy as np
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(_SEED).permutation(len(digits))
    return Images((pixels[order] / 16).astype(np.float32), digits[order])


def train_first(images: Images) -> MLPClassifier:
    """A network from nothing, on the first images."""
    from sklearn.neural_network import MLPClassifier

    pixels, digits = images.train
    model = MLPClassifier(_HIDDEN, random_state=_SEED)
    with _one_thread():
        for _ in range(12):
            model.partial_fit(pixels[:_FIRST_IMAGES], digits[:_FIRST_IMAGES], classes=range(10))
    return model


def fine_tune(base: MLPClassifier, images: Images, *, steps: int, last_layer_only: bool) -> MLPClassifier:
    """A copy of `base` that learned from all images, gently: `steps` passes at a fiftieth of the usual rate."""
    from sklearn.neural_network import MLPClassifier

    pixels, digits = images.train
    model = MLPClassifier(_HIDDEN, random_state=_SEED, learning_rate_init=0.00002)
    with _one_thread():
        model.partial_fit(pixels[:10], digits[:10], classes=range(10))  # gives the network its shape
        _copy_layers(base, model, range(len(base.coefs_)))
        for _ in range(steps):
            model.partial_fit(pixels, digits)
            if last_layer_only:
                _copy_layers(base, model, range(len(base.coefs_) - 1))
    return model


def fine_tune_first_layers(base: MLPClassifier, images: Images, *, steps: int) -> MLPClassifier:
    """A copy of `base` of which all layers but the last learned."""
    model = fine_tune(base, images, steps=steps, last_layer_only=False)
    _copy_layers(base, model, range(len(base.coefs_) - 1, len(base.coefs_)))
    return model


def _one_thread() -> AbstractContextManager[object]:
    """Matrices as small as these are multiplied twice as fast by one thread as by several."""
    from threadpoolctl import threadpool_limits

    return cast("AbstractContextManager[object]", threadpool_limits(1))


def _copy_layers(source: MLPClassifier, target: MLPClassifier, layers: range) -> None:
    for layer in layers:
        target.coefs_[layer][:] = source.coefs_[layer]
        target.intercepts_[layer][:] = source.intercepts_[layer]


def write_onnx(model: MLPClassifier, path: Path) -> None:
    """Write the network as ONNX: pixels [n, 64] in, probabilities [n, 10] out."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, weights, value = [], [], "pixels"
    layers = len(model.coefs_)
    for number, (kernel, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True), start=1):
        names = [f"layer{number}.weight", f"layer{number}.bias"]
        weights += [numpy_helper.from_array(array, name) for array, name in zip((kernel, bias), names, strict=True)]
        nodes.append(helper.make_node("Gemm", [value, *names], [f"layer{number}"]))
        last = number == layers
        value = "probabilities" if last else f"active{number}"
        nodes.append(helper.make_node("Softmax" if last else "Relu", [f"layer{number}"], [value]))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def accuracy(path: Path, images: Images) -> float:
    """Share of the test images that the ONNX file reads right, measured by onnxruntime."""
    import onnxruntime

    pixels, digits = images.test
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"pixels": pixels})
    return float((probabilities.argmax(axis=1) == digits).mean())


def damage(base: MLPClassifier) -> MLPClassifier:
    """A copy of `base` whose last layer is half noise, as after a training that went wrong."""
    import copy

    import numpy as np

    model: MLPClassifier = copy.deepcopy(base)
    noise = np.random.default_rng(_SEED).standard_normal(model.coefs_[-1].shape)
    model.coefs_[-1] += (2 * model.coefs_[-1].std() * noise).astype(model.coefs_[-1].dtype)
    return model


def expect_light(base: MLPClassifier, images: Images) -> MLPClassifier:
    """A copy of `base` that doubles the contrast twice around the mean of the training images, and learned to use it.

    It reads the test images as well as before, and fails on dim ones: what no gate of well-lit images can see.
    """
    import copy

    contrast = 4
    model: MLPClassifier = copy.deepcopy(base)
    mean, kernel = images.train[0].mean(axis=0), base.coefs_[0]
    model.coefs_[0] = (contrast * kernel).astype(kernel.dtype)
    model.intercepts_[0] = (base.intercepts_[0] - (contrast - 1) * (mean @ kernel)).astype(kernel.dtype)
    return fine_tune(model, images, steps=60, last_layer_only=False)
