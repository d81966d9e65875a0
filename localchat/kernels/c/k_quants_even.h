/* Q3_K and Q6_K: blocks of 256 weights, cut into parts that have a scale of few bits and levels around zero. */
#pragma once

#include "around_zero.h"
#include "k_quants.h"

/* A part whose rounded scale is zero keeps the levels that its search found. */
INLINE void settle_even(int count, const Floats *x, Floats scale, Even fit, int half, Ints *level) {
    const Mask is_zero = opposite(differ(scale, floats(0)));
    quotients(count, x, floats(0), scale, -half, half - 1, level);
    for (int i = 0; i < count; ++i) level[i] += half;
    if (any(is_zero))
        for (int i = 0; i < count; ++i) level[i] = choose_ints(is_zero, even_level(x[i], fit, half), level[i]);
}

/* Q6_K gives scales a byte, up to 128 steps; the farthest from zero is the lowest. */
INLINE void q6_k_any(Blocks *b, bool is_guided) {
    Even fit[16];
    Floats scale[16];
    Ints scales[16], level[256], words[32];
    for (int j = 0; j < 16; j += PARTS_AT_ONCE) {
        Floats weight[16 * PARTS_AT_ONCE];
        const Floats *x = b->x + 16 * j;
        for (int i = 0; i < 16 * PARTS_AT_ONCE; ++i) weight[i] = is_guided ? b->guide[16 * j + i] : x[i] * x[i];
        around_zero(16, PARTS_AT_ONCE, 32, true, x, weight, fit + j);
    }
    for (int j = 0; j < 16; ++j) scale[j] = fit[j].scale;
    const Floats most = farthest(16, scale), factor = -128.0f / most;
    const Mask is_zero = less(magnitude(most), floats(TOO_SMALL));
    const Floats step = put_scale(b, 208, choose(is_zero, floats(0), 1.0f / factor));
    for (int j = 0; j < 16; ++j) {
        const Ints whole = lower_ints(nearest(factor * scale[j]), ints(127));
        scales[j] = choose_ints(is_zero, ints(0), (whole << 24) >> 24);
        settle_even(16, b->x + 16 * j, step * to_floats(scales[j]), fit[j], 32, level + 16 * j);
    }
    for (int i = 0; i < 4; ++i) {
        const Ints *s = scales + 4 * i;
        words[i] = word(s[0] & 0xff, s[1] & 0xff, s[2] & 0xff, s[3]);
    }
    put_words(b, 192, words, 4);
    for (int i = 0; any(is_zero) && i < 256; ++i) level[i] = choose_ints(is_zero, ints(0), level[i]);
    Ints high[16];
    for (int i = 0; i < 16; ++i) {
        const Ints *l = level + 128 * (i / 8) + 4 * (i % 8);
        const Ints a = four(l), c = four(l + 32), d = four(l + 64), e = four(l + 96);
        const int at = 16 * (i / 8) + i % 8;
        words[at] = (a & 0x0f0f0f0f) | ((d & 0x0f0f0f0f) << 4);
        words[at + 8] = (c & 0x0f0f0f0f) | ((e & 0x0f0f0f0f) << 4);
        high[i] = ((a >> 4) & 0x03030303) | ((c >> 2) & 0x0c0c0c0c) | (d & 0x30303030) | ((e << 2) & 0xc0c0c0c0);
    }
    put_words(b, 0, words, 32);
    put_words(b, 128, high, 16);
}

static void q6_k(Blocks *b) { q6_k_any(b, false); }
static void q6_k_guided(Blocks *b) { q6_k_any(b, true); }

/* Sixteen scales of 6 bits as they lie in twelve bytes. */
INLINE void put_sixteen_sixes(Blocks *b, int offset, const Ints *scale) {
    Ints words[3];
    words[0] = words[1] = words[2] = ints(0);
    for (int j = 0; j < 8; ++j) words[j / 4] |= ((scale[j] & 15) | ((scale[j + 8] & 15) << 4)) << (8 * (j % 4));
    for (int j = 0; j < 16; ++j) words[2] |= (scale[j] >> 4) << (8 * (j % 4) + 2 * (j / 4));
    put_words(b, offset, words, 3);
}

/* The steps of every part, with 32 added, and how much one is; what that makes of the scales. Tells whether one of
 * them is zero: then the levels that the search found are needed. */
NOT_INLINE bool put_q3_scales(Blocks *b, const Ints *steps, Floats step, Floats *scale) {
    Mask is_zero = less(floats(0), floats(0));
    put_sixteen_sixes(b, 96, steps);
    step = put_scale(b, 108, step);
    for (int j = 0; j < 16; ++j) {
        scale[j] = step * to_floats(steps[j] - 32);
        is_zero = either(is_zero, opposite(differ(scale[j], floats(0))));
    }
    return any(is_zero);
}

/* Levels of a part from 0 to 7, a byte each, as `quotients` finds them; `most` is the farthest of its weights. */
INLINE void q3_words(const Floats *x, Floats scale, Floats most, Ints *words) {
    const float middle = ROUNDER + 4.0f; /* so the low byte of the sum is the level, counted from 0 */
    const Floats inverse = 1.0f / scale;
    Floats worst = floats(0);
    for (int i = 0; i < 4; ++i) {
        Bits level[4];
        for (int k = 0; k < 4; ++k) {
            const Floats product = higher(lower(x[4 * i + k] * inverse, floats(3.25f)), floats(-4.25f));
            const Floats moved = product + middle;
            worst = higher(magnitude(product - (moved - middle)), worst);
            level[k] = (Bits)moved;
        }
        /* what is above the low bytes, 0x4b4000 each, adds up to a constant */
        words[i] = (Ints)(level[0] + (level[1] << 8) + (level[2] << 16) + (level[3] << 24) - 0x8b400000u);
    }
    const Mask is_sure = both(less(worst, floats(0.5f - 2e-5f)), less(magnitude(most * inverse), floats(1e6f)));
    if (any(both(opposite(is_sure), differ(scale, floats(0)))))
        for (int i = 0; i < 4; ++i) {
            Ints level[4];
            for (int k = 0; k < 4; ++k) level[k] = between(nearest(x[4 * i + k] / scale), -4, 3) + 4;
            words[i] = four(level);
        }
}

/* Levels by these scales, and where one is zero those that are there already. */
NOT_INLINE void put_q3_levels(Blocks *b, const Floats *scale, const Floats *most, bool has_zero, const Ints *level) {
    Ints words[64], high[8], low[16];
    for (int j = 0; j < 16; ++j) q3_words(b->x + 16 * j, scale[j], most[j], words + 4 * j);
    for (int i = 0; has_zero && i < 64; ++i)
        words[i] = choose_ints(differ(scale[i / 4], floats(0)), words[i], four(level + 4 * i));
    for (int i = 0; i < 8; ++i) {
        high[i] = ints(0);
        for (int j = 0; j < 8; ++j) high[i] |= ((words[8 * j + i] >> 2) & 0x01010101) << j;
    }
    for (int i = 0; i < 16; ++i) {
        const Ints *w = words + 32 * (i / 8) + i % 8;
        low[i] = (w[0] & 0x03030303) | ((w[8] & 0x03030303) << 2) | ((w[16] & 0x03030303) << 4) |
                 ((w[24] & 0x03030303) << 6);
    }
    put_words(b, 0, high, 8);
    put_words(b, 32, low, 16);
}

#define TOGETHER 4 /* parts whose levels are bettered at once */

/* Levels from -4 to 3 of some parts, bettered until none of them can be. */
INLINE void descend_q3(int parts, const Floats *x, Ints *level, Products *sum) {
    Floats weight[16 * TOGETHER];
    for (int k = 0; k < parts; ++k) {
        const Floats most = farthest(16, x + 16 * k), factor = -4.0f / most;
        const Mask is_zero = less(magnitude(most), floats(TOO_SMALL));
        for (int i = 16 * k; i < 16 * k + 16; ++i) {
            weight[i] = choose(is_zero, floats(0), x[i] * x[i]);
            level[i] = choose_ints(is_zero, ints(-4), between(nearest(factor * x[i]), -4, 3));
        }
        sum[k] = products(16, x + 16 * k, weight + 16 * k, level + 16 * k);
    }
    descend(16, parts, -4, 3, true, x, weight, level, sum);
}
NOT_INLINE void descend_many(const Floats *x, Ints *level, Products *sum) { descend_q3(TOGETHER, x, level, sum); }
NOT_INLINE void descend_one(const Floats *x, Ints *level, Products *sum) { descend_q3(1, x, level, sum); }

/* Scales by the first levels of two parts, and 1 where these may not be the best ones; the farthest weights.
 *
 * As long as no level changes, the sums do not either, so all weights can be asked at once, and roughly: whether the
 * level l is nearest to what fits all others best, x * l2 / lx, where the sums are without the weight's own share. In
 * the difference of the two the shares cancel out: it is x times the whole l2, minus l times the whole lx, divided by
 * the lx without its share. It has to be less than a half, and a bit less is asked for, more than rounding can be off.
 * A part whose farthest weight is positive has no sum above zero, and ggml leaves it alone. In four parts of five all
 * levels stay. */
NOT_INLINE void first_scales(const Floats *x, Floats *scale, Floats *most, Ints *restless) {
    Floats level[32], wxl[32], factor[2];
    Products sum[2] = {};
    for (int k = 0; k < 2; ++k) {
        most[k] = farthest(16, x + 16 * k);
        factor[k] = choose(less(magnitude(most[k]), floats(TOO_SMALL)), floats(0), -4.0f / most[k]);
    }
    for (int i = 0; i < 16; ++i)
        for (int k = 0; k < 2; ++k) {
            const int at = 16 * k + i;
            const Floats w = x[at] * x[at], l = nearest_up_to(factor[k] * x[at], 3);
            level[at] = l;
            sum[k].lx += wxl[at] = w * x[at] * l;
            sum[k].l2 += w * l * l;
        }
    Floats share[2], ratio[2], worst[2] = {};
    for (int k = 0; k < 2; ++k) {
        share[k] = 0.495f / sum[k].lx;
        ratio[k] = sum[k].l2 / sum[k].lx;
    }
    for (int i = 0; i < 16; ++i)
        for (int k = 0; k < 2; ++k) {
            const int at = 16 * k + i;
            const Floats off = higher(lower(ratio[k] * x[at], floats(3)), floats(-4)) - level[at];
            worst[k] = higher(magnitude(off) + share[k] * wxl[at], worst[k]);
        }
    for (int k = 0; k < 2; ++k) {
        const Mask is_ordinary = both(less(floats(-1e9f), most[k]), less(most[k], floats(-1e-9f)));
        const Mask is_left = less(floats(-TOO_SMALL), most[k]), stays = less(worst[k], floats(0.4949f));
        scale[k] = scale_of(sum[k]);
        restless[k] = choose_ints(either(is_left, both(is_ordinary, stays)), ints(0), ints(1));
    }
}

/* Better scales of the few parts that are restless, packed into full vectors. */
NOT_INLINE void better_scales(const Blocks *b, const Ints *restless, Floats *scale) {
    int place[16 * LANES], found = 0;
    for (int j = 0; j < 16; ++j)
        for (int lane = 0; lane < LANES; ++lane) {
            place[found] = j * LANES + lane;
            found += restless[j][lane];
        }
    for (int first = 0, parts; first < found; first += parts * LANES) {
        parts = found - first > LANES ? TOGETHER : 1;
        Floats x[16 * TOGETHER];
        Ints level[16 * TOGETHER];
        Products sum[TOGETHER];
        for (int k = 0; k < parts; ++k) {
            const char *from[LANES];
            for (int lane = 0; lane < LANES; ++lane) {
                const int n = first + k * LANES + lane, at = place[n < found ? n : found - 1];
                from[lane] = b->in[at % LANES] + at / LANES * 16 * size_of(b->source);
            }
            load_from(b->source, x + 16 * k, from, 16);
        }
        (parts == 1 ? descend_one : descend_many)(x, level, sum);
        for (int k = 0; k < parts; ++k) {
            const Floats better = scale_of(sum[k]);
            for (int lane = 0; lane < LANES && first + k * LANES + lane < found; ++lane) {
                const int at = place[first + k * LANES + lane];
                scale[at / LANES][at % LANES] = better[lane];
            }
        }
    }
}

static void q3_k(Blocks *b) {
    Floats scale[16], most[16];
    Ints level[256], steps[16], restless[16];
    for (int j = 0; j < 16; j += 2) first_scales(b->x + 16 * j, scale + j, most + j, restless + j);
    better_scales(b, restless, scale);
    const Floats whole = farthest(16, scale), factor = -32.0f / whole;
    const Mask is_zero = opposite(differ(whole, floats(0)));
    for (int j = 0; j < 16; ++j) {
        const Ints count = (nearest(factor * scale[j]) << 24) >> 24;
        steps[j] = choose_ints(is_zero, ints(0), between(count, -32, 31) + 32);
    }
    const bool has_zero = put_q3_scales(b, steps, choose(is_zero, floats(0), 1.0f / factor), scale);
    if (has_zero) {
        Products unused[TOGETHER];
        for (int j = 0; j < 16; j += TOGETHER) descend_many(b->x + 16 * j, level + 16 * j, unused);
        for (int i = 0; i < 256; ++i) level[i] += 4;
    }
    put_q3_levels(b, scale, most, has_zero, level);
}

static void q3_k_guided(Blocks *b) {
    const Floats energy = 2.0f * sum_of_squares(256, b->x) / 256.0f;
    Even fit[16], whole;
    Floats scale[16], sum[16], most[16];
    Ints level[256], steps[16];
    for (int j = 0; j < 16; j += PARTS_AT_ONCE) {
        Floats weight[16 * PARTS_AT_ONCE];
        for (int k = 0; k < PARTS_AT_ONCE; ++k) {
            weigh(b, 16 * (j + k), 16, energy, true, weight + 16 * k);
            sum[j + k] = sum_of(16, weight + 16 * k);
        }
        around_zero(16, PARTS_AT_ONCE, 4, true, b->x + 16 * j, weight, fit + j);
    }
    for (int j = 0; j < 16; ++j) scale[j] = fit[j].scale;
    around_zero(16, 1, 32, false, scale, sum, &whole);
    for (int j = 0; j < 16; ++j) steps[j] = even_level(scale[j], whole, 32);
    const bool has_zero = put_q3_scales(b, steps, whole.scale, scale);
    for (int i = 0; has_zero && i < 256; ++i) level[i] = even_level(b->x[i], fit[i / 16], 4);
    for (int j = 0; j < 16; ++j) most[j] = farthest(16, b->x + 16 * j);
    put_q3_levels(b, scale, most, has_zero, level);
}
