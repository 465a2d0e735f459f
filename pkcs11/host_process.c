/* SPDX-License-Identifier: Apache-2.0 */
#include "host_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kms/clock.h"

enum { APPENDED = 2, NUMBER_TEXT = 32 };

/* --- what the child gets --- */

static void free_list(char ***list)
{
    free((void *)*list);
}

/* exec's arrays have no const; nothing writes to them. */
static char *no_const(const char *text)
{
    union {
        const char *in;
        char *out;
    } same = { .in = text };
    return same.out;
}

static size_t length(const char *const *list)
{
    size_t count = 0;
    while (list[count] != NULL)
        count++;
    return count;
}

/* NULL without memory.  Borrows the texts. */
static char **make_argv(const struct kms_host_command *command, char *lanes, char *parent)
{
    size_t count = length(command->argv);
    char **argv = calloc(count + APPENDED + 1, sizeof(char *));
    for (size_t i = 0; i < count && argv != NULL; i++)
        argv[i] = no_const(command->argv[i]);
    if (argv != NULL) {
        argv[count] = lanes;
        argv[count + 1] = parent;
    }
    return argv;
}

static bool is_passed_on(const struct kms_host_command *command, const char *variable)
{
    for (const char *const *name = command->environment; *name != NULL; name++) {
        size_t len = strlen(*name);
        bool all = (*name)[len - 1] == '*';
        if (strncmp(variable, *name, all ? len - 1 : len) == 0 && (all || variable[len] == '='))
            return true;
    }
    return false;
}

static char **make_environment(const struct kms_host_command *command)
{
    size_t count = 0, passed = 0;
    while (environ[count] != NULL)
        count++;
    char **list = calloc(count + 1, sizeof(char *));
    for (size_t i = 0; i < count && list != NULL; i++) {
        if (is_passed_on(command, environ[i]))
            list[passed++] = environ[i];
    }
    return list;
}

/* --- lanes --- */

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
    }
}

/* The child's ends lie above all the places that they are moved to. */
static enum kms_code make_lane(size_t lane_count, int *ret_ours, int *ret_theirs,
                               struct kms_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return kms_fail_errno(err, KMS_E_UNAVAILABLE, "socketpair", errno,
                              "no lane to a token host");
    *ret_ours = pair[0];
    *ret_theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, KMS_HOST_FIRST_FD + (int)lane_count);
    int errnum = errno;
    (void)close(pair[1]);
    if (*ret_theirs >= 0)
        return KMS_OK;
    return kms_fail_errno(err, KMS_E_UNAVAILABLE, "fcntl", errnum, "no lane to a token host");
}

static enum kms_code make_lanes(size_t lane_count, int *ret_ours, int *ret_theirs,
                                struct kms_error *err)
{
    for (size_t i = 0; i < lane_count; i++)
        ret_ours[i] = ret_theirs[i] = -1;
    for (size_t i = 0; i < lane_count; i++) {
        enum kms_code rc = make_lane(lane_count, &ret_ours[i], &ret_theirs[i], err);
        if (rc != KMS_OK) {
            close_all(ret_ours, lane_count);
            close_all(ret_theirs, lane_count);
            return rc;
        }
    }
    return KMS_OK;
}

/* --- started --- */

static int plan_files(posix_spawn_file_actions_t *actions, const int *theirs, size_t lane_count)
{
    int errnum = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    for (size_t i = 0; i < lane_count && errnum == 0; i++)
        errnum = posix_spawn_file_actions_adddup2(actions, theirs[i], KMS_HOST_FIRST_FD + (int)i);
    if (errnum == 0)
        errnum = posix_spawn_file_actions_addclosefrom_np(actions,
                                                          KMS_HOST_FIRST_FD + (int)lane_count);
    return errnum;
}

/* A supervisor may signal a whole group: the child ends when its parent does, not before. */
static int plan_signals(posix_spawnattr_t *attributes)
{
    sigset_t blocked, all;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    (void)sigaddset(&blocked, SIGINT);
    (void)sigaddset(&blocked, SIGHUP);
    (void)sigfillset(&all);
    int errnum = posix_spawnattr_setflags(attributes,
                                          POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (errnum == 0)
        errnum = posix_spawnattr_setsigmask(attributes, &blocked);
    return errnum == 0 ? posix_spawnattr_setsigdefault(attributes, &all) : errnum;
}

static int spawn(const struct kms_host_command *command, const int *theirs, size_t lane_count,
                 pid_t *ret_pid)
{
    char lanes[NUMBER_TEXT], parent[NUMBER_TEXT];
    (void)snprintf(lanes, sizeof(lanes), "--lanes=%zu", lane_count);
    (void)snprintf(parent, sizeof(parent), "--parent=%ld", (long)getpid());
    KMS_CLEANUP(free_list) char **argv = make_argv(command, lanes, parent);
    KMS_CLEANUP(free_list) char **environment = make_environment(command);
    if (argv == NULL || environment == NULL)
        return ENOMEM;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int errnum = posix_spawn_file_actions_init(&actions);
    if (errnum != 0)
        return errnum;
    errnum = posix_spawnattr_init(&attributes);
    if (errnum == 0) {
        errnum = plan_files(&actions, theirs, lane_count);
        if (errnum == 0)
            errnum = plan_signals(&attributes);
        if (errnum == 0)
            errnum = posix_spawn(ret_pid, command->path, &actions, &attributes, argv, environment);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return errnum;
}

enum kms_code kms_host_spawn(const struct kms_host_command *command, size_t lane_count,
                             int *ret_lanes, struct kms_host_process *ret_process,
                             struct kms_error *err)
{
    int theirs[KMS_HOST_LANES_MAX];
    enum kms_code rc = make_lanes(lane_count, ret_lanes, theirs, err);
    if (rc != KMS_OK)
        return rc;
    pid_t pid = -1;
    int errnum = spawn(command, theirs, lane_count, &pid);
    close_all(theirs, lane_count);
    int pidfd = errnum == 0 ? pidfd_open(pid, 0) : -1;
    if (pidfd >= 0) {
        *ret_process = (struct kms_host_process){ pid, pidfd };
        return KMS_OK;
    }
    if (errnum == 0) {
        errnum = errno;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    close_all(ret_lanes, lane_count);
    return kms_fail_errno(err, KMS_E_UNAVAILABLE, "posix_spawn", errnum,
                          "the token host can't be started");
}

size_t kms_host_memory_of(const struct kms_host_process *process)
{
    char path[64];
    size_t all = 0, resident = 0;
    (void)snprintf(path, sizeof(path), "/proc/%ld/statm", (long)process->pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    int read = fscanf(file, "%zu %zu", &all, &resident); /* NOLINT(cert-err34-c): the kernel's */
    (void)fclose(file);
    return read == 2 ? resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

/* --- ended --- */

void kms_host_kill(const struct kms_host_process *process)
{
    if (process->pidfd >= 0) /* not by number: that is another's where SIGCHLD is ignored */
        (void)pidfd_send_signal(process->pidfd, SIGKILL, NULL, 0);
}

static void describe_end(const siginfo_t *end, char ret_how[static KMS_HOST_HOW_MAX])
{
    if (end->si_pid == 0) { /* SIGCHLD is ignored: the kernel has reaped it */
        (void)snprintf(ret_how, KMS_HOST_HOW_MAX, "an unknown cause");
    } else if (end->si_code == CLD_EXITED) {
        (void)snprintf(ret_how, KMS_HOST_HOW_MAX, "exit status %d", end->si_status);
    } else {
        const char *name = sigabbrev_np(end->si_status);
        (void)snprintf(ret_how, KMS_HOST_HOW_MAX, "signal %d (%s)", end->si_status,
                       name != NULL ? name : "unknown");
    }
}

enum kms_code kms_host_reap(struct kms_host_process *process, int64_t deadline_ms,
                            char ret_how[static KMS_HOST_HOW_MAX], struct kms_error *err)
{
    struct pollfd item = { .fd = process->pidfd, .events = POLLIN };
    for (;;) {
        int64_t left_ms = deadline_ms - kms_monotonic_ms();
        int ready = poll(&item, 1, left_ms > 0 ? (int)(left_ms < INT_MAX ? left_ms : INT_MAX) : 0);
        if (ready > 0)
            break;
        if (ready == 0 && kms_monotonic_ms() >= deadline_ms)
            return kms_fail(err, KMS_E_DEADLINE, "the token host has not ended yet");
        if (ready < 0 && errno != EINTR)
            return kms_fail_errno(err, KMS_E_INTERNAL, "poll", errno, "waiting for a token host");
    }
    siginfo_t how = { .si_pid = 0 };
    while (waitid(P_PIDFD, (id_t)process->pidfd, &how, WEXITED) < 0 && errno == EINTR)
        continue;
    describe_end(&how, ret_how);
    (void)close(process->pidfd);
    *process = (struct kms_host_process){ -1, -1 };
    return KMS_OK;
}
