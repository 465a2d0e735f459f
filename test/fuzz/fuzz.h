/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share.  A target is LLVMFuzzerTestOneInput(); libFuzzer drives it under the
 * preset `fuzz`, replay.c everywhere else. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold for every input; aborts, and the input is kept. */
#define FUZZ_CHECK(condition) ((condition) ? (void)0 : fuzz_failed(#condition, __FILE__, __LINE__))
void fuzz_failed(const char *condition, const char *file, int line);

/* @data with a NUL behind it; the caller frees it. */
char *fuzz_text(const uint8_t *data, size_t size);

/* A directory of this process's own (0700, under $TMPDIR), removed at exit.  Static. */
const char *fuzz_dir(void);

/* Makes the file @name in fuzz_dir() hold exactly @data (0600).  Returns its path.  Static. */
const char *fuzz_file(const char *name, const uint8_t *data, size_t size);

#endif
