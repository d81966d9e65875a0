/* What the quantizers of all types work on and how their results get out. */
#pragma once

#include "load.h"

/* LANES blocks side by side, of at most 256 weights. */
typedef struct {
    Floats x[256];
    Floats guide[256];  /* how much an error at each place matters, where that is known */
    Floats row_energy;  /* the mean square of the row that the block is of, for the types that ask for it */
    const char *in[LANES]; /* where the weights are from */
    int source;
    uint8_t *out[LANES];
    bool is_too_large; /* a scale does not fit into a float16 */
} Blocks;

/* Four bytes, of consecutive places. */
INLINE Ints word(Ints a, Ints b, Ints c, Ints d) { return a | (b << 8) | (c << 16) | (d << 24); }

INLINE Ints four(const Ints *level) { return word(level[0], level[1], level[2], level[3]); }

/* Words of every lane into its block, from this byte on. */
INLINE void put_words(Blocks *blocks, int offset, const Ints *words, int count) {
    for (int lane = 0; lane < LANES; ++lane)
        for (int i = 0; i < count; ++i) {
            const int32_t value = words[i][lane];
            memcpy(blocks->out[lane] + offset + 4 * i, &value, 4);
        }
}

INLINE void put_halves(Blocks *blocks, int offset, Ints half) {
    for (int lane = 0; lane < LANES; ++lane) {
        const uint16_t value = (uint16_t)half[lane];
        memcpy(blocks->out[lane] + offset, &value, 2);
    }
}

/* A scale as float16, into its place; what it has become as a float. */
INLINE Floats put_scale(Blocks *blocks, int offset, Floats scale) {
    const Ints half = halves(scale);
    blocks->is_too_large |= any_is_infinite(half);
    put_halves(blocks, offset, half);
    return of_halves(half);
}
