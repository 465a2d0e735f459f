/* SPDX-License-Identifier: Apache-2.0 */
#include "key_peer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kms/clock.h"

enum { MS_PER_S = 1000 };

/* "2 h", rounded down. */
static void put_age(int64_t age_s, char *ret_text, size_t size)
{
    static const struct {
        int64_t s;
        const char *name;
    } units[] = { { INT64_C(24) * 3600, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
    size_t i = 0;
    while (units[i].s > 1 && age_s < 2 * units[i].s)
        i++;
    (void)snprintf(ret_text, size, "%" PRId64 " %s", age_s / units[i].s, units[i].name);
}

void kms_key_peer_text(const struct kms_key_peer *peer, int64_t now_utc_s,
                       char ret_text[static KMS_KEY_PEER_TEXT_MAX])
{
    char promoted[40] = "nothing yet", when[80] = "";
    if (peer->promoted != 0)
        (void)snprintf(promoted, sizeof(promoted), "generation %" PRIu32, peer->promoted);
    if (peer->is_export) {
        char stamp[KMS_RFC3339_LEN + 1], age[32];
        int64_t age_s = now_utc_s - peer->told_utc_s;
        kms_rfc3339_format(peer->told_utc_s, stamp);
        put_age(age_s > 0 ? age_s : 0, age, sizeof(age));
        (void)snprintf(when, sizeof(when), ", as of %s, %s ago", stamp, age);
    }
    (void)snprintf(ret_text, KMS_KEY_PEER_TEXT_MAX, "%.255s has promoted %s%s", peer->title,
                   promoted, when);
}

/* @wait: what must come first; NULL: no waiting helps.  Returns false, so that `return object(…)` reads
 * well. */
static bool object(const struct kms_key_peer *peer, const struct kms_key_ending *ending,
                   const char *reason, const char *wait, char ret_why[static KMS_KEY_PEER_TEXT_MAX])
{
    char text[KMS_KEY_PEER_TEXT_MAX], advice[80] = "";
    kms_key_peer_text(peer, ending->now_utc_s, text);
    if (wait != NULL)
        (void)snprintf(advice, sizeof(advice), ": wait until it has promoted %s%s", wait,
                       peer->is_export ? ", and export it anew" : "");
    (void)snprintf(ret_why, KMS_KEY_PEER_TEXT_MAX, "%.350s%s%s", text, reason, advice);
    return false;
}

/* Its clock may have passed the activation, or pass it before the key has ended. */
static bool may_be_due(const struct kms_key_peer *peer, const struct kms_key_ending *ending)
{
    int64_t ahead_ms = peer->ahead_ms > ending->clock_skew_ms ? peer->ahead_ms
                                                              : ending->clock_skew_ms;
    return ending->activation_utc_s <= ending->now_utc_s + ahead_ms / MS_PER_S + 1;
}

bool kms_key_peer_allows(const struct kms_key_peer *peer, const struct kms_key_ending *ending,
                         char ret_why[static KMS_KEY_PEER_TEXT_MAX])
{
    ret_why[0] = '\0';
    if (strcmp(peer->ring, ending->ring) != 0) {
        (void)snprintf(ret_why, KMS_KEY_PEER_TEXT_MAX, "%.255s serves ring '%.63s', not '%.63s'",
                       peer->title, peer->ring, ending->ring);
        return false;
    }
    if (peer->promoted == ending->generation)
        return object(peer, ending, ending->is_new ? ": it can't be cancelled" : " and needs it",
                      ending->is_new ? NULL : "a later one", ret_why);
    if (peer->promoted > ending->generation)
        return !ending->is_new ||
               object(peer, ending, ", a later one: key disable and key destroy end an older one",
                      NULL, ret_why);
    if (!ending->on_token || peer->declines)
        return true;
    if (peer->promoted == 0)
        return object(peer, ending, ", and may begin with this one whatever its activation",
                      "another", ret_why);
    if (may_be_due(peer, ending))
        return object(peer, ending, ", and may promote this one at any moment", "a later one",
                      ret_why);
    return true;
}
