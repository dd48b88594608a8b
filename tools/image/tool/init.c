/* Pid 1 of the initramfs: load the modules, find the root file system, grow it, switch to it.
 *
 * In C and not in shell because under emulation each started process costs 10-20 ms of the boot.
 * With "guest.probe" on the kernel's command line it only says that the guest runs, and powers off. */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT_LABEL "groot"
#define SECTOR 512
/* from the kernel's ext4.h, which no user header carries */
#define EXT4_IOC_RESIZE_FS 0x40086610

static void load_listed(const char *list)
{
    char *text = read_whole(list, NULL);
    for (char *path = text ? strtok(text, "\n") : NULL; path; path = strtok(NULL, "\n"))
        if (load_module(path) < 0 || unlink(path) < 0) /* unlinked: the memory is the guest's */
            fail(path);
    free(text);
}

static int has_label(const char *device)
{
    char super[136];
    int fd = open(device, O_RDONLY | O_CLOEXEC), ok = 0;
    if (fd < 0)
        return 0;
    if (pread(fd, super, sizeof super, 1024) == sizeof super)
        ok = super[56] == 0x53 && (unsigned char)super[57] == 0xef &&
             !strncmp(super + 120, ROOT_LABEL, 16);
    close(fd);
    return ok;
}

/* The first disk that carries the root: the one the firmware booted, as both go by slot order. */
static int find_root(char *disk, size_t disk_size, char *part, size_t part_size)
{
    for (int tries = 0; tries < 500; tries++) {
        for (char c = 'a'; c <= 'z'; c++) {
            snprintf(disk, disk_size, "/dev/vd%c", c);
            snprintf(part, part_size, "/dev/vd%c2", c);
            if (has_label(part))
                return 0;
        }
        usleep(10000);
    }
    return -1;
}

/* Stretch the second (last) entry of the partition table to the end of the disk. */
static void grow_partition(const char *disk)
{
    unsigned char mbr[SECTOR];
    uint64_t bytes;
    int fd = open(disk, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    if (ioctl(fd, BLKGETSIZE64, &bytes) == 0 && pread(fd, mbr, SECTOR, 0) == SECTOR) {
        unsigned char *entry = mbr + 446 + 16;
        uint32_t start, sectors;
        memcpy(&start, entry + 8, 4);
        memcpy(&sectors, entry + 12, 4);
        uint64_t room = bytes / SECTOR - start;
        uint32_t wanted = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
        wanted -= wanted % 2048;
        if (wanted > sectors) {
            memcpy(entry + 12, &wanted, 4);
            if (pwrite(fd, mbr, SECTOR, 0) != SECTOR || fsync(fd) < 0 || ioctl(fd, BLKRRPART) < 0)
                fail("grow partition");
        }
    }
    close(fd);
}

static void grow_file_system(const char *part, const char *mounted)
{
    uint64_t bytes = 0;
    int device = open(part, O_RDONLY | O_CLOEXEC), root = open(mounted, O_RDONLY | O_CLOEXEC);
    if (device >= 0 && root >= 0 && ioctl(device, BLKGETSIZE64, &bytes) == 0) {
        uint64_t blocks = bytes / 4096;
        /* a file system of this size already: the kernel returns 0 at once */
        if (ioctl(root, EXT4_IOC_RESIZE_FS, &blocks) < 0)
            fail("grow file system");
    }
    close(device);
    close(root);
}

static void stop(const char *why)
{
    if (why)
        fail(why);
    for (;;)
        pause(); /* the console keeps the message; leaving pid 1 would be a kernel panic */
}

int cmd_init(void)
{
    char disk[32], part[32], cmdline[2048] = "";
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/root", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, cmdline, sizeof cmdline - 1) < 0)
        fail("cmdline");
    close(fd);
    if (strstr(cmdline, "guest.probe")) {
        if (write(1, "GUEST PROBE OK\n", 15) < 0)
            fail("console");
        reboot(RB_POWER_OFF);
        stop("power off");
    }
    load_listed("/modules");
    if (find_root(disk, sizeof disk, part, sizeof part) < 0)
        stop("no disk with a root file system");
    grow_partition(disk);
    /* noinit_itable: no thread that writes to a grown disk in the background */
    if (mount(part, "/root", "ext4", 0, "noinit_itable") < 0)
        stop(part);
    grow_file_system(part, "/root");
    mount("/dev", "/root/dev", NULL, MS_MOVE, NULL);
    mount("/proc", "/root/proc", NULL, MS_MOVE, NULL);
    unlink("/init");
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
        stop("switch root");
    if (chdir("/") == 0)
        execl("/sbin/init", "init", (char *)NULL);
    stop("/sbin/init");
    return 1;
}
