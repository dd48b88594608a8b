/* From a seed file to shell: prints one call of a shell function for each thing to do, in the order
 * in which cloud-init does them. YAML is understood here, effects are the shell's (lib/guest/userdata).
 *
 * Known keys: hostname, write_files (content, path, permissions, owner, encoding, append),
 * ssh_authorized_keys, runcmd. Any other key is named by a call of `ignored`. */
#include "tool.h"
#include "yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void quote(const char *text)
{
    putchar('\'');
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*text);
    putchar('\'');
}

static void call(const char *function, const char *const *args, int count)
{
    fputs(function, stdout);
    for (int i = 0; i < count; i++) {
        putchar(' ');
        quote(args[i]);
    }
    putchar('\n');
}

static void call1(const char *function, const char *arg)
{
    call(function, &arg, 1);
}

static const char *text_of(const struct node *n, const char *otherwise)
{
    return n->kind == SCALAR ? n->text : otherwise;
}

static int wrong(const char *what)
{
    fprintf(stderr, "guest-tool: cloud-config: %s\n", what);
    return 1;
}

static int write_files(const struct node *files)
{
    int bad = files->kind != SEQUENCE && files->kind != NOTHING ? wrong("write_files is no list") : 0;
    for (const struct node *f = files->child; f && !bad; f = f->next) {
        const char *path = text_of(yaml_get(f, "path"), "");
        if (*path != '/') {
            bad = wrong("an entry of write_files has no absolute path");
            continue;
        }
        const char *args[] = {
            path,
            text_of(yaml_get(f, "permissions"), "0644"),
            text_of(yaml_get(f, "owner"), "root:root"),
            text_of(yaml_get(f, "encoding"), "text/plain"),
            text_of(yaml_get(f, "append"), "false"),
            text_of(yaml_get(f, "content"), ""),
        };
        call("write_file", args, 6);
    }
    return bad;
}

static void keys(const struct node *list)
{
    for (const struct node *k = list->child; k; k = k->next)
        if (k->kind == SCALAR)
            call1("add_key", k->text);
}

/* A string is a line of shell; a list is one command with its words quoted. */
static int runcmd(const struct node *commands)
{
    if (commands->kind != SEQUENCE && commands->kind != NOTHING)
        return wrong("runcmd is no list");
    for (const struct node *c = commands->child; c; c = c->next) {
        if (c->kind == MAPPING)
            return wrong("an entry of runcmd is neither text nor list; quote it");
        if (c->kind == SCALAR)
            call1("script_line", c->text);
        if (c->kind != SEQUENCE)
            continue;
        size_t room = 1, n = 0;
        for (const struct node *w = c->child; w; w = w->next)
            room += 4 * strlen(text_of(w, "")) + 4;
        char *line = malloc(room);
        for (const struct node *w = c->child; w; w = w->next) {
            if (n)
                line[n++] = ' ';
            line[n++] = '\'';
            for (const char *t = text_of(w, ""); *t; t++)
                if (*t == '\'')
                    n += (size_t)sprintf(line + n, "'\\''");
                else
                    line[n++] = *t;
            line[n++] = '\'';
        }
        line[n] = 0;
        call1("script_line", line);
        free(line);
    }
    return 0;
}

static struct node *parse_file(int argc, char **argv)
{
    char error[200];
    if (argc != 1)
        return NULL;
    char *text = read_whole(argv[0], NULL);
    if (!text) {
        fail(argv[0]);
        return NULL;
    }
    struct node *root = yaml_parse(text, error, sizeof error);
    if (!root)
        fprintf(stderr, "guest-tool: %s: %s\n", argv[0], error);
    else if (root->kind != MAPPING && root->kind != NOTHING)
        return wrong("the document is no mapping"), NULL;
    return root;
}

int cmd_cloud_config(int argc, char **argv)
{
    static const char *const known[] = {"hostname", "write_files", "ssh_authorized_keys", "runcmd"};
    struct node *root = parse_file(argc, argv);
    if (!root)
        return 1;
    for (const struct node *n = root->child; n; n = n->next) {
        size_t i = 0, count = sizeof known / sizeof *known;
        while (i < count && strcmp(known[i], n->key))
            i++;
        if (i == count)
            call1("ignored", n->key);
    }
    const struct node *name = yaml_get(root, "hostname");
    if (name->kind == SCALAR)
        call1("set_hostname", name->text);
    int bad = write_files(yaml_get(root, "write_files"));
    keys(yaml_get(root, "ssh_authorized_keys"));
    return bad || runcmd(yaml_get(root, "runcmd"));
}

int cmd_meta_data(int argc, char **argv)
{
    struct node *root = parse_file(argc, argv);
    if (!root)
        return 1;
    call1("instance_id", text_of(yaml_get(root, "instance-id"), ""));
    const struct node *name = yaml_get(root, "local-hostname");
    if (name->kind == SCALAR)
        call1("local_hostname", name->text);
    return 0;
}
