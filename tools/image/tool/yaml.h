#ifndef GUEST_YAML_H
#define GUEST_YAML_H

#include <stddef.h>

enum kind { NOTHING, SCALAR, SEQUENCE, MAPPING };

struct node {
    enum kind kind;
    char *key;  /* in a mapping */
    char *text; /* of a scalar */
    struct node *child, *next;
};

/* The document's root, or NULL with a message that names the line. `text` is consumed. */
struct node *yaml_parse(char *text, char *error, size_t error_size);
/* The value of `key`; a node of kind NOTHING when it is absent. */
const struct node *yaml_get(const struct node *mapping, const char *key);

#endif
