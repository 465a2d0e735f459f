/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <stdio.h>
#include <stdlib.h>

#include "kms/clock.h"
#include "text.h"

json_t *kms_json_open(const char *command)
{
    return kms_must_alloc(
        json_pack("{s:o}", "schema", kms_must_alloc(json_sprintf("hsm-kms/%s/v1", command))));
}

void kms_json_set(json_t *object, const char *key, json_t *value)
{
    int rc = json_object_set_new(object, key, kms_must_alloc(value));
    (void)kms_must_alloc(rc == 0 ? object : NULL);
}

void kms_json_append(json_t *array, json_t *value)
{
    int rc = json_array_append_new(array, kms_must_alloc(value));
    (void)kms_must_alloc(rc == 0 ? array : NULL);
}

json_t *kms_json_text(const char *text)
{
    return text != NULL ? kms_json_bytes(kms_bytes_of(text)) : json_null();
}

json_t *kms_json_bytes(struct kms_bytes bytes)
{
    if (bytes.len == 0)
        return json_null();
    char *safe = kms_text_escape(bytes);
    json_t *value = kms_must_alloc(json_string(safe));
    free(safe);
    return value;
}

json_t *kms_json_hex(struct kms_bytes bytes)
{
    char *digits = kms_must_alloc(malloc(2 * bytes.len + 1));
    kms_hex_encode(bytes, digits);
    json_t *value = kms_json_text(digits);
    free(digits);
    return value;
}

json_t *kms_json_time(int64_t utc_s)
{
    if (utc_s == 0)
        return json_null();
    char text[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(utc_s, text);
    return kms_json_text(text);
}

void kms_json_print(json_t *object)
{
    (void)json_dumpf(object, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII); /* finish() checks */
    (void)putchar('\n');
    json_decref(object);
}
