"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from edge.detect.errors import ModelError
from edge.values import Floats

# ONNX Runtime's exceptions share no base of their own.
_LOAD_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
)
_QUIET = 3  # errors only; they come back as exceptions


class OnnxSession:
    """A loaded ONNX file."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name

    def run(self, blob: Floats) -> Floats:
        if self._session is None:
            raise RuntimeError("the session is closed")
        try:
            (raw,) = self._session.run([self._output], {self._input: blob})
        except _LOAD_ERRORS as error:
            raise RuntimeError(str(error)) from error
        return raw[0]  # type: ignore[no-any-return]

    def close(self) -> None:
        self._session = None


def open_session(files: Sequence[Path], threads: int) -> OnnxSession:
    (path,) = files
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Spinning keeps the cores busy between two frames: measured, twice the processor time a picture, so heat on a box
    # without a fan, and the camera readers starve.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Plans memory a shape at a time; with a shape for each kind of camera that only costs memory.
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _LOAD_ERRORS as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it: {error}") from error
    if len(session.get_inputs()) != 1 or len(session.get_outputs()) != 1:
        raise ModelError(f"{path}: must have one input and one output; export it with `banksman model export`")
    return OnnxSession(session)
