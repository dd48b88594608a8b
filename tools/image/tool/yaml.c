/* A reader for the part of YAML that people write in cloud-config: block and flow collections,
 * plain, quoted and block scalars, comments. Every scalar stays a string.
 *
 * Not read, and refused with the line's number: anchors, aliases, tags, "? " keys, several documents.
 * The text is kept as lines; a nested collection after "- " is parsed by blanking the dash. The
 * process ends after one document, so nothing is freed. */
#include "yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 64

struct parser {
    char **lines;
    int count, at, depth, opened;
    char *error;
    size_t error_size;
    jmp_buf bail;
};

struct buffer {
    char *text;
    size_t n, room;
};

static struct node *parse_block(struct parser *p, int indent);

static void refuse(struct parser *p, const char *format, ...)
{
    va_list args;
    int n = snprintf(p->error, p->error_size, "line %d: ", p->at + 1);
    va_start(args, format);
    vsnprintf(p->error + n, p->error_size - (size_t)n, format, args);
    va_end(args);
    longjmp(p->bail, 1);
}

/* To the next line inside quotes or brackets. */
static const char *next_line(struct parser *p)
{
    if (++p->at < p->count)
        return p->lines[p->at];
    p->at = p->opened;
    refuse(p, "a quote or bracket that is never closed");
    return NULL;
}

static void put(struct buffer *b, char c)
{
    if (b->n + 2 > b->room)
        b->text = realloc(b->text, b->room = b->room ? 2 * b->room : 64);
    b->text[b->n++] = c;
    b->text[b->n] = 0;
}

static void put_text(struct buffer *b, const char *text)
{
    while (*text)
        put(b, *text++);
}

static struct node *make(enum kind kind, char *text)
{
    struct node *n = calloc(1, sizeof *n);
    n->kind = kind;
    n->text = text;
    return n;
}

static int spaces(const char *line)
{
    return (int)strspn(line, " ");
}

static int is_blank(const char *line)
{
    line += strspn(line, " \t");
    return !*line || *line == '#';
}

static int ends(char c)
{
    return c == 0 || c == ' ' || c == '\t';
}

static int is_dash(const char *text)
{
    return text[0] == '-' && ends(text[1]);
}

/* Move to the next line with content and return its indent, or -1 at the end. */
static int next_indent(struct parser *p)
{
    while (p->at < p->count && is_blank(p->lines[p->at]))
        p->at++;
    if (p->at == p->count)
        return -1;
    if (p->lines[p->at][spaces(p->lines[p->at])] == '\t')
        refuse(p, "a tab in the indentation");
    return spaces(p->lines[p->at]);
}

/* Length of "key:" at the start of text with the key in *key, or 0 when this is no mapping key. */
static int take_key(const char *text, char **key)
{
    const char *end;
    if (*text == '"' || *text == '\'') {
        for (end = text + 1; *end && *end != *text; end++)
            ;
        if (!*end || end[1] != ':' || !ends(end[2]))
            return 0;
        *key = strndup(text + 1, (size_t)(end - text - 1));
        return (int)(end - text) + 2;
    }
    if (strchr("[{|>#&*!%@`", *text))
        return 0;
    for (end = text; *end && !(*end == ':' && ends(end[1])); end++)
        if (*end == '#' && end > text && ends(end[-1]))
            return 0;
    if (!*end)
        return 0;
    *key = strndup(text, (size_t)(end - text));
    return (int)(end - text) + 1;
}

static void trim(char *text)
{
    size_t n = strlen(text);
    while (n && ends(text[n - 1]))
        text[--n] = 0;
}

static void put_code_point(struct buffer *b, unsigned code)
{
    static const unsigned limits[] = {0x80, 0x800, 0x10000, 0x110000}, heads[] = {0, 0xc0, 0xe0, 0xf0};
    int more = 0;
    while (more < 3 && code >= limits[more])
        more++;
    put(b, (char)(heads[more] | code >> 6 * more));
    while (more--)
        put(b, (char)(0x80 | (code >> 6 * more & 63)));
}

static void escape(struct parser *p, struct buffer *b, const char **at)
{
    static const char names[] = "abtnvfre \"/\\N_LP";
    static const unsigned meant[] = {7,   8,    9,   10,   11,   12,   13,     27,
                                     ' ', '"', '/', '\\', 0x85, 0xa0, 0x2028, 0x2029};
    char c = *++*at, digits[9] = "";
    const char *known = strchr(names, c);
    int n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    strncpy(digits, *at + (n > 0), (size_t)n);
    unsigned code = (unsigned)strtoul(digits, NULL, 16);
    if (c && known)
        put_code_point(b, meant[known - names]);
    else if (n && (int)strspn(digits, "0123456789abcdefABCDEF") == n && code && code < 0x110000)
        put_code_point(b, code);
    else
        refuse(p, "an unknown escape \\%c", c);
    *at += n;
}

/* A quoted scalar from *at, which may go over lines (folded); *at ends behind the closing quote. */
static char *quoted(struct parser *p, const char **at)
{
    struct buffer b = {0};
    char quote = *(*at)++;
    b.text = calloc(1, b.room = 64);
    for (int joined = 0;; (*at)++) {
        char c = **at;
        if (c == quote && quote == '\'' && (*at)[1] == '\'') {
            put(&b, *++*at);
        } else if (c == quote) {
            ++*at;
            return b.text;
        } else if (c == '\\' && quote == '"' && (*at)[1]) {
            escape(p, &b, at);
        } else if (c == '\\' && quote == '"') {
            joined = 1; /* the break behind it is none */
        } else if (c) {
            put(&b, c);
        } else { /* the end of a line: one break is a space, n empty lines are n breaks */
            int breaks = 0;
            while (!joined && b.n && ends(b.text[b.n - 1]))
                b.text[--b.n] = 0;
            do {
                *at = next_line(p);
                *at += strspn(*at, " \t");
                breaks += !**at;
            } while (!**at);
            for (int i = 0; i < breaks; i++)
                put(&b, '\n');
            if (!breaks && !joined)
                put(&b, ' ');
            joined = 0;
            --*at;
        }
    }
}

static const char *skip_flow(struct parser *p, const char *at)
{
    for (;;) {
        at += strspn(at, " \t");
        if (*at && *at != '#')
            return at;
        at = next_line(p);
    }
}

static void append(struct node *parent, struct node ***tail, struct node *child)
{
    if (!*tail)
        *tail = &parent->child;
    **tail = child;
    *tail = &child->next;
}

static int flow_ends(const char *at)
{
    return strchr(",[]{}", *at) || (*at == ':' && (ends(at[1]) || strchr(",]}", at[1])));
}

/* A plain scalar inside brackets; it may go over lines, which are joined by spaces. */
static char *flow_plain(struct parser *p, const char **at)
{
    struct buffer b = {.text = calloc(1, 64), .room = 64};
    for (;;) {
        const char *start = *at;
        while (!flow_ends(*at) && !(**at == '#' && *at > start && ends((*at)[-1])))
            put(&b, *(*at)++);
        trim(b.text);
        b.n = strlen(b.text);
        *at = skip_flow(p, *at);
        if (flow_ends(*at))
            return b.text;
        put(&b, ' ');
    }
}

static struct node *flow(struct parser *p, const char **at)
{
    if (**at == '"' || **at == '\'')
        return make(SCALAR, quoted(p, at));
    if (**at != '[' && **at != '{') {
        if (strchr("&*!", **at))
            refuse(p, "anchors, aliases and tags are not supported");
        char *text = flow_plain(p, at);
        return make(*text && strcmp(text, "~") && strcmp(text, "null") ? SCALAR : NOTHING, text);
    }
    if (++p->depth > DEPTH)
        refuse(p, "nested too deeply");
    char close = **at == '[' ? ']' : '}';
    struct node *all = make(close == ']' ? SEQUENCE : MAPPING, NULL), **tail = NULL;
    *at = skip_flow(p, *at + 1);
    while (**at != close) {
        struct node *item = flow(p, at);
        *at = skip_flow(p, *at);
        if (close == '}') {
            char *key = item->text;
            if (item->kind != SCALAR)
                refuse(p, "a key that is no text");
            item = make(NOTHING, NULL);
            if (**at == ':') {
                *at = skip_flow(p, *at + 1);
                item = **at == ',' || **at == close ? item : flow(p, at);
                *at = skip_flow(p, *at);
            }
            item->key = key;
        }
        append(all, &tail, item);
        if (**at == ',')
            *at = skip_flow(p, *at + 1);
        else if (**at != close)
            refuse(p, "expected , or %c", close);
    }
    ++*at;
    p->depth--;
    return all;
}

/* "|" or ">": the raw lines deeper than `parent`. */
static struct node *block_scalar(struct parser *p, const char *head, int parent)
{
    struct buffer b = {0};
    char style = *head++, chomp = 0;
    int indent = 0, empty = 0, more_before = 0;
    for (; !ends(*head); head++) {
        if (*head == '-' || *head == '+')
            chomp = *head;
        else if (*head >= '1' && *head <= '9')
            indent = (parent < 0 ? 0 : parent) + *head - '0';
        else
            refuse(p, "a bad block scalar header");
    }
    if (!is_blank(head))
        refuse(p, "text after a block scalar header");
    for (p->at++; p->at < p->count; p->at++) {
        const char *line = p->lines[p->at];
        int own = spaces(line);
        if (!line[own] && (!indent || own <= indent)) {
            empty++;
            continue;
        }
        if (!indent && own > parent)
            indent = own;
        if (own < indent || own <= parent)
            break;
        int more = ends(line[indent]);
        int fold = style == '>' && b.n && !more && !more_before;
        if (fold && !empty)
            put(&b, ' ');
        else if (b.n && !fold)
            put(&b, '\n');
        for (; empty; empty--)
            put(&b, '\n');
        put_text(&b, line + indent);
        more_before = more;
    }
    if (chomp != '-' && b.n)
        put(&b, '\n');
    for (; chomp == '+' && empty; empty--)
        put(&b, '\n');
    return make(SCALAR, b.text ? b.text : calloc(1, 1));
}

/* A plain scalar and its continuation lines deeper than `parent`. */
static struct node *plain(struct parser *p, const char *text, int parent)
{
    struct buffer b = {0};
    char *ignored;
    for (;;) {
        const char *end = text;
        while (*end && !(*end == '#' && (end == text || ends(end[-1]))))
            end++;
        char *part = strndup(text, (size_t)(end - text));
        trim(part);
        if (b.n)
            put(&b, ' ');
        put_text(&b, part);
        p->at++;
        if (*end || p->at >= p->count || is_blank(p->lines[p->at]) || spaces(p->lines[p->at]) <= parent)
            break;
        text = p->lines[p->at] + spaces(p->lines[p->at]);
        if (take_key(text, &ignored))
            refuse(p, "a mapping inside a text; quote the text");
    }
    if (!b.text || !strcmp(b.text, "~") || !strcmp(b.text, "null"))
        return make(NOTHING, NULL);
    return make(SCALAR, b.text);
}

/* A value that begins in this line at `text`; ends with p->at behind it. */
static struct node *inline_value(struct parser *p, const char *text, int parent)
{
    if (*text == '|' || *text == '>')
        return block_scalar(p, text, parent);
    if (strchr("&*!%@`", *text))
        refuse(p, "text that begins with %c must be quoted", *text);
    if (strchr("[{\"'", *text)) {
        const char *at = text;
        p->opened = p->at;
        struct node *value = flow(p, &at);
        if (!is_blank(at))
            refuse(p, "text after a closing %c", at[-1]);
        p->at++;
        return value;
    }
    return plain(p, text, parent);
}

static struct node *sequence(struct parser *p, int indent)
{
    struct node *all = make(SEQUENCE, NULL), **tail = NULL;
    while (next_indent(p) == indent && is_dash(p->lines[p->at] + indent)) {
        char *line = p->lines[p->at], *ignored;
        line[indent] = ' ';
        int inner = spaces(line);
        if (is_blank(line)) {
            p->at++;
            inner = next_indent(p);
            append(all, &tail, inner > indent ? parse_block(p, inner) : make(NOTHING, NULL));
        } else if (is_dash(line + inner) || take_key(line + inner, &ignored)) {
            append(all, &tail, parse_block(p, inner));
        } else {
            append(all, &tail, inline_value(p, line + inner, indent));
        }
    }
    return all;
}

static struct node *mapping(struct parser *p, int indent)
{
    struct node *all = make(MAPPING, NULL), **tail = NULL;
    while (next_indent(p) == indent) {
        char *text = p->lines[p->at] + indent, *key;
        int n = take_key(text, &key);
        if (!n)
            refuse(p, "expected \"key: value\"");
        trim(key);
        if (yaml_get(all, key)->key)
            refuse(p, "the key %s twice", key);
        struct node *value;
        text += n + strspn(text + n, " \t");
        if (*text && *text != '#') {
            value = inline_value(p, text, indent);
        } else {
            p->at++;
            int inner = next_indent(p);
            int dash = inner == indent && is_dash(p->lines[p->at] + indent);
            value = inner > indent || dash ? parse_block(p, inner) : make(NOTHING, NULL);
        }
        value->key = key;
        append(all, &tail, value);
    }
    return all;
}

static struct node *parse_block(struct parser *p, int indent)
{
    char *text = p->lines[p->at] + indent, *ignored;
    if (++p->depth > DEPTH)
        refuse(p, "nested too deeply");
    struct node *value = is_dash(text)             ? sequence(p, indent)
                         : take_key(text, &ignored) ? mapping(p, indent)
                                                    : inline_value(p, text, indent - 1);
    p->depth--;
    if (next_indent(p) > indent)
        refuse(p, "indented deeper than what it belongs to");
    return value;
}

const struct node *yaml_get(const struct node *mapping, const char *key)
{
    static const struct node nothing;
    for (const struct node *n = mapping->kind == MAPPING ? mapping->child : NULL; n; n = n->next)
        if (!strcmp(n->key, key))
            return n;
    return &nothing;
}

struct node *yaml_parse(char *text, char *error, size_t error_size)
{
    struct parser p = {.error = error, .error_size = error_size};
    int content = 0;
    for (char *line = text, *next; line; line = next) {
        if ((next = strchr(line, '\n')))
            *next++ = 0;
        size_t n = strlen(line);
        if (n && line[n - 1] == '\r')
            line[n - 1] = 0;
        if (!strncmp(line, "---", 3) && is_blank(line + 3) && !content)
            *line = 0;
        content |= !is_blank(line);
        if (!strcmp(line, "..."))
            break;
        if (!next && !*line)
            break;
        p.lines = realloc(p.lines, sizeof *p.lines * (size_t)(p.count + 1));
        p.lines[p.count++] = line;
    }
    if (setjmp(p.bail))
        return NULL;
    int indent = next_indent(&p);
    if (indent < 0)
        return make(NOTHING, NULL);
    struct node *root = parse_block(&p, indent);
    if (next_indent(&p) >= 0)
        refuse(&p, "unexpected content");
    return root;
}
