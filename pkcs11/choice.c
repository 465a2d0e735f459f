/* SPDX-License-Identifier: Apache-2.0 */
#include "choice.h"

#define ASKED_AGAIN                                                                                \
    "it is asked again (with isolation: none restart the plugin); do not delete objects"

static bool is_same_way(const struct pkcs11_way *a, const struct pkcs11_way *b)
{
    return a->profile == b->profile && a->mechanism == b->mechanism;
}

static enum kms_code check_chosen(const struct pkcs11_wrap *before, const struct pkcs11_wrap *now,
                                  struct kms_error *err)
{
    if (is_same_way(pkcs11_wrap_chosen(before), pkcs11_wrap_chosen(now)))
        return KMS_OK;
    return kms_fail(err, KMS_E_UNAVAILABLE,
                    "known-answer test: the module wraps by %s now, and by %s before: " ASKED_AGAIN,
                    pkcs11_wrap_name(now), pkcs11_wrap_name(before));
}

/* What was never proved can't be lost. */
static enum kms_code check_kept(const struct pkcs11_way *before, const struct pkcs11_way *now,
                                struct kms_error *err)
{
    if (before->proof == PKCS11_PROOF_NONE || is_same_way(before, now))
        return KMS_OK;
    return kms_fail(err, KMS_E_UNAVAILABLE,
                    "known-answer test: the module did %s before, and doesn't now: " ASKED_AGAIN,
                    pkcs11_profile_name(before->profile));
}

/* A KEK that takes one of these ways would look refused without it.  What was won does no harm. */
static enum kms_code check_nothing_lost(const struct pkcs11_wrap *before,
                                        const struct pkcs11_wrap *now, struct kms_error *err)
{
    enum kms_code rc = check_kept(&before->objects, &now->objects, err);
    if (rc == KMS_OK)
        rc = check_kept(&before->cipher, &now->cipher, err);
    if (rc == KMS_OK && before->blocks && !now->blocks)
        return kms_fail(err, KMS_E_UNAVAILABLE,
                        "known-answer test: fingerprints were by AES blocks before, and aren't "
                        "now: " ASKED_AGAIN);
    return rc;
}

/* A module that makes no key for a moment must not be believed without one. */
static enum kms_code check_tried(const struct pkcs11_wrap *before, const struct pkcs11_wrap *now,
                                 struct kms_error *err)
{
    if (pkcs11_wrap_chosen(before)->proof == PKCS11_PROOF_NONE ||
        pkcs11_wrap_chosen(now)->proof != PKCS11_PROOF_NONE)
        return KMS_OK;
    return kms_fail(err, KMS_E_UNAVAILABLE,
                    "known-answer test: the module makes no key to try it with, and made one "
                    "before: " ASKED_AGAIN);
}

static enum kms_code check_same(const struct pkcs11_wrap *before, const struct pkcs11_wrap *now,
                                struct kms_error *err)
{
    enum kms_code rc = check_tried(before, now, err);
    if (rc == KMS_OK)
        rc = check_chosen(before, now, err);
    return rc == KMS_OK ? check_nothing_lost(before, now, err) : rc;
}

static bool is_same_version(CK_VERSION a, CK_VERSION b)
{
    return a.major == b.major && a.minor == b.minor;
}

/* An upgrade under a running plugin may move it to other calls, never to another algorithm. */
static bool was_upgraded(const struct pkcs11_token *before, const struct pkcs11_token *now)
{
    return !is_same_version(before->info.firmwareVersion, now->info.firmwareVersion) ||
           !is_same_version(before->library.libraryVersion, now->library.libraryVersion);
}

static enum kms_code cannot_go_on(const struct pkcs11_choice *choice,
                                  const struct pkcs11_token *now, struct kms_error *err)
{
    const struct pkcs11_token *before = &choice->token;
    struct kms_error why = *err;
    if (!was_upgraded(before, now))
        return why.code;
    return kms_fail(
        err, KMS_E_PRECONDITION,
        "firmware %u.%u (library %u.%u) became %u.%u (%u.%u), and the token wraps by %s no longer: "
        "go back, or see what changed; do not delete objects: %.150s",
        before->info.firmwareVersion.major, before->info.firmwareVersion.minor,
        before->library.libraryVersion.major, before->library.libraryVersion.minor,
        now->info.firmwareVersion.major, now->info.firmwareVersion.minor,
        now->library.libraryVersion.major, now->library.libraryVersion.minor,
        kms_algorithm_name(choice->wrap.algorithm), why.msg);
}

/* The first choice.  What isn't the usual is looked at twice: a module that refuses something for a
 * moment must not decide. */
static enum kms_code choose_first(const struct pkcs11_probe *probe, struct pkcs11_wrap *ret_chosen,
                                  struct kms_error *err)
{
    struct pkcs11_wrap first = { 0 };
    enum kms_code rc = pkcs11_wrap_select(probe, &first, NULL, err);
    if (rc != KMS_OK || !pkcs11_wrap_is_cipher(&first)) {
        *ret_chosen = first;
        return rc;
    }
    rc = pkcs11_wrap_select(probe, ret_chosen, NULL, err);
    return rc == KMS_OK ? check_same(&first, ret_chosen, err) : rc;
}

/* A KEK may be unfit for another profile than the one it was made for, and what an algorithm wrote
 * only it reads.  So only a new process chooses anew. */
static enum kms_code choose_again(const struct pkcs11_choice *choice,
                                  const struct pkcs11_probe *probe, struct pkcs11_wrap *ret_chosen,
                                  struct kms_error *err)
{
    const struct pkcs11_wrap *before = &choice->wrap;
    struct pkcs11_probe again = *probe;
    again.profile = kms_profile_of(before->algorithm);
    again.kept = true;
    enum kms_code rc = pkcs11_wrap_select(&again, ret_chosen, NULL, err);
    if (rc == KMS_E_PRECONDITION)
        return cannot_go_on(choice, probe->token, err);
    if (rc == KMS_OK && !was_upgraded(&choice->token, probe->token))
        rc = check_same(before, ret_chosen, err);
    return rc;
}

enum kms_code pkcs11_choice_make(struct pkcs11_choice *choice, const struct pkcs11_probe *probe,
                                 struct kms_error *err)
{
    struct pkcs11_wrap chosen = { 0 };
    enum kms_code rc = choice->wrap.fn == NULL ? choose_first(probe, &chosen, err)
                                               : choose_again(choice, probe, &chosen, err);
    if (rc != KMS_OK)
        return rc;
    choice->wrap = chosen;
    choice->token = *probe->token;
    return KMS_OK;
}
