/* driver CASES RESULTS: runs every case of a file through the C sources; the format is that of cases.py and programs.py. */
#include "mvit2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREPROCESS, PIXEL_VALUES, SOFTMAX, TOP_K, SHORT_OUTPUT, NO_PIXELS, LOGITS_TO_PICTURE = 11, MASK_TO_PICTURE };

enum { NORMALISED = 9 }; /* "channels" of a PIXEL_VALUES: ImageNet's mean and standard deviation */

typedef struct {
    int32_t what, width, height, channels, size[2], shortest, exact[2], resample, order, payload;
    double scale;
} header;

/* Allocated to the byte, so that the sanitizer sees every step beyond. */
static void *room(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory == NULL && bytes != 0)
        exit(3);
    return memory;
}

/* No memory for what is refused. */
static size_t mask_size(const header *h)
{
    if (h->width < 1 || h->height < 1 || (int64_t)h->width * h->height > MVIT2_MAX_PIXELS)
        return 0;
    return (size_t)h->width * (size_t)h->height;
}

/* The result is the box, then the mask; the words of the spec are the network's height and width (mask_cases.py). */
static mvit2_status put_on_picture(const header *h, const void *payload, char *result)
{
    const mvit2_spec spec = {.image_size = {h->size[0], h->size[1]},
                             .resize_shortest = h->shortest,
                             .resize_exact = {h->exact[0], h->exact[1]}};
    const int shape[3] = {h->resample, h->order, h->channels};
    mvit2_mask mask = {(uint8_t *)result + sizeof(mvit2_box), mask_size(h), h->width, h->height, {0, 0, 0, 0}};
    const mvit2_status status =
        h->what == MASK_TO_PICTURE
            ? mvit2_mask_on_picture(payload, (size_t)h->payload, h->channels, &spec, &mask)
            : mvit2_logits_on_picture(payload, (size_t)h->payload / sizeof(float), shape, &spec, &mask);
    memcpy(result, &mask.seen, sizeof mask.seen);
    return status;
}

static mvit2_status run(const header *h, const void *payload, void *result)
{
    mvit2_spec spec = {{h->size[0], h->size[1]},      h->shortest, {h->exact[0], h->exact[1]}, h->resample,
                       (mvit2_channel_order)h->order, h->scale,    {0.0, 0.0, 0.0},            {1.0, 1.0, 1.0}};
    if (h->what == PIXEL_VALUES && h->channels == NORMALISED) {
        const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
        memcpy(spec.mean, mean, sizeof mean);
        memcpy(spec.std, std, sizeof std);
    }
    const mvit2_picture picture = {h->what == NO_PIXELS ? NULL : payload, (size_t)h->payload, h->width, h->height,
                                   h->channels};
    const int classes = h->payload / (int)sizeof(float);
    const size_t bytes = (size_t)h->size[0] * (size_t)h->size[1] * 3;
    switch (h->what) {
    case LOGITS_TO_PICTURE:
    case MASK_TO_PICTURE:
        return put_on_picture(h, payload, result);
    case PIXEL_VALUES:
        return mvit2_pixel_values(payload, (size_t)h->payload, &spec, result);
    case SOFTMAX:
        return mvit2_softmax(payload, classes, result);
    case TOP_K:
        return mvit2_top_k(payload, classes, h->width, result);
    default:
        return mvit2_preprocess(&picture, &spec, result, bytes - (h->what == SHORT_OUTPUT));
    }
}

static size_t result_size(const header *h)
{
    const size_t bytes = (size_t)h->size[0] * (size_t)h->size[1] * 3;
    const int classes = h->payload / (int)sizeof(float);
    switch (h->what) {
    case LOGITS_TO_PICTURE:
    case MASK_TO_PICTURE:
        return sizeof(mvit2_box) + mask_size(h);
    case PIXEL_VALUES:
        return bytes * sizeof(float);
    case SOFTMAX:
        return (size_t)h->payload;
    case TOP_K:
        return h->width < 0 ? 0 : (size_t)(h->width < classes ? h->width : classes) * sizeof(int);
    default:
        return bytes;
    }
}

int main(int count, char **arguments)
{
    FILE *cases = count == 3 ? fopen(arguments[1], "rb") : NULL, *results = cases ? fopen(arguments[2], "wb") : NULL;
    header h;
    if (results == NULL)
        return 2;
    while (fread(&h, sizeof h, 1, cases) == 1) {
        void *payload = room((size_t)h.payload), *result = room(result_size(&h));
        if (fread(payload, 1, (size_t)h.payload, cases) != (size_t)h.payload)
            return 2;
        const mvit2_status status = run(&h, payload, result);
        const char *message = mvit2_message(status);
        const int32_t answer[2] = {status, (int32_t)(status ? strlen(message) : result_size(&h))};
        fwrite(answer, sizeof answer, 1, results);
        fwrite(status ? (const void *)message : result, 1, (size_t)answer[1], results);
        free(payload);
        free(result);
    }
    fclose(cases);
    return fclose(results) ? 2 : 0;
}
