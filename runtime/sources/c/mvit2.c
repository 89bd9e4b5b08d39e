/* A picture -> the model's pixels. See mvit2.h. SPDX-License-Identifier: MIT */
#include "mvit2.h"
#include "mvit2_sizes.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD < 0 || FLT_EVAL_METHOD == 2
#error "mvit2 needs exact doubles: compile without -ffast-math, and for 32-bit x86 with -msse2 -mfpmath=sse"
#endif

/* Weights are whole numbers of 2^-22: 32 bits less 8 of the pixel, and 2 because bicubic weights overshoot 0..1. */
#define PRECISION 22

typedef struct {
    double support; /* beyond this distance the kernel is 0 */
    double (*kernel)(double distance);
} filter;

/* The resize of one axis, only where the crop shows it. */
typedef struct {
    int in, out;      /* pixels of the picture, and of the whole resized one */
    int begin, count; /* the resized pixels that the crop shows */
    int pad;          /* zeros before them */
    int stride;       /* weights kept for each of them */
    double scale;     /* input pixels for each resized one */
    double stretch;   /* of the kernel: a smaller picture averages over more pixels */
    int32_t *first;   /* [count] the first input pixel that a resized pixel sees */
    int32_t *taps;    /* [count] how many it sees */
    int32_t *weights; /* [count][stride] in units of 2^-PRECISION */
} axis;

/* ---- weights ---- */

/* A product rounded on its own. Fused with the addition that follows, it would differ in the last bit. */
static double times(double a, double b)
{
    volatile double product = a * b;
    return product;
}

static double bilinear(double distance)
{
    const double x = fabs(distance);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Keys' cubic convolution with a = -0.5. */
static double bicubic(double distance)
{
    const double a = -0.5, x = fabs(distance);
    if (x < 1.0)
        return times(times(times(a + 2.0, x) - (a + 3.0), x), x) + 1.0;
    if (x < 2.0)
        return times(times(times(x - 5.0, x) + 8.0, x) - 4.0, a);
    return 0.0;
}

static const filter FILTERS[] = {{1.0, bilinear}, {2.0, bicubic}}; /* by mvit2_resample */

static int32_t fixed_point(double weight)
{
    return (int32_t)(times(weight, 1 << PRECISION) + (weight < 0.0 ? -0.5 : 0.5));
}

/* Fill in first, taps and weights. */
static void weigh(axis *shown, const filter *f)
{
    const double support = times(f->support, shown->stretch), shrink = 1.0 / shown->stretch;
    for (int i = 0; i < shown->count; i++) {
        const double centre = times(shown->begin + i + 0.5, shown->scale);
        const int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
        const int first = low < 0 ? 0 : low, taps = (high > shown->in ? shown->in : high) - first;
        int32_t *weights = shown->weights + (size_t)i * (size_t)shown->stride;
        double total = 0.0;
        for (int t = 0; t < taps; t++)
            total += f->kernel(times(t + first - centre + 0.5, shrink));
        for (int t = 0; t < taps; t++)
            weights[t] = fixed_point(f->kernel(times(t + first - centre + 0.5, shrink)) / total);
        shown->first[i] = first;
        shown->taps[i] = taps;
    }
}

/* Resize in pixels to out and show wanted of them: the middle, rounded down, with zeros around what is smaller. */
static mvit2_status open_axis(axis *shown, int in, int out, int wanted, const filter *f)
{
    shown->in = in;
    shown->out = out;
    shown->begin = out > wanted ? (out - wanted) / 2 : 0;
    shown->count = out > wanted ? wanted : out;
    shown->pad = out > wanted ? 0 : (wanted - out + 1) / 2;
    shown->scale = in == out ? 1.0 : (double)(float)in / out; /* Pillow keeps the size as float: coarse above 2^24 */
    shown->stretch = shown->scale < 1.0 ? 1.0 : shown->scale;
    shown->stride = 2 * (int)ceil(times(f->support, shown->stretch)) + 1;
    /* About 4 * in numbers at most, so that no size overflows where in is at most MVIT2_MAX_PIXELS. */
    shown->first = malloc((size_t)shown->count * (size_t)(shown->stride + 2) * sizeof *shown->first);
    if (shown->first == NULL)
        return MVIT2_NO_MEMORY;
    shown->taps = shown->first + shown->count;
    shown->weights = shown->taps + shown->count;
    weigh(shown, f);
    return MVIT2_OK;
}

/* ---- the two passes ---- */

/* The weighted mean of bytes that lie step apart, rounded, clipped to 0..255. */
static uint8_t blend(const uint8_t *bytes, size_t step, const int32_t *weights, int taps)
{
    int32_t sum = INT32_C(1) << (PRECISION - 1);
    for (int t = 0; t < taps; t++)
        sum += bytes[(size_t)t * step] * weights[t];
    if (sum < 0)
        return 0;
    sum >>= PRECISION;
    return (uint8_t)(sum > 255 ? 255 : sum);
}

/* One pass: where its pixels lie, in bytes, along the axis that it resizes and across, from line to line. */
typedef struct {
    const uint8_t *from;
    uint8_t *to;
    size_t from_along, from_across, to_along, to_across, lines;
} pass;

static void resample(const pass *p, const axis *shown)
{
    for (int i = 0; i < shown->count; i++) {
        const int32_t *weights = shown->weights + (size_t)i * (size_t)shown->stride;
        for (size_t line = 0; line < p->lines; line++) {
            const uint8_t *from = p->from + (size_t)shown->first[i] * p->from_along + line * p->from_across;
            uint8_t *to = p->to + (size_t)i * p->to_along + line * p->to_across;
            for (size_t c = 0; c < 3; c++)
                to[c] = blend(from + c, p->from_along, weights, shown->taps[i]);
        }
    }
}

/* Both passes, in Pillow 13's order: each pass rounds, so the order decides about bits. */
static mvit2_status resize(const mvit2_picture *picture, axis *x, axis *y, uint8_t *output, int width)
{
    const int shorter = y->in - y->out, narrower = x->in - x->out;
    const int vertical_first = shorter > 0 && shorter > 2 * (int64_t)narrower;
    axis *first = vertical_first ? y : x, *second = vertical_first ? x : y;
    const int begin = second->first[0], last = second->count - 1; /* of the lines, the second pass needs only these */
    const size_t lines = (size_t)(second->first[last] + second->taps[last] - begin);
    const size_t pixel = (size_t)picture->channels, row = pixel * (size_t)picture->width;
    const size_t out_row = 3 * (size_t)width, line = 3 * (size_t)first->count;
    uint8_t *rows = malloc(lines * line);
    if (rows == NULL)
        return MVIT2_NO_MEMORY;
    for (int i = 0; i < second->count; i++)
        second->first[i] -= begin;

    const size_t along = vertical_first ? row : pixel, across = vertical_first ? pixel : row;
    const size_t out_along = vertical_first ? 3 : out_row, out_across = vertical_first ? out_row : 3;
    output += (size_t)y->pad * out_row + (size_t)x->pad * 3;
    const pass one = {picture->pixels + (size_t)begin * across, rows, along, across, 3, line, lines};
    const pass two = {rows, output, line, 3, out_along, out_across, (size_t)first->count};
    resample(&one, first);
    resample(&two, second);
    free(rows);
    return MVIT2_OK;
}

/* ---- sizes ---- */

static int is_edge(int pixels)
{
    return 1 <= pixels && pixels <= MVIT2_MAX_EDGE;
}

mvit2_status mvit2_check_spec(const mvit2_spec *spec)
{
    if (spec == NULL || !is_edge(spec->image_size[0]) || !is_edge(spec->image_size[1]))
        return MVIT2_BAD_SPEC;
    const int height = spec->resize_exact[0], width = spec->resize_exact[1], shortest = spec->resize_shortest;
    const int exact = height != 0 || width != 0;
    if (exact && (shortest != 0 || !is_edge(height) || !is_edge(width)))
        return MVIT2_BAD_SPEC;
    if (shortest != 0 && !is_edge(shortest))
        return MVIT2_BAD_SPEC;
    return spec->resample == MVIT2_BILINEAR || spec->resample == MVIT2_BICUBIC ? MVIT2_OK : MVIT2_BAD_SPEC;
}

static mvit2_status check_picture(const mvit2_picture *picture)
{
    if (picture == NULL || picture->pixels == NULL || picture->width < 1 || picture->height < 1)
        return MVIT2_BAD_PICTURE;
    if (picture->channels != 3 && picture->channels != 4)
        return MVIT2_BAD_PICTURE;
    const int64_t count = (int64_t)picture->width * picture->height;
    if (count > MVIT2_MAX_PIXELS)
        return MVIT2_TOO_LARGE;
    return picture->size == (size_t)count * (size_t)picture->channels ? MVIT2_OK : MVIT2_BAD_PICTURE;
}

mvit2_status mvit2_resized(int width, int height, const mvit2_spec *spec, int size[2])
{
    const int64_t shortest = spec->resize_shortest;
    int64_t tall = spec->resize_exact[0] ? spec->resize_exact[0] : height;
    int64_t wide = spec->resize_exact[1] ? spec->resize_exact[1] : width;
    if (shortest != 0) {
        tall = width <= height ? shortest * height / width : shortest;
        wide = width <= height ? shortest : shortest * width / height;
    }
    if ((int64_t)width * height > MVIT2_MAX_PIXELS || tall * wide > MVIT2_MAX_PIXELS)
        return MVIT2_TOO_LARGE;
    size[0] = (int)tall;
    size[1] = (int)wide;
    return MVIT2_OK;
}

/* ---- the interface ---- */

mvit2_status mvit2_preprocess(const mvit2_picture *picture, const mvit2_spec *spec, uint8_t *output,
                              size_t output_size)
{
    mvit2_status status = mvit2_check_spec(spec);
    if (status == MVIT2_OK)
        status = check_picture(picture);
    if (status != MVIT2_OK)
        return status;
    const int height = spec->image_size[0], width = spec->image_size[1];
    if (output == NULL || output_size != (size_t)height * (size_t)width * 3)
        return MVIT2_BAD_OUTPUT;
    int size[2];
    status = mvit2_resized(picture->width, picture->height, spec, size);
    if (status != MVIT2_OK)
        return status;

    const filter *f = &FILTERS[spec->resample];
    axis x = {0}, y = {0};
    memset(output, 0, output_size);
    status = open_axis(&x, picture->width, size[1], width, f);
    if (status == MVIT2_OK)
        status = open_axis(&y, picture->height, size[0], height, f);
    if (status == MVIT2_OK)
        status = resize(picture, &x, &y, output, width);
    free(x.first);
    free(y.first);
    return status;
}

static float normalised(double value, double mean, double std)
{
    return (float)((value - mean) / (std == 0.0 ? 1.0 : std));
}

mvit2_status mvit2_pixel_values(const uint8_t *pixels, size_t size, const mvit2_spec *spec, float *values)
{
    if (mvit2_check_spec(spec) != MVIT2_OK || !(spec->scale > 0.0 && spec->scale <= DBL_MAX))
        return MVIT2_BAD_SPEC;
    if (spec->channel_order != MVIT2_RGB && spec->channel_order != MVIT2_BGR)
        return MVIT2_BAD_SPEC;
    for (int c = 0; c < 3; c++)
        if (!(fabs(spec->mean[c]) <= DBL_MAX && spec->std[c] >= 0.0 && spec->std[c] <= DBL_MAX))
            return MVIT2_BAD_SPEC;
    const size_t plane = (size_t)spec->image_size[0] * (size_t)spec->image_size[1];
    if (pixels == NULL || size != plane * 3)
        return MVIT2_BAD_PICTURE;
    if (values == NULL)
        return MVIT2_BAD_OUTPUT;
    for (size_t c = 0; c < 3; c++) {
        const size_t from = spec->channel_order == MVIT2_BGR ? 2 - c : c;
        const uint8_t *pixel = pixels + from;
        float seen[256]; /* one for each value of a pixel */
        for (int value = 0; value < 256; value++)
            seen[value] = normalised(times(value, spec->scale), spec->mean[from], spec->std[from]);
        for (size_t i = 0; i < plane; i++)
            values[c * plane + i] = seen[pixel[i * 3]];
    }
    return MVIT2_OK;
}

const char *mvit2_message(mvit2_status status)
{
    static const char *const messages[] = {
        "done",
        "the picture cannot be used; accepted: edges of 1 or more, 3 or 4 channels, as many bytes as they make",
        "the spec cannot be used; accepted: \"preprocess\" of a manifest: edges 1..8192, at most one resize, a known "
        "resample and channel_order, scale > 0, finite mean and std",
        "the output cannot be used; accepted: room for exactly the result",
        "the picture is too large, or too long and thin; accepted: at most 2^27 pixels before and after the "
        "resize; make it smaller or crop it first",
        "there are no scores; accepted: 1 or more",
        "k cannot be used; accepted: 1 or more",
        "a score is not finite; accepted: finite numbers; the model is broken: check it against its checkpoint",
        "there is not enough memory; make the picture smaller first",
        "the answer's shape cannot be used; accepted: edges of 1 or more, 1 to 256 classes, as many numbers as they "
        "make",
        "a pixel's class is none of the network's; accepted: 0 to classes - 1; the model is broken: check it against "
        "its checkpoint",
    };
    const size_t known = sizeof messages / sizeof *messages;
    return (size_t)status < known ? messages[status] : "unknown status";
}
