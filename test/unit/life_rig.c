/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kms/clock.h"
#include "life_rig.h"
#include "request.h"

int life_set_up(void **state)
{
    struct life_rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    rig->fake = fake_keystore_new();
    (void)snprintf(rig->state_dir, sizeof(rig->state_dir), "/tmp/hsm-kms-life-XXXXXX");
    assert_non_null(mkdtemp(rig->state_dir));
    rig->scene = (struct kms_key_scene){
        .keystore = fake_keystore_seam(rig->fake),
        .ring = "prod",
        .state_dir = rig->state_dir,
        .state = &rig->memory,
        .now_utc_s = LIFE_NOW,
        .refresh_ms = 30000,
        .clock_skew_ms = 30000,
    };
    *state = rig;
    return 0;
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        (void)closedir(dir);
    (void)rmdir(path);
}

int life_tear_down(void **state)
{
    struct life_rig *rig = *state;
    kms_snapshot_release(rig->snapshot);
    kms_state_done(&rig->memory);
    kms_keystore_close(rig->scene.keystore);
    remove_dir(rig->state_dir);
    free(rig);
    return 0;
}

const char *life_label(uint32_t generation, int64_t from_now_s)
{
    static char label[KMS_KEK_LABEL_LEN + 1];
    kms_label_format("prod", generation, LIFE_NOW + from_now_s, label);
    return label;
}

void life_add(struct life_rig *rig, uint32_t generation, int64_t from_now_s, uint8_t fill)
{
    fake_keystore_add(rig->fake, life_label(generation, from_now_s), fill);
}

void life_remember(struct life_rig *rig, uint32_t promoted, uint8_t fill)
{
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    fake_keystore_fingerprint(fill, fingerprint);
    rig->memory.promoted = promoted;
    rig->scene.state_known = true;
    assert_ok(kms_state_add_pin(&rig->memory, promoted, fingerprint, &rig->err), &rig->err);
}

struct kms_key_scene *life_look(struct life_rig *rig)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    const struct kms_ring_options options = { .name = "prod" };
    if (rig->snapshot != NULL)
        kms_snapshot_release(rig->snapshot);
    rig->snapshot = NULL;
    rig->outcome = (struct kms_key_outcome){ .name = "" };
    rig->err = (struct kms_error){ .code = KMS_OK };
    assert_ok(kms_keystore_inventory(rig->scene.keystore, "prod.v", KMS_DEADLINE_NEVER, &inventory,
                                     &rig->err),
              &rig->err);
    assert_ok(kms_ring_judge(&options, &rig->memory, !rig->scene.state_known, &inventory, LIFE_NOW,
                             &rig->snapshot, &rig->err),
              &rig->err);
    rig->scene.snapshot = rig->snapshot;
    return &rig->scene;
}

bool life_has(struct life_rig *rig, const char *label)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    assert_ok(kms_keystore_inventory(rig->scene.keystore, label, KMS_DEADLINE_NEVER, &inventory,
                                     &rig->err),
              &rig->err);
    return inventory.count > 0;
}

bool life_buries(struct life_rig *rig, uint32_t generation)
{
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    assert_ok(kms_request_read(rig->state_dir, &list, &rig->err), &rig->err);
    for (size_t i = 0; i < list.count; i++)
        if (list.files[i].request.kind == KMS_REQUEST_TOMBSTONE &&
            list.files[i].request.generation == generation)
            return true;
    return false;
}
