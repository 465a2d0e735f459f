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

/* Lets @child go on to its next stop; false: it has ended well. */
static bool go_on(pid_t child)
{
    int status;
    assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSTOPPED(status))
        return true;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return false;
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
    for (unsigned i = 0; i <= point; i++) {
        if (!go_on(child))
            return false;
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return true;
}
