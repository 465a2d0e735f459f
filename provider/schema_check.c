/* SPDX-License-Identifier: Apache-2.0 */
#include "schema_check.h"

#include <stdio.h>
#include <string.h>

#include "config.h"
#include "keyid.h"
#include "kms/bytes.h"
#include "schema.h"

const char *kms_schema_check_ring(const char *text)
{
    return kms_ring_name_is_valid(text)
               ? NULL
               : "must be 1 to 24 of a-z, 0-9 and '-', with no '-' at either end";
}

const char *kms_schema_check_token_name(const char *text)
{
    return kms_token_name_is_valid(text)
               ? NULL
               : "must be 1 to 32 of a-z, 0-9 and '-', with no '-' at either end";
}

const char *kms_schema_check_absolute(const char *text)
{
    return text[0] == '/' ? NULL : "must be an absolute path";
}

const char *kms_schema_check_socket_path(const char *path)
{
    if (path[0] == '@')
        return "abstract sockets are refused: any process could take the name";
    if (strlen(path) > KMS_CONFIG_SOCKET_PATH_MAX)
        return "must be at most 90 bytes long";
    if (path[0] == '/' && path[strlen(path) - 1] == '/')
        return "must name a socket, not a directory";
    return kms_schema_check_absolute(path);
}

const char *kms_schema_check_group(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return text[0] != '-' && text[strspn(text, allowed)] == '\0'
               ? NULL
               : "must be the name or number of a group";
}

const char *kms_schema_check_module(const char *text)
{
    if (text[0] != '/' && strchr(text, '/') != NULL)
        return "must be an absolute path, or the name of a p11-kit module";
    return NULL;
}

const char *kms_schema_check_uri(const char *text)
{
    if (strncmp(text, "pkcs11:", 7) != 0)
        return "must start with \"pkcs11:\" (RFC 7512)";
    if (strstr(text, "pin-value") != NULL)
        return "must hold no pin-value: put the PIN into pin_file";
    return NULL;
}

const char *kms_schema_check_variable(const char *text)
{
    bool good = (text[0] < '0' || text[0] > '9') && text[0] != '\0';
    for (const char *c = text; *c != '\0'; c++)
        good = good && (*c == '_' || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') ||
                        (*c >= '0' && *c <= '9'));
    return good ? NULL : "is no name of an environment variable";
}

const char *kms_schema_check_resource(const char *text)
{
    return kms_resource_name_is_valid(text) ? NULL : "is no resource as RESOURCE or RESOURCE.GROUP";
}

const char *kms_schema_token_name(const struct kms_config_token *tokens, size_t index,
                                  char ret_default[static KMS_TOKEN_NAME_MAX + 1])
{
    (void)snprintf(ret_default, KMS_TOKEN_NAME_MAX + 1, "token-%zu", index + 1);
    return tokens[index].name != NULL ? tokens[index].name : ret_default;
}

const char *kms_schema_check_tokens(const void *items, size_t count)
{
    const struct kms_config_token *tokens = items, *last = &tokens[count - 1];
    char own[KMS_TOKEN_NAME_MAX + 1], other[KMS_TOKEN_NAME_MAX + 1];
    const char *name = kms_schema_token_name(tokens, count - 1, own);
    for (size_t i = 0; i + 1 < count; i++) {
        if (strcmp(kms_schema_token_name(tokens, i, other), name) == 0)
            return "has the name of a token above: give each a name of its own";
        if (strcmp(tokens[i].module, last->module) == 0 && strcmp(tokens[i].uri, last->uri) == 0)
            return "has module and uri of a token above: they would be one token";
    }
    return NULL;
}

const char *kms_schema_check_pins(const void *items, size_t count)
{
    const struct kms_config_pin *pins = items;
    for (size_t i = 0; i + 1 < count; i++)
        if (pins[i].generation == pins[count - 1].generation)
            return "this generation has a pin above";
    return NULL;
}

static bool same_key(const struct kms_config_adoption *a, const struct kms_config_adoption *b)
{
    const struct kms_bytes id_a = { a->cka_id.data, a->cka_id.len };
    const struct kms_bytes id_b = { b->cka_id.data, b->cka_id.len };
    bool same_label = a->label == NULL || b->label == NULL || strcmp(a->label, b->label) == 0;
    return same_label && (id_a.len == 0 || id_b.len == 0 || kms_bytes_equal(id_a, id_b));
}

/* Two entries that one key can match would leave its generation to chance. */
const char *kms_schema_check_adopt(const void *items, size_t count)
{
    const struct kms_config_adoption *adopt = items, *last = &adopt[count - 1];
    if (last->label == NULL && last->cka_id.len == 0)
        return "names no key: give its label, its cka_id or both";
    for (size_t i = 0; i + 1 < count; i++) {
        if (adopt[i].generation == last->generation)
            return "this generation is adopted above";
        if (same_key(&adopt[i], last))
            return "may name the same key as an entry above: give both label and cka_id";
    }
    return NULL;
}

const char *kms_schema_check_syslog(const char *path)
{
    return strlen(path) > KMS_CONFIG_SOCKET_PATH_MAX ? "must be at most 90 bytes long"
                                                     : kms_schema_check_absolute(path);
}
