"""Silero's voice activity network (v6, the file that faster-whisper ships), for frames of many streams at once.

ONNX Runtime takes 55 µs a frame however many go together, as the file holds one stream's state and its convolutions are
run frame by frame. As matrix products over all frames the same network takes 20 µs (one core of an AMD EPYC).
"""

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from server.engines.engine import UnfitError
from server.worker.onnx_weights import Floats, read_weights

FRAME = 512
"""Samples a probability stands for: 32 ms."""
CONTEXT = 64
"""Samples of the frame before that each frame begins with."""
HIDDEN = 128
"""Numbers in each half of a stream's state."""
_FFT, _HOP, _BINS = 256, 128, 129
_LENGTHS, _STRIDES = (4, 4, 2, 1), (1, 2, 2, 1)
"""Input positions and strides of the four convolutions."""


class SileroNetwork:
    """The network's weights, laid out as matrices."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self._basis = weights["encoder.feature_extractor.forward_basis_buffer"][:, 0].T.copy()
        convolutions = [
            (weights[f"encoder.conv_layers.{i}.weight"], weights[f"encoder.conv_layers.{i}.bias"]) for i in range(4)
        ]
        self._layers = [
            _as_matrix(weight, bias, length, stride)
            for (weight, bias), length, stride in zip(convolutions, _LENGTHS, _STRIDES, strict=True)
        ]
        # The LSTM's weights are named by an exporter's numbers, in this order.
        inputs, recurrent, biases = (weights[name][0] for name in sorted(weights) if "LSTM" in name)
        self._inputs, self._recurrent, self._bias = inputs.T.copy(), recurrent.T.copy(), biases[:512] + biases[512:]
        self._out, self._out_bias = weights["decoder.conv1d.weight"][0, :, 0], weights["decoder.conv1d.bias"]

    def __call__(self, frames: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Speech probabilities [B, T] of T successive frames [B, T, CONTEXT + FRAME], and the state after them.

        Args:
            frames: of each stream, its next frames with the samples before each.
            state: [2, B, HIDDEN], zeros at a stream's begin.
        """
        rows, count, size = frames.shape
        # Time first: a step of the recurrence reads one block.
        flat = frames.transpose(1, 0, 2).reshape(count * rows, size)
        line = np.concatenate((flat, flat[:, -2 : -2 - CONTEXT : -1]), axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(line, _FFT, axis=1)[:, ::_HOP]
        spectrum = windows.reshape(-1, _FFT) @ self._basis
        real, imaginary = spectrum[:, :_BINS], spectrum[:, _BINS:]
        x = np.sqrt(real * real + imaginary * imaginary).reshape(count * rows, -1)
        for weight, bias in self._layers:
            x = x @ weight
            x += bias
            np.maximum(x, 0.0, out=x)
        gate_inputs = x @ self._inputs
        gate_inputs += self._bias
        return self._recur(gate_inputs.reshape(count, rows, -1), state)

    def _recur(self, gate_inputs: Floats, state: Floats) -> tuple[Floats, Floats]:
        """The recurrence over [T, B, 4 · HIDDEN], and the probability after each of its steps."""
        hidden, cell = state
        out = np.empty(gate_inputs.shape[:2], np.float32)
        for step, own in zip(out, gate_inputs, strict=True):
            gates = own + hidden @ self._recurrent
            let_in, let_out, keep = np.split(_sigmoid(gates[:, : 3 * HIDDEN]), 3, axis=1)
            cell = keep * cell + let_in * np.tanh(gates[:, 3 * HIDDEN :])
            hidden = let_out * np.tanh(cell)
            step[:] = np.maximum(hidden, 0.0) @ self._out + self._out_bias
        return _sigmoid(out).T, np.stack((hidden, cell))


def _sigmoid(x: Floats) -> Floats:
    # By the hyperbolic tangent: an exponential would overflow far out.
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x), np.float32)


def _as_matrix(weight: Floats, bias: Floats, length: int, stride: int) -> tuple[Floats, Floats]:
    """A convolution of three taps over `length` positions, zeros around them, as one matrix [positions · channels]."""
    out, channels, taps = weight.shape
    positions = (length + 2 - taps) // stride + 1
    matrix = np.zeros((length, channels, positions, out), np.float32)
    for position in range(positions):
        for tap in range(taps):
            source = position * stride + tap - 1
            if 0 <= source < length:
                matrix[source, :, position] = weight[:, :, tap].T
    return matrix.reshape(length * channels, positions * out), np.tile(bias, positions)


@cache
def network() -> SileroNetwork:
    """The network of the installed faster-whisper.

    Raises:
        UnfitError: its file is another one than is known here.
    """
    spec = importlib.util.find_spec("faster_whisper")
    # Not by importing it: it brings half a second of packages that a worker with another engine has no use for.
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path((folders or ["faster-whisper is not installed"])[0]) / "assets" / "silero_vad_v6.onnx"
    try:
        return SileroNetwork(read_weights(path.read_bytes()))
    except (OSError, LookupError, ValueError) as error:
        raise UnfitError(
            f"the voice activity network {path} cannot be used ({error}); install faster-whisper 1.2.1"
        ) from error
