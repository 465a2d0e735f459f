/* SPDX-License-Identifier: Apache-2.0 */
#include "kill_point.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static void run_traced(void (*step)(void *arg), void *arg)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(1);
    raise(SIGSTOP); /* the parent counts from here */
    step(arg);
    _exit(0);
}

/* Lets the thread @stopped of @child go on, and waits for the next stop of any: its number, or 0: the
 * child has ended well. */
static pid_t go_on(pid_t child, pid_t stopped)
{
    assert_int_equal(ptrace(PTRACE_SYSCALL, stopped, NULL, NULL), 0);
    for (;;) {
        int status;
        pid_t thread = waitpid(-1, &status, __WALL);
        assert_true(thread > 0);
        if (WIFSTOPPED(status))
            return thread;
        if (thread != child)
            continue; /* a thread's end */
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        return 0;
    }
}

/* The process ends once its threads were waited for. */
static void end(pid_t child)
{
    int status = 0;
    assert_int_equal(kill(child, SIGKILL), 0);
    while (waitpid(-1, &status, __WALL) != child)
        continue;
    assert_true(WIFSIGNALED(status));
}

bool kill_at(unsigned point, void (*step)(void *arg), void *arg)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        run_traced(step, arg);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSTOPPED(status))
        fail_msg("the child can't be traced: is ptrace forbidden here?");
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACECLONE), 0);
    pid_t stopped = child;
    for (unsigned i = 0; i <= point; i++) {
        stopped = go_on(child, stopped);
        if (stopped == 0)
            return false;
    }
    end(child);
    return true;
}
