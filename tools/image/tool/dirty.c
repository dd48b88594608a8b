/* The dirtier: writes to one word in each page of MB mebibytes, RATE mebibytes of pages a second.
 * The pages hold noise, so that no migration gets them for nothing as zero pages. */
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096
#define SLICE_NS 10000000

int cmd_dirty(int argc, char **argv)
{
    int64_t mb = argc > 1 ? atoll(argv[0]) : 0, rate = argc > 1 ? atoll(argv[1]) : 0;
    if (argc < 2 || argc > 3 || mb <= 0 || rate <= 0) {
        fputs("usage: guest-tool dirty MB RATE_MBPS [SECONDS]\n", stderr);
        return 2;
    }
    int64_t seconds = argc == 3 ? atoll(argv[2]) : INT64_MAX / 2000000000;
    size_t pages = (size_t)mb * 256, at = 0;
    uint64_t *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);
    if (memory == MAP_FAILED)
        return fail("memory");
    uint64_t noise = 88172645463325252u;
    for (size_t i = 0; i < pages * PAGE / sizeof noise; i++) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        memory[i] = noise;
    }
    int64_t start = now_ns(CLOCK_MONOTONIC), before = start;
    double owed = 0;
    while (before - start < seconds * 1000000000) {
        nanosleep(&(struct timespec){0, SLICE_NS}, NULL);
        int64_t now = now_ns(CLOCK_MONOTONIC), passed = now - before;
        if (passed > 10 * SLICE_NS)
            passed = 10 * SLICE_NS; /* after a pause: no burst beyond the rate */
        before = now;
        for (owed += (double)passed * (double)rate * 256 / 1e9; owed >= 1; owed--) {
            memory[at * PAGE / sizeof *memory] += 1;
            at = (at + 1) % pages;
        }
    }
    return 0;
}
