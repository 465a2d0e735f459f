/* SPDX-License-Identifier: Apache-2.0 */
#include "failover_rig.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kms/clock.h"
#include "kms/log.h"

enum { LOG_MAX = 1 << 16 };

static const char *const names[FAILOVER_RIG_MAX] = { "a", "b", "c" };
static const uint8_t seed[32] = { 1, 2, 3 };

void failover_rig_open_unlisted(struct failover_rig *rig, size_t count)
{
    struct kms_failover_token tokens[FAILOVER_RIG_MAX];
    *rig = (struct failover_rig){ .log = memfd_create("log", MFD_CLOEXEC) };
    assert_true(rig->log >= 0);
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_INFO, rig->log);
    fake_keystore_fingerprint(FAILOVER_FILL, rig->fingerprint);
    rig->kek = (struct kms_kek_ref){ "prod.v1", rig->fingerprint, NULL };
    for (size_t i = 0; i < count; i++) {
        rig->fakes[i] = fake_keystore_new();
        fake_keystore_add(rig->fakes[i], "prod.v1", FAILOVER_FILL);
        tokens[i] = (struct kms_failover_token){ names[i], fake_keystore_seam(rig->fakes[i]),
                                                 true };
    }
    assert_ok(kms_failover_open(tokens, count, &rig->keystore, &rig->err), &rig->err);
}

void failover_rig_open(struct failover_rig *rig, size_t count)
{
    failover_rig_open_unlisted(rig, count);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
}

void failover_rig_close(struct failover_rig *rig)
{
    kms_keystore_close(rig->keystore);
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_INFO, STDERR_FILENO);
    (void)close(rig->log);
}

static int64_t in_ms(int64_t ms)
{
    return kms_monotonic_ms() + ms;
}

enum kms_code failover_rig_list(struct failover_rig *rig, uint32_t drained,
                                struct kms_inventory *ret_inventory)
{
    enum { PATIENCE_MS = 300 };
    return failover_rig_list_within(rig, PATIENCE_MS, drained, ret_inventory);
}

enum kms_code failover_rig_list_within(struct failover_rig *rig, int64_t ms, uint32_t drained,
                                       struct kms_inventory *ret_inventory)
{
    const struct kms_kek_filter filter = { .label_prefix = "prod.v", .drained = drained };
    struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keystore_list(rig->keystore, &filter, in_ms(ms), &inventory, &rig->err);
    if (ret_inventory != NULL)
        *ret_inventory = inventory;
    else
        kms_inventory_done(&inventory);
    return rc;
}

enum kms_code failover_rig_wrap(struct failover_rig *rig, int64_t ms)
{
    struct kms_wrapped wrapped;
    return kms_keystore_wrap(rig->keystore, &rig->kek, (struct kms_bytes){ seed, sizeof(seed) },
                             in_ms(ms), &wrapped, &rig->err);
}

/* By a token of its own, so that the rig's are not asked. */
static struct kms_wrapped wrap_elsewhere(struct failover_rig *rig)
{
    struct kms_wrapped wrapped;
    struct fake_keystore *fake = fake_keystore_new();
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = fake_keystore_seam(fake);
    fake_keystore_add(fake, "prod.v1", FAILOVER_FILL);
    assert_ok(kms_keystore_wrap(keystore, &rig->kek, (struct kms_bytes){ seed, sizeof(seed) },
                                KMS_DEADLINE_NEVER, &wrapped, &rig->err),
              &rig->err);
    return wrapped;
}

enum kms_code failover_rig_unwrap(struct failover_rig *rig, int64_t ms)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret out = { 0 };
    struct kms_wrapped wrapped = wrap_elsewhere(rig);
    enum kms_code rc = kms_keystore_unwrap(rig->keystore, &rig->kek, KMS_ALGORITHM_AES_KW,
                                           (struct kms_bytes){ wrapped.data, wrapped.len },
                                           in_ms(ms), &out, &rig->err);
    if (rc == KMS_OK) {
        assert_int_equal(out.len, sizeof(seed));
        assert_memory_equal(out.data, seed, sizeof(seed));
    }
    return rc;
}

enum kms_code failover_rig_canary(struct failover_rig *rig, int64_t ms)
{
    return kms_keystore_canary(rig->keystore, &rig->kek, in_ms(ms), &rig->err);
}

void failover_rig_fail(struct failover_rig *rig, size_t token, enum kms_code code)
{
    static const enum fake_op serving[] = { FAKE_CANARY, FAKE_WRAP, FAKE_UNWRAP };
    for (size_t i = 0; i < sizeof(serving) / sizeof(serving[0]); i++)
        fake_keystore_fail(rig->fakes[token], serving[i], code, code == KMS_OK ? 0 : -1);
}

struct kms_token_info failover_rig_info(struct failover_rig *rig, size_t token)
{
    struct kms_token_info infos[KMS_TOKENS_MAX];
    size_t count = kms_keystore_describe(rig->keystore, infos);
    assert_true(token < count);
    return infos[token];
}

bool failover_rig_rests(struct failover_rig *rig, size_t token)
{
    return failover_rig_info(rig, token).resting;
}

unsigned failover_rig_wraps(struct failover_rig *rig, size_t token)
{
    return fake_keystore_calls(rig->fakes[token], FAKE_WRAP);
}

size_t failover_rig_logged(struct failover_rig *rig, const char *part)
{
    static char text[LOG_MAX];
    size_t count = 0;
    ssize_t len = pread(rig->log, text, sizeof(text) - 1, 0);
    assert_true(len >= 0);
    text[len] = '\0';
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
        count++;
    return count;
}
