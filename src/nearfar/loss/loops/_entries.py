# mypy: ignore-errors
"""Lines between memory and the processor. Entries are float32, or bfloat16 as the 16 bits they are.

An ordinary store first reads what it overwrites. To memory that is larger than the caches and is
not read soon, a processor can write without: half of the traffic, and the caches keep what they
have.
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nearfar.loss.loops._line import FLOATS, INT, INTS, LINE, Line, ints, several

# Where a store past the cache must begin: sixteen entries of float32.
CACHE_LINE = 64
_BITS = several(ir.IntType(16))


class Place:
    """Row i of a matrix from column j on, while code is written for it."""

    def __init__(self, context, builder, kinds, values):
        array = context.make_array(kinds[0])(context, builder, values[0])
        shape, strides = (cgutils.unpack_tuple(builder, x, 2) for x in (array.shape, array.strides))
        at, layout = values[1:3], kinds[0].layout
        self.builder = builder
        self.here = cgutils.get_item_pointer2(
            context, builder, array.data, shape, strides, layout, at, wraparound=False
        )
        self.left = builder.sub(shape[1], at[1])
        self.line = FLOATS if kinds[0].dtype == types.float32 else _BITS
        self.align = self.line.element.get_abi_size(context.target_data)
        nothing = -math.inf if self.line is FLOATS else 0xFF80
        self.nothing = ir.Constant(self.line.element, nothing)

    def as_line(self):
        return self.builder.bitcast(self.here, self.line.as_pointer())

    def room(self, line):
        """Memory that holds a line, and its first entry."""
        with self.builder.goto_entry_block():
            room = self.builder.alloca(self.line)
        self.builder.store(line, room)
        return room, self.builder.bitcast(room, self.line.element.as_pointer())

    def copy(self, found, to):
        """A line's entries, or what is left of the row."""
        builder, all_ = self.builder, self.left.type(LINE)
        count = builder.select(builder.icmp_signed("<", self.left, all_), self.left, all_)
        with cgutils.for_range(builder, count) as loop:
            entry = builder.load(builder.gep(found, [loop.index]))
            builder.store(entry, builder.gep(to, [loop.index]))


@intrinsic
def take(context, x, i, j, part):
    """Row i of x from column j on, in float32.

    ``part``: it may end before the line does, then in minus infinity; None: it does not.
    """

    def generate(context, builder, signature, values):
        place = Place(context, builder, signature.args, values)
        if part is types.none:
            line = builder.load(place.as_line(), align=place.align)
        else:
            room, entries = place.room(ir.Constant(place.line, [place.nothing] * LINE))
            place.copy(place.here, entries)
            line = builder.load(room)
        if place.line is FLOATS:
            return line
        return builder.bitcast(builder.shl(builder.zext(line, INTS), ints(16)), FLOATS)

    return Line(types.float32)(x, i, j, part), generate


@intrinsic
def put(context, x, i, j, line, part):
    """A line to row i of x from column j on, rounded to the nearest, to even; ``part`` as above."""

    def generate(context, builder, signature, values):
        place, line = Place(context, builder, signature.args, values), values[3]
        if place.line is not FLOATS:
            bits = builder.bitcast(line, INTS)
            odd = builder.and_(builder.lshr(bits, ints(16)), ints(1))
            up = builder.add(bits, builder.add(odd, ints(0x7FFF)))
            line = builder.trunc(builder.lshr(up, ints(16)), place.line)
        if part is types.none:
            builder.store(line, place.as_line(), align=place.align)
        else:
            place.copy(place.room(line)[1], place.here)
        return context.get_dummy_value()

    return types.void(x, i, j, line, part), generate


@intrinsic
def put_past(context, x, i, j, line):
    """A line to x in float32, past the cache; it begins where a line of the cache does."""

    def generate(context, builder, signature, values):
        place = Place(context, builder, signature.args, values)
        store = builder.store(values[3], place.as_line(), align=CACHE_LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([INT(1)]))
        return context.get_dummy_value()

    return types.void(x, i, j, line), generate


def _crossed(builder, upper, lower, apart):
    places = range(LINE)
    upper_next = [LINE + k - apart if k & apart else k for k in places]
    lower_next = [LINE + k if k & apart else k + apart for k in places]
    return [
        builder.shuffle_vector(upper, lower, ir.Constant(INTS, of))
        for of in (upper_next, lower_next)
    ]


@intrinsic
def turn(context, x, i, j, out, row, column):
    """Sixteen lines of x from row i and column j on, as columns, to ``out`` from a place on.

    Both are of one kind.
    """

    def generate(context, builder, signature, values):
        (of, at, _, to, *_), (x, i, j, out, row, column) = signature.args, values

        def place(kind, matrix, top, left, number):
            there = builder.add(top, top.type(number))
            return Place(context, builder, (kind, at, at), (matrix, there, left))

        places = [place(of, x, i, j, number) for number in range(LINE)]
        lines = [builder.load(one.as_line(), align=one.align) for one in places]
        apart = LINE // 2
        while apart:
            # Of each two lines so far apart, the entries so far apart change places.
            for number in range(LINE):
                if not number & apart:
                    pair = lines[number], lines[number + apart]
                    lines[number], lines[number + apart] = _crossed(builder, *pair, apart)
            apart //= 2
        for number, entries in enumerate(lines):
            one = place(to, out, row, column, number)
            builder.store(entries, one.as_line(), align=one.align)
        return context.get_dummy_value()

    return types.void(x, i, j, out, row, column), generate


@intrinsic
def leave_out(context, x, i, j):
    """Minus infinity in place of an entry."""

    def generate(context, builder, signature, values):
        place = Place(context, builder, signature.args, values)
        builder.store(place.nothing, place.here)
        return context.get_dummy_value()

    return types.void(x, i, j), generate


@intrinsic
def settle(context):
    """Other threads see what was stored before."""

    def generate(context, builder, signature, values):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate
