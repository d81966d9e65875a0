/* Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: blocks of 32 weights with one scale. */
#pragma once

#include "around_zero.h"
#include "blocks.h"

/* 32 levels of 4 bits: the second half of the block lies in the upper half of the bytes. */
INLINE void put_nibbles(Blocks *b, int offset, const Ints *level) {
    Ints words[4];
    for (int i = 0; i < 4; ++i)
        words[i] = (four(level + 4 * i) & 0x0f0f0f0f) | ((four(level + 16 + 4 * i) & 0x0f0f0f0f) << 4);
    put_words(b, offset, words, 4);
}

/* 32 levels of 5 bits: the highest bits of all first. */
INLINE void put_fives(Blocks *b, int offset, const Ints *level) {
    Ints fifth = ints(0);
    for (int i = 0; i < 32; ++i) fifth |= ((level[i] >> 4) & 1) << i;
    put_words(b, offset, &fifth, 1);
    put_nibbles(b, offset + 4, level);
}

INLINE Floats inverse(Floats scale) { return choose(differ(scale, floats(0)), 1.0f / scale, floats(0)); }

/* The low byte of a float without its fraction, with its sign, up to `top`. */
INLINE Ints byte_up_to(Floats value, int top) {
    return lower_ints((without_fraction(value) << 24) >> 24, ints(top)) & 0xff;
}

INLINE void even_plain(Blocks *b, int half) {
    const Floats scale = farthest(32, b->x) / (float)-half, factor = inverse(scale);
    Ints level[32];
    for (int i = 0; i < 32; ++i) level[i] = byte_up_to(b->x[i] * factor + ((float)half + 0.5f), 2 * half - 1);
    put_scale(b, 0, scale);
    half == 16 ? put_fives(b, 2, level) : put_nibbles(b, 2, level);
}

INLINE void even_guided(Blocks *b, int half) {
    Floats weight[32];
    Ints level[32];
    Even fit;
    for (int i = 0; i < 32; ++i) weight[i] = b->guide[i] * root(b->row_energy + b->x[i] * b->x[i]);
    around_zero(32, 1, half, true, b->x, weight, &fit);
    for (int i = 0; i < 32; ++i) level[i] = even_level(b->x[i], fit, half);
    put_scale(b, 0, fit.scale);
    half == 16 ? put_fives(b, 2, level) : put_nibbles(b, 2, level);
}

INLINE void above_plain(Blocks *b, int top) {
    Floats low = floats(3.40282346638528859812e+38f), high = -low;
    for (int i = 0; i < 32; ++i) {
        low = lower(b->x[i], low);
        high = higher(b->x[i], high);
    }
    const Floats scale = (high - low) / (float)top, factor = inverse(scale);
    Ints level[32];
    for (int i = 0; i < 32; ++i) level[i] = byte_up_to((b->x[i] - low) * factor + 0.5f, top == 15 ? 15 : 127);
    put_scale(b, 0, scale);
    put_scale(b, 2, low);
    top == 31 ? put_fives(b, 4, level) : put_nibbles(b, 4, level);
}

INLINE void above_guided(Blocks *b, int top) {
    Floats weight[32];
    Ints level[32];
    Fit fit;
    for (int i = 0; i < 32; ++i) weight[i] = b->guide[i] * root(b->row_energy + b->x[i] * b->x[i]);
    ladder(32, 1, guided((float)top), b->x, weight, &fit);
    for (int i = 0; i < 32; ++i) level[i] = ladder_level(b->x[i], fit, top);
    put_scale(b, 0, fit.scale);
    put_scale(b, 2, -fit.minimum);
    top == 31 ? put_fives(b, 4, level) : put_nibbles(b, 4, level);
}

static void q4_0(Blocks *b) { even_plain(b, 8); }
static void q5_0(Blocks *b) { even_plain(b, 16); }
static void q4_1(Blocks *b) { above_plain(b, 15); }
static void q5_1(Blocks *b) { above_plain(b, 31); }
static void q4_0_guided(Blocks *b) { even_guided(b, 8); }
static void q5_0_guided(Blocks *b) { even_guided(b, 16); }
static void q4_1_guided(Blocks *b) { above_guided(b, 15); }
static void q5_1_guided(Blocks *b) { above_guided(b, 31); }

/* To the nearest whole number, halves away from zero. */
INLINE Ints rounded(Floats value) {
    const Ints whole = without_fraction(value);
    const Floats rest = value - to_floats(whole), size = magnitude(rest);
    const Mask is_further = both(less(floats(0.49999997f), size), less(size, floats(1)));
    return whole + choose_ints(is_further, choose_ints(less(rest, floats(0)), ints(-1), ints(1)), ints(0));
}

static void q8_0(Blocks *b) {
    Floats most = floats(0);
    for (int i = 0; i < 32; ++i) most = higher(most, magnitude(b->x[i]));
    const Floats scale = most / 127.0f, factor = inverse(scale);
    Ints words[8];
    for (int i = 0; i < 8; ++i) {
        Ints level[4];
        for (int k = 0; k < 4; ++k) level[k] = rounded(b->x[4 * i + k] * factor) & 0xff;
        words[i] = four(level);
    }
    put_scale(b, 0, scale);
    put_words(b, 2, words, 8);
}
