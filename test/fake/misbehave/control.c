/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state.h"

enum { FILE_MAX = 64 * 1024 };

static struct misbehave_config current, next;

/* Of the file that @current was read from.  It stays open: so its inode isn't given to another
 * file, and a file that was renamed here since then always shows another one. */
static int file_fd = -1;
static struct stat file_stat;

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void read_whole(int fd, const char *path, char text[static FILE_MAX])
{
    size_t len = 0;
    ssize_t got = 0;
    while (len < FILE_MAX - 1 && (got = read(fd, text + len, FILE_MAX - 1 - len)) > 0)
        len += (size_t)got;
    if (got != 0)
        misbehave_die(current.manner.log, "%s: can't be read, or is too long", path);
    text[len] = '\0';
}

static void keep_counts(const struct misbehave_config *from, struct misbehave_config *to)
{
    for (size_t i = 0; i < to->rule_count; i++) {
        for (size_t j = 0; j < from->rule_count; j++) {
            if (strcmp(to->rules[i].text, from->rules[j].text) == 0)
                to->rules[i].seen = from->rules[j].seen;
        }
    }
}

/* @fd < 0: there is no file. */
static void adopt(int fd, const char *path)
{
    static char text[FILE_MAX];
    char why[2 * MISBEHAVE_LINE];
    text[0] = '\0';
    if (fd >= 0) {
        if (fstat(fd, &file_stat) != 0)
            misbehave_die(current.manner.log, "%s: fstat: %s", path, strerror(errno));
        read_whole(fd, path, text);
    }
    if (!misbehave_control_parse(text, &next, why, sizeof(why)))
        misbehave_die(current.manner.log, "%s: %s", path, why);
    keep_counts(&current, &next);
    current = next;
    if (file_fd >= 0)
        (void)close(file_fd);
    file_fd = fd;
}

/* Copies of the library have control files of their own. */
static void find_file(char ret_path[static PATH_MAX])
{
    const char *named = getenv("MISBEHAVE_CONTROL");
    Dl_info library;
    ret_path[0] = '\0';
    if (named != NULL)
        (void)snprintf(ret_path, PATH_MAX, "%s", named);
    else if (dladdr(&file_fd, &library) != 0)
        (void)snprintf(ret_path, PATH_MAX, "%s.control", library.dli_fname);
}

struct misbehave_config *misbehave_control_now(void)
{
    static bool begun;
    static char path[PATH_MAX]; /* "": there will be no file */
    struct stat st;
    if (!begun)
        find_file(path);
    bool exists = path[0] != '\0' && stat(path, &st) == 0;
    if (begun && exists == (file_fd >= 0) && (!exists || is_same(&st, &file_stat)))
        return &current;
    begun = true;
    adopt(exists ? open(path, O_RDONLY | O_CLOEXEC) : -1, path);
    return &current;
}

const struct misbehave_rule *misbehave_control_find(const char *text)
{
    const struct misbehave_config *config = misbehave_control_now();
    for (size_t i = 0; i < config->rule_count; i++) {
        if (strcmp(config->rules[i].text, text) == 0)
            return &config->rules[i];
    }
    return NULL;
}
