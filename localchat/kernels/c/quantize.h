/* What is asked for and what comes of it. */
#pragma once

#include <stdint.h>

enum Source { FROM_F32 = 0, FROM_F16 = 1, FROM_BF16 = 2 };
enum Outcome { DONE = 0, NO_KERNEL = 1, NOT_FINITE = 2, TOO_LARGE = 3 };

typedef struct {
    int32_t type;   /* its number in ggml.h */
    int32_t source; /* what the weights are stored as */
    const void *weights;
    const int64_t *order; /* which rows, or 0 for all in turn */
    int64_t stride;       /* bytes from one row to the next */
    int64_t rows, columns;
    const float *importance; /* of every column, or 0 */
    uint8_t *out;
} Task;

static inline int size_of(int source) { return source == FROM_F32 ? 4 : 2; }

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define QUANTIZE JOIN(quantize_, LANES)
