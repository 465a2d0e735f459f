/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/endpoint.h"

#include <stdio.h>

#include "check.h"

static struct kms_etcd_endpoint endpoints[KMS_ETCD_ENDPOINTS_MAX];

static size_t parse(const char *text)
{
    struct kms_error err = { 0 };
    size_t count = 0;
    assert_ok(kms_etcd_endpoints_parse(text, endpoints, &count, &err), &err);
    return count;
}

static void refuse(const char *text, const char *why)
{
    struct kms_error err = { 0 };
    size_t count = 99;
    assert_int_equal(kms_etcd_endpoints_parse(text, endpoints, &count, &err), KMS_E_INVALID);
    assert_contains(err.msg, why);
    assert_int_equal(count, 99);
}

static void https_goes_to_any_host(void **state)
{
    (void)state;
    assert_int_equal(
        parse("https://etcd-1.example:2379,https://10.0.0.2:4001/,https://[fd00::1]:1"), 3);
    assert_string_equal(endpoints[0].target, "etcd-1.example:2379");
    assert_string_equal(endpoints[1].target, "10.0.0.2:4001");
    assert_string_equal(endpoints[2].target, "[fd00::1]:1");
    for (size_t i = 0; i < 3; i++)
        assert_true(endpoints[i].tls);
}

static void a_missing_port_is_etcds_own(void **state)
{
    (void)state;
    assert_int_equal(parse("https://etcd,https://[fd00::1]"), 2);
    assert_string_equal(endpoints[0].target, "etcd:2379");
    assert_string_equal(endpoints[1].target, "[fd00::1]:2379");
}

static void http_goes_to_the_loopback_address_only(void **state)
{
    (void)state;
    assert_int_equal(parse("http://127.0.0.1:1,http://localhost:2,http://[::1]:3,http://127.9.9.9"),
                     4);
    assert_false(endpoints[0].tls);
    refuse("http://10.0.0.2:2379", "use https:// for 10.0.0.2");
    refuse("http://localhost.example:2379", "loopback");
    refuse("http://127.0.0.1.example:2379", "loopback");
    refuse("http://[fd00::1]:2379", "loopback");
    refuse("https://10.0.0.1,http://10.0.0.2", "loopback");
}

static void what_is_no_url_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "127.0.0.1:2379",
                                       "unix:///run/etcd.sock",
                                       "https://",
                                       "https:///",
                                       "https://:2379",
                                       "https://etcd:",
                                       "https://a,",
                                       "https://etcd:port",
                                       "https://etcd:123456",
                                       "https://[::1",
                                       "https://[::1]2379",
                                       "https://etcd:1/path",
                                       "https://a b",
                                       "https://user@etcd:1",
                                       ",https://a",
                                       "https://etcd:1:2" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse(bad[i], "https://HOST:PORT");
}

static void a_host_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char text[KMS_ETCD_ENDPOINT_MAX + 16] = "https://";
    memset(text + strlen("https://"), 'a', KMS_ETCD_ENDPOINT_MAX);
    refuse(text, "https://HOST:PORT");
}

static void too_many_endpoints_are_refused(void **state)
{
    (void)state;
    char text[(KMS_ETCD_ENDPOINTS_MAX + 1) * sizeof "https://a,"] = "https://a";
    for (int i = 1; i < KMS_ETCD_ENDPOINTS_MAX; i++)
        strncat(text, ",https://a", sizeof text - strlen(text) - 1);
    assert_int_equal(parse(text), KMS_ETCD_ENDPOINTS_MAX);
    strncat(text, ",https://a", sizeof text - strlen(text) - 1);
    refuse(text, "more than 16 endpoints");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(https_goes_to_any_host),
        cmocka_unit_test(a_missing_port_is_etcds_own),
        cmocka_unit_test(http_goes_to_the_loopback_address_only),
        cmocka_unit_test(what_is_no_url_is_refused),
        cmocka_unit_test(a_host_that_is_too_long_is_refused),
        cmocka_unit_test(too_many_endpoints_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
