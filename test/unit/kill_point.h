/* SPDX-License-Identifier: Apache-2.0 */
/* A function in a child process that is killed at a chosen system call. */
#ifndef TEST_KILL_POINT_H
#define TEST_KILL_POINT_H

#include <stdbool.h>

/* Runs @step(@arg) in a child, which SIGKILL ends at its @point'th stop from 0: each system call of
 * @step and of its threads has two, before and after.  False: it ran through first.  Fails the test if it can't trace. */
bool kill_at(unsigned point, void (*step)(void *arg), void *arg);

#endif
