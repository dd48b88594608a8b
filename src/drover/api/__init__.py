"""The nouns: names, wire values, errors of the API, read-only views on its objects, and the manifests. No I/O."""
