/* SPDX-License-Identifier: Apache-2.0 */
/* Finds pieces of secrets in the writable memory of another process.
 *
 *   memscan PID NEEDLES
 *
 * NEEDLES is a file of lines "NAME HEX", each secret of 8 bytes or more.  Every run of 8 bytes or
 * more that memory shares with a secret, at any alignment of either, is one line:
 *
 *   hit NAME OFFSET_IN_SECRET LENGTH ADDRESS OFFSET_IN_MAPPING MAPPING
 *
 * and the last line is "scanned MAPPINGS BYTES unreadable BYTES huge MAPPINGS".  It needs
 * CAP_SYS_PTRACE, since serve is not dumpable.  Mappings of more than 256 MiB are a sanitizer's own
 * book-keeping: they are counted as huge and not read. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PIECE = 8, /* bytes: what counts as a trace */
    SECRET_MAX = 256,
    NAME_LEN = 32,
    SLOT_BITS = 20, /* of the hash table: room for 40,000 seeds of 32 bytes at a quarter full */
    SLOTS = 1 << SLOT_BITS,
    PIECES_MAX = SLOTS / 2,
    CHUNK = 1 << 20,
    HUGE_BYTES = 1 << 28
};

struct secret {
    char name[NAME_LEN];
    size_t len;
    uint8_t data[SECRET_MAX];
};

/* One 8-byte window of a secret. */
struct piece {
    uint64_t value;
    uint32_t secret; /* index + 1; 0: the slot is free */
    uint32_t offset;
};

struct needles {
    struct secret *secrets;
    size_t count;
    size_t piece_count;
    struct piece *slots;
};

struct mapping {
    uint64_t begin, end;
    bool writable;
    char name[256];
};

/* A run under way: windows of one secret that follow each other in memory, too. */
struct run {
    const struct secret *secret; /* NULL: none */
    size_t offset, len;
    uint64_t at;
};

struct totals {
    uint64_t mappings, bytes, unreadable, huge;
};

static void die(const char *what, const char *name)
{
    fprintf(stderr, "memscan: %s %s: %s\n", what, name, strerror(errno));
    exit(1);
}

static size_t slot_of(uint64_t value)
{
    return (size_t)((value * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - SLOT_BITS));
}

static uint64_t load(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static const struct piece *find(const struct needles *needles, uint64_t value)
{
    for (size_t i = slot_of(value); needles->slots[i].secret != 0; i = (i + 1) % SLOTS)
        if (needles->slots[i].value == value)
            return &needles->slots[i];
    return NULL;
}

static void add_pieces(struct needles *needles, size_t index)
{
    const struct secret *secret = &needles->secrets[index];
    for (size_t offset = 0; offset + PIECE <= secret->len; offset++) {
        size_t i = slot_of(load(secret->data + offset));
        while (needles->slots[i].secret != 0)
            i = (i + 1) % SLOTS;
        needles->slots[i] = (struct piece){ .value = load(secret->data + offset),
                                            .secret = (uint32_t)index + 1,
                                            .offset = (uint32_t)offset };
        if (++needles->piece_count > PIECES_MAX) {
            errno = E2BIG;
            die("too many", "secrets");
        }
    }
}

static void parse_secret(const char *line, struct secret *secret)
{
    char hex[2 * SECRET_MAX + 1];
    size_t len = 0;
    errno = EINVAL;
    if (sscanf(line, "%31s %512[0-9a-f]", secret->name, hex) != 2 || (len = strlen(hex)) % 2 != 0 ||
        len < 2 * (size_t)PIECE)
        die("not \"NAME HEX\":", line);
    secret->len = len / 2;
    for (size_t i = 0; i < secret->len; i++) {
        const char digits[] = { hex[2 * i], hex[2 * i + 1], '\0' };
        secret->data[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

static void read_needles(const char *path, struct needles *needles)
{
    FILE *in = fopen(path, "r");
    if (in == NULL)
        die("can't open", path);
    needles->slots = calloc(SLOTS, sizeof *needles->slots);
    needles->secrets = calloc(PIECES_MAX, sizeof *needles->secrets);
    if (needles->slots == NULL || needles->secrets == NULL)
        die("no memory for", path);
    char line[2 * SECRET_MAX + NAME_LEN + 4];
    while (fgets(line, sizeof line, in) != NULL) {
        parse_secret(line, &needles->secrets[needles->count]);
        add_pieces(needles, needles->count);
        needles->count++;
    }
    fclose(in);
}

static bool parse_mapping(const char *line, struct mapping *mapping)
{
    char *rest = NULL;
    mapping->begin = strtoull(line, &rest, 16);
    if (*rest != '-')
        return false;
    mapping->end = strtoull(rest + 1, &rest, 16);
    char rights[5];
    int name_at = 0;
    if (sscanf(rest, " %4s %*s %*s %*s %n", rights, &name_at) != 1)
        return false;
    mapping->writable = rights[1] == 'w';
    const char *name = rest + name_at; /* blanks and the newline are skipped: "" if it has none */
    snprintf(mapping->name, sizeof mapping->name, "%.*s", (int)strcspn(name, "\n"), name);
    if (*name == '\0')
        snprintf(mapping->name, sizeof mapping->name, "anonymous");
    return true;
}

static void end_run(struct run *run, const struct mapping *mapping)
{
    if (run->secret != NULL)
        printf("hit %s %zu %zu 0x%" PRIx64 " 0x%" PRIx64 " %s\n", run->secret->name, run->offset,
               run->len, run->at, run->at - mapping->begin, mapping->name);
    run->secret = NULL;
}

static void note(const struct needles *needles, const struct piece *piece, uint64_t at,
                 const struct mapping *mapping, struct run *run)
{
    const struct secret *secret = &needles->secrets[piece->secret - 1];
    if (run->secret == secret && run->at + run->len - PIECE + 1 == at &&
        run->offset + run->len - PIECE + 1 == piece->offset) {
        run->len++;
        return;
    }
    end_run(run, mapping);
    *run = (struct run){ .secret = secret, .offset = piece->offset, .len = PIECE, .at = at };
}

static void scan_mapping(int memory, const struct mapping *mapping, const struct needles *needles,
                         struct totals *totals)
{
    static uint8_t chunk[PIECE - 1 + CHUNK]; /* the windows across two chunks count, too */
    struct run run = { 0 };
    size_t kept = 0;
    for (uint64_t at = mapping->begin; at < mapping->end;) {
        size_t wanted = mapping->end - at < CHUNK ? (size_t)(mapping->end - at) : CHUNK;
        ssize_t got = pread(memory, chunk + kept, wanted, (off_t)at);
        if (got <= 0) { /* a guard page, or a mapping that just went */
            totals->unreadable += wanted;
            at += wanted;
            kept = 0;
            continue;
        }
        totals->bytes += (uint64_t)got;
        size_t len = kept + (size_t)got;
        for (size_t i = 0; i + PIECE <= len; i++) {
            const struct piece *piece = find(needles, load(chunk + i));
            if (piece != NULL)
                note(needles, piece, at - kept + i, mapping, &run);
        }
        at += (uint64_t)got;
        kept = len < PIECE - 1 ? len : PIECE - 1;
        memmove(chunk, chunk + len - kept, kept);
    }
    end_run(&run, mapping);
}

static FILE *open_maps(const char *pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    FILE *maps = fopen(path, "r");
    if (maps == NULL)
        die("can't read; run as root (CAP_SYS_PTRACE):", path);
    return maps;
}

static int open_memory(const char *pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/mem", pid);
    int memory = open(path, O_RDONLY | O_CLOEXEC);
    if (memory < 0)
        die("can't read; run as root (CAP_SYS_PTRACE):", path);
    return memory;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: memscan PID NEEDLES\n", stderr);
        return 2;
    }
    struct needles needles = { 0 };
    read_needles(argv[2], &needles);
    int memory = open_memory(argv[1]);
    FILE *maps = open_maps(argv[1]);
    struct totals totals = { 0 };
    struct mapping mapping;
    char line[4096 + 128];
    while (fgets(line, sizeof line, maps) != NULL) {
        if (!parse_mapping(line, &mapping) || !mapping.writable)
            continue;
        totals.mappings++;
        if (mapping.end - mapping.begin > HUGE_BYTES)
            totals.huge++;
        else
            scan_mapping(memory, &mapping, &needles, &totals);
    }
    fclose(maps);
    close(memory);
    free(needles.secrets);
    free(needles.slots);
    printf("scanned %" PRIu64 " %" PRIu64 " unreadable %" PRIu64 " huge %" PRIu64 "\n",
           totals.mappings, totals.bytes, totals.unreadable, totals.huge);
    return 0;
}
