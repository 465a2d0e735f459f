/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target once over each file of each directory named, without libFuzzer: the corpus is
 * a regression test under every compiler and sanitizer. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

enum { INPUT_MAX = 1 << 20 }; /* bytes */

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rbe");
    FUZZ_CHECK(file != NULL);
    uint8_t *data = malloc(INPUT_MAX);
    FUZZ_CHECK(data != NULL);
    size_t size = fread(data, 1, INPUT_MAX, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

static unsigned replay_dir(const char *path)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    FUZZ_CHECK(count >= 0);
    unsigned replayed = 0;
    for (int i = 0; i < count; i++) {
        char name[PATH_MAX];
        int len = snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        FUZZ_CHECK(len > 0 && (size_t)len < sizeof name);
        if (entries[i]->d_name[0] != '.') {
            replay_file(name);
            replayed++;
        }
        free(entries[i]);
    }
    free(entries);
    return replayed;
}

int main(int argc, char **argv)
{
    unsigned replayed = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        replayed += replay_dir(argv[i]);
    printf("%u inputs replayed\n", replayed);
    return replayed > 0 ? 0 : 1;
}
