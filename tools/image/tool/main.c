#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: guest-tool ledger [--serial TTY] FILE MS [COUNT]   append a line every MS, fsync each\n"
    "       guest-tool check FILE                              one line of JSON about a ledger\n"
    "       guest-tool dirty MB RATE_MBPS [SECONDS]            write to MB of memory at that rate\n"
    "       guest-tool cloud-config FILE | meta-data FILE      print shell calls for a seed file\n"
    "       guest-tool modules FILE...                         load kernel modules in this order\n";

int fail(const char *what)
{
    fprintf(stderr, "guest-tool: %s: %s\n", what, strerror(errno));
    return 1;
}

int64_t now_ns(int clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

char *read_whole(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    size_t room = 65536, n = 0, got;
    char *text = malloc(room + 1);
    while (text && (got = fread(text + n, 1, room - n, f)) > 0) {
        n += got;
        if (n == room)
            text = realloc(text, (room *= 2) + 1);
    }
    fclose(f);
    if (text)
        text[n] = 0;
    if (size)
        *size = n;
    return text;
}

int load_module(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = (int)syscall(SYS_finit_module, fd, "", 0);
    if (rc < 0 && errno == EEXIST)
        rc = 0;
    close(fd);
    return rc;
}

int cmd_modules(int argc, char **argv)
{
    int bad = 0;
    for (int i = 0; i < argc; i++)
        if (load_module(argv[i]) < 0)
            bad = fail(argv[i]);
    return bad;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int, char **);
    } commands[] = {
        {"ledger", cmd_ledger},   {"check", cmd_check},
        {"dirty", cmd_dirty},     {"cloud-config", cmd_cloud_config},
        {"modules", cmd_modules}, {"meta-data", cmd_meta_data},
    };
    if (getpid() == 1)
        return cmd_init();
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 2, argv + 2);
    fputs(usage, stderr);
    return 2;
}
