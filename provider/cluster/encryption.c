/* SPDX-License-Identifier: Apache-2.0 */
#include "encryption.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "small_file.h"
#include "yaml_tree.h"

/* --- durations --- */

static bool parse_unit(const char **at, double *ret_unit_ms)
{
    static const struct {
        const char *name;
        double unit_ms;
    } units[] = { { "ns", 1e-6 }, { "us", 1e-3 }, { "\u00b5s", 1e-3 }, { "\u03bcs", 1e-3 },
                  { "ms", 1 },    { "s", 1e3 },   { "m", 6e4 },        { "h", 3.6e6 } };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t len = strlen(units[i].name);
        if (strncmp(*at, units[i].name, len) != 0)
            continue;
        *at += len;
        *ret_unit_ms = units[i].unit_ms;
        return true;
    }
    return false;
}

static bool parse_number(const char **at, double *ret_number)
{
    double number = 0, scale = 1;
    bool digits = false, fraction = false;
    for (; (**at >= '0' && **at <= '9') || (**at == '.' && !fraction); (*at)++) {
        if (**at == '.') {
            fraction = true;
            continue;
        }
        digits = true;
        number = 10 * number + (**at - '0');
        scale *= fraction ? 10 : 1;
    }
    *ret_number = number / scale;
    return digits;
}

bool kms_go_duration_parse(const char *text, int64_t *ret_ms)
{
    enum { LEN_MAX = 32 };
    const double most_ms = 9.2e12; /* Go's own limit: 292 years */
    double total_ms = 0, number, unit_ms;
    const char *at = text + (text[0] == '+' ? 1 : 0);
    if (*at == '\0' || strlen(text) > LEN_MAX)
        return false;
    if (strcmp(at, "0") == 0) {
        *ret_ms = 0;
        return true;
    }
    while (*at != '\0') {
        if (!parse_number(&at, &number) || !parse_unit(&at, &unit_ms))
            return false;
        total_ms += number * unit_ms;
    }
    if (total_ms > most_ms)
        return false;
    *ret_ms = total_ms > 0 && total_ms < 1 ? 1 : (int64_t)total_ms;
    return true;
}

/* --- reading --- */

/* YAML 1.1 as kube-apiserver's reader has it: 1_000, 0x1f, 0b11, 0o7, .5, 1e3. */
static bool is_number(const char *text)
{
    char digits[64], *end = NULL;
    size_t len = 0;
    for (const char *at = text; *at != '\0' && len < sizeof(digits) - 1; at++) {
        if (*at != '_')
            digits[len++] = *at;
    }
    digits[len] = '\0';
    const char *start = digits + (digits[0] == '+' || digits[0] == '-' ? 1 : 0);
    if (text[0] == '_' || len == sizeof(digits) - 1 ||
        !(isdigit((unsigned char)start[0]) ||
          (start[0] == '.' && isdigit((unsigned char)start[1]))))
        return false;
    int base = start[0] != '0' ? 0 : start[1] == 'b' ? 2 : start[1] == 'o' ? 8 : 0;
    start += base != 0 ? 2 : 0;
    if (base != 0)
        (void)strtol(start, &end, base);
    else
        (void)strtod(start, &end);
    return end != start && *end == '\0';
}

static bool is_truth(const char *text)
{
    static const char *const words[] = { "true", "false", "yes", "no",   "on",
                                         "off",  "y",     "n",   ".inf", ".nan" };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(text, words[i]) == 0)
            return true;
    }
    return false;
}

/* A scalar without quotes that doesn't stand for a text. */
static bool is_other_type(const yaml_node_t *node)
{
    const char *text = kms_yaml_text(node);
    return text != NULL && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (is_number(text) || is_truth(text));
}

static enum kms_code copy_text(struct kms_yaml_tree *tree, const yaml_node_t *map, const char *key,
                               char *ret_text, size_t size, struct kms_error *err)
{
    const yaml_node_t *node = kms_yaml_get(tree, map, key);
    if (kms_yaml_is_null(node))
        return KMS_OK;
    const char *text = kms_yaml_text(node);
    if (text == NULL || strlen(text) >= size)
        return kms_yaml_fault(tree, node, err, "%s: expected a text of at most %zu bytes", key,
                              size - 1);
    if (is_other_type(node))
        return kms_yaml_fault(tree, node, err, "%s: a number or a truth value; quote it", key);
    (void)snprintf(ret_text, size, "%s", text);
    return KMS_OK;
}

static enum kms_code read_cachesize(struct kms_yaml_tree *tree, const yaml_node_t *map,
                                    struct kms_encryption_provider *provider, struct kms_error *err)
{
    const yaml_node_t *node = kms_yaml_get(tree, map, "cachesize");
    const char *text = kms_yaml_text(node);
    char *end = NULL;
    if (kms_yaml_is_null(node))
        return KMS_OK;
    long number = text != NULL ? strtol(text, &end, 10) : 0;
    if (text == NULL || text[0] == '\0' || *end != '\0' || !is_other_type(node) ||
        number > INT32_MAX || number < INT32_MIN)
        return kms_yaml_fault(tree, node, err, "cachesize: expected a whole number");
    provider->has_cachesize = true;
    provider->cachesize = (int32_t)number;
    return KMS_OK;
}

static enum kms_code read_kms(struct kms_yaml_tree *tree, const yaml_node_t *node,
                              struct kms_encryption_provider *provider, struct kms_error *err)
{
    static const char *const known[] = { "apiVersion", "name",    "endpoint",
                                         "cachesize",  "timeout", NULL };
    char timeout[64] = "";
    enum kms_code rc = kms_yaml_check_keys(tree, node, known, err);
    if (rc == KMS_OK)
        rc = copy_text(tree, node, "apiVersion", provider->api_version,
                       sizeof(provider->api_version), err);
    if (rc == KMS_OK)
        rc = copy_text(tree, node, "name", provider->name, sizeof(provider->name), err);
    if (rc == KMS_OK)
        rc = copy_text(tree, node, "endpoint", provider->endpoint, sizeof(provider->endpoint), err);
    if (rc == KMS_OK)
        rc = copy_text(tree, node, "timeout", timeout, sizeof(timeout), err);
    if (rc == KMS_OK)
        rc = read_cachesize(tree, node, provider, err);
    if (rc != KMS_OK)
        return rc;
    if (provider->api_version[0] == '\0')
        (void)snprintf(provider->api_version, sizeof(provider->api_version), "v1");
    provider->timeout_ms = KMS_ENCRYPTION_TIMEOUT_MS;
    if (timeout[0] != '\0' && !kms_go_duration_parse(timeout, &provider->timeout_ms))
        provider->timeout_ms = -1;
    return KMS_OK;
}

/* How many bytes @text is the base64 of, as Go's StdEncoding takes it; 0: it isn't any. */
static size_t base64_len(const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t count = 0, padding = 0;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\n' || *at == '\r')
            continue;
        if (*at != '=' && (padding > 0 || strchr(digits, *at) == NULL))
            return 0;
        padding += *at == '=' ? 1 : 0;
        count++;
    }
    return count % 4 == 0 && padding <= 2 && padding < count ? count / 4 * 3 - padding : 0;
}

static enum kms_code check_key(struct kms_yaml_tree *tree, const yaml_node_t *key, bool aes,
                               struct kms_error *err)
{
    static const char *const known[] = { "name", "secret", NULL };
    enum kms_code rc = kms_yaml_check_keys(tree, key, known, err);
    if (rc != KMS_OK)
        return rc;
    const yaml_node_t *name = kms_yaml_get(tree, key, "name");
    const char *text = kms_yaml_text(name);
    const char *secret = kms_yaml_text(kms_yaml_get(tree, key, "secret"));
    if (text == NULL || text[0] == '\0' || kms_yaml_is_null(name) || is_other_type(name))
        return kms_yaml_fault(tree, key, err, "name: required for a key, a text");
    size_t len = secret != NULL ? base64_len(secret) : 0;
    if (len != 32 && !(aes && (len == 16 || len == 24)))
        return kms_yaml_fault(tree, key, err, "secret: required for a key, %s bytes in base64",
                              aes ? "16, 24 or 32" : "32");
    return KMS_OK;
}

/* aescbc, aesgcm or secretbox. */
static enum kms_code check_local(struct kms_yaml_tree *tree, const yaml_node_t *node, bool aes,
                                 struct kms_error *err)
{
    static const char *const known[] = { "keys", NULL };
    enum kms_code rc = kms_yaml_check_keys(tree, node, known, err);
    const yaml_node_t *keys = kms_yaml_get(tree, node, "keys");
    if (rc == KMS_OK && kms_yaml_count(keys) == 0)
        return kms_yaml_fault(tree, node, err, "keys: required, a list with at least one item");
    for (size_t i = 0; rc == KMS_OK && i < kms_yaml_count(keys); i++)
        rc = check_key(tree, kms_yaml_item(tree, keys, i), aes, err);
    return rc;
}

static enum kms_code read_other(struct kms_yaml_tree *tree, const yaml_node_t *node,
                                struct kms_encryption_provider *provider, struct kms_error *err)
{
    static const char *const nothing[] = { NULL };
    const yaml_node_t *identity = kms_yaml_get(tree, node, "identity");
    const yaml_node_t *secretbox = kms_yaml_get(tree, node, "secretbox");
    const yaml_node_t *gcm = kms_yaml_get(tree, node, "aesgcm");
    if (!kms_yaml_is_null(identity)) {
        provider->kind = KMS_ENCRYPTION_IDENTITY;
        return kms_yaml_check_keys(tree, identity, nothing, err);
    }
    provider->kind = KMS_ENCRYPTION_LOCAL;
    if (!kms_yaml_is_null(secretbox))
        return check_local(tree, secretbox, false, err);
    return check_local(tree, kms_yaml_is_null(gcm) ? kms_yaml_get(tree, node, "aescbc") : gcm, true,
                       err);
}

static enum kms_code read_provider(struct kms_yaml_tree *tree, const yaml_node_t *node,
                                   struct kms_encryption_provider *provider, struct kms_error *err)
{
    static const char *const known[] = { "kms", "identity", "aescbc", "aesgcm", "secretbox", NULL };
    enum kms_code rc = kms_yaml_check_keys(tree, node, known, err);
    if (rc != KMS_OK)
        return rc;
    const yaml_node_t *kms = kms_yaml_get(tree, node, "kms");
    size_t given = 0;
    for (const char *const *name = known; *name != NULL; name++)
        given += kms_yaml_is_null(kms_yaml_get(tree, node, *name)) ? 0 : 1;
    if (given != 1)
        return kms_yaml_fault(tree, node, err,
                              "a provider must have exactly one kind, this has %zu", given);
    if (!kms_yaml_is_null(kms)) {
        provider->kind = KMS_ENCRYPTION_KMS;
        return read_kms(tree, kms, provider, err);
    }
    return read_other(tree, node, provider, err);
}

/* The list @key of @map, which must have 1..@most items, and room for as many of @size bytes. */
static enum kms_code open_list(struct kms_yaml_tree *tree, const yaml_node_t *map, const char *key,
                               size_t most, size_t size, const yaml_node_t **ret_list,
                               void **ret_room, struct kms_error *err)
{
    const yaml_node_t *list = kms_yaml_get(tree, map, key);
    size_t count = kms_yaml_count(list);
    if (count == 0)
        return kms_yaml_fault(tree, list != NULL ? list : map, err,
                              "%s: required, a list with at least one item", key);
    if (count > most)
        return kms_yaml_fault(tree, list, err, "%s: %zu items, %zu are the most that are read here",
                              key, count, most);
    void *room = calloc(count, size);
    if (room == NULL)
        return kms_fail(err, KMS_E_BUSY, "%s: out of memory", tree->file);
    *ret_list = list;
    *ret_room = room;
    return KMS_OK;
}

static enum kms_code read_resources(struct kms_yaml_tree *tree, const yaml_node_t *node,
                                    struct kms_encryption_entry *entry, struct kms_error *err)
{
    const yaml_node_t *list = NULL;
    void *room = NULL;
    enum kms_code rc = open_list(tree, node, "resources", KMS_ENCRYPTION_RESOURCES_MAX,
                                 sizeof(*entry->resources), &list, &room, err);
    if (rc != KMS_OK)
        return rc;
    entry->resources = room;
    for (size_t i = 0; i < kms_yaml_count(list); i++) {
        const yaml_node_t *item = kms_yaml_item(tree, list, i);
        const char *text = kms_yaml_text(item);
        if (text == NULL || text[0] == '\0' || strlen(text) > KMS_ENCRYPTION_TEXT_MAX ||
            is_other_type(item))
            return kms_yaml_fault(tree, item, err, "expected the name of a resource");
        (void)snprintf(entry->resources[entry->resource_count++], sizeof(*entry->resources), "%s",
                       text);
    }
    return KMS_OK;
}

static enum kms_code read_entry(struct kms_yaml_tree *tree, const yaml_node_t *node,
                                struct kms_encryption_entry *entry, struct kms_error *err)
{
    static const char *const known[] = { "resources", "providers", NULL };
    const yaml_node_t *list = NULL;
    void *room = NULL;
    enum kms_code rc = kms_yaml_check_keys(tree, node, known, err);
    if (rc == KMS_OK)
        rc = read_resources(tree, node, entry, err);
    if (rc == KMS_OK)
        rc = open_list(tree, node, "providers", KMS_ENCRYPTION_PROVIDERS_MAX,
                       sizeof(*entry->providers), &list, &room, err);
    if (rc != KMS_OK)
        return rc;
    entry->providers = room;
    for (size_t i = 0; rc == KMS_OK && i < kms_yaml_count(list); i++)
        rc = read_provider(tree, kms_yaml_item(tree, list, i),
                           &entry->providers[entry->provider_count++], err);
    return rc;
}

static enum kms_code check_type(struct kms_yaml_tree *tree, const yaml_node_t *root,
                                struct kms_error *err)
{
    static const char *const known[] = { "apiVersion", "kind", "resources", NULL };
    enum kms_code rc = kms_yaml_check_keys(tree, root, known, err);
    if (rc != KMS_OK)
        return rc;
    const char *version = kms_yaml_text(kms_yaml_get(tree, root, "apiVersion"));
    const char *kind = kms_yaml_text(kms_yaml_get(tree, root, "kind"));
    if (kind == NULL || strcmp(kind, "EncryptionConfiguration") != 0)
        return kms_yaml_fault(tree, root, err, "kind must be EncryptionConfiguration");
    if (version == NULL || strcmp(version, "apiserver.config.k8s.io/v1") != 0)
        return kms_yaml_fault(tree, root, err, "apiVersion must be apiserver.config.k8s.io/v1");
    return KMS_OK;
}

static enum kms_code read_root(struct kms_yaml_tree *tree, struct kms_encryption *encryption,
                               struct kms_error *err)
{
    const yaml_node_t *root = kms_yaml_root(tree), *list = NULL;
    void *room = NULL;
    enum kms_code rc = check_type(tree, root, err);
    if (rc == KMS_OK)
        rc = open_list(tree, root, "resources", KMS_ENCRYPTION_ENTRIES_MAX,
                       sizeof(*encryption->entries), &list, &room, err);
    if (rc != KMS_OK)
        return rc;
    encryption->entries = room;
    for (size_t i = 0; rc == KMS_OK && i < kms_yaml_count(list); i++)
        rc = read_entry(tree, kms_yaml_item(tree, list, i),
                        &encryption->entries[encryption->entry_count++], err);
    return rc;
}

enum kms_code kms_encryption_parse(const char *file, struct kms_bytes text,
                                   struct kms_encryption *ret_encryption, struct kms_error *err)
{
    KMS_CLEANUP(kms_yaml_done) struct kms_yaml_tree tree = { 0 };
    enum kms_code rc = kms_yaml_load(file, text, &tree, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_encryption_done) struct kms_encryption encryption = { 0 };
    rc = read_root(&tree, &encryption, err);
    if (rc != KMS_OK)
        return rc;
    *ret_encryption = encryption;
    encryption = (struct kms_encryption){ 0 };
    return KMS_OK;
}

enum kms_code kms_encryption_load(const char *path, struct kms_encryption *ret_encryption,
                                  struct kms_error *err)
{
    KMS_CLEANUP(kms_small_file_done) struct kms_small_file file = { 0 };
    enum kms_code rc = kms_small_file_read(path, &file, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_bytes text = { (const uint8_t *)file.text, file.len };
    return kms_encryption_parse(path, text, ret_encryption, err);
}

void kms_encryption_done(struct kms_encryption *encryption)
{
    for (size_t i = 0; i < encryption->entry_count; i++) {
        free(encryption->entries[i].resources);
        free(encryption->entries[i].providers);
    }
    free(encryption->entries);
    *encryption = (struct kms_encryption){ 0 };
}
