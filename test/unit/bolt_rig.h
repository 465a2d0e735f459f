/* SPDX-License-Identifier: Apache-2.0 */
/* One file of fake/etcd_file.h: made, held in memory, tampered with, read. */
#ifndef TEST_BOLT_RIG_H
#define TEST_BOLT_RIG_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "etcd/source.h"
#include "fake/etcd_file.h"

enum { BOLT_PAGE = 512, BOLT_HEADER = 16, BOLT_ITEM = 16 };

struct bolt_rig {
    char path[64];
    uint8_t *data; /* owned: what the file held when it was made */
    size_t len;
};

/* cmocka set-up and tear-down; *state is a struct bolt_rig whose path is free to be written. */
int bolt_rig_set_up(void **state);
int bolt_rig_tear_down(void **state);

/* The file has @keys keys, one a revision from 2 on, the last with a value of three pages; it
 * ends as @end says.  Pages: leaves from 2 on, branches, root. */
void bolt_rig_make(struct bolt_rig *rig, int keys, const struct etcd_file_end *end);
/* Takes the file at the rig's path into memory. */
void bolt_rig_load(struct bolt_rig *rig);
/* Writes the data in memory to the file. */
void bolt_rig_save(const struct bolt_rig *rig);
/* Writes one byte into the file. */
void bolt_rig_poke(const struct bolt_rig *rig, size_t at, uint8_t byte);

uint8_t *bolt_rig_page(struct bolt_rig *rig, size_t page);
/* The number of the only root bucket's page, of the bucket "key"'s root, and of pages in all. */
size_t bolt_rig_root(const struct bolt_rig *rig);
size_t bolt_rig_keys_root(struct bolt_rig *rig);
size_t bolt_rig_pages(const struct bolt_rig *rig);

void bolt_put16(uint8_t *to, uint16_t value);
void bolt_put32(uint8_t *to, uint32_t value);
void bolt_put64(uint8_t *to, uint64_t value);

/* Visits all; counts by state. */
struct bolt_counts {
    size_t by_state[KMS_ETCD_DELETED + 1];
};
enum kms_code bolt_rig_read(const struct bolt_rig *rig, struct bolt_counts *ret_counts,
                            struct kms_etcd_summary *ret_summary, struct kms_error *err);

/* Fails the test unless reading says KMS_E_CORRUPT and @text. */
void bolt_rig_expect_corrupt(const struct bolt_rig *rig, const char *text);

#endif
