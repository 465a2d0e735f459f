/* SPDX-License-Identifier: Apache-2.0 */
/* One operation on the token, with what can be mended on the way: a handle found again, a session
 * opened again, a login made again, each once; and a busy token asked again after pauses. */
#ifndef PKCS11_CALL_H
#define PKCS11_CALL_H

#include "cache.h"
#include "connection.h"
#include "kek.h"

struct pkcs11_call {
    struct pkcs11_connection *connection;
    struct pkcs11_cache *cache;
    const struct kms_kek_ref *ref; /* NULL: the operation needs no KEK */
    int64_t deadline_ms;
    /* The operation; @kek is what @ref names.  It may set call->substituted. */
    enum kms_code (*run)(struct pkcs11_call *call, const struct pkcs11_place *place,
                         CK_OBJECT_HANDLE kek, struct kms_error *err);
    void *args;   /* of the operation */
    bool patient; /* a busy token is asked again: the operation changes nothing on it */

    /* The rest is the machinery's. */
    struct pkcs11_link link;
    bool substituted; /* the handle names another key now */
    bool handle_retried;
    bool session_retried;
    unsigned pauses;
};

/* Runs @call->run in a session, inside the connection.  Marks the connection broken or doubtful where
 * the failure says so. */
KMS_MUST_CHECK enum kms_code pkcs11_call_run(struct pkcs11_call *call, struct kms_error *err);

/* Whether the machinery would ask again after a pause if @call->run returned @err. */
bool pkcs11_call_may_pause(const struct pkcs11_call *call, const struct kms_error *err);

/* After such a failure an object may be in the session, whose handle nobody was told. */
bool pkcs11_call_may_have_made_an_object(const struct kms_error *err);

#endif
