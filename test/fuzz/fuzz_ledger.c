/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as snapshots.jsonl: what it says of a generation, or a refusal.  Another line takes nothing
 * away from it. */
#include "ledger.h"

#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "kms/clock.h"

/* The ring of the corpus. */
static const char ring[] = "prod";
static const char own_key_id[] = "prod.v7.00112233445566778899aabbccddeeff";
enum { GENERATION = 1, OWN_GENERATION = 7, SOMETIME = 1700000000, LATER = 1800000000 };

struct answer {
    enum kms_code rc;
    bool found;
    struct kms_ledger_need need;
};

static struct answer ask(uint32_t generation, int64_t since_utc_s)
{
    struct answer answer = { .found = false };
    struct kms_error err = { 0 };
    answer.rc = kms_ledger_find(fuzz_dir(), ring, generation, since_utc_s, &answer.found,
                                &answer.need, &err);
    if (answer.rc == KMS_OK)
        FUZZ_CHECK(!answer.found || answer.need.utc_s >= since_utc_s);
    else
        FUZZ_CHECK(answer.rc == KMS_E_PRECONDITION && err.code == answer.rc && !answer.found);
    return answer;
}

/* All lines are read whatever is asked, and what is young is there for who looks further back. */
static void check_times(const struct answer *all)
{
    struct answer young = ask(GENERATION, SOMETIME);
    FUZZ_CHECK(young.rc == all->rc);
    FUZZ_CHECK(!young.found || all->found);
    if (!all->found)
        return;
    char text[KMS_RFC3339_LEN + 1];
    int64_t again = -1;
    kms_rfc3339_format(all->need.utc_s, text); /* destroy names it */
    FUZZ_CHECK(kms_rfc3339_parse(text, &again) && again == all->need.utc_s);
}

static void append(void)
{
    struct kms_error err = { 0 };
    struct kms_ledger_key key = { .current = 2 };
    const struct kms_ledger_line line = {
        .sha256 = { 0xab }, .utc_s = LATER, .keys = &key, .key_count = 1
    };
    memcpy(key.key_id, own_key_id, sizeof own_key_id);
    FUZZ_CHECK(kms_ledger_append(fuzz_dir(), &line, &err) == KMS_OK);
}

static bool is_same(const struct answer *a, const struct answer *b)
{
    return a->rc == b->rc && a->found == b->found && a->need.utc_s == b->need.utc_s &&
           a->need.values == b->need.values &&
           memcmp(a->need.sha256, b->need.sha256, KMS_SHA256_LEN) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_file("snapshots.jsonl", data, size);
    struct answer before = ask(GENERATION, 0);
    check_times(&before);
    append();
    struct answer after = ask(GENERATION, 0), own = ask(OWN_GENERATION, LATER);
    if (before.rc == KMS_OK)
        FUZZ_CHECK(is_same(&before, &after));
    FUZZ_CHECK(own.rc == after.rc);
    if (own.rc == KMS_OK)
        FUZZ_CHECK(own.found && own.need.utc_s == LATER && own.need.values == 2 &&
                   own.need.sha256[0] == 0xab);
    return 0;
}
