/* SPDX-License-Identifier: Apache-2.0 */
/* One token, connected or not: module, login, sessions and wrap profile come and go together.  Calls
 * enter and leave; a broken connection lets no one in, and is made again when the last has left. */
#ifndef PKCS11_CONNECTION_H
#define PKCS11_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "keystore.h"
#include "pin_check.h"
#include "seam.h"
#include "session.h"
#include "token.h"
#include "wrap.h"

struct pkcs11_connection;

/* What a call works with between enter and leave; borrowed. */
struct pkcs11_link {
    uint64_t epoch; /* handles of another epoch mean nothing */
    struct pkcs11_wrap wrap;
    struct pkcs11_pool *pool;
    const struct pkcs11_token *token;
    int64_t busy_pause_ms;
};

/* Checks and copies @options; connects nothing.  @seam may be NULL. */
KMS_MUST_CHECK enum kms_code pkcs11_connection_open(const struct pkcs11_keystore_options *options,
                                                    const struct pkcs11_seam *seam,
                                                    struct pkcs11_connection **ret_connection,
                                                    struct kms_error *err);
/* Nobody may be inside. */
void pkcs11_connection_close(struct pkcs11_connection *connection);
KMS_DEFINE_CLOSE_PTR(struct pkcs11_connection *, pkcs11_connection_close)

/* Connects unless connected: load, lock, initialize, find the token, log in, known-answer test.
 * Waits until no call is inside.  Attempts are spaced; one that comes too early repeats the last
 * failure.  Not from inside. */
KMS_MUST_CHECK enum kms_code pkcs11_connection_connect(struct pkcs11_connection *connection,
                                                       int64_t deadline_ms, struct kms_error *err);

/* Never blocks.  Without a connection: the failure of the last attempt, as KMS_E_PRECONDITION or
 * KMS_E_UNAVAILABLE.  Every successful enter needs a leave. */
KMS_MUST_CHECK enum kms_code pkcs11_connection_enter(struct pkcs11_connection *connection,
                                                     struct pkcs11_link *ret_link,
                                                     struct kms_error *err);
void pkcs11_connection_leave(struct pkcs11_connection *connection);

/* The module is lost: nobody enters any more until it is connected anew. */
void pkcs11_connection_break(struct pkcs11_connection *connection, const struct kms_error *why);

/* Something failed in a way that may be the token's fault: the next inventory must prove it well. */
void pkcs11_connection_doubt(struct pkcs11_connection *connection);
/* Whether there is such doubt; there is none afterwards. */
bool pkcs11_connection_take_doubt(struct pkcs11_connection *connection);

/* Logs in again if the login was lost; callers that come together share one C_Login.  From inside,
 * holding no session. */
KMS_MUST_CHECK enum kms_code pkcs11_connection_restore_login(struct pkcs11_connection *connection,
                                                             const struct pkcs11_link *link,
                                                             int64_t deadline_ms,
                                                             struct kms_error *err);

/* A count that is odd while a lost login is being restored.  Even and unchanged over a look at the
 * token means: the login wasn't regained during the look. */
uint64_t pkcs11_connection_logins(struct pkcs11_connection *connection);

/* Connects as far as a login, which is @trial's, and disconnects.  For a connection that nobody else
 * uses. */
KMS_MUST_CHECK enum kms_code pkcs11_connection_try_pin(struct pkcs11_connection *connection,
                                                       int64_t deadline_ms,
                                                       struct pkcs11_pin_trial *trial,
                                                       struct kms_error *err);

/* Connects as far as a login, has @look ask what it wants, and disconnects.  The same. */
KMS_MUST_CHECK enum kms_code pkcs11_connection_look(
    struct pkcs11_connection *connection, int64_t deadline_ms,
    enum kms_code (*look)(void *arg, CK_FUNCTION_LIST *fn, const struct pkcs11_token *token,
                          struct pkcs11_session *session, struct kms_error *err),
    void *arg, struct kms_error *err);

void pkcs11_connection_describe(struct pkcs11_connection *connection,
                                struct kms_token_info *ret_info);
void pkcs11_connection_reload(struct pkcs11_connection *connection);

#endif
