/* SPDX-License-Identifier: Apache-2.0 */
#include "keystore.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "call.h"
#include "connection.h"
#include "escrow.h"
#include "kek.h"
#include "manage.h"
#include "rv.h"
#include "seam.h"
#include "signing.h"
#include "transport.h"

enum { TOKEN_INFO_TRIES = 5, UNWRAP_TRIES = 3 };

struct pkcs11_keystore {
    struct kms_keystore base;
    struct pkcs11_connection *connection;
    struct pkcs11_cache cache;
};

static struct pkcs11_keystore *keystore_of(struct kms_keystore *base)
{
    return (struct pkcs11_keystore *)base;
}

enum kms_code pkcs11_keystore_run(struct kms_keystore *base, struct pkcs11_call call,
                                  struct kms_error *err)
{
    /* Recovery reads the error, so there must be one. */
    struct kms_error own;
    call.connection = keystore_of(base)->connection;
    call.cache = &keystore_of(base)->cache;
    enum kms_code rc = pkcs11_call_run(&call, &own);
    if (rc != KMS_OK && err != NULL)
        *err = own;
    return rc;
}

/* --- inventory --- */

struct inventory_args {
    const struct kms_kek_filter *filter;
    bool doubted;                /* believe nothing that is known */
    struct pkcs11_kek_list list; /* result, owned */
    uint64_t epoch;              /* result */
    bool shrunk;                 /* result: so much vanished that the token may be gone */
};

static bool has_fingerprint(const struct kms_kek_info *kek, const struct kms_kek_info *of)
{
    return kek->fingerprinted &&
           memcmp(kek->fingerprint, of->fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

static bool is_disabled(const struct kms_kek_info *kek)
{
    return (kek->known & KMS_KEK_WRAP) != 0 && (kek->attributes & KMS_KEK_WRAP) == 0;
}

/* By another process a key may have been relabelled or disabled: it is there all the same. */
static bool is_still(const struct kms_kek_info *kek, const struct kms_kek_info *before)
{
    struct kms_bytes id = { kek->cka_id, kek->cka_id_len };
    struct kms_bytes id_before = { before->cka_id, before->cka_id_len };
    bool same_label = strcmp(kek->label, before->label) == 0;
    bool same_id = id.len > 0 && kms_bytes_equal(id, id_before);
    return has_fingerprint(kek, before) ? same_label || same_id
                                        : same_label && same_id && is_disabled(kek);
}

static bool lists(const struct pkcs11_kek_list *list, const struct kms_kek_info *before)
{
    for (size_t i = 0; i < list->count; i++) {
        if (is_still(&list->keks[i].info, before))
            return true;
    }
    return false;
}

static bool lacks_one(const struct pkcs11_kek_list *list, const struct pkcs11_kek_list *before)
{
    for (size_t i = 0; i < before->count; i++) {
        if (before->keks[i].info.fingerprinted && !lists(list, &before->keks[i].info))
            return true;
    }
    return false;
}

static bool shows_a_kek(const struct pkcs11_kek_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->keks[i].info.fingerprinted)
            return true;
    }
    return false;
}

/* A login of another process rewrites SoftHSM's token file, and C_GetTokenInfo fails meanwhile: only
 * one that goes on failing says something of the token. */
static bool is_token_away(const struct pkcs11_call *call)
{
    const struct timespec pause = { .tv_nsec = 20L * 1000 * 1000 };
    CK_TOKEN_INFO info;
    for (int tries = 1;; tries++) {
        if (call->link.wrap.fn->C_GetTokenInfo(call->link.token->slot, &info) == CKR_OK)
            return false;
        if (tries == TOKEN_INFO_TRIES)
            return true;
        (void)nanosleep(&pause, NULL);
    }
}

/* SoftHSM goes on without its token directory, and shows no key.  A key that vanished while another
 * is shown was destroyed, if the token is well otherwise. */
static bool has_shrunk(const struct pkcs11_call *call, const struct pkcs11_kek_list *before,
                       const struct pkcs11_kek_list *now)
{
    const struct inventory_args *args = call->args;
    if (!lacks_one(now, before))
        return false;
    return args->doubted || !shows_a_kek(now) || is_token_away(call);
}

/* A key that is missing is looked for twice: some HSMs deny a handle or an attribute now and then. */
static enum kms_code read_believed(struct pkcs11_call *call, const struct pkcs11_place *place,
                                   const struct pkcs11_kek_list *known, struct kms_error *err)
{
    struct inventory_args *args = call->args;
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list last = { 0 };
    enum kms_code rc = pkcs11_cache_copy(call->cache, PKCS11_ANY_EPOCH, args->filter, &last, err);
    if (rc == KMS_OK)
        rc = pkcs11_kek_list_read(place, args->filter, known, &args->list, err);
    if (rc != KMS_OK || (args->list.denied == 0 && !lacks_one(&args->list, &last)))
        return rc;
    pkcs11_kek_list_done(&args->list);
    rc = pkcs11_kek_list_read(place, args->filter, known, &args->list, err);
    bool may_be_ours = args->list.count == 0 || lacks_one(&args->list, &last);
    if (rc != KMS_OK || args->list.denied == 0 || !may_be_ours)
        return rc; /* another application's keys may come and go, or be denied to us */
    pkcs11_kek_list_done(&args->list);
    return pkcs11_fail(err, "C_GetAttributeValue", CKR_OBJECT_HANDLE_INVALID,
                       "reading a key that was just found, twice");
}

static enum kms_code list_keks(struct pkcs11_call *call, const struct pkcs11_place *place,
                               CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct inventory_args *args = call->args;
    /* Without a login private keys are hidden, and the list would look complete. */
    enum kms_code rc = pkcs11_token_check_login(place->wrap->fn, place->session->handle,
                                                call->link.token, err);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list before = { 0 };
    if (rc == KMS_OK)
        rc = pkcs11_cache_copy(call->cache, call->link.epoch, args->filter, &before, err);
    const struct pkcs11_kek_list nothing = { 0 };
    if (rc == KMS_OK)
        rc = read_believed(call, place, args->doubted ? &nothing : &before, err);
    if (rc != KMS_OK)
        return rc;
    args->epoch = call->link.epoch;
    args->shrunk = has_shrunk(call, &before, &args->list);
    return KMS_OK;
}

/* Whatever a listing fails by: if it comes again, C_Finalize may be what it takes. */
static bool is_worth_reconnecting(const struct inventory_args *args, const struct kms_error *err)
{
    enum pkcs11_class class = pkcs11_error_class(err);
    if (!args->doubted && pkcs11_error_may_pass(err)) /* it would be busier by a new login */
        return false;
    if (args->doubted && class != PKCS11_CLASS_NONE && class != PKCS11_CLASS_CREDENTIALS)
        return true;
    return class == PKCS11_CLASS_AMBIGUOUS || class == PKCS11_CLASS_HANDLE ||
           class == PKCS11_CLASS_SESSION || class == PKCS11_CLASS_MODULE;
}

/* *ret_again: the connection was given up, and a new one may list what this one didn't. */
static enum kms_code list_once(struct kms_keystore *base, struct inventory_args *args,
                               int64_t deadline_ms, bool *ret_again, struct kms_error *err)
{
    struct pkcs11_connection *connection = keystore_of(base)->connection;
    *ret_again = false;
    enum kms_code rc = pkcs11_connection_connect(connection, deadline_ms, err);
    if (rc != KMS_OK)
        return rc;
    args->doubted = pkcs11_connection_take_doubt(connection);
    struct pkcs11_call call = {
        .run = list_keks, .args = args, .patient = true, .deadline_ms = deadline_ms
    };
    rc = pkcs11_keystore_run(base, call, err);
    if (rc == KMS_OK && args->shrunk) {
        pkcs11_kek_list_done(&args->list);
        rc = kms_fail(err, KMS_E_UNAVAILABLE,
                      "KEKs vanished from the token: it is being reconnected; do not delete "
                      "objects: they come back with it");
        *ret_again = true;
    }
    *ret_again = *ret_again || (rc != KMS_OK && is_worth_reconnecting(args, err));
    if (*ret_again)
        pkcs11_connection_break(connection, err);
    else if (rc != KMS_OK && (args->doubted || pkcs11_error_class(err) != PKCS11_CLASS_NONE))
        pkcs11_connection_doubt(connection); /* to be dispelled */
    return rc;
}

static enum kms_code hand_over(struct pkcs11_kek_list *list, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    struct kms_kek_info *keks = NULL;
    if (list->count > 0) {
        keks = calloc(list->count, sizeof(*keks));
        if (keks == NULL)
            return kms_fail(err, KMS_E_BUSY, "out of memory for an inventory");
    }
    for (size_t i = 0; i < list->count; i++)
        keks[i] = list->keks[i].info;
    *ret_inventory = (struct kms_inventory){
        .keks = keks,
        .count = list->count,
        .others = list->others,
        .other_count = list->other_count,
    };
    list->others = NULL;
    list->other_count = 0;
    return KMS_OK;
}

static void inventory_args_done(struct inventory_args *args)
{
    pkcs11_kek_list_done(&args->list);
}

static enum kms_code inventory(struct kms_keystore *base, const struct kms_kek_filter *filter,
                               int64_t deadline_ms, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    struct kms_error own;
    KMS_CLEANUP(inventory_args_done)
    struct inventory_args args = { .filter = filter };
    bool again = false;
    enum kms_code rc = list_once(base, &args, deadline_ms, &again, &own);
    if (again)
        rc = list_once(base, &args, deadline_ms, &again, &own);
    if (rc == KMS_OK)
        rc = hand_over(&args.list, ret_inventory, &own);
    if (rc == KMS_OK) {
        rc = pkcs11_cache_replace(&keystore_of(base)->cache, args.epoch, &args.list, &own);
        if (rc != KMS_OK)
            kms_inventory_done(ret_inventory);
    }
    if (rc != KMS_OK && err != NULL)
        *err = own;
    return rc;
}

/* --- operations on one KEK --- */

/* A token that calls its own ciphertext bad says something of itself, and nothing of etcd. */
static enum kms_code try_canary(struct pkcs11_call *call, const struct pkcs11_place *place,
                                CK_OBJECT_HANDLE kek, enum kms_algorithm algorithm,
                                struct kms_error *err)
{
    enum kms_code rc = pkcs11_kek_canary(place, call->ref, kek, algorithm, &call->substituted, err);
    if (rc != KMS_E_CORRUPT)
        return rc;
    unsigned long ckr = err->ckr;
    const char *op = err->op;
    rc = kms_fail(err, KMS_E_PRECONDITION,
                  "%s: %s: canary: the token refuses what it has just wrapped by KEK '%s': see the "
                  "key's attributes and the HSM's own log; do not delete objects",
                  op, pkcs11_rv_name(ckr), call->ref->label);
    err->ckr = ckr;
    err->op = op;
    return rc;
}

static enum kms_code run_canary(struct pkcs11_call *call, const struct pkcs11_place *place,
                                CK_OBJECT_HANDLE kek, struct kms_error *err)
{
    return try_canary(call, place, kek, place->wrap->algorithm, err);
}

static enum kms_code canary(struct kms_keystore *base, const struct kms_kek_ref *kek,
                            int64_t deadline_ms, struct kms_error *err)
{
    struct pkcs11_call call = {
        .ref = kek, .run = run_canary, .patient = true, .deadline_ms = deadline_ms
    };
    return pkcs11_keystore_run(base, call, err);
}

struct wrap_args {
    struct kms_bytes seed;
    struct kms_wrapped *ret_wrapped;
};

/* The fingerprint comes from the same session and handle as the ciphertext. */
static enum kms_code run_wrap(struct pkcs11_call *call, const struct pkcs11_place *place,
                              CK_OBJECT_HANDLE kek, struct kms_error *err)
{
    const struct wrap_args *args = call->args;
    struct pkcs11_use use;
    enum kms_code rc = pkcs11_kek_verify(place, call->ref, kek, &call->substituted, err);
    if (rc == KMS_OK)
        rc = pkcs11_kek_use(place, kek, place->wrap->algorithm, call->ref, &use, err);
    return rc == KMS_OK ? pkcs11_wrap_seed(&use, args->seed, args->ret_wrapped, err) : rc;
}

static enum kms_code wrap(struct kms_keystore *base, const struct kms_kek_ref *kek,
                          struct kms_bytes seed, int64_t deadline_ms,
                          struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    enum kms_code rc = pkcs11_wrap_check_seed(seed, err);
    if (rc != KMS_OK)
        return rc;
    struct wrap_args args = { seed, ret_wrapped };
    struct pkcs11_call call = {
        .ref = kek, .run = run_wrap, .args = &args, .patient = true, .deadline_ms = deadline_ms
    };
    return pkcs11_keystore_run(base, call, err);
}

struct unwrap_args {
    enum kms_algorithm algorithm;
    struct kms_bytes wrapped;
    struct kms_secret *ret_seed;
};

static enum kms_code corrupt(const struct kms_kek_ref *ref, struct kms_error *err)
{
    unsigned long ckr = err->ckr;
    const char *op = err->op;
    enum kms_code rc = kms_fail(err, KMS_E_CORRUPT,
                                "%s: %s: the ciphertext is damaged or was not wrapped by KEK '%s', "
                                "which passes its canary: restore it from a backup of etcd",
                                op, pkcs11_rv_name(ckr), ref->label);
    err->ckr = ckr;
    err->op = op;
    return rc;
}

/* The module had the ciphertext in its hands when it failed. */
static bool is_of_the_ciphertext(const struct kms_error *err)
{
    return err->op != NULL &&
           (strcmp(err->op, "C_UnwrapKey") == 0 || strcmp(err->op, "C_Decrypt") == 0);
}

/* A CK_RV alone doesn't tell a bad ciphertext from a bad token, or from a handle that names another
 * key by now: the canary on the same session and key does.  Nor does a good canary after one
 * failure: a busy HSM says CKR_FUNCTION_FAILED to a good ciphertext, and to the next one nothing.
 * Nobody must be told to restore etcd for that, so such a failure has to come again, and after pauses
 * if the token may be busy.  A seed that is bound to another key_id is as bad as a damaged one. */
static enum kms_code unwrap_and_judge(struct pkcs11_call *call, const struct pkcs11_place *place,
                                      CK_OBJECT_HANDLE kek, struct kms_error *err)
{
    const struct unwrap_args *args = call->args;
    struct pkcs11_use use;
    enum kms_code rc = pkcs11_kek_use(place, kek, args->algorithm, call->ref, &use, err);
    if (rc != KMS_OK)
        return rc;
    for (int tries = 1;; tries++) {
        rc = pkcs11_unwrap_seed(&use, args->wrapped, args->ret_seed, err);
        enum pkcs11_class class = rc == KMS_OK ? PKCS11_CLASS_NONE : pkcs11_error_class(err);
        if ((class != PKCS11_CLASS_AMBIGUOUS && class != PKCS11_CLASS_REQUEST) ||
            !is_of_the_ciphertext(err)) {
            place->session->broken |= tries > 1; /* who knows what an earlier try left behind */
            return rc;
        }
        if (pkcs11_call_may_pause(call, err))
            return rc;
        struct kms_error why;
        rc = try_canary(call, place, kek, args->algorithm, &why);
        if (rc != KMS_OK) {
            place->session->broken |= pkcs11_call_may_have_made_an_object(err);
            *err = why;
            return rc;
        }
        if (tries == UNWRAP_TRIES)
            return corrupt(call->ref, err);
    }
}

/* What recovery mends, or an outage explains, says nothing of an algorithm. */
static bool may_be_of_the_algorithm(const struct pkcs11_call *call, const struct kms_error *err)
{
    if (pkcs11_call_may_pause(call, err))
        return false;
    switch (pkcs11_error_class(err)) {
    case PKCS11_CLASS_NONE:
        return err->code == KMS_E_PRECONDITION || err->code == KMS_E_UNAVAILABLE;
    case PKCS11_CLASS_REQUEST:
    case PKCS11_CLASS_AMBIGUOUS:
    case PKCS11_CLASS_CONFIG:
        return true;
    case PKCS11_CLASS_HANDLE:
        return call->handle_retried;
    case PKCS11_CLASS_SESSION:
        return call->session_retried;
    case PKCS11_CLASS_MODULE:
        return err->ckr >= CKR_VENDOR_DEFINED;
    case PKCS11_CLASS_CAPACITY:
    case PKCS11_CLASS_CREDENTIALS:
        return false;
    }
    return false;
}

/* An annotation names the algorithm, and whoever can write to etcd can write that: what a token can't do
 * must not make it look broken.  It is well if the ring's own algorithm goes round. */
static enum kms_code blame_the_algorithm(struct pkcs11_call *call, const struct pkcs11_place *place,
                                         CK_OBJECT_HANDLE kek, struct kms_error *err)
{
    const struct unwrap_args *args = call->args;
    struct kms_error why = *err;
    place->session->broken |= pkcs11_error_class(&why) == PKCS11_CLASS_SESSION ||
                              pkcs11_call_may_have_made_an_object(&why);
    enum kms_code rc = run_canary(call, place, kek, err);
    if (rc != KMS_OK)
        return rc;
    return kms_fail(err, KMS_E_INVALID,
                    "this token can't unwrap by %s under KEK '%s', which passes its canary by %s: "
                    "nothing wrapped by %s can be read here: %.150s",
                    kms_algorithm_name(args->algorithm), call->ref->label,
                    kms_algorithm_name(place->wrap->algorithm), kms_algorithm_name(args->algorithm),
                    why.msg);
}

static enum kms_code run_unwrap(struct pkcs11_call *call, const struct pkcs11_place *place,
                                CK_OBJECT_HANDLE kek, struct kms_error *err)
{
    const struct unwrap_args *args = call->args;
    enum kms_code rc = unwrap_and_judge(call, place, kek, err);
    if (rc == KMS_OK || rc == KMS_E_CORRUPT || args->algorithm == place->wrap->algorithm ||
        !may_be_of_the_algorithm(call, err))
        return rc;
    return blame_the_algorithm(call, place, kek, err);
}

static enum kms_code unwrap(struct kms_keystore *base, const struct kms_kek_ref *kek,
                            enum kms_algorithm algorithm, struct kms_bytes wrapped,
                            int64_t deadline_ms, struct kms_secret *ret_seed, struct kms_error *err)
{
    enum kms_code rc = pkcs11_wrap_check_wrapped(algorithm, wrapped, err);
    if (rc != KMS_OK)
        return rc;
    struct unwrap_args args = { algorithm, wrapped, ret_seed };
    struct pkcs11_call call = {
        .ref = kek, .run = run_unwrap, .args = &args, .patient = true, .deadline_ms = deadline_ms
    };
    return pkcs11_keystore_run(base, call, err);
}

/* --- the rest --- */

static size_t describe(struct kms_keystore *base, struct kms_token_info *ret_infos)
{
    pkcs11_connection_describe(keystore_of(base)->connection, ret_infos);
    return 1;
}

static void reload(struct kms_keystore *base)
{
    pkcs11_connection_reload(keystore_of(base)->connection);
}

static void close_keystore(struct kms_keystore *base)
{
    struct pkcs11_keystore *keystore = keystore_of(base);
    pkcs11_connection_close(keystore->connection);
    pkcs11_kek_list_done(&keystore->cache.list);
    (void)pthread_mutex_destroy(&keystore->cache.mutex);
    free(keystore);
}

static const struct kms_manage_ops manage_ops = {
    .generate = pkcs11_manage_generate,
    .destroy = pkcs11_manage_destroy,
    .copy = pkcs11_manage_copy,
    .relabel = pkcs11_manage_relabel,
    .set_usage = pkcs11_manage_set_usage,
    .inspect = pkcs11_manage_inspect,
    .transport_key = pkcs11_transport_key,
    .import = pkcs11_transport_import,
    .generate_for_escrow = pkcs11_escrow_generate,
    .export_to = pkcs11_escrow_export,
    .seal = pkcs11_escrow_seal,
    .audit_key = pkcs11_audit_key,
};

static const struct kms_keystore_ops ops = {
    .inventory = inventory,
    .canary = canary,
    .wrap = wrap,
    .unwrap = unwrap,
    .sign = pkcs11_sign,
    .describe = describe,
    .reload = reload,
    .close = close_keystore,
    .manage = &manage_ops,
};

enum kms_code pkcs11_keystore_open_at(const struct pkcs11_keystore_options *options,
                                      const struct pkcs11_seam *seam,
                                      struct kms_keystore **ret_keystore, struct kms_error *err)
{
    struct pkcs11_keystore *keystore = calloc(1, sizeof(*keystore));
    if (keystore == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a keystore");
    enum kms_code rc = pkcs11_connection_open(options, seam, &keystore->connection, err);
    if (rc != KMS_OK) {
        free(keystore);
        return rc;
    }
    keystore->base.ops = &ops;
    (void)pthread_mutex_init(&keystore->cache.mutex, NULL);
    *ret_keystore = &keystore->base;
    return KMS_OK;
}

enum kms_code pkcs11_keystore_open(const struct pkcs11_keystore_options *options,
                                   struct kms_keystore **ret_keystore, struct kms_error *err)
{
    return pkcs11_keystore_open_at(options, NULL, ret_keystore, err);
}
