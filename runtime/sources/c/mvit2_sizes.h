/* What mvit2.c and mvit2_mask.c share; apps have no use for it. SPDX-License-Identifier: MIT */
#ifndef MVIT2_SIZES_H
#define MVIT2_SIZES_H

#include "mvit2.h"

mvit2_status mvit2_check_spec(const mvit2_spec *spec);

/* A picture's height, width after the resize. MVIT2_TOO_LARGE: more than MVIT2_MAX_PIXELS, before or after it. */
mvit2_status mvit2_resized(int width, int height, const mvit2_spec *spec, int size[2]);

#endif
