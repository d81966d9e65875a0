/* Q2_K, Q4_K and Q5_K: blocks of 256 weights, cut into parts that have a scale and a minimum of few bits. */
#pragma once

#include "blocks.h"
#include "rounding.h"

/* Levels with a minimum. A part whose rounded scale is zero keeps the levels that its search found. */
INLINE void settle(int count, const Floats *x, Floats scale, Floats minimum, Fit fit, int top, Ints *level) {
    const Mask is_zero = opposite(differ(scale, floats(0)));
    quotients(count, x, minimum, scale, 0, top, level);
    if (any(is_zero))
        for (int i = 0; i < count; ++i)
            level[i] = choose_ints(is_zero, ladder_level(x[i], fit, top), level[i]);
}

typedef struct {
    Fit fit[16];
    Floats weight[16]; /* of a whole part */
} Found;

/* How much every weight of a part matters: as an importance matrix says, else the more the larger it is. */
INLINE void weigh(const Blocks *b, int first, int count, Floats energy, bool is_guided, Floats *weight) {
    const Floats *x = b->x + first;
    const Floats mean = is_guided || count == 16 ? floats(0) : root(sum_of_squares(count, x) / 32.0f);
    for (int i = 0; i < count; ++i)
        weight[i] = is_guided ? b->guide[first + i] * root(energy + x[i] * x[i]) : mean + magnitude(x[i]);
}

/* Search all parts of `count` weights; `share` of the mean square is added to a weight's own. */
INLINE void search_parts(const Blocks *b, int count, Ladder how, float share, bool is_guided, Found *found) {
    const Floats energy = is_guided ? share * sum_of_squares(256, b->x) / 256.0f : floats(0);
    for (int j = 0; j < 256 / count; j += PARTS_AT_ONCE) {
        Floats weight[32 * PARTS_AT_ONCE];
        for (int k = 0; k < PARTS_AT_ONCE; ++k) {
            weigh(b, (j + k) * count, count, energy, is_guided, weight + k * count);
            if (is_guided) found->weight[j + k] = sum_of(count, weight + k * count);
        }
        ladder(count, PARTS_AT_ONCE, how, b->x + j * count, weight, found->fit + j);
    }
}

/* Rounded scales, or minima, of all parts; how much one step is. */
INLINE Floats steps(int parts, int top, bool is_minimum, const Found *found, bool is_guided, Ints *level) {
    Floats value[16];
    for (int j = 0; j < parts; ++j) value[j] = is_minimum ? found->fit[j].minimum : found->fit[j].scale;
    return is_guided ? guided_steps(parts, top, value, found->weight, level)
                     : plain_steps(parts, (float)top, value, level);
}

/* Scales and minima of 6 bits, eight each, as they lie in twelve bytes, and as they are read from there. */
INLINE void pack_sixes(Ints *scale, Ints *minimum, Ints *words) {
    Ints byte[12];
    for (int j = 0; j < 4; ++j) {
        byte[j] = (scale[j] | ((scale[j + 4] >> 4) << 6)) & 0xff;
        byte[j + 4] = (minimum[j] | ((minimum[j + 4] >> 4) << 6)) & 0xff;
        byte[j + 8] = (scale[j + 4] & 15) | ((minimum[j + 4] & 15) << 4);
        scale[j] = byte[j] & 63;
        minimum[j] = byte[j + 4] & 63;
        scale[j + 4] = (byte[j + 8] & 15) | ((byte[j] >> 6) << 4);
        minimum[j + 4] = (byte[j + 8] >> 4) | ((byte[j + 4] >> 6) << 4);
    }
    for (int j = 0; j < 3; ++j) words[j] = word(byte[4 * j], byte[4 * j + 1], byte[4 * j + 2], byte[4 * j + 3]);
}

/* Q4_K and Q5_K: scale and minimum of the block, and the rounded ones of eight parts, into the first 16 bytes. */
INLINE void put_sixes(Blocks *b, const Found *found, bool is_guided, bool is_cut, Floats *scale, Floats *minimum) {
    Ints scales[8], minima[8], words[3];
    const Floats step = put_scale(b, 0, steps(8, 63, false, found, is_guided, scales));
    const Floats low_step = put_scale(b, 2, steps(8, 63, true, found, is_guided, minima));
    for (int j = 0; is_cut && j < 8; ++j) {
        scales[j] = lower_ints(scales[j], ints(63));
        minima[j] = lower_ints(minima[j], ints(63));
    }
    pack_sixes(scales, minima, words);
    put_words(b, 4, words, 3);
    for (int j = 0; j < 8; ++j) {
        scale[j] = step * to_floats(scales[j]);
        minimum[j] = low_step * to_floats(minima[j]);
    }
}

/* Q4_K where the highest level is 15, Q5_K where it is 31. */
INLINE void q4_or_q5_k(Blocks *b, int top, Ladder how, bool is_guided) {
    const bool is_five = top == 31;
    Found found;
    Floats scale[8], minimum[8];
    Ints fifth[8];
    search_parts(b, 32, how, 2.0f, is_guided, &found);
    put_sixes(b, &found, is_guided, !is_guided || is_five, scale, minimum);
    for (int i = 0; i < 8; ++i) fifth[i] = ints(0);
    for (int j = 0; j < 4; ++j) {
        Ints level[64], words[8];
        for (int k = 0; k < 2; ++k) {
            const int part = 2 * j + k;
            settle(32, b->x + 32 * part, scale[part], minimum[part], found.fit[part], top, level + 32 * k);
        }
        for (int i = 0; i < 8; ++i) {
            const Ints low = four(level + 4 * i), high = four(level + 32 + 4 * i);
            words[i] = (low & 0x0f0f0f0f) | ((high & 0x0f0f0f0f) << 4);
            fifth[i] |= (((low >> 4) & 0x01010101) | ((high >> 3) & 0x02020202)) << (2 * j);
        }
        put_words(b, (is_five ? 48 : 16) + 32 * j, words, 8);
    }
    if (is_five) put_words(b, 16, fifth, 8);
}

static void q4_k(Blocks *b) {
    q4_or_q5_k(b, 15, (Ladder){.top = 15, .first = -1.0f, .step = 0.1f, .tries = 21}, false);
}
static void q4_k_guided(Blocks *b) { q4_or_q5_k(b, 15, guided(15), true); }
static void q5_k(Blocks *b) {
    q4_or_q5_k(b, 31, (Ladder){.top = 31, .first = -0.5f, .step = 0.1f, .tries = 16}, false);
}
static void q5_k_guided(Blocks *b) { q4_or_q5_k(b, 31, guided(31), true); }

/* The low two bits of 256 levels as they lie in 64 bytes. */
INLINE void put_twos(Blocks *b, int offset, const Ints *level) {
    Ints words[16];
    for (int i = 0; i < 16; ++i) {
        const Ints *l = level + 128 * (i / 8) + 4 * (i % 8);
        words[i] = four(l) | (four(l + 32) << 2) | (four(l + 64) << 4) | (four(l + 96) << 6);
    }
    put_words(b, offset, words, 16);
}

INLINE void q2_k_any(Blocks *b, Ladder how, bool is_guided) {
    Found found;
    Ints scales[16], minima[16], level[256], words[4];
    search_parts(b, 16, how, 1.0f, is_guided, &found);
    const Floats step = put_scale(b, 80, steps(16, 15, false, &found, is_guided, scales));
    const Floats low_step = put_scale(b, 82, steps(16, 15, true, &found, is_guided, minima));
    for (int j = 0; j < 16; ++j) {
        const Ints both_of = (scales[j] | (minima[j] << 4)) & 0xff;
        settle(16, b->x + 16 * j, step * to_floats(both_of & 15), low_step * to_floats(both_of >> 4), found.fit[j], 3,
               level + 16 * j);
        scales[j] = both_of;
    }
    for (int i = 0; i < 4; ++i) words[i] = four(scales + 4 * i);
    put_words(b, 0, words, 4);
    put_twos(b, 16, level);
}

static void q2_k(Blocks *b) {
    q2_k_any(b, (Ladder){.top = 3, .first = -0.5f, .step = 0.1f, .tries = 16, .is_absolute = true}, false);
}
static void q2_k_guided(Blocks *b) { q2_k_any(b, guided(3), true); }
