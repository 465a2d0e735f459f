/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "uri.h"

static void set_padded(unsigned char *field, size_t size, const char *text)
{
    memset(field, ' ', size);
    memcpy(field, text, strlen(text));
}

static bool matches(const char *text, const char *label, const char *serial)
{
    struct kms_error err;
    KMS_CLEANUP(pkcs11_uri_close_ptr) struct pkcs11_uri *uri = NULL;
    assert_ok(pkcs11_uri_open(text, &uri, &err), &err);
    CK_INFO library = { 0 };
    CK_TOKEN_INFO token = { 0 };
    set_padded(library.manufacturerID, sizeof(library.manufacturerID), "maker");
    set_padded(library.libraryDescription, sizeof(library.libraryDescription), "library");
    set_padded(token.label, sizeof(token.label), label);
    set_padded(token.serialNumber, sizeof(token.serialNumber), serial);
    set_padded(token.model, sizeof(token.model), "model");
    set_padded(token.manufacturerID, sizeof(token.manufacturerID), "maker");
    return pkcs11_uri_matches(uri, &library, &token);
}

static void assert_refused(const char *text, const char *why)
{
    struct kms_error err = { 0 };
    struct pkcs11_uri *uri = NULL;
    if (pkcs11_uri_open(text, &uri, &err) != KMS_E_INVALID) {
        pkcs11_uri_close(uri);
        fail_msg("\"%s\" was not refused", text);
    }
    assert_contains(err.msg, why);
    assert_null(uri);
}

static void a_token_is_matched_by_label(void **state)
{
    (void)state;
    assert_true(matches("pkcs11:token=prod", "prod", "1"));
    assert_false(matches("pkcs11:token=prod", "prod2", "1"));
    assert_true(matches("pkcs11:token=two%20words", "two words", "1"));
}

static void every_attribute_counts(void **state)
{
    (void)state;
    assert_true(matches("pkcs11:token=prod;serial=7", "prod", "7"));
    assert_false(matches("pkcs11:token=prod;serial=7", "prod", "8"));
    assert_true(matches("pkcs11:model=model;manufacturer=maker", "x", "y"));
    assert_false(matches("pkcs11:token=prod;library-manufacturer=other", "prod", "1"));
}

static void what_selects_no_token_is_refused(void **state)
{
    (void)state;
    assert_refused("pkcs11:", "names no token");
    assert_refused("pkcs11:library-manufacturer=maker", "names no token");
    assert_refused("pkcs11:token=prod;object=kek", "not an object");
    assert_refused("pkcs11:token=prod;slot-id=3", "slots");
    assert_refused("pkcs11:slot-description=x;token=prod", "slots");
    assert_refused("pkcs11:token=prod?module-path=/x.so", "module option");
}

static void bad_syntax_is_refused(void **state)
{
    (void)state;
    assert_refused("token=prod", "pkcs11:");
    assert_refused("", "pkcs11:");
    assert_refused("http:token=prod", "pkcs11:");
    assert_refused("pkcs11:token=%zz", "escape");
    assert_refused("pkcs11:token", "syntax");
}

static void unknown_attributes_are_refused(void **state)
{
    (void)state;
    assert_refused("pkcs11:token=prod;tokn=x", "unknown");
    assert_refused("pkcs11:token=a-label-longer-than-the-thirty-two-bytes", "too long");
}

static void a_repeated_attribute_is_refused(void **state)
{
    (void)state;
    assert_refused("pkcs11:token=a;token=b", "twice");
    assert_refused("pkcs11:token=a;serial=1;token=b", "twice");
    assert_true(matches("pkcs11:token=a;serial=token", "a", "token"));
}

static void a_pin_inside_is_refused_and_never_shown(void **state)
{
    (void)state;
    struct kms_error err;
    struct pkcs11_uri *uri = NULL;
    assert_refused("pkcs11:token=prod?pin-source=file:/x", "pin_file");
    assert_int_equal(pkcs11_uri_open("pkcs11:token=prod?pin-value=hunter2", &uri, &err),
                     KMS_E_INVALID);
    assert_null(strstr(err.msg, "hunter2"));
    assert_int_equal(pkcs11_uri_open("pkcs11:token=%zz?pin-value=hunter2", &uri, &err),
                     KMS_E_INVALID);
    assert_null(strstr(err.msg, "hunter2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_matched_by_label),
        cmocka_unit_test(every_attribute_counts),
        cmocka_unit_test(what_selects_no_token_is_refused),
        cmocka_unit_test(bad_syntax_is_refused),
        cmocka_unit_test(unknown_attributes_are_refused),
        cmocka_unit_test(a_repeated_attribute_is_refused),
        cmocka_unit_test(a_pin_inside_is_refused_and_never_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
