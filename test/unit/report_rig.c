/* SPDX-License-Identifier: Apache-2.0 */
#include "report_rig.h"

#include "check.h"

static const char *const key_ids[] = { KEY_OF(1), KEY_OF(2) };

static void count_listed(void *context, const struct kms_finding *finding)
{
    struct report_rig *rig = context;
    assert_non_null(finding->detail);
    rig->listed++;
}

int report_rig_set_up(void **state)
{
    static struct report_rig rig;
    rig = (struct report_rig){ .options = { .prefix = kms_bytes_of(KMS_REGISTRY_PREFIX),
                                            .key_id = KEY_OF(2),
                                            .ring = "prod",
                                            .key_ids = key_ids,
                                            .key_id_count = 2,
                                            .list = count_listed,
                                            .list_context = &rig } };
    *state = &rig;
    return 0;
}

int report_rig_tear_down(void **state)
{
    struct report_rig *rig = *state;
    kms_report_close(rig->report);
    return 0;
}

static enum kms_code prove(void *context, const struct kms_value *value,
                           struct kms_proof *ret_proof, struct kms_error *err)
{
    struct report_rig *rig = context;
    static const uint8_t zeros[32];
    assert_int_equal(value->class, KMS_VALUE_KMS_V2);
    rig->proved++;
    ret_proof->result = rig->result;
    ret_proof->generation = rig->generation;
    ret_proof->untried = rig->untried;
    strcpy(ret_proof->why, "because");
    if (rig->result != KMS_PROOF_GOOD)
        return KMS_OK;
    const struct kms_bytes seed = { rig->seed != NULL ? rig->seed : zeros, sizeof zeros };
    return kms_secret_copy(&ret_proof->seed, seed, err);
}

void report_rig_prove(struct report_rig *rig, enum kms_proof_result result, uint32_t generation)
{
    rig->prover = (struct kms_prover){ .context = rig, .prove = prove };
    rig->options.prover = &rig->prover;
    rig->result = result;
    rig->generation = generation;
}

void report_rig_show(struct report_rig *rig, const char *key, struct kms_bytes value,
                     enum kms_etcd_state state)
{
    const struct kms_etcd_entry entry = {
        .key = kms_bytes_of(key), .value = value, .mod_revision = 5, .state = state
    };
    if (rig->report == NULL)
        assert_ok(kms_report_open(&rig->options, &rig->report, &rig->err), &rig->err);
    assert_ok(kms_report_visit(rig->report, &entry, &rig->err), &rig->err);
}

void report_rig_show_kms(struct report_rig *rig, const char *key, const char *key_id, uint8_t seed,
                         enum kms_etcd_state state)
{
    uint8_t wrapped[40] = { seed };
    static const uint8_t data[60];
    struct etcd_bytes bytes = { 0 };
    etcd_put_text(&bytes, "k8s:enc:kms:v2:hsm:");
    etcd_put_field(&bytes, 1, (struct kms_bytes){ data, sizeof data });
    etcd_put_field(&bytes, 2, kms_bytes_of(key_id));
    etcd_put_field(&bytes, 3, (struct kms_bytes){ wrapped, sizeof wrapped });
    etcd_put_number(&bytes, 5, KMS_DEK_SEED);
    report_rig_show(rig, key, etcd_bytes_view(&bytes), state);
    etcd_bytes_done(&bytes);
}

uint64_t report_rig_count(const struct report_rig *rig, enum kms_finding_kind kind)
{
    return kms_report_findings(rig->report)->lists[kind].count;
}
