/* A model's scores -> the best classes. See mvit2.h. SPDX-License-Identifier: MIT */
#include "mvit2.h"

#include <float.h>
#include <math.h>
#include <string.h>

static mvit2_status check_scores(const float *scores, int classes)
{
    if (scores == NULL || classes < 1)
        return MVIT2_BAD_SCORES;
    for (int i = 0; i < classes; i++)
        if (!(scores[i] >= -FLT_MAX && scores[i] <= FLT_MAX))
            return MVIT2_NOT_FINITE;
    return MVIT2_OK;
}

mvit2_status mvit2_softmax(const float *logits, int classes, float *probabilities)
{
    const mvit2_status status = check_scores(logits, classes);
    if (status != MVIT2_OK)
        return status;
    if (probabilities == NULL)
        return MVIT2_BAD_OUTPUT;
    double largest = logits[0], total = 0.0;
    for (int i = 1; i < classes; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    for (int i = 0; i < classes; i++)
        total += exp(logits[i] - largest);
    for (int i = 0; i < classes; i++)
        probabilities[i] = (float)(exp(logits[i] - largest) / total);
    return MVIT2_OK;
}

mvit2_status mvit2_top_k(const float *scores, int classes, int k, int *best)
{
    const mvit2_status status = check_scores(scores, classes);
    if (status != MVIT2_OK)
        return status;
    if (k < 1)
        return MVIT2_BAD_K;
    if (best == NULL)
        return MVIT2_BAD_OUTPUT;
    int found = 0;
    for (int i = 0; i < classes; i++) {
        int place = found;
        while (place > 0 && scores[i] > scores[best[place - 1]]) /* equal scores stay behind the lower index */
            place--;
        if (place == k)
            continue;
        found += found < k;
        memmove(best + place + 1, best + place, (size_t)(found - place - 1) * sizeof *best);
        best[place] = i;
    }
    return MVIT2_OK;
}
