/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/pager.h"

#include "check.h"

#define BYTES(text) ((struct kms_bytes){ (const uint8_t *)(text), sizeof(text) - 1 })
enum { CLUSTER = 7, SMALL = 1000, LARGE = 3 * 1024 * 1024 };

struct fixture {
    struct kms_etcd_pager pager;
    struct kms_etcd_summary summary;
    struct kms_error err;
    Etcd__ResponseHeader header;
    Etcd__RangeResponse page;
};

static struct fixture *start(void **state, struct kms_bytes prefix)
{
    static struct fixture fixture;
    fixture = (struct fixture){ .header = ETCD__RESPONSE_HEADER__INIT,
                                .page = ETCD__RANGE_RESPONSE__INIT };
    fixture.page.header = &fixture.header;
    fixture.page.more = true;
    fixture.page.n_kvs = 1;
    fixture.header.cluster_id = CLUSTER;
    fixture.header.member_id = 8;
    fixture.header.revision = 100;
    assert_ok(kms_etcd_pager_init(&fixture.pager, prefix, &fixture.err), &fixture.err);
    *state = &fixture;
    return &fixture;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    kms_etcd_pager_done(&fixture->pager);
    kms_etcd_summary_done(&fixture->summary);
    return 0;
}

static void assert_range(const struct fixture *fixture, struct kms_bytes key, struct kms_bytes to)
{
    const Etcd__RangeRequest request = kms_etcd_pager_request(&fixture->pager);
    const struct kms_bytes found = { request.key.data, request.key.len };
    const struct kms_bytes range_end = { request.range_end.data, request.range_end.len };
    assert_true(kms_bytes_equal(found, key));
    assert_true(kms_bytes_equal(range_end, to));
}

/* One page with one key, of @len bytes. */
static void take_page(struct fixture *fixture, struct kms_bytes key, size_t len)
{
    struct kms_error *err = &fixture->err;
    assert_ok(kms_etcd_pager_begin(&fixture->pager, &fixture->page, &fixture->summary, err), err);
    assert_ok(kms_etcd_pager_take(&fixture->pager, key, err), err);
    assert_ok(kms_etcd_pager_end(&fixture->pager, &fixture->page, len, err), err);
}

static void the_first_page_begins_at_the_prefix_and_ends_behind_it(void **state)
{
    assert_range(start(state, BYTES("/a/")), BYTES("/a/"), BYTES("/a0"));
    end(state);
    assert_range(start(state, BYTES("a\xff\xff")), BYTES("a\xff\xff"), BYTES("b"));
    end(state);
    assert_range(start(state, BYTES("\xff")), BYTES("\xff"), BYTES("\0"));
    end(state);
    assert_range(start(state, BYTES("")), BYTES("\0"), BYTES("\0"));
}

static void the_next_page_begins_right_behind_the_last_key(void **state)
{
    struct fixture *fixture = start(state, BYTES("/"));
    take_page(fixture, BYTES("/key"), SMALL);
    assert_range(fixture, BYTES("/key\0"), BYTES("0"));
}

static void all_pages_are_of_the_first_ones_revision(void **state)
{
    struct fixture *fixture = start(state, BYTES("/"));
    assert_int_equal(kms_etcd_pager_request(&fixture->pager).revision, 0);
    take_page(fixture, BYTES("/a"), SMALL);
    fixture->header.revision = 150; /* etcd tells its newest, whatever was asked for */
    take_page(fixture, BYTES("/b"), SMALL);
    assert_int_equal(kms_etcd_pager_request(&fixture->pager).revision, 100);
    assert_int_equal(fixture->summary.span_count, 1);
    assert_int_equal(kms_etcd_summary_revision(&fixture->summary), 100);
    assert_int_equal(fixture->summary.cluster_id, CLUSTER);
    assert_int_equal(fixture->summary.member_id, 8);
}

static void a_compaction_begins_a_new_span_at_the_next_key(void **state)
{
    struct fixture *fixture = start(state, BYTES("/"));
    take_page(fixture, BYTES("/a"), SMALL);
    assert_true(kms_etcd_pager_restart(&fixture->pager));
    assert_false(kms_etcd_pager_restart(&fixture->pager));
    assert_int_equal(kms_etcd_pager_request(&fixture->pager).revision, 0);
    fixture->header.revision = 200;
    take_page(fixture, BYTES("/b"), SMALL);
    assert_int_equal(fixture->summary.span_count, 2);
    const struct kms_etcd_span *span = &fixture->summary.spans[1];
    assert_int_equal(span->revision, 200);
    assert_true(kms_bytes_equal((struct kms_bytes){ span->from, span->from_len }, BYTES("/a\0")));
}

static void small_pages_grow_and_large_ones_stay(void **state)
{
    struct fixture *fixture = start(state, BYTES("/"));
    int64_t limit = kms_etcd_pager_request(&fixture->pager).limit;
    take_page(fixture, BYTES("/a"), SMALL);
    assert_int_equal(kms_etcd_pager_request(&fixture->pager).limit, 2 * limit);
    take_page(fixture, BYTES("/b"), LARGE);
    assert_int_equal(kms_etcd_pager_request(&fixture->pager).limit, 2 * limit);
}

static void pages_shrink_down_to_one_key_and_grow_again(void **state)
{
    struct fixture *fixture = start(state, BYTES("/"));
    while (kms_etcd_pager_shrink(&fixture->pager))
        ;
    assert_int_equal(kms_etcd_pager_request(&fixture->pager).limit, 1);
    take_page(fixture, BYTES("/a"), SMALL);
    assert_int_equal(kms_etcd_pager_request(&fixture->pager).limit, 2);
}

static void the_limit_has_a_limit(void **state)
{
    struct fixture *fixture = start(state, BYTES(""));
    for (uint8_t i = 1; i < 60; i++)
        take_page(fixture, (struct kms_bytes){ &i, 1 }, SMALL);
    assert_in_range(kms_etcd_pager_request(&fixture->pager).limit, 1000, 100 * 1000);
}

static void the_last_page_says_so(void **state)
{
    struct fixture *fixture = start(state, BYTES("/"));
    take_page(fixture, BYTES("/a"), SMALL);
    assert_false(fixture->pager.done);
    fixture->page.more = false;
    take_page(fixture, BYTES("/b"), SMALL);
    assert_true(fixture->pager.done);
}

static void keys_that_were_not_asked_for_are_refused(void **state)
{
    struct fixture *fixture = start(state, BYTES("/b/"));
    take_page(fixture, BYTES("/b/5"), SMALL);
    const struct kms_bytes bad[] = { BYTES("/b/5"), BYTES("/b/4"), BYTES("/c/1"), BYTES("/b"),
                                     BYTES("") };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(kms_etcd_pager_take(&fixture->pager, bad[i], &fixture->err),
                         KMS_E_UNAVAILABLE);
    assert_ok(kms_etcd_pager_take(&fixture->pager, BYTES("/b/5\0"), &fixture->err), &fixture->err);
}

static void an_empty_page_with_more_behind_it_is_refused(void **state)
{
    struct fixture *fixture = start(state, BYTES("/"));
    fixture->page.n_kvs = 0;
    assert_int_equal(kms_etcd_pager_end(&fixture->pager, &fixture->page, SMALL, &fixture->err),
                     KMS_E_UNAVAILABLE);
}

static void a_page_without_a_revision_is_refused(void **state)
{
    struct fixture *fixture = start(state, BYTES("/"));
    fixture->header.revision = 0;
    assert_int_equal(
        kms_etcd_pager_begin(&fixture->pager, &fixture->page, &fixture->summary, &fixture->err),
        KMS_E_UNAVAILABLE);
    fixture->page.header = NULL;
    assert_int_equal(
        kms_etcd_pager_begin(&fixture->pager, &fixture->page, &fixture->summary, &fixture->err),
        KMS_E_UNAVAILABLE);
}

static void a_page_of_another_cluster_is_refused(void **state)
{
    struct fixture *fixture = start(state, BYTES("/"));
    take_page(fixture, BYTES("/a"), SMALL);
    fixture->header.cluster_id = CLUSTER + 1;
    assert_int_equal(
        kms_etcd_pager_begin(&fixture->pager, &fixture->page, &fixture->summary, &fixture->err),
        KMS_E_UNAVAILABLE);
    assert_contains(fixture->err.msg, "another cluster");
}

/* --- ranges --- */

/* A page with the keys @first and @last, of a range that has @left more. */
static void take_two(struct fixture *fixture, struct kms_bytes first, struct kms_bytes last,
                     int64_t left)
{
    struct kms_error *err = &fixture->err;
    fixture->page.n_kvs = 2;
    fixture->page.count = 2 + left;
    fixture->page.more = left > 0;
    assert_ok(kms_etcd_pager_begin(&fixture->pager, &fixture->page, &fixture->summary, err), err);
    assert_ok(kms_etcd_pager_take(&fixture->pager, first, err), err);
    assert_ok(kms_etcd_pager_take(&fixture->pager, last, err), err);
    assert_ok(kms_etcd_pager_end(&fixture->pager, &fixture->page, LARGE, err), err);
}

static void take_none(struct fixture *fixture)
{
    struct kms_error *err = &fixture->err;
    fixture->page.n_kvs = 0;
    fixture->page.count = 0;
    fixture->page.more = false;
    assert_ok(kms_etcd_pager_begin(&fixture->pager, &fixture->page, &fixture->summary, err), err);
    assert_ok(kms_etcd_pager_end(&fixture->pager, &fixture->page, SMALL, err), err);
}

static void a_long_range_is_cut_a_few_pages_on(void **state)
{
    struct fixture *fixture = start(state, BYTES("/k/"));
    take_two(fixture, BYTES("/k/10"), BYTES("/k/11"), 100 * 1000);
    assert_range(fixture, BYTES("/k/11\0"), BYTES("/k/13\0\0\0\0\0\0\0"));
    assert_int_equal(fixture->pager.total, 100 * 1000 + 2);
}

static void a_short_range_stays_as_it_is(void **state)
{
    struct fixture *fixture = start(state, BYTES("/k/"));
    take_two(fixture, BYTES("/k/10"), BYTES("/k/11"), 100);
    assert_range(fixture, BYTES("/k/11\0"), BYTES("/k0"));
}

static void the_end_of_a_cut_range_is_where_the_next_one_begins(void **state)
{
    struct fixture *fixture = start(state, BYTES("/k/"));
    take_two(fixture, BYTES("/k/10"), BYTES("/k/11"), 100 * 1000);
    take_two(fixture, BYTES("/k/12"), BYTES("/k/12a"), 0);
    assert_false(fixture->pager.done);
    const Etcd__RangeRequest request = kms_etcd_pager_request(&fixture->pager);
    const struct kms_bytes key = { request.key.data, request.key.len };
    assert_true(kms_bytes_equal(key, BYTES("/k/13\0\0\0\0\0\0\0")));
}

static void empty_ranges_widen_until_the_last_one_is_done(void **state)
{
    struct fixture *fixture = start(state, BYTES("/k/"));
    take_two(fixture, BYTES("/k/10"), BYTES("/k/11"), 100 * 1000);
    int queries = 0;
    for (; !fixture->pager.done; queries++) {
        assert_true(queries < 20);
        take_none(fixture);
    }
    assert_in_range(queries, 2, 8); /* a byte each, of "/k/11" */
}

static void a_cut_range_does_not_leave_the_prefix(void **state)
{
    struct fixture *fixture = start(state, BYTES("/k/"));
    take_two(fixture, BYTES("/k/\x10"), BYTES("/k/\x70"), 100 * 1000);
    assert_range(fixture, BYTES("/k/\x70\0"), BYTES("/k0"));
}

static void keys_behind_a_cut_range_are_refused(void **state)
{
    struct fixture *fixture = start(state, BYTES("/k/"));
    take_two(fixture, BYTES("/k/10"), BYTES("/k/11"), 100 * 1000);
    assert_int_equal(kms_etcd_pager_take(&fixture->pager, BYTES("/k/14"), &fixture->err),
                     KMS_E_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_first_page_begins_at_the_prefix_and_ends_behind_it, end),
        cmocka_unit_test_teardown(the_next_page_begins_right_behind_the_last_key, end),
        cmocka_unit_test_teardown(all_pages_are_of_the_first_ones_revision, end),
        cmocka_unit_test_teardown(a_compaction_begins_a_new_span_at_the_next_key, end),
        cmocka_unit_test_teardown(small_pages_grow_and_large_ones_stay, end),
        cmocka_unit_test_teardown(pages_shrink_down_to_one_key_and_grow_again, end),
        cmocka_unit_test_teardown(the_limit_has_a_limit, end),
        cmocka_unit_test_teardown(the_last_page_says_so, end),
        cmocka_unit_test_teardown(keys_that_were_not_asked_for_are_refused, end),
        cmocka_unit_test_teardown(an_empty_page_with_more_behind_it_is_refused, end),
        cmocka_unit_test_teardown(a_page_without_a_revision_is_refused, end),
        cmocka_unit_test_teardown(a_page_of_another_cluster_is_refused, end),
        cmocka_unit_test_teardown(a_long_range_is_cut_a_few_pages_on, end),
        cmocka_unit_test_teardown(a_short_range_stays_as_it_is, end),
        cmocka_unit_test_teardown(the_end_of_a_cut_range_is_where_the_next_one_begins, end),
        cmocka_unit_test_teardown(empty_ranges_widen_until_the_last_one_is_done, end),
        cmocka_unit_test_teardown(a_cut_range_does_not_leave_the_prefix, end),
        cmocka_unit_test_teardown(keys_behind_a_cut_range_are_refused, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
