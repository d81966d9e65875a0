/* Compiled once for each number of lanes, with the instructions that have so many. */
#include "k_quants.h"
#include "k_quants_even.h"
#include "load.h"
#include "quantize.h"
#include "simple.h"
#include "uneven.h"

typedef void Kernel(Blocks *);

typedef struct {
    int number; /* of the type in ggml.h */
    int weights, bytes;
    bool needs_row_energy; /* where it is guided */
    Kernel *plain, *guided;
} Type;

static const Type TYPES[] = {
    {2, 32, 18, true, q4_0, q4_0_guided},       {3, 32, 20, true, q4_1, q4_1_guided},
    {6, 32, 22, true, q5_0, q5_0_guided},       {7, 32, 24, true, q5_1, q5_1_guided},
    {8, 32, 34, false, q8_0, q8_0},             {10, 256, 84, false, q2_k, q2_k_guided},
    {11, 256, 110, false, q3_k, q3_k_guided},   {12, 256, 144, false, q4_k, q4_k_guided},
    {13, 256, 176, false, q5_k, q5_k_guided},   {14, 256, 210, false, q6_k, q6_k_guided},
    {20, 32, 18, false, iq4_nl, iq4_nl_guided}, {23, 256, 136, false, iq4_xs, iq4_xs_guided},
};

static const Type *type_of(int number) {
    for (unsigned i = 0; i < sizeof TYPES / sizeof *TYPES; ++i)
        if (TYPES[i].number == number) return TYPES + i;
    return 0;
}

static const char *row_at(const Task *task, int64_t row) {
    return (const char *)task->weights + (task->order ? task->order[row] : row) * task->stride;
}

/* The mean squares of LANES rows, one in each lane; there may be fewer. */
static Floats energies(const Task *task, int64_t first) {
    const char *places[LANES];
    Floats x[32], sum = floats(0);
    for (int lane = 0; lane < LANES; ++lane)
        places[lane] = row_at(task, first + lane < task->rows ? first + lane : task->rows - 1);
    for (int64_t column = 0; column < task->columns; column += 32) {
        load_from(task->source, x, places, 32);
        for (int i = 0; i < 32; ++i) sum += x[i] * x[i];
        for (int lane = 0; lane < LANES; ++lane) places[lane] += 32 * size_of(task->source);
    }
    return sum / (float)task->columns;
}

int QUANTIZE(const Task *task) {
    const Type *type = type_of(task->type);
    if (!type || task->columns % type->weights) return NO_KERNEL;
    const bool is_guided = task->importance != 0, needs_energy = is_guided && type->needs_row_energy;
    const int64_t each = task->columns / type->weights, total = task->rows * each;
    Blocks blocks = {.source = task->source};
    Floats energy = floats(0);
    uint8_t spare[256];
    bool is_bad = false;
    int64_t row = 0, number = 0;
    for (int64_t first = 0; first < total; first += LANES) {
        const char *guides[LANES];
        for (int lane = 0; lane < LANES; ++lane) {
            if (needs_energy && number == 0 && row % LANES == 0) energy = energies(task, row);
            blocks.row_energy[lane] = energy[row % LANES];
            blocks.in[lane] = row_at(task, row) + number * type->weights * size_of(task->source);
            guides[lane] = is_guided ? (const char *)(task->importance + number * type->weights) : 0;
            const bool is_there = first + lane < total;
            blocks.out[lane] = is_there ? task->out + (first + lane) * type->bytes : spare;
            if (first + lane + 1 < total && ++number == each) number = 0, ++row;
        }
        is_bad |= load_from(task->source, blocks.x, blocks.in, type->weights);
        if (is_guided) load(blocks.guide, guides, type->weights, FROM_F32);
        (is_guided ? type->guided : type->plain)(&blocks);
    }
    return is_bad ? NOT_FINITE : blocks.is_too_large ? TOO_LARGE : DONE;
}
