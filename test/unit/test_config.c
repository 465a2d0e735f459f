/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_rig.h"

/* --- what is accepted --- */

static void defaults_fill_what_the_file_leaves_out(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL);
    assert_string_equal(config.socket.path, "/run/kmsplugin/hsm-kms.sock");
    assert_int_equal(config.socket.mode, 0660);
    assert_null(config.socket.group);
    assert_int_equal(config.socket.allow_uid_count, 0);
    assert_int_equal(config.tokens[0].sessions, 4);
    assert_int_equal(config.tokens[0].memory_limit_mib, 512);
    assert_null(config.tokens[0].user);
    assert_string_equal(config.tokens[0].name, "token-1");
    assert_true(config.tokens[0].required);
    assert_int_equal(config.tokens[0].sync, KMS_SYNC_NATIVE);
    assert_string_equal(config.state_dir, "/var/lib/hsm-kms");
    assert_int_equal(config.refresh_ms, 30000);
    assert_int_equal(config.canary_ms, 30000);
    assert_int_equal(config.clock_skew_ms, 30000);
    assert_int_equal(config.ready_timeout_ms, 60000);
    assert_false(config.rotation.two_step);
    assert_int_equal(config.rotation.min_lead_ms, 0);
    assert_int_equal(config.policy.destroy_wait_ms, INT64_C(30) * 86400 * 1000);
    assert_int_equal(config.policy.max_age_ms, 0);
    assert_int_equal(config.pin_count, 0);
    assert_int_equal(config.log_format, KMS_LOG_TEXT);
    assert_int_equal(config.log_level, KMS_LOG_INFO);
    kms_config_done(&config);
}

static void tokens_are_named_by_their_place(void **state)
{
    (void)state;
    struct kms_config config = load(
        MINIMAL "  - {name: spare, module: m, uri: 'pkcs11:token=a', pin_file: /q}\n"
                "  - {module: m, uri: 'pkcs11:token=b', pin_file: /q}\n");
    assert_int_equal(config.token_count, 3);
    assert_string_equal(config.tokens[0].name, "token-1");
    assert_string_equal(config.tokens[1].name, "spare");
    assert_string_equal(config.tokens[2].name, "token-3");
    kms_config_done(&config);
}

#define SECOND_TOKEN "  - {module: m, uri: 'pkcs11:token=b', pin_file: /q}\n"

static enum kms_profile profile_of(const char *text)
{
    struct kms_config config = load(text);
    enum kms_profile profile = config.profile;
    kms_config_done(&config);
    return profile;
}

static void several_tokens_are_asked_for_one_algorithm(void **state)
{
    (void)state;
    assert_int_equal(profile_of(MINIMAL), KMS_PROFILE_AUTO);
    assert_int_equal(profile_of(MINIMAL SECOND_TOKEN), KMS_PROFILE_AES_KW);
    assert_int_equal(profile_of(MINIMAL SECOND_TOKEN "profile: aes-gcm\n"), KMS_PROFILE_AES_GCM);
}

static void every_field_is_read(void **state)
{
    (void)state;
    struct kms_config config = load(
        "ring: lab-1\nprofile: aes-gcm\n"
        "socket: {path: /run/x.sock, mode: \"0600\", group: kms, allow_uids: [65534, 0]}\n"
        "tokens:\n"
        "  - {module: softhsm2, uri: 'pkcs11:token=a', pin_file: /p, user: ops, sessions: 64,\n"
        "     isolation: none, environment: [A_B, C]}\n"
        "  - {name: dr-site, module: m, uri: 'pkcs11:token=b', pin_file: /q, required: false,\n"
        "     sync: escrow, user_type: crypto-user}\n"
        "state_dir: /s\nrefresh: 1s\ncanary: 10m\nclock_skew: 0s\nready_timeout: 1500ms\n"
        "rotation: {two_step: true, min_lead: 72h}\n"
        "pins:\n  - {generation: 3, fingerprint: " DIGITS "}\n"
        "adopt:\n  - {generation: 4, label: etcd key, cka_id: 0aFF, activation: "
        "2026-12-01T12:00:00Z}\n"
        "log: {format: json, level: debug}\n");
    assert_string_equal(config.ring, "lab-1");
    assert_int_equal(config.profile, KMS_PROFILE_AES_GCM);
    assert_int_equal(config.tokens[0].user_type, KMS_USER_TYPE_USER);
    assert_int_equal(config.tokens[1].user_type, KMS_USER_TYPE_CRYPTO_USER);
    assert_string_equal(config.socket.path, "/run/x.sock");
    assert_int_equal(config.socket.mode, 0600);
    assert_string_equal(config.socket.group, "kms");
    assert_int_equal(config.socket.allow_uid_count, 2);
    assert_int_equal(config.socket.allow_uids[0], 65534);
    assert_int_equal(config.token_count, 2);
    assert_string_equal(config.tokens[1].name, "dr-site");
    assert_false(config.tokens[1].required);
    assert_int_equal(config.tokens[1].sync, KMS_SYNC_ESCROW);
    assert_string_equal(config.tokens[0].module, "softhsm2");
    assert_string_equal(config.tokens[0].uri, "pkcs11:token=a");
    assert_string_equal(config.tokens[0].pin_file, "/p");
    assert_string_equal(config.tokens[0].user, "ops");
    assert_int_equal(config.tokens[0].isolation, KMS_ISOLATION_NONE);
    assert_int_equal(config.tokens[0].environment_count, 2);
    assert_string_equal(config.tokens[0].environment[1], "C");
    assert_int_equal(config.tokens[0].sessions, 64);
    assert_string_equal(config.state_dir, "/s");
    assert_int_equal(config.refresh_ms, 1000);
    assert_int_equal(config.canary_ms, 600000);
    assert_int_equal(config.clock_skew_ms, 0);
    assert_int_equal(config.ready_timeout_ms, 1500);
    assert_true(config.rotation.two_step);
    assert_int_equal(config.rotation.min_lead_ms, INT64_C(72) * 3600 * 1000);
    assert_int_equal(config.pin_count, 1);
    assert_int_equal(config.pins[0].generation, 3);
    assert_int_equal(config.pins[0].fingerprint[31], 0xff);
    assert_int_equal(config.adopt_count, 1);
    assert_int_equal(config.adopt[0].generation, 4);
    assert_string_equal(config.adopt[0].label, "etcd key");
    assert_int_equal(config.adopt[0].cka_id.len, 2);
    assert_int_equal(config.adopt[0].cka_id.data[1], 0xff);
    assert_int_equal(config.adopt[0].activation_utc_s, 1796126400);
    assert_int_equal(config.log_format, KMS_LOG_JSON);
    assert_int_equal(config.log_level, KMS_LOG_DEBUG);
    kms_config_done(&config);
}

static void what_a_key_waits_for_before_its_end_is_read(void **state)
{
    (void)state;
    struct kms_config config = load(
        MINIMAL "policy: {destroy_wait: 0s, backup_retention: 90d, max_age: 365d}\n");
    assert_int_equal(config.policy.destroy_wait_ms, 0);
    assert_int_equal(config.policy.backup_retention_ms, INT64_C(90) * 86400 * 1000);
    assert_int_equal(config.policy.max_age_ms, INT64_C(365) * 86400 * 1000);
    kms_config_done(&config);
}

static void a_group_may_be_a_number(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL "socket: {group: 65534}\n");
    assert_string_equal(config.socket.group, "65534");
    kms_config_done(&config);
}

static void a_socket_of_90_bytes_fits(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL "socket:\n  path: " NINETY_BYTES "\n");
    assert_string_equal(config.socket.path, NINETY_BYTES);
    kms_config_done(&config);
}

static void done_twice_is_safe(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL);
    kms_config_done(&config);
    kms_config_done(&config);
    assert_null(config.tokens);
}

/* --- the file --- */

static void a_missing_file_is_named(void **state)
{
    (void)state;
    struct kms_config config = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(kms_config_load("/nonexistent/c.yaml", &config, &err), KMS_E_PRECONDITION);
    assert_string_equal(err.msg, "/nonexistent/c.yaml: No such file or directory");
}

static void a_directory_is_no_configuration(void **state)
{
    (void)state;
    struct kms_config config = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(kms_config_load("/tmp", &config, &err), KMS_E_PRECONDITION);
    assert_string_equal(err.msg, "/tmp: not a regular file");
}

static void a_huge_file_is_refused(void **state)
{
    (void)state;
    size_t len = 256 * 1024 + 1;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, '#', len);
    assert_refused_bytes(text, len, "1: larger than 256 KiB");
    free(text);
}

static void bytes_that_are_not_utf8_are_refused_with_their_line(void **state)
{
    (void)state;
    assert_refused("ring: prod\nstate_dir: \xff\n", "2: not YAML: invalid leading UTF-8 octet");
}

static void a_nul_inside_a_value_is_refused(void **state)
{
    (void)state;
    assert_refused("ring: \"pr\\0od\"\n" TOKEN,
                   "1: ring: must be UTF-8 text without control characters");
}

static void a_nul_byte_in_the_file_is_refused(void **state)
{
    (void)state;
    const char text[] = "ring: prod\nstate_dir: /a\0b\n";
    assert_refused_bytes(text, sizeof(text) - 1, "2: not YAML: control characters are not allowed");
}

static void a_deep_nest_is_refused_early(void **state)
{
    (void)state;
    size_t len = 100 * 1000;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, '[', len);
    assert_refused_bytes(text, len, "1: nested more than 8 levels deep");
    free(text);
}

REFUSES(an_empty_file_is_refused, "", "1: the file is empty")
REFUSES(a_file_of_comments_is_empty, "# nothing\n\n", "1: the file is empty")
REFUSES(a_list_is_no_configuration, "- ring\n", "1: expected a mapping")
REFUSES(a_text_is_no_configuration, "ring\n", "1: expected a mapping")
REFUSES(a_second_document_is_refused, MINIMAL "---\nring: b\n",
        "6: a second document: the file must hold one")
REFUSES(an_anchor_is_refused, "ring: &a prod\n" TOKEN,
        "1: anchors, aliases and tags are not supported")
REFUSES(an_alias_is_refused, "ring: prod\nstate_dir: *a\n",
        "2: anchors, aliases and tags are not supported")
REFUSES(an_anchor_on_a_mapping_is_refused, "ring: prod\nsocket: &s {path: /a}\n",
        "2: anchors, aliases and tags are not supported")
REFUSES(an_anchor_on_a_list_is_refused, "ring: prod\ntokens: &t []\n",
        "2: anchors, aliases and tags are not supported")
REFUSES(a_tag_is_refused, "ring: !!binary cHJvZA==\n" TOKEN,
        "1: anchors, aliases and tags are not supported")
REFUSES(broken_yaml_is_refused_with_its_line, "ring: prod\nsocket: {path: /a\nlog: {}\n",
        "3: not YAML: did not find expected ',' or '}'")
REFUSES(a_tab_as_indentation_is_refused, "ring: prod\nsocket:\n\tpath: /a\n",
        "3: not YAML: found character that cannot start any token")

/* --- fields --- */

REFUSES(
    an_unknown_field_is_refused, MINIMAL "rotate: 1d\n",
    "6: unknown field \"rotate\"; known here: ring, profile, socket, tokens, state_dir, refresh, "
    "canary, clock_skew, ready_timeout, rotation, policy, pins, adopt, audit, verify, log")
REFUSES(an_unknown_field_of_a_section_is_refused, MINIMAL "socket:\n  owner: kms\n",
        "7: socket: unknown field \"owner\"; known here: path, mode, group, allow_uids")
REFUSES(an_unknown_field_of_a_token_is_refused, MINIMAL "    pin: 1234\n",
        "6: tokens[0]: unknown field \"pin\"; known here: name, module, uri, pin_file, user, "
        "user_type, sessions, required, sync, isolation, memory_limit, environment")
REFUSES(an_unknown_field_of_a_pin_is_refused, MINIMAL "pins: [{gen: 1}]\n",
        "6: pins[0]: unknown field \"gen\"; known here: generation, fingerprint")
REFUSES(an_unknown_field_of_audit_is_refused, MINIMAL "audit: {file: /x}\n",
        "6: audit: unknown field \"file\"; known here: path, cluster, sync, on_error, rotate_size, "
        "rotate_keep, sinks, encrypt, syslog")
REFUSES(an_unknown_field_of_verify_is_refused, MINIMAL "verify: {allow: x}\n",
        "6: verify: unknown field \"allow\"; known here: exempt")
REFUSES(a_resource_that_is_none_is_refused, MINIMAL "verify: {exempt: [events, Leases]}\n",
        "6: verify.exempt[1]: is no resource as RESOURCE or RESOURCE.GROUP")
REFUSES(an_unknown_field_of_log_is_refused, MINIMAL "log: {file: /x}\n",
        "6: log: unknown field \"file\"; known here: format, level")
REFUSES(
    a_schema_path_is_no_field, MINIMAL "socket.path: /x\n",
    "6: unknown field \"socket.path\"; known here: ring, profile, socket, tokens, state_dir, "
    "refresh, canary, clock_skew, ready_timeout, rotation, policy, pins, adopt, audit, verify, log")
REFUSES(an_empty_field_name_is_refused, MINIMAL "log: {\"\": x}\n",
        "6: log: unknown field \"\"; known here: format, level")
REFUSES(a_field_name_with_a_nul_is_refused, MINIMAL "log: {\"level\\0\": info}\n",
        "6: log: unknown field \"level\\x00\"; known here: format, level")
REFUSES(
    a_hostile_field_name_is_escaped_and_cut,
    MINIMAL "log: {\"\\e[31m\\\"0123456789012345678901234567890123456789\": x}\n",
    "6: log: unknown field \"\\x1b[31m\\x2201234567890123456789012345...\"; known here: format, "
    "level")
REFUSES(a_list_is_no_field_name, MINIMAL "log: {[a]: x}\n", "6: log: expected the name of a field")
REFUSES(a_duplicate_field_is_refused, "ring: prod\n" TOKEN "ring: prod\n",
        "6: ring: given twice; first on line 1")
REFUSES(a_duplicate_field_of_a_token_is_refused, MINIMAL "    pin_file: /b\n",
        "6: tokens[0].pin_file: given twice; first on line 5")
REFUSES(a_duplicate_section_is_refused, MINIMAL "log: {}\nlog: {}\n",
        "7: log: given twice; first on line 6")
REFUSES(the_first_fault_of_the_file_is_reported, "refresh: 0s\nring: PROD\n",
        "1: refresh: 0s is out of range 1s..10m")

/* --- types --- */

REFUSES(a_section_is_a_mapping, MINIMAL "socket: /run/x.sock\n", "6: socket: expected a mapping")
REFUSES(a_section_without_a_value_is_refused, MINIMAL "socket:\n", "6: socket: expected a mapping")
REFUSES(tokens_is_a_list, "ring: prod\ntokens: {module: a}\n", "2: tokens: expected a list")
REFUSES(a_token_is_a_mapping, "ring: prod\ntokens:\n  - softhsm\n",
        "3: tokens[0]: expected a mapping")
REFUSES(allow_uids_is_a_list, MINIMAL "socket: {allow_uids: 0}\n",
        "6: socket.allow_uids: expected a list")
REFUSES(a_text_is_no_list, "ring: [prod]\n" TOKEN, "1: ring: expected text")
REFUSES(a_number_is_no_mapping, MINIMAL "    sessions: {n: 1}\n",
        "6: tokens[0].sessions: expected a whole number")
REFUSES(a_field_needs_a_value, "ring:\n" TOKEN, "1: ring: has no value")
REFUSES(null_is_no_value, MINIMAL "state_dir: ~\n", "6: state_dir: has no value")
REFUSES(an_empty_text_is_refused, MINIMAL "state_dir: \"\"\n", "6: state_dir: must not be empty")

/* --- required --- */

REFUSES(ring_is_required, TOKEN, "1: ring: required, but not given")
REFUSES(tokens_is_required, "ring: prod\n", "1: tokens: required, but not given")
REFUSES(module_is_required, "ring: prod\ntokens:\n  - uri: pkcs11:token=a\n    pin_file: /p\n",
        "3: tokens[0].module: required, but not given")
REFUSES(uri_is_required, "ring: prod\ntokens:\n  - module: a\n    pin_file: /p\n",
        "3: tokens[0].uri: required, but not given")
REFUSES(pin_file_is_required, "ring: prod\ntokens:\n  - module: a\n    uri: pkcs11:token=a\n",
        "3: tokens[0].pin_file: required, but not given")
REFUSES(generation_is_required, MINIMAL "pins:\n  - fingerprint: " DIGITS "\n",
        "7: pins[0].generation: required, but not given")
REFUSES(fingerprint_is_required, MINIMAL "pins:\n  - generation: 1\n",
        "7: pins[0].fingerprint: required, but not given")

/* --- what must never be echoed --- */

REFUSES(a_pin_in_the_uri_is_refused_without_an_echo,
        "ring: prod\ntokens:\n  - uri: pkcs11:token=a?pin-value=1234\n",
        "3: tokens[0].uri: must hold no pin-value: put the PIN into pin_file")
REFUSES(a_pin_in_place_of_its_file_is_refused_without_an_echo,
        "ring: prod\ntokens:\n  - pin_file: 1234\n",
        "3: tokens[0].pin_file: must be an absolute path")

/* --- the flag --- */

static void a_socket_flag_replaces_the_path(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL);
    struct kms_error err = { 0 };
    assert_int_equal(kms_config_set_socket_path(&config, "/run/other.sock", &err), KMS_OK);
    assert_string_equal(config.socket.path, "/run/other.sock");
    kms_config_done(&config);
}

static void a_bad_socket_flag_is_refused_by_name(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL);
    struct kms_error err = { 0 };
    assert_int_equal(kms_config_set_socket_path(&config, "run.sock", &err), KMS_E_INVALID);
    assert_string_equal(err.msg, "--socket: must be an absolute path");
    assert_string_equal(config.socket.path, "/run/kmsplugin/hsm-kms.sock");
    kms_config_done(&config);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(defaults_fill_what_the_file_leaves_out),
    cmocka_unit_test(tokens_are_named_by_their_place),
    cmocka_unit_test(several_tokens_are_asked_for_one_algorithm),
    cmocka_unit_test(every_field_is_read),
    cmocka_unit_test(what_a_key_waits_for_before_its_end_is_read),
    cmocka_unit_test(a_group_may_be_a_number),
    cmocka_unit_test(a_socket_of_90_bytes_fits),
    cmocka_unit_test(done_twice_is_safe),
    cmocka_unit_test(a_missing_file_is_named),
    cmocka_unit_test(a_directory_is_no_configuration),
    cmocka_unit_test(a_huge_file_is_refused),
    cmocka_unit_test(bytes_that_are_not_utf8_are_refused_with_their_line),
    cmocka_unit_test(a_nul_inside_a_value_is_refused),
    cmocka_unit_test(a_nul_byte_in_the_file_is_refused),
    cmocka_unit_test(a_deep_nest_is_refused_early),
    cmocka_unit_test(an_empty_file_is_refused),
    cmocka_unit_test(a_file_of_comments_is_empty),
    cmocka_unit_test(a_list_is_no_configuration),
    cmocka_unit_test(a_text_is_no_configuration),
    cmocka_unit_test(a_second_document_is_refused),
    cmocka_unit_test(an_anchor_is_refused),
    cmocka_unit_test(an_alias_is_refused),
    cmocka_unit_test(an_anchor_on_a_mapping_is_refused),
    cmocka_unit_test(an_anchor_on_a_list_is_refused),
    cmocka_unit_test(a_tag_is_refused),
    cmocka_unit_test(broken_yaml_is_refused_with_its_line),
    cmocka_unit_test(a_tab_as_indentation_is_refused),
    cmocka_unit_test(an_unknown_field_is_refused),
    cmocka_unit_test(an_unknown_field_of_a_section_is_refused),
    cmocka_unit_test(an_unknown_field_of_a_token_is_refused),
    cmocka_unit_test(an_unknown_field_of_a_pin_is_refused),
    cmocka_unit_test(an_unknown_field_of_audit_is_refused),
    cmocka_unit_test(an_unknown_field_of_verify_is_refused),
    cmocka_unit_test(a_resource_that_is_none_is_refused),
    cmocka_unit_test(an_unknown_field_of_log_is_refused),
    cmocka_unit_test(a_schema_path_is_no_field),
    cmocka_unit_test(an_empty_field_name_is_refused),
    cmocka_unit_test(a_field_name_with_a_nul_is_refused),
    cmocka_unit_test(a_hostile_field_name_is_escaped_and_cut),
    cmocka_unit_test(a_list_is_no_field_name),
    cmocka_unit_test(a_duplicate_field_is_refused),
    cmocka_unit_test(a_duplicate_field_of_a_token_is_refused),
    cmocka_unit_test(a_duplicate_section_is_refused),
    cmocka_unit_test(the_first_fault_of_the_file_is_reported),
    cmocka_unit_test(a_section_is_a_mapping),
    cmocka_unit_test(a_section_without_a_value_is_refused),
    cmocka_unit_test(tokens_is_a_list),
    cmocka_unit_test(a_token_is_a_mapping),
    cmocka_unit_test(allow_uids_is_a_list),
    cmocka_unit_test(a_text_is_no_list),
    cmocka_unit_test(a_number_is_no_mapping),
    cmocka_unit_test(a_field_needs_a_value),
    cmocka_unit_test(null_is_no_value),
    cmocka_unit_test(an_empty_text_is_refused),
    cmocka_unit_test(ring_is_required),
    cmocka_unit_test(tokens_is_required),
    cmocka_unit_test(module_is_required),
    cmocka_unit_test(uri_is_required),
    cmocka_unit_test(pin_file_is_required),
    cmocka_unit_test(generation_is_required),
    cmocka_unit_test(fingerprint_is_required),
    cmocka_unit_test(a_pin_in_the_uri_is_refused_without_an_echo),
    cmocka_unit_test(a_pin_in_place_of_its_file_is_refused_without_an_echo),
    cmocka_unit_test(a_socket_flag_replaces_the_path),
    cmocka_unit_test(a_bad_socket_flag_is_refused_by_name),
};

int main(void)
{
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
