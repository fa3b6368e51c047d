"""Arithmetic on rows of numbers that the compiler does 8 or 16 at a time, for kernels that hold no lock.

Numba keeps what it compiled until the file changes in which a kernel stands: whoever changes this one must
remove ``__pycache__``, or kernels of other files go on with what they were compiled with.
"""

import numba
import numpy as np

# numba takes a bare 1.0 for float64, in which half as many numbers fit into a register.
ONE, TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_LOG2_E, _LN_2, _LARGEST = np.float32(1 / np.log(2)), np.float32(np.log(2)), np.float32(60)
_THIRD, _FOURTH, _FIFTH = (np.float32(1 / factorial) for factorial in (6, 24, 120))
_SIXTEEN, _ROUND, _EVEN = np.uint32(16), np.uint32(0x7FFF), np.uint32(1)

compiled = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"}
)


@compiled
def exponential(x, scale, out):  # type: ignore[no-untyped-def]
    """``exp(scale * x)``, of at most 60 and at least -60.

    A power of two, written into a float's exponent, times a polynomial: no call that the compiler could
    not take many of at once. The bounds let what is not a number through.
    """
    size = len(x)
    fraction, exponent = np.empty(size, np.float32), np.empty(size, np.int32)
    power = exponent.view(np.float32)
    for j in range(size):
        z = scale * x[j]
        z = _LARGEST if z > _LARGEST else z
        z = -_LARGEST if z < -_LARGEST else z
        whole = np.floor(z * _LOG2_E + _HALF)
        r = z - whole * _LN_2
        fraction[j] = ONE + r * (ONE + r * (_HALF + r * (_THIRD + r * (_FOURTH + r * _FIFTH))))
        exponent[j] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    for j in range(size):
        out[j] = fraction[j] * power[j]


@compiled
def sigmoid(x, scale, out):  # type: ignore[no-untyped-def]
    """``1 / (1 + exp(-scale * x))``; twice that of ``2 * x``, less one, is the hyperbolic tangent."""
    exponential(x, -scale, out)
    for j in range(len(x)):
        out[j] = ONE / (ONE + out[j])


@compiled
def open_gates(values, before, cell, output):  # type: ignore[no-untyped-def]
    """An LSTM's gates ``(4 * hidden,)`` of one row from sums to values in place.

    ``before`` is its cell state; ``cell`` and ``output`` take it and the hidden state after the frame, all
    float32 ``(hidden,)``.
    """
    size = len(cell)
    sigmoid(values[: 2 * size], ONE, values[: 2 * size])
    sigmoid(values[2 * size : 3 * size], TWO, values[2 * size : 3 * size])
    sigmoid(values[3 * size :], ONE, values[3 * size :])
    for j in range(size):
        values[2 * size + j] = TWO * values[2 * size + j] - ONE
        cell[j] = values[size + j] * before[j] + values[j] * values[2 * size + j]
    sigmoid(cell, TWO, output)
    for j in range(size):
        output[j] = values[3 * size + j] * (TWO * output[j] - ONE)


@compiled
def widen(bits, values):  # type: ignore[no-untyped-def]
    """bfloat16 to float32."""
    wide = values.view(np.uint32)
    for j in range(len(bits)):
        wide[j] = np.uint32(bits[j]) << _SIXTEEN


@compiled
def narrow(values, bits):  # type: ignore[no-untyped-def]
    """float32 to the nearest bfloat16."""
    wide = values.view(np.uint32)
    for j in range(len(bits)):
        bits[j] = np.uint16((wide[j] + _ROUND + ((wide[j] >> _SIXTEEN) & _EVEN)) >> _SIXTEEN)
