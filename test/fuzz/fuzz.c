/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[PATH_MAX / 2];
static char path[PATH_MAX];

void fuzz_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: property broken: %s\n", file, line, condition);
    abort();
}

char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    FUZZ_CHECK(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

static void remove_dir(void)
{
    unlink(path);
    rmdir(dir);
}

const char *fuzz_dir(void)
{
    if (dir[0] != '\0')
        return dir;
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/fuzz.XXXXXX", base != NULL ? base : "/tmp");
    FUZZ_CHECK(mkdtemp(dir) != NULL);
    atexit(remove_dir);
    return dir;
}

const char *fuzz_file(const char *name, const uint8_t *data, size_t size)
{
    int len = snprintf(path, sizeof path, "%s/%s", fuzz_dir(), name);
    FUZZ_CHECK(len > 0 && (size_t)len < sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0);
    FUZZ_CHECK(write(fd, data, size) == (ssize_t)size);
    close(fd);
    return path;
}
