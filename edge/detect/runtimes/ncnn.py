"""NCNN on the CPU: the fastest on ARM, and the smallest in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.detect.errors import ModelError
from edge.values import Floats

# NCNN's threads otherwise wait for each other by spinning: wherever another process wants a core too they burn their
# own time slices (measured on a busy machine: 9 times slower). Read once, when its OpenMP library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import ncnn


class NcnnSession:
    """A loaded pair of `.param` and `.bin`."""

    def __init__(self, net: ncnn.Net) -> None:
        self._net: ncnn.Net | None = net
        self._input = net.input_names()[0]
        self._output = net.output_names()[0]

    def run(self, blob: Floats) -> Floats:
        if self._net is None:
            raise RuntimeError("the session is closed")
        with self._net.create_extractor() as extractor:
            failed = extractor.input(self._input, ncnn.Mat(blob[0]))
            if failed:
                raise RuntimeError(f"NCNN refuses an input of shape {blob.shape} (code {failed})")
            failed, raw = extractor.extract(self._output)
            if failed:
                raise RuntimeError(f"NCNN cannot run the network (code {failed})")
            return np.array(raw)  # a copy: the extractor's memory goes back to its pool

    def close(self) -> None:
        if self._net is not None:
            self._net.clear()
            self._net = None


def open_session(files: Sequence[Path], threads: int) -> NcnnSession:
    param, weights = files
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    # ARM would round what lies between two layers, and ARMv8.2 the sums too, to fp16; parity is promised for fp32.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(param)):
        raise ModelError(f"{param}: NCNN cannot read the network; export the model again")
    if net.load_model(str(weights)):
        raise ModelError(f"{weights}: NCNN cannot read the weights; export the model again")
    if len(net.input_names()) != 1 or len(net.output_names()) != 1:
        raise ModelError(f"{param}: must have one input and one output; export it with `banksman model export`")
    return NcnnSession(net)
