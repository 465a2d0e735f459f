/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as another node's export: they give a node that can be shown and checked, or are
 * refused. */
#include "node_view.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static void check_texts(const struct kms_node *node)
{
    char title[KMS_NODE_TITLE_MAX];
    FUZZ_CHECK(strlen(node->name) < sizeof(node->name));
    FUZZ_CHECK(strlen(node->version) < sizeof(node->version));
    FUZZ_CHECK(strlen(node->ring) < sizeof(node->ring));
    FUZZ_CHECK(strlen(node->key_id) < sizeof(node->key_id));
    FUZZ_CHECK(strlen(node->health) < sizeof(node->health));
    kms_node_title(node, title);
    FUZZ_CHECK(strlen(title) < sizeof(title));
}

static void check_numbers(const struct kms_node *node)
{
    FUZZ_CHECK(node->is_export && node->reached);
    FUZZ_CHECK(node->refresh_ms >= 0 && node->clock_skew_ms >= 0 && node->offset_ms >= 0);
}

/* A rotation asks it all the same, and doesn't overflow. */
static void check_demand(const struct kms_node *node)
{
    const struct kms_node_demand demand = {
        .ring = "prod", .promoted = 7, .lead_counts = true, .lead_s = 90, .clock_skew_ms = 30000
    };
    struct kms_error err = { 0 };
    enum kms_code rc = kms_node_check(node, &demand, &err);
    FUZZ_CHECK(rc == KMS_OK || (rc == KMS_E_PRECONDITION && err.msg[0] != '\0'));
}

static void show(const struct kms_node *node)
{
    json_t *object = kms_node_json(node);
    char *text = json_dumps(object, 0); /* NULL if a string is no UTF-8 */
    FUZZ_CHECK(text != NULL);
    free(text);
    json_decref(object);
    struct kms_table *table = kms_node_table();
    kms_node_row(node, table);
    kms_table_close(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int64_t now_utc_ms = INT64_C(1796126400000);
    struct kms_node node = { .source = NULL };
    struct kms_error err = { 0 };
    const char *path = fuzz_file("node.json", data, size);
    enum kms_code rc = kms_node_read(path, now_utc_ms, &node, &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(rc == KMS_E_INVALID && err.code == rc && err.msg[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(node.source == path);
    check_texts(&node);
    check_numbers(&node);
    check_demand(&node);
    show(&node);
    return 0;
}
