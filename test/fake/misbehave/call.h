/* SPDX-License-Identifier: Apache-2.0 */
/* One call of the application: what all functions have in common. */
#ifndef MISBEHAVE_CALL_H
#define MISBEHAVE_CALL_H

#include <pthread.h>
#include <stdbool.h>

#include "control.h"
#include "table.h"

enum misbehave_subject { MISBEHAVE_OF_NOTHING, MISBEHAVE_OF_SLOT, MISBEHAVE_OF_SESSION };

/* On the stack of the call's wrapper. */
struct misbehave_call {
    enum misbehave_function function;
    enum misbehave_subject subject;
    CK_ULONG handle; /* the slot or the session */
    pthread_t thread;
    struct misbehave_manner manner; /* as the control file was when the call began */
    CK_RV late_rv;                  /* for a call that the module behind did well; CKR_OK: none */
    bool injected;
    bool inside; /* the module behind: holds the gate, shared */
    struct misbehave_call *next;
};

/* Counts the call, aborts if its session is in use by another thread, and lets it suffer what the
 * control file says.  CKR_OK: go on; anything else is the answer.  misbehave_leave() in any case.
 * Blocks by latency, delay or hang. */
CK_RV misbehave_enter(struct misbehave_call *call, enum misbehave_function function,
                      enum misbehave_subject subject, CK_ULONG handle);

/* Returns what the application gets for @rv. */
CK_RV misbehave_leave(struct misbehave_call *call, CK_RV rv);

/* Waits until no other call is inside the module behind, and keeps others out. */
void misbehave_alone_begin(struct misbehave_call *call);
void misbehave_alone_end(struct misbehave_call *call);

#endif
