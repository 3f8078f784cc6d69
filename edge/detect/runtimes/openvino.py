"""OpenVINO on the CPU: often the fastest on Intel. Reads the ONNX file itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino

from edge.detect.errors import ModelError
from edge.values import Floats


class OpenVinoSession:
    """A compiled model.

    Its height and width stay free: compiling it once for each camera's shape was measured 5 % faster and takes 23 MB
    more a shape.
    """

    def __init__(self, model: openvino.CompiledModel) -> None:
        self._request: openvino.InferRequest | None = model.create_infer_request()

    def run(self, blob: Floats) -> Floats:
        if self._request is None:
            raise RuntimeError("the session is closed")
        self._request.infer([blob], share_inputs=True)
        return np.array(self._request.get_output_tensor().data[0])  # a copy: the next run writes to the same memory

    def close(self) -> None:
        self._request = None


def open_session(files: Sequence[Path], threads: int) -> OpenVinoSession:
    path = files[0]
    core = openvino.Core()
    try:
        model = core.read_model(path)
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise ModelError(f"{path}: must have one input and one output; export it with `banksman model export`")
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the processor has it: confidences 0.04 off
        }
        return OpenVinoSession(core.compile_model(model, "CPU", config))
    except RuntimeError as error:
        raise ModelError(f"{path}: OpenVINO cannot load it: {error}") from error
