"""OpenVINO on the CPU: often the fastest on Intel. Reads the ONNX file itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino

from edge.detect.errors import ModelError
from edge.values import Floats

_SHAPES = 4  # networks kept compiled; a node has few cameras of different shape


class OpenVinoSession:
    """A model, compiled once for each input shape: a free shape costs OpenVINO a third of its speed."""

    def __init__(self, core: openvino.Core, model: openvino.Model, threads: int) -> None:
        self._core = core
        self._model = model
        self._config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        self._requests: dict[tuple[int, ...], openvino.InferRequest] = {}

    def run(self, blob: Floats) -> Floats:
        request = self._requests.get(blob.shape)
        if request is None:
            if len(self._requests) == _SHAPES:
                del self._requests[next(iter(self._requests))]
            self._model.reshape(blob.shape)
            compiled = self._core.compile_model(self._model, "CPU", self._config)
            request = self._requests[blob.shape] = compiled.create_infer_request()
        request.infer([blob], share_inputs=True)
        return np.array(request.get_output_tensor().data[0])

    def close(self) -> None:
        self._requests.clear()


def open_session(files: Sequence[Path], threads: int) -> OpenVinoSession:
    path = files[0]
    core = openvino.Core()
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise ModelError(f"{path}: OpenVINO cannot read it: {error}") from error
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(f"{path}: must have one input and one output; export it with `banksman model export`")
    return OpenVinoSession(core, model, threads)
