/* Quantizes what a file of cases holds and compares: see kernels_on_arm.py, which writes and compiles. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quantize.h"

int kernels_quantize(int lanes, const Task *task);

typedef struct {
    int32_t type, source, rows, columns, has_importance, bytes; /* no bytes: ggml refuses these weights */
} Case;

static void *next(FILE *file, size_t size) {
    void *found = malloc(size + 1);
    if (!found || fread(found, 1, size, file) != size) exit(2);
    return found;
}

int main(int count, char **arguments) {
    FILE *file = count == 3 ? fopen(arguments[1], "rb") : 0;
    if (!file) return 2;
    int cases = 0, wrong = 0;
    Case is;
    while (fread(&is, sizeof is, 1, file) == 1) {
        const size_t weights = (size_t)is.rows * is.columns;
        void *x = next(file, weights * size_of(is.source));
        float *importance = is.has_importance ? next(file, 4 * (size_t)is.columns) : 0;
        uint8_t *expected = next(file, is.bytes), *out = malloc(weights * 4);
        const Task task = {
            .type = is.type, .source = is.source, .weights = x, .stride = is.columns * size_of(is.source),
            .rows = is.rows, .columns = is.columns, .importance = importance, .out = out,
        };
        const int outcome = kernels_quantize(atoi(arguments[2]), &task);
        if (is.bytes ? outcome != DONE || memcmp(out, expected, is.bytes) : outcome == DONE) {
            ++wrong;
            printf("type %d, case %d: outcome %d\n", is.type, cases, outcome);
        }
        ++cases;
        free(x), free(importance), free(expected), free(out);
    }
    printf("%d cases, %d wrong\n", cases, wrong);
    return wrong != 0 || cases == 0;
}
