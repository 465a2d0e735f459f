/* SPDX-License-Identifier: Apache-2.0 */
#include "keyid.h"

#include <stdio.h>
#include <string.h>

#include "kms/clock.h"

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_name(const char *name, size_t longest)
{
    size_t len = strlen(name);
    if (len == 0 || len > longest)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_lower_alnum(name[i]) && name[i] != '-')
            return false;
    }
    return name[0] != '-' && name[len - 1] != '-';
}

bool kms_ring_name_is_valid(const char *name)
{
    return is_name(name, KMS_RING_MAX);
}

bool kms_token_name_is_valid(const char *name)
{
    return is_name(name, KMS_TOKEN_NAME_MAX);
}

bool kms_resource_name_is_valid(const char *name)
{
    size_t len = strlen(name);
    bool wild = name[0] == '*';
    if (len == 0 || len > KMS_RESOURCE_NAME_MAX || name[0] == '.' || (wild && name[1] != '.'))
        return false;
    if (strcmp(name, "*.*") == 0)
        return true;
    for (const char *at = wild ? name + 1 : name; *at != '\0'; at++)
        if (!is_lower_alnum(*at) && *at != '-' && *at != '.')
            return false;
    return true;
}

void kms_label_format(const char *ring, uint32_t generation, int64_t activation_utc_s,
                      char ret_label[static KMS_KEK_LABEL_LEN + 1])
{
    char stamp[KMS_STAMP_LEN + 1];
    kms_stamp_format(activation_utc_s, stamp);
    snprintf(ret_label, KMS_KEK_LABEL_LEN + 1, "%s.v%u@%s", ring, (unsigned)generation, stamp);
}

/* Reads "<ring>.v<generation>" and leaves *ret_rest behind it. */
static bool parse_head(const char *ring, const char *text, uint32_t *ret_generation,
                       const char **ret_rest)
{
    size_t ring_len = strlen(ring);
    if (strncmp(text, ring, ring_len) != 0 || strncmp(text + ring_len, ".v", 2) != 0)
        return false;
    const char *digits = text + ring_len + 2;
    if (*digits < '1' || *digits > '9')
        return false;

    uint32_t generation = 0;
    const char *at = digits;
    for (; *at >= '0' && *at <= '9' && at - digits < 9; at++)
        generation = generation * 10 + (uint32_t)(*at - '0');
    *ret_generation = generation;
    *ret_rest = at;
    return true;
}

bool kms_label_parse(const char *ring, const char *label, uint32_t *ret_generation,
                     int64_t *ret_activation_utc_s)
{
    uint32_t generation;
    int64_t activation;
    const char *rest;
    if (!parse_head(ring, label, &generation, &rest) || *rest != '@' ||
        !kms_stamp_parse(rest + 1, &activation))
        return false;
    *ret_generation = generation;
    *ret_activation_utc_s = activation;
    return true;
}

void kms_key_id_format(const char *ring, uint32_t generation, const uint8_t *fingerprint,
                       char ret_key_id[static KMS_KEY_ID_LEN + 1])
{
    char digits[2 * KMS_KEY_ID_FINGERPRINT_LEN + 1];
    kms_hex_encode((struct kms_bytes){ fingerprint, KMS_KEY_ID_FINGERPRINT_LEN }, digits);
    snprintf(ret_key_id, KMS_KEY_ID_LEN + 1, "%s.v%u.%s", ring, (unsigned)generation, digits);
}

bool kms_key_id_parse(const char *ring, struct kms_bytes text, struct kms_key_id *ret_key_id)
{
    char copy[KMS_KEY_ID_LEN + 1];
    if (text.len == 0 || text.len > KMS_KEY_ID_LEN || memchr(text.data, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';

    struct kms_key_id parsed;
    const char *rest;
    if (!parse_head(ring, copy, &parsed.generation, &rest) || *rest != '.' ||
        !kms_hex_decode(rest + 1, parsed.fingerprint_head, KMS_KEY_ID_FINGERPRINT_LEN))
        return false;
    for (const char *c = rest + 1; *c != '\0'; c++) {
        if (*c >= 'A' && *c <= 'F')
            return false; /* one key_id has one spelling */
    }
    *ret_key_id = parsed;
    return true;
}
