# mypy: ignore-errors
"""The products of a few rows with a few others, as many as a processor can add up in registers.

AVX-512 has 32 registers: 28 for sums, two for what comes from one side and one for the other.
"""

from __future__ import annotations

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nearfar.loss.loops._entries import CACHE_LINE, Place
from nearfar.loss.loops._line import FLOATS, INT, LINE, ints

# Rows of one side, of sixteen that lie in a line, and of the other, two lines.
HEIGHT, LINES = 14, 2
WIDTH = LINES * LINE
_AT = ir.IntType(64)
_NOTHING = ir.Constant(FLOATS, [0.0] * LINE)
# How pairs of bfloat16 are multiplied and added: LLVM's own function for it takes other types from
# version to version.
_OF_PAIRS = "vdpbf16ps $2, $1, $0", "=v,v,v,0"
binding.initialize_native_asmparser()


@intrinsic
def multiply(context, left, i, right, j, terms, out, pairs):
    """``out = left[i:][:terms].T @ right[j:][:terms]``, without left's last two columns.

    Args:
        left: (., 16) float32; as the others, from the beginning of a line of the cache on.
        i: A row.
        right: (., 32).
        j: A row.
        terms: How many, at least one.
        out: (14, 32).
        pairs: Each entry of both sides is two of bfloat16, of which both are multiplied and added,
            where there are `PAIRS`; None: they are float32.
    """

    def generate(context, builder, signature, values):
        (of, at, to, _, _, result, _), (left, i, right, j, terms, out, _) = signature.args, values

        def row(kind, matrix, number):
            words = (matrix, number, number.type(0))
            return Place(context, builder, (kind, at, at), words).here

        def line(first, number):
            return builder.bitcast(builder.gep(first, [_AT(number * LINE)]), FLOATS.as_pointer())

        ours, theirs, sums = row(of, left, i), row(to, right, j), row(result, out, i.type(0))
        kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
        fused = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LINE}f32")

        def added(*lines):
            if pairs is types.none:
                return builder.call(fused, lines)
            return builder.asm(kind, *_OF_PAIRS, lines, False)

        before = builder.block
        loop, end = (builder.append_basic_block(name) for name in ("term", "end"))
        builder.branch(loop)
        builder.position_at_end(loop)
        k, *now = (builder.phi(kind) for kind in (_AT, *[FLOATS] * (HEIGHT * LINES)))
        ours, theirs = (
            builder.gep(first, [builder.mul(k, _AT(width))])
            for first, width in ((ours, LINE), (theirs, WIDTH))
        )
        others = [builder.load(line(theirs, number), align=CACHE_LINE) for number in range(LINES)]
        found = []
        for number in range(HEIGHT):
            one = builder.load(builder.gep(ours, [_AT(number)]))
            one = builder.insert_element(_NOTHING, one, INT(0))
            one = builder.shuffle_vector(one, _NOTHING, ints(0))
            sums_of_it = now[len(found) : len(found) + LINES]
            for other, so_far in zip(others, sums_of_it, strict=True):
                found.append(added(one, other, so_far))
        following = builder.add(k, _AT(1))
        began, goes_on = (_AT(0), *[_NOTHING] * len(now)), (following, *found)
        for value, first, next_one in zip((k, *now), began, goes_on, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(next_one, loop)
        builder.cbranch(builder.icmp_signed("<", following, terms), loop, end)
        builder.position_at_end(end)
        for number, made in enumerate(found):
            builder.store(made, line(sums, number), align=CACHE_LINE)
        return context.get_dummy_value()

    return types.void(left, i, right, j, terms, out, pairs), generate
