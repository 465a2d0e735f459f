/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kms/clock.h"

#define SELF "/proc/self/exe"

enum { NOT_STARTED = 127, DYING_MS = 5000, DYING_AGAIN_MS = 10 };

static bool is_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* What is ignored (by nohup) stays so; but a child whose end is ignored could not be waited for. */
enum kms_code kms_signals_init(struct kms_signals *signals, struct kms_error *err)
{
    static const int stops[] = { SIGINT, SIGTERM, SIGHUP };
    sigset_t ours;
    (void)sigemptyset(&ours);
    (void)sigaddset(&ours, SIGCHLD);
    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++)
        if (!is_ignored(stops[i]))
            (void)sigaddset(&ours, stops[i]);
    (void)signal(SIGCHLD, SIG_DFL);
    struct kms_signals made = { .fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK) };
    if (made.fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "signalfd", errno, "signals");
    (void)sigprocmask(SIG_BLOCK, &ours, &made.kept);
    *signals = made;
    return KMS_OK;
}

void kms_signals_done(struct kms_signals *signals)
{
    if (signals->fd >= 0) {
        (void)close(signals->fd);
        (void)sigprocmask(SIG_SETMASK, &signals->kept, NULL);
    }
    signals->fd = -1;
}

bool kms_signals_stopped(struct kms_signals *signals)
{
    struct signalfd_siginfo info;
    while (read(signals->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo != (uint32_t)SIGCHLD)
            signals->stop = (int)info.ssi_signo;
    return signals->stop != 0;
}

/* --- the child's side --- */

static bool set_stdio(const struct kms_child *child)
{
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return null_fd >= 0 && dup2(null_fd, STDIN_FILENO) >= 0 &&
           dup2(child->out_fd, STDOUT_FILENO) >= 0 && dup2(child->err_fd, STDERR_FILENO) >= 0;
}

KMS_NORETURN static void become(const struct kms_child *child, const struct kms_signals *signals,
                                pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent && set_stdio(child) &&
        (child->dir_fd < 0 || fchdir(child->dir_fd) == 0) &&
        sigprocmask(SIG_SETMASK, &signals->kept, NULL) == 0)
        (void)execv(SELF, child->argv);
    (void)dprintf(STDERR_FILENO, "hsm-kms: " SELF ": %s\n", strerror(errno));
    _exit(NOT_STARTED);
}

/* --- ours --- */

/* False: its time was over first, or we are to stop.  What is pending is taken before it is asked how the
 * child is: it can't end unnoticed in between. */
static bool wait_for(pid_t pid, int64_t deadline_ms, struct kms_signals *signals, int *ret_status)
{
    for (;;) {
        bool stopped = kms_signals_stopped(signals);
        if (waitpid(pid, ret_status, WNOHANG) != 0)
            return true;
        int64_t left_ms = deadline_ms - kms_monotonic_ms();
        if (left_ms <= 0 || stopped)
            return false;
        struct pollfd asked = { .fd = signals->fd, .events = POLLIN };
        (void)poll(&asked, 1, left_ms < INT32_MAX ? (int)left_ms : INT32_MAX);
    }
}

/* What hangs in the kernel can't be killed, and is left behind. */
static void end(pid_t pid)
{
    int64_t deadline_ms = kms_monotonic_ms() + DYING_MS;
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, WNOHANG) == 0 && kms_monotonic_ms() < deadline_ms)
        (void)poll(NULL, 0, DYING_AGAIN_MS);
}

enum kms_code kms_child_run(const struct kms_child *child, struct kms_signals *signals,
                            struct kms_evidence_ending *ret_ending, struct kms_error *err)
{
    struct kms_evidence_ending ending = { .how = KMS_CHILD_UNRUN, .started_utc_s = kms_utc_s() };
    int64_t started_ms = kms_monotonic_ms();
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return kms_fail_errno(err, KMS_E_BUSY, "fork", errno, "%s can't be started",
                              child->argv[0]);
    if (pid == 0)
        become(child, signals, parent);
    int status = W_EXITCODE(NOT_STARTED, 0);
    if (wait_for(pid, started_ms + child->timeout_ms, signals, &status)) {
        ending.how = WIFEXITED(status) ? KMS_CHILD_EXITED : KMS_CHILD_KILLED;
        ending.code = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
    } else {
        ending.how = signals->stop != 0 ? KMS_CHILD_STOPPED : KMS_CHILD_LATE;
        ending.code = SIGKILL;
        end(pid);
    }
    ending.duration_ms = kms_monotonic_ms() - started_ms;
    *ret_ending = ending;
    return KMS_OK;
}
