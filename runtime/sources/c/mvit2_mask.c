/*
 * A segmentation network's answer -> the class of every pixel of the picture. See mvit2.h.
 *
 * Masks of logits are not held to the last bit, so the compiler may fuse here; where pixels lie is whole numbers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "mvit2.h"
#include "mvit2_sizes.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

/* One axis of a picture, in pixels: of the picture, after the resize, of the crop that is the network's input. */
typedef struct {
    int64_t picture, resized, network;
    int64_t start; /* of the crop on the resized picture; below 0 where zeros come first */
} way;

/* A pixel as a mixture of two cells of the network's answer. */
typedef struct {
    int low, high;
    float of_low, of_high;
} mixture;

/* Rounded down; divisor > 0. */
static int64_t divided(int64_t number, int64_t divisor)
{
    return number / divisor - (number % divisor < 0);
}

/* The first pixel of the picture whose middle is at edge of the resized one or beyond it. */
static int first_at(const way *w, int64_t edge)
{
    return (int)-divided(w->resized - 2 * w->picture * edge, 2 * w->resized);
}

static way open_way(int picture, int resized, int network)
{
    const way w = {picture, resized, network, divided((int64_t)resized - network, 2)};
    return w;
}

/* The pixels whose middle lies in the crop: first, and the first that is not. */
static void seen(const way *w, int *first, int *stop)
{
    *first = first_at(w, w->start);
    *stop = first_at(w, w->start + w->network);
    *first = *first < 0 ? 0 : *first;
    *stop = *stop > w->picture ? (int)w->picture : *stop;
}

/* In which pixel of the network's input the middle of a pixel lies, exactly. */
static size_t nearest(const way *w, int pixel)
{
    return (size_t)((2 * (int64_t)pixel + 1) * w->resized / (2 * w->picture) - w->start);
}

/* Of so many cells over the network's input. */
static mixture mixed(const way *w, int pixel, int cells)
{
    const double middle = (double)((2 * (int64_t)pixel + 1) * w->resized) / (double)(2 * w->picture);
    double at = (middle - (double)w->start) * ((double)cells / (double)w->network) - 0.5; /* from the first's middle */
    at = at < 0.0 ? 0.0 : at > cells - 1 ? cells - 1 : at;
    const int low = (int)at;
    const mixture m = {low, low + 1 < cells ? low + 1 : low, (float)(1.0 - (at - low)), (float)(at - low)};
    return m;
}

/* Both ways; the mask is filled with pixels that were not seen. */
static mvit2_status open_mask(mvit2_mask *mask, const mvit2_spec *spec, way *rows, way *columns)
{
    mvit2_status status = mvit2_check_spec(spec);
    if (status != MVIT2_OK)
        return status;
    if (mask == NULL || mask->pixels == NULL || mask->width < 1 || mask->height < 1)
        return MVIT2_BAD_OUTPUT;
    int size[2];
    status = mvit2_resized(mask->width, mask->height, spec, size);
    if (status != MVIT2_OK)
        return status;
    if (mask->size != (size_t)mask->width * (size_t)mask->height)
        return MVIT2_BAD_OUTPUT;
    *rows = open_way(mask->height, size[0], spec->image_size[0]);
    *columns = open_way(mask->width, size[1], spec->image_size[1]);
    seen(rows, &mask->seen.top, &mask->seen.bottom);
    seen(columns, &mask->seen.left, &mask->seen.right);
    memset(mask->pixels, MVIT2_NOT_SEEN, mask->size);
    return MVIT2_OK;
}

static mvit2_status check_logits(const float *logits, size_t count, const int shape[3])
{
    if (logits == NULL || shape == NULL)
        return MVIT2_BAD_SHAPE;
    const int height = shape[0], width = shape[1], classes = shape[2];
    if (height < 1 || width < 1 || classes < 1 || height > MVIT2_MAX_EDGE || width > MVIT2_MAX_EDGE)
        return MVIT2_BAD_SHAPE;
    if (classes > MVIT2_MAX_MASK_CLASSES || count / (size_t)classes != (size_t)height * (size_t)width ||
        count % (size_t)classes != 0)
        return MVIT2_BAD_SHAPE;
    for (size_t i = 0; i < count; i++)
        if (!(logits[i] >= -FLT_MAX && logits[i] <= FLT_MAX))
            return MVIT2_NOT_FINITE;
    return MVIT2_OK;
}

/* Of equal scores the lower index wins. */
static uint8_t winner(const float *line, int classes, mixture m)
{
    const float *low = line + (size_t)m.low * (size_t)classes, *high = line + (size_t)m.high * (size_t)classes;
    float most = m.of_low * low[0] + m.of_high * high[0];
    int best = 0;
    for (int c = 1; c < classes; c++) {
        const float score = m.of_low * low[c] + m.of_high * high[c];
        if (score > most) {
            most = score;
            best = c;
        }
    }
    return (uint8_t)best;
}

/* The winner of a pixel whose neighbours' winners are known: one of both cells wins everywhere between them. */
static uint8_t winner_between(const float *line, const uint8_t *best, int classes, mixture m)
{
    return best[m.low] == best[m.high] ? best[m.low] : winner(line, classes, m);
}

mvit2_status mvit2_logits_on_picture(const float *logits, size_t count, const int shape[3], const mvit2_spec *spec,
                                     mvit2_mask *mask)
{
    way rows, columns;
    mvit2_status status = check_logits(logits, count, shape);
    if (status == MVIT2_OK)
        status = open_mask(mask, spec, &rows, &columns);
    if (status != MVIT2_OK)
        return status;
    const size_t length = (size_t)shape[1] * (size_t)shape[2];
    float *line = malloc(length * sizeof *line + (size_t)shape[1]);
    if (line == NULL)
        return MVIT2_NO_MEMORY;
    uint8_t *best = (uint8_t *)(line + length); /* [width] the winners of the line's cells */
    for (int row = mask->seen.top; row < mask->seen.bottom; row++) {
        const mixture y = mixed(&rows, row, shape[0]);
        const float *low = logits + (size_t)y.low * length, *high = logits + (size_t)y.high * length;
        uint8_t *pixels = mask->pixels + (size_t)row * (size_t)mask->width;
        for (size_t i = 0; i < length; i++)
            line[i] = y.of_low * low[i] + y.of_high * high[i];
        for (int cell = 0; cell < shape[1]; cell++)
            best[cell] = winner(line, shape[2], (mixture){cell, cell, 1.0F, 0.0F});
        for (int column = mask->seen.left; column < mask->seen.right; column++)
            pixels[column] = winner_between(line, best, shape[2], mixed(&columns, column, shape[1]));
    }
    free(line);
    return MVIT2_OK;
}

mvit2_status mvit2_mask_on_picture(const uint8_t *found, size_t size, int classes, const mvit2_spec *spec,
                                   mvit2_mask *mask)
{
    way rows, columns;
    mvit2_status status = open_mask(mask, spec, &rows, &columns);
    if (status != MVIT2_OK)
        return status;
    const size_t width = (size_t)spec->image_size[1];
    if (found == NULL || classes < 1 || classes > MVIT2_MAX_MASK_CLASSES)
        return MVIT2_BAD_SHAPE;
    if (size != (size_t)spec->image_size[0] * width)
        return MVIT2_BAD_SHAPE;
    for (size_t i = 0; i < size; i++)
        if (found[i] >= classes)
            return MVIT2_BAD_CLASS;
    for (int row = mask->seen.top; row < mask->seen.bottom; row++) {
        const uint8_t *line = found + nearest(&rows, row) * width;
        uint8_t *pixels = mask->pixels + (size_t)row * (size_t)mask->width;
        for (int column = mask->seen.left; column < mask->seen.right; column++)
            pixels[column] = line[nearest(&columns, column)];
    }
    return MVIT2_OK;
}
