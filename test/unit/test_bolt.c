/* SPDX-License-Identifier: Apache-2.0 */
/* Files that no etcd writes.  What it does write is in test_etcd_snapshot.c. */
#include "etcd/bolt.h"

#include <stdio.h>
#include <stdlib.h>

#include "bolt_rig.h"
#include "check.h"

enum { KEYS = 100 };

static struct bolt_rig *make(void **state)
{
    struct bolt_rig *rig = *state;
    bolt_rig_make(rig, KEYS, &(struct etcd_file_end){ 0 });
    return rig;
}

static uint8_t *item(uint8_t *page, size_t at)
{
    return page + BOLT_HEADER + at * BOLT_ITEM;
}

/* Saves and expects "page N: what". */
static void expect(const struct bolt_rig *rig, size_t page, const char *what)
{
    char text[128];
    snprintf(text, sizeof text, "page %zu: %s", page, what);
    bolt_rig_save(rig);
    bolt_rig_expect_corrupt(rig, text);
}

static void the_file_of_these_tests_is_read(void **state)
{
    struct bolt_rig *rig = make(state);
    struct bolt_counts counts;
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    assert_ok(bolt_rig_read(rig, &counts, &summary, &err), &err);
    assert_int_equal(counts.by_state[KMS_ETCD_CURRENT], KEYS);
    /* Three levels: a branch leads to branches. */
    uint8_t *root = bolt_rig_page(rig, bolt_rig_keys_root(rig));
    size_t below = (size_t)kms_bolt_u64(item(root, 0) + 8);
    assert_int_equal(kms_bolt_header_read(root).flags, KMS_BOLT_BRANCH);
    assert_int_equal(kms_bolt_header_read(bolt_rig_page(rig, below)).flags, KMS_BOLT_BRANCH);
}

static void one_good_meta_page_is_enough(void **state)
{
    struct bolt_rig *rig = make(state);
    struct bolt_counts counts;
    struct kms_error err = { 0 };
    for (size_t page = 0; page < 2; page++) {
        KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
        bolt_rig_page(rig, page)[BOLT_HEADER] ^= 1;
        bolt_rig_save(rig);
        assert_ok(bolt_rig_read(rig, &counts, &summary, &err), &err);
        assert_int_equal(counts.by_state[KMS_ETCD_CURRENT], KEYS);
        bolt_rig_page(rig, page)[BOLT_HEADER] ^= 1;
    }
}

static void two_bad_meta_pages_are_too_many(void **state)
{
    struct bolt_rig *rig = make(state);
    bolt_rig_page(rig, 0)[BOLT_HEADER + 20] ^= 1;
    bolt_rig_page(rig, 1)[BOLT_HEADER + 20] ^= 1;
    bolt_rig_save(rig);
    bolt_rig_expect_corrupt(rig, "pages 0 and 1");
}

static void the_meta_page_of_the_later_transaction_counts(void **state)
{
    struct bolt_rig *rig = make(state);
    uint8_t *later = bolt_rig_page(rig, 1), *earlier = bolt_rig_page(rig, 0);
    bolt_put64(later + BOLT_HEADER + 16, 3); /* a leaf of the bucket "key" as root */
    etcd_file_mend_meta(later);
    expect(rig, 3, "no bucket 'meta'");
    bolt_put64(earlier + BOLT_HEADER + 48, 12);
    etcd_file_mend_meta(earlier);
    bolt_rig_save(rig);
    struct bolt_counts counts;
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    assert_ok(bolt_rig_read(rig, &counts, &summary, &err), &err);
}

static void a_file_without_its_last_page_is_refused(void **state)
{
    struct bolt_rig *rig = make(state);
    rig->len -= BOLT_PAGE;
    bolt_rig_save(rig);
    bolt_rig_expect_corrupt(rig, "but the file ends before it");
}

static void an_empty_file_is_refused(void **state)
{
    struct bolt_rig *rig = make(state);
    rig->len = 0;
    bolt_rig_save(rig);
    bolt_rig_expect_corrupt(rig, "pages 0 and 1");
}

static void a_page_that_leads_to_itself_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    size_t root = bolt_rig_keys_root(rig);
    uint8_t *page = bolt_rig_page(rig, root);
    bolt_put64(item(page, kms_bolt_header_read(page).count - 1U) + 8, root);
    expect(rig, root, "its keys are not those that lead to it");
}

static void a_branch_of_one_that_leads_to_itself_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    size_t root = bolt_rig_keys_root(rig);
    bolt_put16(bolt_rig_page(rig, root) + 10, 1);
    bolt_put64(item(bolt_rig_page(rig, root), 0) + 8, root);
    expect(rig, root, "the tree above it is too deep");
}

static void two_ways_to_one_page_are_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    uint8_t *root = bolt_rig_page(rig, bolt_rig_keys_root(rig));
    uint64_t first = kms_bolt_u64(item(root, 0) + 8);
    bolt_put64(item(root, 1) + 8, first);
    expect(rig, (size_t)first, "its keys are not those that lead to it");
}

static void a_page_number_outside_the_file_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    static const uint64_t ids[] = { 0, 1, 1000, UINT64_MAX, UINT64_MAX / BOLT_PAGE };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        bolt_put64(item(bolt_rig_page(rig, bolt_rig_keys_root(rig)), 0) + 8, ids[i]);
        expect(rig, (size_t)ids[i], "there is no such page");
    }
}

static void a_page_with_another_number_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    bolt_put64(bolt_rig_page(rig, 4), 5);
    expect(rig, 4, "it says that it is page 5");
}

static void a_page_of_another_kind_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    static const uint16_t flags[] = { 0, KMS_BOLT_META, KMS_BOLT_FREELIST,
                                      KMS_BOLT_LEAF | KMS_BOLT_BRANCH };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        bolt_put16(bolt_rig_page(rig, 3) + 8, flags[i]);
        expect(rig, 3, "flags 0x");
    }
}

static void an_overflow_that_leaves_the_file_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    static const uint32_t overflows[] = { 1000, UINT32_MAX };
    for (size_t i = 0; i < 2; i++) {
        bolt_put32(bolt_rig_page(rig, 3) + 12, overflows[i]);
        expect(rig, 3, "its overflow leaves the file");
    }
}

static void a_leaf_without_items_below_a_branch_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    bolt_put16(bolt_rig_page(rig, 3) + 10, 0);
    expect(rig, 3, "it is empty");
}

static void more_items_than_fit_are_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    bolt_put16(bolt_rig_page(rig, 3) + 10, 32);
    expect(rig, 3, "32 items don't fit");
}

static void an_item_outside_its_page_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    static const size_t fields[] = { 4, 8, 12 }; /* position, length of key, of value */
    for (size_t i = 0; i < 3; i++) {
        uint8_t *field = item(bolt_rig_page(rig, 3), 1) + fields[i];
        uint32_t before = kms_bolt_u32(field);
        bolt_put32(field, UINT32_MAX);
        expect(rig, 3, "item 1 lies outside the page");
        bolt_put32(field, BOLT_PAGE);
        expect(rig, 3, "item 1 lies outside the page");
        bolt_put32(field, before);
    }
}

static void keys_out_of_order_are_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    uint8_t *page = bolt_rig_page(rig, 3);
    uint8_t *key = item(page, 1) + kms_bolt_u32(item(page, 1) + 4);
    key[7] = 0;
    expect(rig, 3, "item 1 is out of order");
}

static void a_bucket_that_is_too_short_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    size_t root = bolt_rig_root(rig);
    bolt_put32(item(bolt_rig_page(rig, root), 2) + 12, 8); /* "meta" */
    expect(rig, root, "a bucket of 8 bytes");
}

static void a_branch_inside_a_bucket_is_an_error(void **state)
{
    struct bolt_rig *rig = make(state);
    size_t root = bolt_rig_root(rig);
    uint8_t *meta = item(bolt_rig_page(rig, root), 2);
    uint8_t *inner = meta + kms_bolt_u32(meta + 4) + strlen("meta") + KMS_BOLT_BUCKET_LEN;
    bolt_put16(inner + 8, KMS_BOLT_BRANCH);
    bolt_put16(inner + 10, 0);
    expect(rig, root, "a branch inside a bucket");
}

static void a_file_without_the_bucket_of_keys_is_an_error(void **state)
{
    struct bolt_rig *rig = *state;
    bolt_rig_make(rig, 1, &(struct etcd_file_end){ .no_keys = true });
    expect(rig, bolt_rig_root(rig), "no bucket 'key'");
}

static void a_freelist_is_where_the_meta_page_says(void **state)
{
    struct bolt_rig *rig = *state;
    bolt_rig_make(rig, 3, &(struct etcd_file_end){ .freelist = true });
    struct bolt_counts counts;
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    assert_ok(bolt_rig_read(rig, &counts, &summary, &err), &err);
    size_t freelist = bolt_rig_pages(rig) - 1;
    bolt_put16(bolt_rig_page(rig, freelist) + 8, KMS_BOLT_LEAF);
    expect(rig, freelist, "not the freelist it should be");
    for (size_t page = 0; page < 2; page++) {
        bolt_put64(bolt_rig_page(rig, page) + BOLT_HEADER + 32, 5000);
        etcd_file_mend_meta(bolt_rig_page(rig, page));
    }
    expect(rig, 5000, "no place for the freelist");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bolt_rig_set_up, bolt_rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_file_of_these_tests_is_read),
        TEST(one_good_meta_page_is_enough),
        TEST(two_bad_meta_pages_are_too_many),
        TEST(the_meta_page_of_the_later_transaction_counts),
        TEST(a_file_without_its_last_page_is_refused),
        TEST(an_empty_file_is_refused),
        TEST(a_page_that_leads_to_itself_is_an_error),
        TEST(a_branch_of_one_that_leads_to_itself_is_an_error),
        TEST(two_ways_to_one_page_are_an_error),
        TEST(a_page_number_outside_the_file_is_an_error),
        TEST(a_page_with_another_number_is_an_error),
        TEST(a_page_of_another_kind_is_an_error),
        TEST(an_overflow_that_leaves_the_file_is_an_error),
        TEST(a_leaf_without_items_below_a_branch_is_an_error),
        TEST(more_items_than_fit_are_an_error),
        TEST(an_item_outside_its_page_is_an_error),
        TEST(keys_out_of_order_are_an_error),
        TEST(a_bucket_that_is_too_short_is_an_error),
        TEST(a_branch_inside_a_bucket_is_an_error),
        TEST(a_file_without_the_bucket_of_keys_is_an_error),
        TEST(a_freelist_is_where_the_meta_page_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
