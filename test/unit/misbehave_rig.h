/* SPDX-License-Identifier: Apache-2.0 */
/* libkms_misbehave.so in front of a SoftHSM token, and what its tests share. */
#ifndef MISBEHAVE_RIG_H
#define MISBEHAVE_RIG_H

#include <pthread.h>

#include "fake/misbehave/stats.h"
#include "softhsm_rig.h"

/* The module under test, loaded by the group's setup. */
extern CK_FUNCTION_LIST *misbehave;

/* Of the group. */
int misbehave_setup(void **state);
int misbehave_teardown(void **state);

/* Of a test: C_Initialize and no fault before, C_Finalize after it. */
int misbehave_begin(void **state);
int misbehave_end(void **state);

/* The whole control file, but `log` and `stats`, which always stand.  Renamed into place. */
void misbehave_tell(const char *text);
void misbehave_read_log(char *ret, size_t size);
uint64_t misbehave_calls(const char *function);
uint64_t misbehave_failed(const char *function);
uint64_t misbehave_injected(const char *function);
/* A process that was killed leaves its hanging calls counted: waits until there are more than
 * @before. */
uint64_t misbehave_hanging(const char *function);
void misbehave_wait_hanging(const char *function, uint64_t before);

CK_SLOT_ID misbehave_slot(void);
CK_SESSION_HANDLE misbehave_session(void); /* open */
CK_SESSION_HANDLE misbehave_user(void);    /* open, and logged in */
CK_RV misbehave_log_in(CK_SESSION_HANDLE session, const char *pin);

/* C_GenerateRandom of one byte: the call that tests let suffer. */
CK_RV misbehave_random(CK_SESSION_HANDLE session);
/* The same in a thread; returns once it hangs, as the control file has to say.  *session must stay;
 * the thread ends with its CK_RV. */
bool misbehave_start_hanging(CK_SESSION_HANDLE *session, pthread_t *ret_thread);

/* AES-256 from @key, or generated if that is NULL; may wrap and unwrap, and encrypt and decrypt if
 * @ciphers. */
CK_OBJECT_HANDLE misbehave_make_kek(CK_SESSION_HANDLE session, const char *label,
                                    const uint8_t *key, bool ciphers);
CK_OBJECT_HANDLE misbehave_find(CK_SESSION_HANDLE session, const char *label);
CK_ULONG misbehave_count(CK_SESSION_HANDLE session, const char *label);
void misbehave_label_of(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, char ret[static 64]);

/* A readable, extractable session object of softhsm_seed. */
CK_RV misbehave_make_seed(CK_SESSION_HANDLE session, bool sensitive, CK_OBJECT_HANDLE *ret);
CK_RV misbehave_wrap(CK_SESSION_HANDLE session, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE kek,
                     CK_OBJECT_HANDLE seed, uint8_t ret[static 64], CK_ULONG *ret_len);

/* What is asked of C_UnwrapKey, but for class, type, EXTRACTABLE=T and TOKEN=F. */
struct misbehave_wish {
    int sensitive;      /* -1: not said */
    int private;        /* -1: not said */
    CK_ULONG value_len; /* 0: not said */
};
CK_RV misbehave_unwrap(CK_SESSION_HANDLE session, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE kek,
                       const uint8_t *wrapped, CK_ULONG len, struct misbehave_wish wish,
                       CK_OBJECT_HANDLE *ret);
CK_RV misbehave_read(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, uint8_t ret[static 64],
                     CK_ULONG *ret_len);

/* Runs @step in a child; returns the signal that it died of, 0 if it ended with step's 0. */
int misbehave_in_child(int (*step)(void *arg), void *arg);

#endif
