# mypy: ignore-errors
"""Loops are worked on by PyTorch's own threads.

numba has threads of its own. After a product, PyTorch's stay awake for a while, in case there is
more to do, so that two sets of threads would want the same processors.
"""

from __future__ import annotations

import ctypes

import torch
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# What OpenMP, GNU's and others that are made to be used like it, calls what is used here.
_NAMES = {
    "nearfar_fork": "GOMP_parallel",
    "nearfar_number": "omp_get_thread_num",
    "nearfar_count": "omp_get_num_threads",
}


def _find() -> bool:
    """Whether PyTorch's OpenMP has all of them; compiled code finds them by the names on the left.

    A library that is asked asks those it was linked with.
    """
    try:
        pytorch = ctypes.CDLL(torch._C.__file__)
        addresses = {ours: getattr(pytorch, theirs) for ours, theirs in _NAMES.items()}
    except (OSError, AttributeError):
        return False
    for name, function in addresses.items():
        binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
    return True


FOUND = _find()
_BYTES, _INT = ir.IntType(8).as_pointer(), ir.IntType(32)
_WORK = ir.FunctionType(ir.VoidType(), [_BYTES])


@intrinsic
def on_threads(context, threads, part, words):
    """Call ``part(thread, threads, *words)``, compiled, on each thread, and wait for all.

    There may be fewer threads than were asked for: ``part`` is told how many there are.
    """
    arguments = types.intp, types.intp, *words.types
    part.get_call_type(context, arguments, {})
    compiled = part.dispatcher.get_compile_result(types.void(*arguments))

    def generate(context, builder, signature, values):
        module, at = builder.module, context.get_value_type(types.intp)
        work = ir.Function(module, _WORK, module.get_unique_name("nearfar_work"))
        work.linkage = "internal"
        inside = ir.IRBuilder(work.append_basic_block())

        def ask(name):
            kind = ir.FunctionType(_INT, [])
            function = cgutils.get_or_insert_function(module, kind, name)
            return inside.sext(inside.call(function, []), at)

        kind = context.get_value_type(signature.args[2])
        given = inside.load(inside.bitcast(work.args[0], kind.as_pointer()))
        each = [inside.extract_value(given, k) for k in range(len(kind))]
        called = ask("nearfar_number"), ask("nearfar_count"), *each
        context.call_internal_no_propagate(inside, compiled.fndesc, compiled.signature, called)
        inside.ret_void()
        context.add_linking_libs([compiled.library])
        kind = ir.FunctionType(ir.VoidType(), [_WORK.as_pointer(), _BYTES, _INT, _INT])
        fork = cgutils.get_or_insert_function(module, kind, "nearfar_fork")
        room = builder.bitcast(cgutils.alloca_once_value(builder, values[2]), _BYTES)
        builder.call(fork, [work, room, builder.trunc(values[0], _INT), _INT(0)])
        return context.get_dummy_value()

    return types.void(types.intp, part, words), generate
