/*
 * What an app does around a mvit2 model: a decoded picture -> the model's pixels, and its answer -> the best classes
 * (mvit2_scores.c) or the class of every pixel (mvit2_mask.c). C99: compile the .c files into the app, link with -lm.
 * No other dependencies and no global state: every function may run on any thread.
 *
 * The pixels are those of mvit2.image.preprocess in Python, bit for bit: the antialiased resize of Pillow 13 (two
 * passes in fixed point, after libImaging/Resample.c) and a centre crop. Decoding and EXIF orientation are the
 * platform's business: hand over upright pixels. The compiler may fuse additions and multiplications (-ffp-contract):
 * the code is written so that it finds none to fuse. -ffast-math and x87 arithmetic are refused when compiling.
 *
 *     mvit2_spec spec = {.image_size = {256, 256}, .resize_shortest = 288, .resample = MVIT2_BILINEAR};
 *     mvit2_picture picture = {rgba, rgba_bytes, 4032, 3024, 4};
 *     mvit2_status status = mvit2_preprocess(&picture, &spec, pixels, 256 * 256 * 3);
 *     if (status != MVIT2_OK) fprintf(stderr, "%s\n", mvit2_message(status));
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MVIT2_H
#define MVIT2_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Largest picture, before or after the resize, in pixels (134 megapixels). */
#define MVIT2_MAX_PIXELS (1 << 27)
/* Longest edge, in pixels, that a spec may ask for. */
#define MVIT2_MAX_EDGE 8192
/* A mask's pixel is one byte. */
#define MVIT2_MAX_MASK_CLASSES 256
/* In a mask, pixels that the network did not see. One of 256 classes has one of that number: see mvit2_mask.seen. */
#define MVIT2_NOT_SEEN 255

typedef enum {
    MVIT2_OK = 0,
    MVIT2_BAD_PICTURE,
    MVIT2_BAD_SPEC,
    MVIT2_BAD_OUTPUT,
    MVIT2_TOO_LARGE,
    MVIT2_BAD_SCORES,
    MVIT2_BAD_K,
    MVIT2_NOT_FINITE,
    MVIT2_NO_MEMORY,
    MVIT2_BAD_SHAPE,
    MVIT2_BAD_CLASS
} mvit2_status;

typedef enum { MVIT2_BILINEAR = 0, MVIT2_BICUBIC = 1 } mvit2_resample;
typedef enum { MVIT2_RGB = 0, MVIT2_BGR = 1 } mvit2_channel_order;

/* Decoded pixels, row by row without gaps. Of four channels the last is ignored. */
typedef struct {
    const uint8_t *pixels; /* [height][width][channels] */
    size_t size;           /* bytes there: height * width * channels */
    int width, height;     /* in pixels */
    int channels;          /* 3 (RGB) or 4 (RGBA) */
} mvit2_picture;

/* "preprocess" of the bundle's manifest.json, under the same names. 0 is JSON's null; at most one resize is not 0. */
typedef struct {
    int image_size[2];   /* height, width of the model's input */
    int resize_shortest; /* the shortest edge becomes this long, the aspect ratio is kept */
    int resize_exact[2]; /* height, width to stretch to */
    mvit2_resample resample;
    mvit2_channel_order channel_order; /* only mvit2_pixel_values reads this and what follows: */
    double scale;                      /* an "image" bundle has all of it in its graph */
    double mean[3], std[3];            /* red, green, blue: (pixel * scale - mean) / std; a std of 0 stands for 1 */
} mvit2_spec;

/* In pixels; right and bottom are the first that do not belong to it. */
typedef struct {
    int left, top, right, bottom;
} mvit2_box;

/* The class of every pixel of the upright picture. The caller gives the memory and the picture's size. */
typedef struct {
    uint8_t *pixels;   /* [height][width]: classes, or MVIT2_NOT_SEEN */
    size_t size;       /* bytes there: height * width */
    int width, height; /* of the upright picture, before mvit2_preprocess */
    mvit2_box seen;    /* is filled in: what the network saw; empty, it may be, of a picture of two pixels */
} mvit2_mask;

/*
 * A picture -> the model's input, uint8 RGB [image height][image width][3]; zeros where the picture is smaller.
 * output_size is output's size in bytes. What is allocated on the way (the weights, and the pixels between the two
 * passes) is freed before it returns.
 */
mvit2_status mvit2_preprocess(const mvit2_picture *picture, const mvit2_spec *spec, uint8_t *output,
                              size_t output_size);

/* Only for bundles of --io tensor: preprocessed pixels, size bytes -> float [3][image height][image width]. */
mvit2_status mvit2_pixel_values(const uint8_t *pixels, size_t size, const mvit2_spec *spec, float *values);

/* Only for bundles of --io tensor: logits -> probabilities, both [classes]; the two may be the same array. */
mvit2_status mvit2_softmax(const float *logits, int classes, float *probabilities);

/*
 * The indices of the best k classes, best first; of equal scores the lower index comes first.
 * best has room for k; with k above classes, the first classes entries are written.
 */
mvit2_status mvit2_top_k(const float *scores, int classes, int k, int *best);

/*
 * Logits, count floats [shape[0]][shape[1]][shape[2]] (height, width, classes) over the network's input -> the winning
 * class of every pixel, interpolated bilinearly; of equal ones the lower index wins. Resize and crop are undone. Memory
 * for one row of the answer is allocated on the way, and freed.
 */
mvit2_status mvit2_logits_on_picture(const float *logits, size_t count, const int shape[3], const mvit2_spec *spec,
                                     mvit2_mask *mask);

/*
 * Classes by pixel of the network's input, size bytes [image height][image width], as bundles of --output-kind mask
 * give them -> the class of every pixel: that of the network's pixel in which its middle lies.
 */
mvit2_status mvit2_mask_on_picture(const uint8_t *found, size_t size, int classes, const mvit2_spec *spec,
                                   mvit2_mask *mask);

/* What went wrong and what is accepted, one line; never NULL, never to be freed. */
const char *mvit2_message(mvit2_status status);

#ifdef __cplusplus
}
#endif

#endif
