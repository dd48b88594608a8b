/* guest-tool: one small static program for what the guest's shell cannot do well.
 * Each command returns its exit status. None promises to be portable beyond Linux on x86-64. */
#ifndef GUEST_TOOL_H
#define GUEST_TOOL_H

#include <stddef.h>
#include <stdint.h>

int cmd_init(void);                               /* pid 1 of the initramfs; never returns well */
int cmd_modules(int argc, char **argv);           /* modules FILE... */
int cmd_ledger(int argc, char **argv);            /* ledger [--serial TTY] FILE MS [COUNT] */
int cmd_check(int argc, char **argv);             /* check FILE */
int cmd_dirty(int argc, char **argv);             /* dirty MB RATE_MBPS [SECONDS] */
int cmd_cloud_config(int argc, char **argv);      /* cloud-config FILE */
int cmd_meta_data(int argc, char **argv);         /* meta-data FILE */

int load_module(const char *path);
int64_t now_ns(int clock);
int fail(const char *what);                       /* prints what and errno; returns 1 */
char *read_whole(const char *path, size_t *size); /* NUL-terminated; NULL on error */

#endif
