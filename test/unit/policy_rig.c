/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_rig.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "kms/clock.h"

enum { PATIENCE_MS = 30000 };

int rig_open(struct rig *rig, int64_t refresh_ms, int64_t canary_ms)
{
    struct kms_error err;
    *rig = (struct rig){ .dir_path = "/tmp/test-policy-XXXXXX" };
    if (mkdtemp(rig->dir_path) == NULL)
        return -1;
    rig->token = fake_keystore_new();
    assert_ok(kms_state_dir_open(rig->dir_path, "prod", &rig->dir, &err), &err);
    struct kms_ring_options ring = { .name = "prod" };
    assert_ok(kms_ring_open(&ring, &(struct kms_state){ 0 }, true, &rig->ring, &err), &err);
    struct kms_refresher_options refresher = {
        .ring = "prod",
        .keystore = fake_keystore_seam(rig->token),
        .keks = rig->ring,
        .state_dir = rig->dir,
        .refresh_ms = refresh_ms,
        .canary_ms = canary_ms,
    };
    assert_ok(kms_refresher_open(&refresher, &rig->refresher, &err), &err);
    struct kms_service_options service = {
        .ring = "prod",
        .version = "test",
        .node = "node",
        .keystore = fake_keystore_seam(rig->token),
        .keks = rig->ring,
        .refresher = rig->refresher,
    };
    assert_ok(kms_service_open(&service, &rig->service, &err), &err);
    return 0;
}

int rig_close(struct rig *rig)
{
    kms_service_close(rig->service);
    kms_refresher_close(rig->refresher);
    kms_ring_close(rig->ring);
    kms_state_dir_close(rig->dir);
    kms_keystore_close(fake_keystore_seam(rig->token));
    static const char *const names[] = {
        "ring.json", "ring.json.new",         "served",
        "lock",      "request.accept.2.json", "request.tombstone.1.json",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", rig->dir_path, names[i]);
        if (unlink(path) != 0)
            rmdir(path);
    }
    return rmdir(rig->dir_path);
}

void rig_start(struct rig *rig)
{
    struct kms_error err;
    assert_ok(kms_refresher_start(rig->refresher, &err), &err);
    assert_true(kms_refresher_wait_healthy(rig->refresher, kms_monotonic_ms() + PATIENCE_MS));
}

void rig_refresh(struct rig *rig)
{
    struct kms_error err;
    assert_ok(kms_refresher_wait(rig->refresher, kms_monotonic_ms() + PATIENCE_MS, &err), &err);
}

void rig_await_status(struct rig *rig, enum kms_code code, const char *key_id)
{
    struct kms_error err = { .msg = "" };
    struct kms_status status = { .key_id = "" };
    int64_t deadline_ms = kms_monotonic_ms() + PATIENCE_MS;
    while (kms_monotonic_ms() < deadline_ms) {
        enum kms_code rc = kms_service_status(rig->service, &status, &err);
        if (rc == code && (key_id == NULL || strcmp(status.key_id, key_id) == 0))
            return;
        kms_refresher_kick(rig->refresher);
        sched_yield();
    }
    fail_msg("Status never answered %s %s (last: %s, %s)", kms_code_name(code),
             key_id != NULL ? key_id : "", err.msg, status.key_id);
}

const char *rig_key_id(uint32_t generation, uint8_t fill)
{
    static char key_id[KMS_KEY_ID_LEN + 1];
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    fake_keystore_fingerprint(fill, fingerprint);
    kms_key_id_format("prod", generation, fingerprint, key_id);
    return key_id;
}
