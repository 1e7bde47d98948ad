"""Triton's interpreter, mended where it does not know bfloat16 or today's numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.jit import JITFunction


def mend(setattr: Callable[[Any, str, Any], None]) -> None:
    """Interpret as Triton 3.6 means to.

    Args:
        setattr: As the built-in one; pytest's can be undone.
    """
    # Where triton was imported without TRITON_INTERPRET, its own functions wait for a compiler.
    for name in ("sum", "max", "min"):
        if isinstance(own := getattr(tl, name), JITFunction):
            setattr(tl, name, interpreter.InterpretedFunction(own.fn))
    setattr(interpreter, "_patch_lang_tensor", _with_index(interpreter._patch_lang_tensor))
    setattr(interpreter, "_convert_float", _with_bfloat16(interpreter._convert_float))
    setattr(interpreter.InterpretedFunction, "__call__", _called)
    builder = interpreter.InterpreterBuilder
    setattr(builder, "create_dot", _wide(builder.create_dot))


def _called(self: Any, *args: Any, **kwargs: Any) -> Any:
    """A function of a kernel, which leaves the language as it was: a compiler may want it next."""
    scope = interpreter._patch_lang(self.fn)
    try:
        return self.rewrite()(*args, **kwargs)
    finally:
        scope.restore()


def _with_index(patch: Callable[..., None]) -> Callable[..., None]:
    """Numpy 2.4 takes no array of one element for a number, as in ``range``."""

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    return patched


def _with_bfloat16(convert: Callable[..., Any]) -> Callable[..., Any]:
    """Rounding may carry into the exponent."""

    def converted(data: Any, of: Any, to: Any, rounding: Any) -> Any:
        if (of, to) == (tl.bfloat16, tl.float32):
            return data.astype(np.uint32) << 16
        if (of, to) == (tl.float32, tl.bfloat16):
            bits = data.view(np.uint32).astype(np.uint64)
            return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
        return convert(data, of, to, rounding)

    return converted


def _wide(dot: Callable[..., Any]) -> Callable[..., Any]:
    """To numpy, bfloat16 is an integer."""

    def product(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        if a.dtype == tl.bfloat16:
            a, b = (self.cast_impl(x, tl.float32) for x in (a, b))
        return dot(self, a, b, *rest)

    return product
