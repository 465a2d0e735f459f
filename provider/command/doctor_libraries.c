/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_libraries.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PRINTED_MAX = 64 * 1024 };

void kms_missing_in(const char *printed, char *ret_names, size_t size)
{
    static const char mark[] = " => not found";
    size_t used = 0;
    ret_names[0] = '\0';
    for (const char *line = printed; *line != '\0'; line += strspn(line, "\n")) {
        size_t len = strcspn(line, "\n"), blank = strspn(line, "\t ");
        const char *end = memmem(line, len, mark, sizeof(mark) - 1);
        int name = end != NULL && end > line + blank ? (int)(end - line - (ptrdiff_t)blank) : 0;
        line += len;
        if (name == 0 || used + (size_t)name + 3 > size)
            continue;
        used += (size_t)snprintf(ret_names + used, size - used, "%s%.*s", used > 0 ? ", " : "",
                                 name, line - len + blank);
    }
}

/* NULL in a program without one. */
static const char *loader(void)
{
    Dl_info info;
    void *base = (void *)getauxval(AT_BASE); /* NOLINT: the kernel gives addresses as numbers */
    return base != NULL && dladdr(base, &info) != 0 ? info.dli_fname : NULL;
}

/* Our environment and the variable that makes the loader tell; the caller frees the array. */
static char **tracing_environment(void)
{
    static char trace[] = "LD_TRACE_LOADED_OBJECTS=1";
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **list = calloc(count + 2, sizeof(*list));
    if (list == NULL)
        return NULL;
    memcpy((void *)list, (void *)environ, count * sizeof(*list));
    list[count] = trace;
    return list;
}

static pid_t start(const char *program, const char *path, int out)
{
    pid_t pid = -1;
    char *argv[] = { (char *)(uintptr_t)program, (char *)(uintptr_t)path, NULL };
    char **environment = tracing_environment();
    posix_spawn_file_actions_t actions;
    if (environment == NULL || posix_spawn_file_actions_init(&actions) != 0) {
        free((void *)environment);
        return -1;
    }
    if (posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO) != 0 ||
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) != 0 ||
        posix_spawn(&pid, program, &actions, NULL, argv, environment) != 0)
        pid = -1;
    (void)posix_spawn_file_actions_destroy(&actions);
    free((void *)environment);
    return pid;
}

/* To the end; what doesn't fit is thrown away, so that the child never waits for us. */
static void read_all(int fd, char *text)
{
    size_t len = 0;
    char rest[4096];
    for (;;) {
        bool full = len == PRINTED_MAX;
        ssize_t got = read(fd, full ? rest : text + len, full ? sizeof(rest) : PRINTED_MAX - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += full ? 0 : (size_t)got;
    }
    text[len] = '\0';
}

void kms_missing_libraries(const char *path, char *ret_names, size_t size)
{
    const char *program = loader();
    char *text = calloc(1, PRINTED_MAX + 1);
    int ends[2];
    ret_names[0] = '\0';
    if (program == NULL || text == NULL || pipe2(ends, O_CLOEXEC) != 0) {
        free(text);
        return;
    }
    pid_t pid = start(program, path, ends[1]);
    (void)close(ends[1]);
    read_all(ends[0], text);
    (void)close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    kms_missing_in(text, ret_names, size);
    free(text);
}
