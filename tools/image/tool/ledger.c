/* The ledger: a file that proves on the guest's own disk how often and how evenly the guest ran.
 *
 * A line is "COUNT BOOT_ID WALL_NS MONOTONIC_NS", appended and fsynced; the count goes on where the
 * file ends, also after a reset (a torn last line is cut off). The guest's clock may stand still
 * while the machine is stopped, so the worst pause seen here is a lower bound of the real one; the
 * ticks on a serial line, with times taken by the reader, give the rest. */
#include "tool.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE 160
#define BOOTS 1024

static int boot_id(char id[40])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    int ok = f && fscanf(f, "%39s", id) == 1;
    if (f)
        fclose(f);
    return ok ? 0 : -1;
}

/* Cut a torn last line and return the count of the last whole one. */
static int64_t last_count(int fd)
{
    char tail[2 * LINE + 1];
    off_t size = lseek(fd, 0, SEEK_END), from = size > 2 * LINE ? size - 2 * LINE : 0;
    ssize_t n = pread(fd, tail, (size_t)(size - from), from);
    if (n <= 0)
        return 0;
    while (n > 0 && tail[n - 1] != '\n')
        n--;
    if (from + n < size && ftruncate(fd, from + n) < 0)
        return -1;
    if (n == 0)
        return 0;
    tail[n - 1] = 0;
    char *start = strrchr(tail, '\n');
    return strtoll(start ? start + 1 : tail, NULL, 10);
}

int cmd_ledger(int argc, char **argv)
{
    int serial = -1;
    char id[40], line[LINE];
    if (argc > 2 && !strcmp(argv[0], "--serial")) {
        serial = open(argv[1], O_WRONLY | O_NOCTTY | O_CLOEXEC);
        if (serial < 0)
            return fail(argv[1]);
        argc -= 2;
        argv += 2;
    }
    if (argc < 2 || argc > 3 || atoi(argv[1]) <= 0) {
        fputs("usage: guest-tool ledger [--serial TTY] FILE MS [COUNT]\n", stderr);
        return 2;
    }
    int64_t step = (int64_t)atoi(argv[1]) * 1000000, left = argc == 3 ? atoll(argv[2]) : INT64_MAX;
    int fd = open(argv[0], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || boot_id(id) < 0)
        return fail(argv[0]);
    int64_t count = last_count(fd);
    if (count < 0 || lseek(fd, 0, SEEK_END) < 0)
        return fail(argv[0]);
    int64_t due = now_ns(CLOCK_MONOTONIC);
    while (left-- > 0) {
        int64_t now = now_ns(CLOCK_MONOTONIC);
        int n = snprintf(line, sizeof line, "%" PRId64 " %s %" PRId64 " %" PRId64 "\n", ++count, id,
                         now_ns(CLOCK_REALTIME), now);
        if (write(fd, line, (size_t)n) != n || fsync(fd) < 0)
            return fail(argv[0]);
        if (serial >= 0 && dprintf(serial, "TICK %" PRId64 "\n", count) < 0)
            return fail("serial");
        due += step;
        if (due < now_ns(CLOCK_MONOTONIC))
            due = now_ns(CLOCK_MONOTONIC) + step; /* late: go on evenly, do not catch up in a burst */
        struct timespec at = {due / 1000000000, due % 1000000000};
        if (left > 0)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    }
    return 0;
}

struct summary {
    int64_t lines, torn, first, last, duplicates, gaps, missing, pause;
    char boots[BOOTS][40];
    int boot_count;
};

static void add_line(struct summary *s, int64_t count, const char *id, int64_t mono, int64_t *before)
{
    int new_boot = s->boot_count == 0 || strcmp(s->boots[s->boot_count - 1], id);
    if (new_boot && s->boot_count < BOOTS)
        snprintf(s->boots[s->boot_count++], 40, "%s", id);
    if (s->lines == 0)
        s->first = count;
    else if (count <= s->last)
        s->duplicates++;
    else if (count > s->last + 1) {
        s->gaps++;
        s->missing += count - s->last - 1;
    }
    if (count > s->last)
        s->last = count;
    if (!new_boot && mono - *before > s->pause)
        s->pause = mono - *before;
    *before = mono;
    s->lines++;
}

int cmd_check(int argc, char **argv)
{
    static struct summary s;
    char line[LINE], id[40];
    int64_t count, wall, mono, before = 0;
    FILE *f = argc == 1 ? fopen(argv[0], "r") : NULL;
    if (!f)
        return argc == 1 ? fail(argv[0]) : (fputs("usage: guest-tool check FILE\n", stderr), 2);
    while (fgets(line, sizeof line, f)) {
        if (strchr(line, '\n') && sscanf(line, "%" SCNd64 " %39s %" SCNd64 " %" SCNd64, &count, id,
                                         &wall, &mono) == 4)
            add_line(&s, count, id, mono, &before);
        else
            s.torn++;
    }
    fclose(f);
    printf("{\"boots\": [");
    for (int i = 0; i < s.boot_count; i++)
        printf("%s\"%s\"", i ? ", " : "", s.boots[i]);
    printf("], \"lines\": %" PRId64 ", \"first\": %" PRId64 ", \"last\": %" PRId64
           ", \"duplicates\": %" PRId64 ", \"gaps\": %" PRId64 ", \"missing\": %" PRId64
           ", \"torn\": %" PRId64 ", \"worst_pause_ms\": %" PRId64 "}\n",
           s.lines, s.first, s.last, s.duplicates, s.gaps, s.missing, s.torn, s.pause / 1000000);
    return 0;
}
