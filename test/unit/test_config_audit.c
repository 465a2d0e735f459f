/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "config_rig.h"

static void there_is_no_audit_log_unless_asked_for(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL);
    assert_null(config.audit.path);
    kms_config_done(&config);
}

static void a_path_is_enough(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL "audit: {path: /a/b}\n");
    assert_string_equal(config.audit.path, "/a/b");
    assert_null(config.audit.cluster);
    assert_int_equal(config.audit.sync, KMS_AUDIT_BATCH);
    assert_int_equal(config.audit.on_error, KMS_AUDIT_CONTINUE);
    assert_int_equal(config.audit.rotate_size_mib, 64);
    assert_int_equal(config.audit.rotate_keep, 0);
    assert_int_equal(config.audit.sink_count, 0);
    assert_string_equal(config.audit.syslog, "/dev/log");
    kms_config_done(&config);
}

static void every_field_of_audit_is_read(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL
                                    "audit: {path: /a/b, cluster: prod, sync: always, on_error: "
                                    "refuse, rotate_size: 8,\n  rotate_keep: 9, sinks: [syslog, "
                                    "journald], syslog: /run/log}\n");
    assert_string_equal(config.audit.cluster, "prod");
    assert_int_equal(config.audit.sync, KMS_AUDIT_ALWAYS);
    assert_int_equal(config.audit.on_error, KMS_AUDIT_REFUSE);
    assert_int_equal(config.audit.rotate_size_mib, 8);
    assert_int_equal(config.audit.rotate_keep, 9);
    assert_int_equal(config.audit.sink_count, 2);
    assert_int_equal(config.audit.sinks[0], KMS_CONFIG_SYSLOG);
    assert_int_equal(config.audit.sinks[1], KMS_CONFIG_JOURNALD);
    assert_string_equal(config.audit.syslog, "/run/log");
    kms_config_done(&config);
}

static void lines_may_be_left_to_the_kernel(void **state)
{
    (void)state;
    struct kms_config config = load(MINIMAL "audit: {path: /a, sync: none}\n");
    assert_int_equal(config.audit.sync, KMS_AUDIT_NONE);
    kms_config_done(&config);
}

REFUSES(a_relative_path_is_refused, MINIMAL "audit: {path: a/b}\n",
        "6: audit.path: must be an absolute path")
REFUSES(an_unknown_sync_is_refused, MINIMAL "audit: {path: /a, sync: often}\n",
        "6: audit.sync: \"often\" is not batch, always or none")
REFUSES(a_word_with_a_nul_is_refused, MINIMAL "audit: {path: /a, sync: \"none\\0\"}\n",
        "6: audit.sync: \"none\\x00\" is not batch, always or none")
REFUSES(an_unknown_on_error_is_refused, MINIMAL "audit: {path: /a, on_error: stop}\n",
        "6: audit.on_error: \"stop\" is not continue or refuse")
REFUSES(a_list_is_no_word, MINIMAL "audit: {path: /a, on_error: [refuse]}\n",
        "6: audit.on_error: expected a word")
REFUSES(an_unknown_sink_is_refused, MINIMAL "audit: {path: /a, sinks: [kafka]}\n",
        "6: audit.sinks[0]: \"kafka\" is not journald or syslog")
REFUSES(three_sinks_are_refused, MINIMAL "audit: {path: /a, sinks: [syslog, syslog, syslog]}\n",
        "6: audit.sinks: 3 entries are out of range 0..2")
REFUSES(a_relative_syslog_is_refused, MINIMAL "audit: {path: /a, syslog: log}\n",
        "6: audit.syslog: must be an absolute path")

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_no_audit_log_unless_asked_for),
        cmocka_unit_test(a_path_is_enough),
        cmocka_unit_test(every_field_of_audit_is_read),
        cmocka_unit_test(lines_may_be_left_to_the_kernel),
        cmocka_unit_test(a_relative_path_is_refused),
        cmocka_unit_test(an_unknown_sync_is_refused),
        cmocka_unit_test(a_word_with_a_nul_is_refused),
        cmocka_unit_test(an_unknown_on_error_is_refused),
        cmocka_unit_test(a_list_is_no_word),
        cmocka_unit_test(an_unknown_sink_is_refused),
        cmocka_unit_test(three_sinks_are_refused),
        cmocka_unit_test(a_relative_syslog_is_refused),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
