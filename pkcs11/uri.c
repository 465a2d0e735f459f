/* SPDX-License-Identifier: Apache-2.0 */
#include "uri.h"

#include <stdlib.h>
#include <string.h>

#include <p11-kit/uri.h>

struct pkcs11_uri {
    P11KitUri *parsed;
};

static enum kms_code refuse(struct kms_error *err, const char *what)
{
    return kms_fail(err, KMS_E_INVALID, "uri: %s", what);
}

/* p11-kit lets the last of two attributes win in silence. */
static bool repeats_an_attribute(const char *text)
{
    const char *path = strchr(text, ':');
    if (path == NULL)
        return false;
    for (const char *a = path + 1; *a != '\0' && *a != '?';) {
        size_t name_len = strcspn(a, "=;?");
        const char *next = a + strcspn(a, ";?");
        for (const char *b = next; *b == ';'; b += 1 + strcspn(b + 1, ";?")) {
            if (strncmp(a, b + 1, name_len) == 0 && b[1 + name_len] == '=')
                return true;
        }
        a = *next == ';' ? next + 1 : next;
    }
    return false;
}

static bool names_a_slot(P11KitUri *parsed)
{
    const CK_SLOT_INFO *slot = p11_kit_uri_get_slot_info(parsed);
    return p11_kit_uri_get_slot_id(parsed) != (CK_SLOT_ID)-1 || slot->slotDescription[0] != 0 ||
           slot->manufacturerID[0] != 0;
}

static bool names_an_object(P11KitUri *parsed)
{
    CK_ULONG count = 0;
    return p11_kit_uri_get_attributes(parsed, &count) != NULL && count > 0;
}

static bool names_a_token(P11KitUri *parsed)
{
    const CK_TOKEN_INFO *token = p11_kit_uri_get_token_info(parsed);
    return token->label[0] != 0 || token->serialNumber[0] != 0 || token->model[0] != 0 ||
           token->manufacturerID[0] != 0;
}

static enum kms_code check(P11KitUri *parsed, const char *text, struct kms_error *err)
{
    if (p11_kit_uri_get_pin_value(parsed) != NULL || p11_kit_uri_get_pin_source(parsed) != NULL)
        return refuse(err, "a PIN or its source inside is refused: use pin_file");
    if (p11_kit_uri_any_unrecognized(parsed))
        return refuse(err, "it has an unknown attribute, or a value that is too long for one");
    if (repeats_an_attribute(text))
        return refuse(err, "an attribute stands twice");
    if (names_a_slot(parsed))
        return refuse(err, "slots can't be selected, their numbers change: use token= or serial=");
    if (names_an_object(parsed))
        return refuse(err, "it must name a token, not an object: leave object=, id= and type= out");
    if (p11_kit_uri_get_module_name(parsed) != NULL || p11_kit_uri_get_module_path(parsed) != NULL)
        return refuse(err, "leave module-name and module-path out: use the module option");
    if (!names_a_token(parsed))
        return refuse(err, "it names no token: use token=, serial=, model= or manufacturer=");
    return KMS_OK;
}

static enum kms_code parse(P11KitUri *parsed, const char *text, struct kms_error *err)
{
    int result = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, parsed);
    switch (result) {
    case P11_KIT_URI_OK:
        return check(parsed, text, err);
    case P11_KIT_URI_BAD_SCHEME:
        return refuse(err, "it must begin with \"pkcs11:\"");
    case P11_KIT_URI_BAD_ENCODING:
        return refuse(err, "bad %-escape");
    case P11_KIT_URI_UNEXPECTED:
        return kms_fail(err, KMS_E_BUSY, "uri: out of memory");
    default:
        return refuse(err, "bad syntax (RFC 7512)");
    }
}

enum kms_code pkcs11_uri_open(const char *text, struct pkcs11_uri **ret_uri, struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_uri_close_ptr) struct pkcs11_uri *uri = calloc(1, sizeof(*uri));
    if (uri != NULL)
        uri->parsed = p11_kit_uri_new();
    if (uri == NULL || uri->parsed == NULL)
        return kms_fail(err, KMS_E_BUSY, "uri: out of memory");
    enum kms_code rc = parse(uri->parsed, text, err);
    if (rc != KMS_OK)
        return rc;
    *ret_uri = uri;
    uri = NULL;
    return KMS_OK;
}

void pkcs11_uri_close(struct pkcs11_uri *uri)
{
    if (uri == NULL)
        return;
    p11_kit_uri_free(uri->parsed);
    free(uri);
}

bool pkcs11_uri_matches(const struct pkcs11_uri *uri, const CK_INFO *library,
                        const CK_TOKEN_INFO *token)
{
    return p11_kit_uri_match_module_info(uri->parsed, library) == 1 &&
           p11_kit_uri_match_token_info(uri->parsed, token) == 1;
}
