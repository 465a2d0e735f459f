/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody saw of Status and Encrypt calls, by generation, and whether it obeys the rule of a
 * promotion: an Encrypt sent after a Status that told k was received never uses an older key, and an
 * Encrypt received before any Status that told k was sent never uses k.  Pure: no clock, no lock. */
#ifndef TEST_WITNESS_H
#define TEST_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

enum { WITNESS_GENERATIONS = 256 };

/* Times are of one clock that all who are joined share; equal times prove no order. */
struct witness_times {
    int64_t status_first_began, status_first_ended, status_last_began;
    int64_t encrypt_first_ended, encrypt_last_began;
    unsigned drops; /* by the one client that dropped most */
};

struct witness {
    struct witness_times of[WITNESS_GENERATIONS];
    unsigned unreadable; /* answers that named no generation from 1 to WITNESS_GENERATIONS - 1 */
    unsigned drops;      /* of all */
};

void witness_init(struct witness *witness);

/* A call that answered @generation was sent after @began, and its answer received before @ended. */
void witness_status(struct witness *witness, uint32_t generation, int64_t began, int64_t ended);
void witness_encrypt(struct witness *witness, uint32_t generation, int64_t began, int64_t ended);

/* This client dropped an answer under @generation since its last Status told another. */
void witness_drop(struct witness *witness, uint32_t generation);

/* Adds what @other saw. */
void witness_join(struct witness *witness, const struct witness *other);

bool witness_was_told(const struct witness *witness, uint32_t generation);

/* NULL: the rule was obeyed, and no client dropped two answers for one generation.  Else what is
 * wrong, and *ret_generation of the answer that shows it. */
const char *witness_fault(const struct witness *witness, uint32_t *ret_generation);

#endif
