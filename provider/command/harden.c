/* SPDX-License-Identifier: Apache-2.0 */
#include "harden.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "text.h"

#define TUNABLES "GLIBC_TUNABLES"
#define PERTURB "glibc.malloc.perturb"     /* fills what is freed, and its complement what is new */
#define TCACHE "glibc.malloc.tcache_count" /* chunks in that cache escape the filling */
#define MARK "HSM_KMS_RESTARTED"           /* in the environment of the new image, until it looks */

/* What @tunables assign to @name, up to a colon or the end; NULL if nothing. */
static const char *value_of(const char *tunables, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = tunables; at != NULL; at = strchr(at, ':')) {
        at += *at == ':' ? 1 : 0;
        if (strncmp(at, name, len) == 0 && at[len] == '=')
            return at + len + 1;
    }
    return NULL;
}

/* The entry for the new environment.  What the operator chose stays, and comes first. */
static char *tunables_with_ours(const char *theirs)
{
    const char *perturb = value_of(theirs, PERTURB) == NULL ? ":" PERTURB "=165" : "";
    const char *tcache = value_of(theirs, TCACHE) == NULL ? ":" TCACHE "=0" : "";
    char *ours = NULL;
    if (asprintf(&ours, "%s%s", perturb, tcache) < 0)
        return NULL;
    char *entry = NULL;
    int len = asprintf(&entry, TUNABLES "=%s%s", theirs, ours + (*theirs == '\0' ? 1 : 0));
    free(ours);
    return len < 0 ? NULL : entry;
}

/* environ with @tunables in the place of its own, and the mark.  The strings are borrowed. */
static char **environment_with(char *tunables)
{
    static char mark[] = MARK "=1";
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **copy = kms_must_alloc(calloc(count + 3, sizeof *copy));
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], TUNABLES "=", sizeof TUNABLES) != 0)
            copy[kept++] = environ[i];
    copy[kept++] = tunables;
    copy[kept] = mark;
    return copy;
}

/* What main() was given: the dispatcher took the command's name and put its own into argv[0]. */
static char **arguments_with_command(char **argv)
{
    static char command[] = "serve";
    size_t count = 1;
    while (argv[count] != NULL)
        count++;
    char **copy = kms_must_alloc(calloc(count + 2, sizeof *copy));
    copy[0] = program_invocation_name;
    copy[1] = command;
    memcpy(copy + 2, argv + 1, (count - 1) * sizeof *copy);
    return copy;
}

/* Returns only if that failed: the errno. */
static int execute_anew(char **argv, const char *tunables)
{
    char *entry = kms_must_alloc(tunables_with_ours(tunables));
    char **environment = environment_with(entry);
    char **arguments = arguments_with_command(argv);
    (void)execve("/proc/self/exe", arguments, environment);
    int saved = errno;
    free(arguments);
    free(environment);
    free(entry);
    return saved;
}

/* What malloc gives out is filled exactly when what is freed is: with one byte, and not with 0. */
static bool malloc_fills(void)
{
    enum { PROBE_BYTES = 256 };
    /* volatile: no compiler may reason about what hasn't been written */
    unsigned char *volatile fresh = malloc(PROBE_BYTES);
    const unsigned char *bytes = fresh;
    if (bytes == NULL)
        return false;
    bool filled = bytes[0] != 0 && memcmp(bytes, bytes + 1, PROBE_BYTES - 1) == 0; /* NOLINT */
    free(fresh);
    return filled;
}

static enum kms_code check_freed_memory(const char *tunables, struct kms_error *err)
{
    const char *tcache = value_of(tunables, TCACHE);
    if (tcache != NULL && strcspn(tcache, ":") == 1 && *tcache == '0' && malloc_fills())
        return KMS_OK;
    return kms_fail(err, KMS_E_PRECONDITION,
                    "malloc doesn't take " PERTURB " and " TCACHE "=0 from " TUNABLES
                    ": another allocator, file capabilities on the program, or other values there");
}

/* Valgrind has an allocator of its own, and an exec would leave it. */
static bool is_under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

/* The kernel named us after "/proc/self/exe"; ps and pgrep should go on finding us. */
static void begin_anew(void)
{
    (void)unsetenv(MARK);
    (void)prctl(PR_SET_NAME, program_invocation_short_name, 0, 0, 0);
}

enum kms_code kms_harden_freed_memory(char **argv, struct kms_error *err)
{
    const char *given = getenv(TUNABLES);
    const char *tunables = given != NULL ? given : "";
    if (getenv(MARK) != NULL) {
        begin_anew();
    } else if (!is_under_valgrind() &&
               (value_of(tunables, PERTURB) == NULL || value_of(tunables, TCACHE) == NULL)) {
        int failure = execute_anew(argv, tunables);
        return kms_fail_errno(err, KMS_E_PRECONDITION, "execve", failure,
                              "can't start anew with " TUNABLES ": set " PERTURB "=165:" TCACHE
                              "=0 there");
    }
    return check_freed_memory(tunables, err);
}

/* Asks the kernel: CAP_IPC_LOCK counts in the first user namespace only, which no mask shows. */
static bool may_lock_beyond(rlim_t limit)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t len = 0;
    if (__builtin_add_overflow(limit, page, &len))
        return false;
    void *probe = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (probe == MAP_FAILED)
        return false;
    bool locked = mlock2(probe, len, MLOCK_ONFAULT) == 0;
    (void)munmap(probe, len);
    return locked;
}

enum kms_code kms_harden_swap(struct kms_error *err)
{
    struct rlimit limit = { 0 };
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "getrlimit", errno, "RLIMIT_MEMLOCK");
    struct rlimit raised = { .rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max };
    if (limit.rlim_cur != limit.rlim_max && setrlimit(RLIMIT_MEMLOCK, &raised) == 0)
        limit = raised;
    if (limit.rlim_cur != RLIM_INFINITY && !may_lock_beyond(limit.rlim_cur))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "RLIMIT_MEMLOCK is %llu bytes: set LimitMEMLOCK=infinity in the unit (or "
                        "grant CAP_IPC_LOCK), or do without swap",
                        (unsigned long long)limit.rlim_cur);
    /* On fault: or the stacks of all threads would be resident at once. */
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "mlockall", errno,
                              "the kernel refuses to lock the process's memory");
    return KMS_OK;
}
