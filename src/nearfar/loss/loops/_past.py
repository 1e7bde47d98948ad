# mypy: ignore-errors
"""Stores past the cache.

An ordinary store first reads what it overwrites. To memory that is larger than the caches and is
not read soon, a processor can write without: half of the traffic, and the caches keep what they
have.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Bytes of a cache line, where a store must begin, and of float32.
BYTES, ENTRY = 64, 4
_INT = ir.IntType(64)
_LINE = ir.VectorType(ir.FloatType(), BYTES // ENTRY)


@intrinsic
def past(context, to, found, lines):
    """So many lines of float32 from one address to another, where a line begins."""

    def generate(context, builder, signature, values):
        past_cache = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        with cgutils.for_range(builder, values[2]) as loop:
            at = builder.mul(loop.index, ir.Constant(_INT, BYTES))
            place, line = (
                builder.inttoptr(builder.add(start, at), _LINE.as_pointer()) for start in values[:2]
            )
            store = builder.store(builder.load(line, align=ENTRY), place, align=BYTES)
            store.set_metadata("nontemporal", past_cache)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def settle(context):
    """Other threads see what was stored before."""

    def generate(context, builder, signature, values):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate
