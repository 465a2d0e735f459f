/* SPDX-License-Identifier: Apache-2.0 */
#include "witness.h"

#include <stddef.h>

enum { NEVER_BEFORE = -1 }; /* no clock of ours tells that */

void witness_init(struct witness *witness)
{
    *witness = (struct witness){ 0 };
    for (uint32_t g = 0; g < WITNESS_GENERATIONS; g++)
        witness->of[g] = (struct witness_times){
            .status_first_began = INT64_MAX,
            .status_first_ended = INT64_MAX,
            .status_last_began = NEVER_BEFORE,
            .encrypt_first_ended = INT64_MAX,
            .encrypt_last_began = NEVER_BEFORE,
        };
}

static void lower_to(int64_t *least, int64_t time)
{
    if (time < *least)
        *least = time;
}

static void raise_to(int64_t *most, int64_t time)
{
    if (time > *most)
        *most = time;
}

/* NULL, and counted: @generation is none that can be told apart. */
static struct witness_times *times_of(struct witness *witness, uint32_t generation)
{
    if (generation > 0 && generation < WITNESS_GENERATIONS)
        return &witness->of[generation];
    witness->unreadable++;
    return NULL;
}

void witness_status(struct witness *witness, uint32_t generation, int64_t began, int64_t ended)
{
    struct witness_times *times = times_of(witness, generation);
    if (times == NULL)
        return;
    lower_to(&times->status_first_began, began);
    lower_to(&times->status_first_ended, ended);
    raise_to(&times->status_last_began, began);
}

void witness_encrypt(struct witness *witness, uint32_t generation, int64_t began, int64_t ended)
{
    struct witness_times *times = times_of(witness, generation);
    if (times == NULL)
        return;
    lower_to(&times->encrypt_first_ended, ended);
    raise_to(&times->encrypt_last_began, began);
}

void witness_drop(struct witness *witness, uint32_t generation)
{
    struct witness_times *times = times_of(witness, generation);
    if (times == NULL)
        return;
    times->drops++;
    witness->drops++;
}

static void join_times(struct witness_times *times, const struct witness_times *other)
{
    lower_to(&times->status_first_began, other->status_first_began);
    lower_to(&times->status_first_ended, other->status_first_ended);
    raise_to(&times->status_last_began, other->status_last_began);
    lower_to(&times->encrypt_first_ended, other->encrypt_first_ended);
    raise_to(&times->encrypt_last_began, other->encrypt_last_began);
    if (other->drops > times->drops)
        times->drops = other->drops;
}

void witness_join(struct witness *witness, const struct witness *other)
{
    for (uint32_t g = 0; g < WITNESS_GENERATIONS; g++)
        join_times(&witness->of[g], &other->of[g]);
    witness->unreadable += other->unreadable;
    witness->drops += other->drops;
}

bool witness_was_told(const struct witness *witness, uint32_t generation)
{
    return witness->of[generation].status_first_began != INT64_MAX;
}

/* @newer_told: when the first Status that told a higher generation had been received. */
static const char *fault_of(const struct witness_times *times, int64_t newer_told)
{
    if (newer_told < times->encrypt_last_began)
        return "Encrypt used an older key than a Status before it told";
    if (newer_told < times->status_last_began)
        return "Status told an older key than a Status before it";
    if (times->encrypt_first_ended < times->status_first_began)
        return "Encrypt used a key before a Status told it";
    if (times->drops > 1)
        return "a client had to drop a second answer for one rotation";
    return NULL;
}

const char *witness_fault(const struct witness *witness, uint32_t *ret_generation)
{
    const char *fault = witness->unreadable > 0 ? "an answer named no generation" : NULL;
    *ret_generation = 0;
    int64_t newer_told = INT64_MAX;
    for (uint32_t g = WITNESS_GENERATIONS - 1; g > 0 && fault == NULL; g--) {
        fault = fault_of(&witness->of[g], newer_told);
        *ret_generation = g;
        lower_to(&newer_told, witness->of[g].status_first_ended);
    }
    return fault;
}
