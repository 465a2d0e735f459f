/* SPDX-License-Identifier: Apache-2.0 */
#include "bolt_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "etcd/bolt_page.h"
#include "etcd/snapshot.h"

int bolt_rig_set_up(void **state)
{
    struct bolt_rig *rig = calloc(1, sizeof *rig);
    if (rig == NULL)
        return -1;
    snprintf(rig->path, sizeof rig->path, "/tmp/test-bolt-XXXXXX");
    int fd = mkstemp(rig->path);
    if (fd < 0)
        return -1;
    close(fd);
    *state = rig;
    return 0;
}

int bolt_rig_tear_down(void **state)
{
    struct bolt_rig *rig = *state;
    unlink(rig->path);
    free(rig->data);
    free(rig);
    return 0;
}

void bolt_rig_make(struct bolt_rig *rig, int keys, const struct etcd_file_end *end)
{
    static const uint8_t large[3 * BOLT_PAGE] = { 1, 2, 3 };
    struct etcd_file *file = etcd_file_open(rig->path, BOLT_PAGE);
    for (int i = 0; i < keys; i++) {
        char key[48];
        snprintf(key, sizeof key, "/registry/secrets/n/s%d", i);
        etcd_file_put(file, 2 + i, 0, key,
                      (struct kms_bytes){ large, i + 1 < keys ? 40 : sizeof large });
    }
    etcd_file_close(file, end);
    bolt_rig_load(rig);
}

void bolt_rig_load(struct bolt_rig *rig)
{
    struct stat info = { 0 };
    int fd = open(rig->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &info) == 0);
    free(rig->data);
    rig->len = (size_t)info.st_size;
    rig->data = malloc(rig->len + 1); /* never of 0 bytes */
    assert_non_null(rig->data);
    assert_int_equal(read(fd, rig->data, rig->len), info.st_size);
    close(fd);
}

void bolt_rig_save(const struct bolt_rig *rig)
{
    int fd = open(rig->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, rig->data, rig->len), (ssize_t)rig->len);
    close(fd);
}

void bolt_rig_poke(const struct bolt_rig *rig, size_t at, uint8_t byte)
{
    int fd = open(rig->path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

uint8_t *bolt_rig_page(struct bolt_rig *rig, size_t page)
{
    assert_true((page + 1) * BOLT_PAGE <= rig->len);
    return rig->data + page * BOLT_PAGE;
}

size_t bolt_rig_root(const struct bolt_rig *rig)
{
    return (size_t)kms_bolt_u64(rig->data + BOLT_HEADER + 16);
}

size_t bolt_rig_pages(const struct bolt_rig *rig)
{
    return (size_t)kms_bolt_u64(rig->data + BOLT_HEADER + 40);
}

/* The root bucket's second item is "key". */
size_t bolt_rig_keys_root(struct bolt_rig *rig)
{
    const uint8_t *item = bolt_rig_page(rig, bolt_rig_root(rig)) + BOLT_HEADER + BOLT_ITEM;
    return (size_t)kms_bolt_u64(item + kms_bolt_u32(item + 4) + strlen("key"));
}

static void put_little_endian(uint8_t *to, uint64_t value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

void bolt_put16(uint8_t *to, uint16_t value)
{
    put_little_endian(to, value, sizeof value);
}

void bolt_put32(uint8_t *to, uint32_t value)
{
    put_little_endian(to, value, sizeof value);
}

void bolt_put64(uint8_t *to, uint64_t value)
{
    put_little_endian(to, value, sizeof value);
}

static enum kms_code count(void *context, const struct kms_etcd_entry *entry, struct kms_error *err)
{
    (void)err;
    struct bolt_counts *counts = context;
    assert_true(entry->fraction >= 0 && entry->fraction <= 1);
    counts->by_state[entry->state]++;
    return KMS_OK;
}

enum kms_code bolt_rig_read(const struct bolt_rig *rig, struct bolt_counts *ret_counts,
                            struct kms_etcd_summary *ret_summary, struct kms_error *err)
{
    KMS_CLEANUP(kms_etcd_close_ptr) struct kms_etcd_source *source = NULL;
    const struct kms_etcd_query query = { .visit = count, .context = ret_counts };
    *ret_counts = (struct bolt_counts){ 0 };
    enum kms_code rc = kms_etcd_snapshot_open(rig->path, &source, err);
    if (rc != KMS_OK)
        return rc;
    return kms_etcd_read(source, &query, ret_summary, err);
}

void bolt_rig_expect_corrupt(const struct bolt_rig *rig, const char *text)
{
    struct kms_error err = { 0 };
    struct bolt_counts counts;
    struct kms_etcd_summary summary = { 0 };
    assert_int_equal(bolt_rig_read(rig, &counts, &summary, &err), KMS_E_CORRUPT);
    assert_contains(err.msg, text);
}
