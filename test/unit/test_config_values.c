/* SPDX-License-Identifier: Apache-2.0 */
/* Values that a configuration may not have. */
#include "config_rig.h"

REFUSES(no_token_is_refused, "ring: prod\ntokens: []\n",
        "2: tokens: 0 entries are out of range 1..8")
REFUSES(nine_tokens_are_refused, "ring: prod\ntokens: [a, b, c, d, e, f, g, h, i]\n",
        "2: tokens: 9 entries are out of range 1..8")
REFUSES(a_token_name_in_capitals_is_refused, MINIMAL "    name: HSM\n",
        "6: tokens[0].name: must be 1 to 32 of a-z, 0-9 and '-', with no '-' at either end")
REFUSES(a_token_name_of_33_bytes_is_refused,
        MINIMAL "    name: aaaaaaaaaabbbbbbbbbbccccccccccddd\n",
        "6: tokens[0].name: must be 1 to 32 of a-z, 0-9 and '-', with no '-' at either end")
REFUSES(two_tokens_of_one_name_are_refused,
        MINIMAL "    name: a\n  - {name: a, module: m, uri: 'pkcs11:token=b', pin_file: /q}\n",
        "7: tokens[1]: has the name of a token above: give each a name of its own")
REFUSES(a_token_named_as_another_would_be_is_refused,
        MINIMAL "    name: token-2\n  - {module: m, uri: 'pkcs11:token=b', pin_file: /q}\n",
        "7: tokens[1]: has the name of a token above: give each a name of its own")
REFUSES(a_token_listed_twice_is_refused,
        MINIMAL "  - {module: /usr/lib/softhsm/libsofthsm2.so, uri: 'pkcs11:token=prod', "
                "pin_file: /q}\n",
        "6: tokens[1]: has module and uri of a token above: they would be one token")
REFUSES(an_unknown_sync_is_refused, MINIMAL "    sync: copy\n",
        "6: tokens[0].sync: \"copy\" is not native or escrow")
REFUSES(zero_sessions_are_refused, MINIMAL "    sessions: 0\n",
        "6: tokens[0].sessions: 0 is out of range 1..64")
REFUSES(sixty_five_sessions_are_refused, MINIMAL "    sessions: 65\n",
        "6: tokens[0].sessions: 65 is out of range 1..64")
REFUSES(negative_sessions_are_refused, MINIMAL "    sessions: -1\n",
        "6: tokens[0].sessions: -1 is out of range 1..64")
REFUSES(absurdly_many_sessions_are_refused, MINIMAL "    sessions: 99999999999999999999\n",
        "6: tokens[0].sessions: 999999999999999999... is out of range 1..64")
REFUSES(sessions_in_words_are_refused, MINIMAL "    sessions: four\n",
        "6: tokens[0].sessions: \"four\" is not a whole number")
REFUSES(sessions_in_quotes_are_refused, MINIMAL "    sessions: \"4\"\n",
        "6: tokens[0].sessions: \"4\" is not a whole number")
REFUSES(octal_sessions_are_refused, MINIMAL "    sessions: 010\n",
        "6: tokens[0].sessions: \"010\" is not a whole number")
REFUSES(fractional_sessions_are_refused, MINIMAL "    sessions: 4.0\n",
        "6: tokens[0].sessions: \"4.0\" is not a whole number")
REFUSES(a_capital_ring_is_refused, "ring: Prod\n" TOKEN,
        "1: ring: must be 1 to 24 of a-z, 0-9 and '-', with no '-' at either end")
REFUSES(a_long_ring_is_refused, "ring: abcdefghijklmnopqrstuvwxy\n" TOKEN,
        "1: ring: must be 1 to 24 of a-z, 0-9 and '-', with no '-' at either end")
REFUSES(a_ring_with_an_escape_is_refused, "ring: \"p\\e\"\n" TOKEN,
        "1: ring: must be UTF-8 text without control characters")
REFUSES(a_relative_socket_is_refused, MINIMAL "socket: {path: kms.sock}\n",
        "6: socket.path: must be an absolute path")
REFUSES(an_abstract_socket_is_refused, MINIMAL "socket: {path: \"@kms\"}\n",
        "6: socket.path: abstract sockets are refused: any process could take the name")
REFUSES(a_socket_of_91_bytes_is_refused, MINIMAL "socket:\n  path: " NINETY_BYTES "s\n",
        "7: socket.path: must be at most 90 bytes long")
REFUSES(a_directory_is_no_socket, MINIMAL "socket: {path: /run/kms/}\n",
        "6: socket.path: must name a socket, not a directory")
REFUSES(a_mode_without_quotes_is_refused, MINIMAL "socket: {mode: 0660}\n",
        "6: socket.mode: \"0660\" is not an octal mode in quotes (\"0660\")")
REFUSES(a_mode_with_execute_bits_is_refused, MINIMAL "socket: {mode: \"0770\"}\n",
        "6: socket.mode: 0770 is out of range 0600..0666 (no execute bits)")
REFUSES(a_mode_that_shuts_the_owner_out_is_refused, MINIMAL "socket: {mode: \"0060\"}\n",
        "6: socket.mode: 0060 is out of range 0600..0666 (no execute bits)")
REFUSES(a_mode_with_a_sticky_bit_is_refused, MINIMAL "socket: {mode: \"1660\"}\n",
        "6: socket.mode: 1660 is out of range 0600..0666 (no execute bits)")
REFUSES(a_symbolic_mode_is_refused, MINIMAL "socket: {mode: \"u=rw\"}\n",
        "6: socket.mode: \"u=rw\" is not an octal mode in quotes (\"0660\")")
REFUSES(a_group_with_a_blank_is_refused, MINIMAL "socket: {group: \"a b\"}\n",
        "6: socket.group: must be the name or number of a group")
REFUSES(a_uid_out_of_range_is_refused, MINIMAL "socket: {allow_uids: [0, 4294967295]}\n",
        "6: socket.allow_uids[1]: 4294967295 is out of range 0..4294967294")
REFUSES(a_user_name_is_no_uid, MINIMAL "socket: {allow_uids: [nobody]}\n",
        "6: socket.allow_uids[0]: \"nobody\" is not a whole number")
REFUSES(a_relative_module_is_refused, "ring: prod\ntokens:\n  - module: ./lib.so\n",
        "3: tokens[0].module: must be an absolute path, or the name of a p11-kit module")
REFUSES(a_uri_of_another_scheme_is_refused, "ring: prod\ntokens:\n  - uri: https://hsm\n",
        "3: tokens[0].uri: must start with \"pkcs11:\" (RFC 7512)")
REFUSES(a_relative_state_dir_is_refused, MINIMAL "state_dir: lib\n",
        "6: state_dir: must be an absolute path")
REFUSES(a_refresh_below_a_second_is_refused, MINIMAL "refresh: 999ms\n",
        "6: refresh: 999ms is out of range 1s..10m")
REFUSES(a_refresh_above_ten_minutes_is_refused, MINIMAL "refresh: 11m\n",
        "6: refresh: 11m is out of range 1s..10m")
REFUSES(a_refresh_without_a_unit_is_refused, MINIMAL "refresh: 30\n",
        "6: refresh: \"30\" is not a duration (a whole number and a unit: 500ms, 30s, 5m)")
REFUSES(a_canary_of_zero_is_refused, MINIMAL "canary: 0s\n",
        "6: canary: 0s is out of range 1s..10m")
REFUSES(a_clock_skew_above_ten_minutes_is_refused, MINIMAL "clock_skew: 1h\n",
        "6: clock_skew: 1h is out of range 0s..10m")
REFUSES(a_max_age_of_nothing_is_refused, MINIMAL "policy: {max_age: 0s}\n",
        "6: policy.max_age: 0s is out of range 1h..3650d")
REFUSES(a_negative_clock_skew_is_refused, MINIMAL "clock_skew: -1s\n",
        "6: clock_skew: \"-1s\" is not a duration (a whole number and a unit: 500ms, 30s, 5m)")
REFUSES(a_flag_has_one_spelling, MINIMAL "rotation: {two_step: yes}\n",
        "6: rotation.two_step: \"yes\" is not true or false")
REFUSES(a_flag_in_quotes_is_refused, MINIMAL "rotation: {two_step: \"true\"}\n",
        "6: rotation.two_step: \"true\" is not true or false")
REFUSES(a_least_lead_above_thirty_days_is_refused, MINIMAL "rotation: {min_lead: 31d}\n",
        "6: rotation.min_lead: 31d is out of range 0s..30d")
REFUSES(a_ready_timeout_above_ten_minutes_is_refused, MINIMAL "ready_timeout: 601s\n",
        "6: ready_timeout: 601s is out of range 0s..10m")
REFUSES(generation_zero_is_refused, MINIMAL "pins:\n  - generation: 0\n",
        "7: pins[0].generation: 0 is out of range 1..999999999")
REFUSES(a_short_fingerprint_is_refused, MINIMAL "pins:\n  - fingerprint: abcd\n",
        "7: pins[0].fingerprint: \"abcd\" is not 64 hexadecimal digits")
#define WHEN "activation: 2026-12-01T12:00:00Z"
REFUSES(an_unknown_isolation_is_refused, MINIMAL "    isolation: thread\n",
        "6: tokens[0].isolation: \"thread\" is not process or none")
REFUSES(an_unknown_user_type_is_refused, MINIMAL "    user_type: so\n",
        "6: tokens[0].user_type: \"so\" is not user or crypto-user")
REFUSES(an_unknown_profile_is_refused, MINIMAL "profile: aes-kw-cipher\n",
        "6: profile: \"aes-kw-cipher\" is not auto, aes-kw, aes-kwp or aes-gcm")
REFUSES(a_variable_with_a_value_is_refused, MINIMAL "    environment: [A=b]\n",
        "6: tokens[0].environment[0]: is no name of an environment variable")
REFUSES(an_adoption_without_a_name_is_refused, MINIMAL "adopt:\n  - {generation: 1, " WHEN "}\n",
        "7: adopt[0]: names no key: give its label, its cka_id or both")
REFUSES(an_adoption_without_an_activation_is_refused,
        MINIMAL "adopt:\n  - {generation: 1, label: a}\n",
        "7: adopt[0].activation: required, but not given")
REFUSES(an_activation_that_is_no_time_is_refused,
        MINIMAL "adopt:\n  - {generation: 1, label: a, activation: now}\n",
        "7: adopt[0].activation: \"now\" is not a UTC time (2026-12-01T12:00:00Z)")
REFUSES(a_cka_id_of_half_a_byte_is_refused,
        MINIMAL "adopt:\n  - {generation: 1, cka_id: abc, " WHEN "}\n",
        "7: adopt[0].cka_id: \"abc\" is not 1 to 64 pairs of hexadecimal digits")
REFUSES(a_generation_adopted_twice_is_refused,
        MINIMAL "adopt:\n  - {generation: 1, label: a, " WHEN "}\n"
                "  - {generation: 1, label: b, " WHEN "}\n",
        "8: adopt[1]: this generation is adopted above")
REFUSES(adoptions_that_one_key_may_match_are_refused,
        MINIMAL "adopt:\n  - {generation: 1, label: a, " WHEN "}\n"
                "  - {generation: 2, cka_id: ab, " WHEN "}\n",
        "8: adopt[1]: may name the same key as an entry above: give both label and cka_id")
REFUSES(a_generation_with_two_pins_is_refused,
        MINIMAL "pins:\n"
                "  - {generation: 1, fingerprint: " DIGITS "}\n"
                "  - {generation: 2, fingerprint: " DIGITS "}\n"
                "  - {generation: 1, fingerprint: " DIGITS "}\n",
        "9: pins[2]: this generation has a pin above")
REFUSES(an_unknown_log_format_is_refused, MINIMAL "log: {format: xml}\n",
        "6: log.format: \"xml\" is not text or json")
REFUSES(an_unknown_log_level_is_refused, MINIMAL "log: {level: trace}\n",
        "6: log.level: \"trace\" is not debug, info, warn or error")

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(no_token_is_refused),
    cmocka_unit_test(nine_tokens_are_refused),
    cmocka_unit_test(a_token_name_in_capitals_is_refused),
    cmocka_unit_test(a_token_name_of_33_bytes_is_refused),
    cmocka_unit_test(two_tokens_of_one_name_are_refused),
    cmocka_unit_test(a_token_named_as_another_would_be_is_refused),
    cmocka_unit_test(a_token_listed_twice_is_refused),
    cmocka_unit_test(an_unknown_sync_is_refused),
    cmocka_unit_test(zero_sessions_are_refused),
    cmocka_unit_test(sixty_five_sessions_are_refused),
    cmocka_unit_test(negative_sessions_are_refused),
    cmocka_unit_test(absurdly_many_sessions_are_refused),
    cmocka_unit_test(sessions_in_words_are_refused),
    cmocka_unit_test(sessions_in_quotes_are_refused),
    cmocka_unit_test(octal_sessions_are_refused),
    cmocka_unit_test(fractional_sessions_are_refused),
    cmocka_unit_test(a_capital_ring_is_refused),
    cmocka_unit_test(a_long_ring_is_refused),
    cmocka_unit_test(a_ring_with_an_escape_is_refused),
    cmocka_unit_test(a_relative_socket_is_refused),
    cmocka_unit_test(an_abstract_socket_is_refused),
    cmocka_unit_test(a_socket_of_91_bytes_is_refused),
    cmocka_unit_test(a_directory_is_no_socket),
    cmocka_unit_test(a_mode_without_quotes_is_refused),
    cmocka_unit_test(a_mode_with_execute_bits_is_refused),
    cmocka_unit_test(a_mode_that_shuts_the_owner_out_is_refused),
    cmocka_unit_test(a_mode_with_a_sticky_bit_is_refused),
    cmocka_unit_test(a_symbolic_mode_is_refused),
    cmocka_unit_test(a_group_with_a_blank_is_refused),
    cmocka_unit_test(a_uid_out_of_range_is_refused),
    cmocka_unit_test(a_user_name_is_no_uid),
    cmocka_unit_test(a_relative_module_is_refused),
    cmocka_unit_test(a_uri_of_another_scheme_is_refused),
    cmocka_unit_test(a_relative_state_dir_is_refused),
    cmocka_unit_test(a_refresh_below_a_second_is_refused),
    cmocka_unit_test(a_refresh_above_ten_minutes_is_refused),
    cmocka_unit_test(a_refresh_without_a_unit_is_refused),
    cmocka_unit_test(a_canary_of_zero_is_refused),
    cmocka_unit_test(a_clock_skew_above_ten_minutes_is_refused),
    cmocka_unit_test(a_max_age_of_nothing_is_refused),
    cmocka_unit_test(a_negative_clock_skew_is_refused),
    cmocka_unit_test(a_flag_has_one_spelling),
    cmocka_unit_test(a_flag_in_quotes_is_refused),
    cmocka_unit_test(a_least_lead_above_thirty_days_is_refused),
    cmocka_unit_test(a_ready_timeout_above_ten_minutes_is_refused),
    cmocka_unit_test(generation_zero_is_refused),
    cmocka_unit_test(a_short_fingerprint_is_refused),
    cmocka_unit_test(an_unknown_isolation_is_refused),
    cmocka_unit_test(an_unknown_user_type_is_refused),
    cmocka_unit_test(an_unknown_profile_is_refused),
    cmocka_unit_test(a_variable_with_a_value_is_refused),
    cmocka_unit_test(an_adoption_without_a_name_is_refused),
    cmocka_unit_test(an_adoption_without_an_activation_is_refused),
    cmocka_unit_test(an_activation_that_is_no_time_is_refused),
    cmocka_unit_test(a_cka_id_of_half_a_byte_is_refused),
    cmocka_unit_test(a_generation_adopted_twice_is_refused),
    cmocka_unit_test(adoptions_that_one_key_may_match_are_refused),
    cmocka_unit_test(a_generation_with_two_pins_is_refused),
    cmocka_unit_test(an_unknown_log_format_is_refused),
    cmocka_unit_test(an_unknown_log_level_is_refused),
};

int main(void)
{
    return cmocka_run_group_tests_name("config values", tests, make_file, remove_file);
}
